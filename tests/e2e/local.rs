//! `redis-api local`: what it starts, and that nothing of it is left behind.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::{Api, PATIENCE, eventually};

/// Two rigs that start at the same moment may choose the same ports.
static STARTING: Mutex<()> = Mutex::new(());

/// A rig whose children all run.
struct Rig {
    api: Api,
    /// The parent of the data folder.
    folder: TempDir,
    /// Master, replica, API.
    children: Vec<Pid>,
}

pub fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rig {
    #[track_caller]
    fn start() -> Rig {
        let _one_at_a_time = starting();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().display().to_string();
        let api = Api::subcommand("local").env("TMPDIR", &path).start();
        api.wait_log("Ctrl-C stops all of it.", PATIENCE);
        let log = api.log();
        let mut children = Vec::new();
        for name in ["master", "replica", "api"] {
            let line = log
                .iter()
                .find(|line| line.starts_with(name))
                .expect("each has a line");
            let pid = line
                .split_once("(process ")
                .expect("it names the process")
                .1;
            let pid = pid.split_once(',').expect("it names the program").0;
            children.push(Pid::from_raw(pid.parse().expect("a process id")));
        }
        assert!(is_folder_there(folder.path()));
        Rig {
            api,
            folder,
            children,
        }
    }

    #[track_caller]
    fn assert_all_gone(&self, within: Duration) {
        eventually(within, "all children and the data folder are gone", || {
            let left: Vec<_> = self
                .children
                .iter()
                .filter(|&&pid| kill(pid, None) != Err(Errno::ESRCH))
                .collect();
            let folder = is_folder_there(self.folder.path());
            if left.is_empty() && !folder {
                Ok(())
            } else {
                Err(format!("{left:?}, {folder}"))
            }
        });
    }
}

fn is_folder_there(parent: &Path) -> bool {
    fs::read_dir(parent)
        .expect("our folder can be read")
        .next()
        .is_some()
}

#[test]
fn signals_stop_everything_in_time() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut rig = Rig::start();
        rig.api.wait_ready(PATIENCE);
        let started = Instant::now();
        rig.api.process().signal(signal);
        let status = rig.api.wait_exit(PATIENCE);
        let took = started.elapsed();
        assert!(status.success(), "{status}: {:?}", rig.api.log());
        assert!(took < Duration::from_secs(2), "{took:?}");
        rig.assert_all_gone(Duration::ZERO);
    }
}

#[test]
fn killed_parent_leaves_nothing_behind() {
    let mut rig = Rig::start();
    rig.api.process().kill();
    rig.assert_all_gone(PATIENCE);
}

#[test]
fn child_that_dies_ends_the_rig_by_name() {
    for (index, name) in ["master", "replica", "api"].into_iter().enumerate() {
        let mut rig = Rig::start();
        kill(rig.children[index], Signal::SIGKILL).expect("it runs");
        let status = rig.api.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(1));
        rig.api.wait_log(
            &format!("{name} ended by itself (killed by SIGKILL)"),
            PATIENCE,
        );
        rig.assert_all_gone(Duration::ZERO);
    }
}

#[test]
fn missing_server_is_told_with_the_cure() {
    let empty = tempfile::tempdir().expect("a temporary folder can be made");
    let path = empty.path().display().to_string();
    let mut api = Api::subcommand("local").env("PATH", &path).start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(1));
    api.wait_log("apt-get install redis-server", PATIENCE);

    let mut api = Api::subcommand("local")
        .args(["--redis-server", "/nowhere/redis"])
        .start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(1));
    api.wait_log("--redis-server /nowhere/redis", PATIENCE);
}

#[test]
fn api_that_is_not_ready_is_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = folder.path().join("server");
    // The rig sees that the replica is in sync; the API may not see whether it is loading.
    let script = "#!/bin/sh\n\
        grep -q replicaof \"$1\" || exec redis-server \"$@\"\n\
        exec redis-server \"$@\" --user default on nopass '~*' +@all -info '+info|replication'\n";
    fs::write(&server, script).expect("our folder is writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&server, mode).expect("our file can be made a program");
    let _one_at_a_time = starting();
    let mut api = Api::subcommand("local")
        .arg("--redis-server")
        .arg(server.display().to_string())
        .start();
    let status = api.wait_exit(3 * PATIENCE);
    assert_eq!(status.code(), Some(1), "{:?}", api.log());
    api.wait_log("api was not ready within", PATIENCE);
    api.wait_log("redis-api check says of it:", PATIENCE);
    let line = api.wait_log("FAIL  read     state", PATIENCE);
    assert!(
        line.contains("INFO persistence") && line.contains("+info"),
        "{line}"
    );
    api.wait_log("OK    write    login", PATIENCE);
}
