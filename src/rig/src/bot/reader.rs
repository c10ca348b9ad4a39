//! Reads the stream of results. Whoever reads too slowly stops vegeta by the full pipe, and so
//! changes the attack: hence the lag is measured with each read, and warned of.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::lines::Lines;
use super::recorder::Recorder;

/// A lag to warn of: the newest second of the window misses results by then.
const LAG_MAX: Duration = Duration::from_secs(1);

/// Reads `stream` to its end; `now_ns` gives the time in ns since 1970.
///
/// # Errors
/// What reading the stream gives.
pub async fn read(
    mut stream: impl AsyncRead + Unpin,
    recorder: &Mutex<Recorder>,
    now_ns: impl Fn() -> u64,
) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut skipped = 0;
    while stream.read_buf(lines.buffer()).await? > 0 {
        let whole = lines.take();
        if whole.is_none() && lines.skipped() == skipped {
            continue;
        }
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        // Also when no other line ever comes: all responses may be too long.
        recorder.unreadable(lines.skipped() - skipped);
        skipped = lines.skipped();
        let Some(whole) = whole else {
            continue;
        };
        recorder.record(&whole, now_ns());
        if let Some(lag) = recorder.lag().filter(|lag| *lag > LAG_MAX) {
            tracing::warn!(?lag, "results are read late: this machine is too busy");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::lines::LINE_MAX;
    use super::super::recorder::Settings;
    use super::*;

    #[tokio::test]
    async fn lines_that_are_too_long_are_told_of_when_there_are_no_others() {
        let settings = Settings {
            target_rate: 1.0,
            max_workers: 1,
            timeout: Duration::from_secs(1),
            window_seconds: 1,
        };
        let recorder = Recorder::new(settings, 0).expect("names are valid");
        let recorder = Mutex::new(recorder);
        let mut long = vec![b'x'; 2 * LINE_MAX];
        long.push(b'\n');
        let stream = long.repeat(3);
        read(stream.as_slice(), &recorder, || 0)
            .await
            .expect("memory can be read");
        let recorder = recorder.into_inner().expect("nobody panicked");
        assert_eq!(recorder.answer(0).results_dropped, 3);
    }
}
