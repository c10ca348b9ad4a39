//! How long threads were ready to run while the machine had no CPU for them.
//!
//! The kernel counts that for each thread. A promise about time holds for the time that the machine
//! gives: what is late for want of a CPU tells nothing of the service. What the service computes
//! itself is no such wait, however long it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Pid;

/// What a request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);

/// Who waits for the CPU for that long in one request does not know whether it would be in time.
const STARVED: Duration = Duration::from_millis(200);

/// The threads that a read passes one after the other: the caller's, a worker, Redis.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    workers: Vec<PathBuf>,
    server: Option<PathBuf>,
}

impl Passage {
    /// Of the reads that this process answers from that server.
    pub fn new(api: Pid, server: Option<Pid>) -> Passage {
        let tasks = fs::read_dir(format!("/proc/{api}/task")).expect("it runs");
        let workers = tasks.flatten().map(|task| task.path()).filter(|task| {
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            name.starts_with("worker-")
        });
        Passage {
            workers: workers.map(|task| task.join("schedstat")).collect(),
            server: server.map(|pid| format!("/proc/{pid}/task/{pid}/schedstat").into()),
        }
    }

    /// How long they have waited so far; of the workers, the one that waited longest.
    pub fn waited(&self) -> Duration {
        let workers = self.workers.iter().map(|worker| waited(worker));
        let server = self.server.as_deref().map(waited).unwrap_or_default();
        waited(Path::new("/proc/thread-self/schedstat"))
            + workers.max().unwrap_or_default()
            + server
    }

    /// Whether a request that was sent when they had waited for `before` went without the CPU for
    /// so long that it says nothing.
    pub fn was_starved(&self, before: Duration) -> bool {
        !self.workers.is_empty() && self.waited().saturating_sub(before) >= STARVED
    }
}

/// The second number: <https://docs.kernel.org/scheduler/sched-stats.html>. None for a thread that
/// is gone.
fn waited(schedstat: &Path) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let wait = text.split(' ').nth(1).and_then(|wait| wait.parse().ok());
    Duration::from_nanos(wait.unwrap_or(0))
}
