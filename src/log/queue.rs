//! The lines that wait to be written.
//!
//! Bounded in bytes: a line that does not fit is dropped and counted, the newest first, since the
//! oldest lines say how the trouble began.

use std::collections::VecDeque;
use std::time::Instant;

/// Most bytes that wait. In a minute, [`Repeats`](super::repeats::Repeats) lets through six lines
/// of each of 64 kinds, some 100 KiB of usual lines: so a reader may stop for a minute or two
/// before anything is lost.
pub(super) const ROOM: usize = 256 * 1024;

/// More room for errors and last words only: why the process ends must not be missing because of
/// what came before. Enough for a panic with its backtrace.
pub(super) const RESERVE: usize = 64 * 1024;

/// How far the queue must have emptied before dropped lines are reported. With half of it free,
/// a reader that is merely slow is not sent a report after every other line.
const REPORT_BELOW: usize = ROOM / 2;

#[derive(Default)]
pub(super) struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    /// How many lines were dropped since the last report, and since when.
    dropped: Option<(u64, Instant)>,
}

impl Queue {
    /// Takes `line` if no more than `limit` bytes wait then. Returns whether it did.
    pub fn push(&mut self, line: String, limit: usize, now: Instant) -> bool {
        let bytes = self.bytes.saturating_add(line.len());
        if bytes > limit {
            let (count, since) = self.dropped.unwrap_or((0, now));
            self.dropped = Some((count + 1, since));
            return false;
        }
        self.bytes = bytes;
        self.lines.push_back(line);
        true
    }

    /// The oldest line.
    pub fn pop(&mut self) -> Option<String> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many lines were dropped, and since when: once for each time that there is room again.
    pub fn take_dropped(&mut self) -> Option<(u64, Instant)> {
        if self.bytes > REPORT_BELOW {
            return None;
        }
        self.dropped.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: usize) -> String {
        "x".repeat(bytes)
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_reported_once_there_is_room() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let quarter = ROOM / 4;
        for _ in 0..4 {
            assert!(queue.push(line(quarter), ROOM, now));
        }
        assert_eq!(queue.take_dropped(), None);
        for _ in 0..3 {
            assert!(!queue.push(line(1), ROOM, now));
        }
        assert!(queue.push(line(RESERVE), ROOM + RESERVE, now));
        assert!(!queue.push(line(1), ROOM + RESERVE, now));
        let mut reports = Vec::new();
        while queue.pop().is_some() {
            reports.push(queue.take_dropped().map(|(count, _)| count));
        }
        // After the third, a quarter and the reserve are left.
        assert_eq!(reports, [None, None, Some(4), None, None]);
        assert!(queue.is_empty() && queue.bytes == 0);
    }
}
