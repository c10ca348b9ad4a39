//! A child process that cannot outlive its owner.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use std::{env, io};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::poll::eventually;

/// A running child. Killed and reaped when dropped, also while it is stopped by SIGSTOP.
#[derive(Debug)]
pub struct Process {
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// # Panics
    /// When the program can't be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Process {
        match command.spawn() {
            Ok(child) => Process {
                child,
                status: None,
            },
            Err(error) => panic!("can't start {:?}: {error}", command.get_program()),
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(
            self.child
                .id()
                .try_into()
                .expect("a process id fits in an i32"),
        )
    }

    /// The child as std knows it: for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Memory in use, in KiB.
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.pid()).expect("the process runs")
    }

    /// Whether all its threads are in this state: `S` for asleep, `T` for stopped.
    pub fn is_all(&self, state: char) -> bool {
        let tasks = format!("/proc/{}/task", self.pid());
        let mut tasks = std::fs::read_dir(tasks)
            .expect("the process runs")
            .flatten();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // Behind the name, which may have any characters.
            let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
            after.starts_with(state)
        })
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .expect("a child of ours can be waited for");
        }
        self.status
    }

    /// Sends a signal; nothing happens once the child is reaped.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none() {
            // It can only fail when the child is gone, which is what the caller sees next anyway.
            let _ = signal::kill(self.pid(), signal);
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When the child still runs at the deadline.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        eventually(timeout, "the process ends", || self.exit_status())
    }

    /// SIGKILL, and reaps.
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Memory that a process has in use (`VmRSS`), in KiB; `None` once it is gone.
pub fn resident_kib(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `exit status 1` or `signal 9`: for messages.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The first of `names` that is an executable file on PATH.
pub fn find_program(names: &[&str]) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = env::var_os("PATH").unwrap_or_default();
    for name in names {
        for folder in env::split_paths(&path) {
            let file = folder.join(name);
            let runs = file
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
            if runs {
                return Ok(file);
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("none of {names:?} is on PATH: run `make setup`"),
    ))
}
