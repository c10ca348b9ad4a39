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
        let Some(whole) = lines.take() else {
            continue;
        };
        let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.record(&whole, now_ns());
        if lines.skipped() > skipped {
            recorder.unreadable(lines.skipped() - skipped);
            skipped = lines.skipped();
        }
        if let Some(lag) = recorder.lag().filter(|lag| *lag > LAG_MAX) {
            tracing::warn!(?lag, "results are read late: this machine is too busy");
        }
    }
    Ok(())
}
