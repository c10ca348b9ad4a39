//! The line with the `Date` of an answer (RFC 9110, section 6.6.1), made once a second.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use httpdate::HttpDate;

/// The last line that was made.
#[derive(Default)]
pub struct DateLine {
    text: RefCell<Vec<u8>>,
    /// When the second that it names is over.
    until: Cell<Option<Instant>>,
}

impl DateLine {
    /// Adds the line to `out`; `wall_clock` is asked when a new second has begun.
    pub fn put(&self, out: &mut Vec<u8>, now: Instant, wall_clock: impl FnOnce() -> SystemTime) {
        if self.until.get().is_none_or(|until| now >= until) {
            self.make(now, wall_clock());
        }
        out.extend_from_slice(&self.text.borrow());
    }

    fn make(&self, now: Instant, time: SystemTime) {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().subsec_nanos();
        let left = Duration::from_secs(1).saturating_sub(Duration::from_nanos(nanos.into()));
        self.until.set(Some(now + left));
        let mut text = self.text.borrow_mut();
        text.clear();
        // Writing to memory can't fail.
        let _ = write!(text, "date: {}\r\n", HttpDate::from(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_a_second() {
        let line = DateLine::default();
        let start = Instant::now();
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |after_ms: u64, expected: &str| {
            let after = Duration::from_millis(after_ms);
            let mut out = Vec::new();
            line.put(&mut out, start + after, || {
                epoch + Duration::from_millis(300) + after
            });
            assert_eq!(String::from_utf8_lossy(&out), expected, "{after_ms}");
        };
        check(0, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        check(699, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        check(700, "date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
        let mut out = Vec::new();
        let now = start + Duration::from_millis(1_600);
        line.put(&mut out, now, || unreachable!("the second is not over"));
        assert!(out.ends_with(b":38 GMT\r\n"));
    }
}
