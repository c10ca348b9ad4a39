//! `redis-api local`: what it starts, and that nothing of it is left behind.

mod ends;
mod forms;
mod load;
mod terminal;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, Response, eventually, request};

/// Rigs wait for each other, but not for a test that takes the ports that they would choose.
static STARTING: Mutex<()> = Mutex::new(());

/// For a rig to be up: many of these tests start six processes each at the same time.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The last line of what a rig says when it is up.
const UP: &str = "Ctrl-C stops all of it.";

/// A rig whose children all run.
struct Rig {
    api: Api,
    /// The parent of the data folder.
    folder: TempDir,
}

pub fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A rig without load, where it would only disturb.
#[track_caller]
fn quiet() -> Rig {
    Rig::start(Api::subcommand("local").arg("--no-load"))
}

impl Rig {
    /// Starts it with a dashboard on a free port and a folder of its own for everything else.
    #[track_caller]
    fn start(builder: Builder) -> Rig {
        let _one_at_a_time = starting();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let api = builder
            .env("TMPDIR", &folder.path().display().to_string())
            .args(["--dashboard-listen", "127.0.0.1:0"])
            .start();
        api.wait_log(UP, START_PATIENCE);
        assert!(is_anything_in(folder.path()));
        Rig { api, folder }
    }

    /// The line that said that this child runs.
    fn line(&self, name: &str) -> Option<String> {
        let log = self.api.log();
        let start = format!("{name} ");
        let mut lines = log.into_iter();
        lines.find(|line| line.starts_with(&start) && line.contains("(process "))
    }

    #[track_caller]
    fn child(&self, name: &str) -> Pid {
        let line = self.line(name).expect("it was started");
        let pid = line.split_once("(process ").expect("it names it").1;
        let pid = pid.split_once(')').expect("the bracket is closed").0;
        Pid::from_raw(pid.parse().expect("a process id"))
    }

    /// The children that were started.
    fn children(&self) -> Vec<Pid> {
        let names = [
            "master",
            "replica",
            "api",
            "updater",
            "vegetaserver",
            "aggregator",
        ];
        let started = names.iter().filter(|name| self.line(name).is_some());
        started.map(|name| self.child(name)).collect()
    }

    /// Where the aggregator listens.
    #[track_caller]
    fn dashboard(&self) -> SocketAddr {
        address(&self.api.wait_log("Dashboard: http://", PATIENCE))
    }

    /// A page of the aggregator.
    #[track_caller]
    fn page(&self, path: &str) -> Response {
        request(self.dashboard(), "GET", path, &[], b"")
    }

    #[track_caller]
    fn assert_all_gone(&self, children: &[Pid], within: Duration) {
        eventually(within, "all children and the data folder are gone", || {
            let left: Vec<_> = children
                .iter()
                .filter(|&&pid| kill(pid, None) != Err(Errno::ESRCH))
                .collect();
            let folder = is_anything_in(self.folder.path());
            if left.is_empty() && !folder {
                Ok(())
            } else {
                Err(format!("{left:?}, {folder}"))
            }
        });
    }
}

/// The first address of a URL in `line`.
#[track_caller]
fn address(line: &str) -> SocketAddr {
    let rest = line.split_once("http://").expect("there is a URL").1;
    let address = rest.split('/').next().expect("a split has a first part");
    address.parse().expect("it is an address")
}

fn is_anything_in(folder: &Path) -> bool {
    fs::read_dir(folder)
        .expect("our folder can be read")
        .next()
        .is_some()
}
