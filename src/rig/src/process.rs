//! The frame of a process of the rig: one event loop, ended by a signal.

use std::future::Future;

use tokio::runtime::Builder;

use super::Error;
use redis_api_server::worker::Termination;

/// Threads for what blocks: name lookups.
const BLOCKING_THREADS: usize = 4;

/// Runs `work` until it ends or the process is told to. Must be called on the main thread: the
/// children that `work` starts are killed when the thread that started them ends.
pub(super) fn run(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let outcome = runtime.block_on(async {
        let mut termination = Termination::listen()?;
        tokio::select! {
            outcome = work => outcome,
            signal = termination.arrived() => {
                tracing::info!("{signal}: ending");
                Ok(())
            }
        }
    });
    // A lookup that hangs must not hold the exit up.
    runtime.shutdown_background();
    outcome
}
