//! How one child is started, so that it can't outlive us.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::probe::Probe;
use super::{Error, guard};
use crate::{environment, guarded};

/// What becomes of the lines that a child prints. The last ones are kept for errors in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Nothing more.
    Hidden,
    /// They go to our standard error as they are.
    Shown,
    /// The same, each with the child's name before it.
    Prefixed,
}

/// One child: what to start, and when it is ready.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What errors, the table and [`Rig::cpu_seconds`](super::rig::Rig::cpu_seconds) call it.
    pub name: String,
    /// The program to run.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its working folder, and that of its temporary files: below the data folder, so that nothing
    /// is left of it.
    pub folder: PathBuf,
    /// What tells that it is ready.
    pub probe: Probe,
    /// For `probe` to succeed.
    pub timeout: Duration,
    /// What becomes of the lines that it prints.
    pub lines: Lines,
    /// What to do when it fails; empty: that stands in its output, if anywhere.
    pub cure: &'static str,
}

/// How children are started so that none outlives us.
#[derive(Debug)]
pub(super) struct Launcher {
    /// Waits for our end; see [`guard`]. `None` in tests, whose binary has no hidden subcommands:
    /// then children are not guarded either.
    janitor: Option<process::Child>,
}

impl Launcher {
    /// Starts the janitor of `folder`.
    pub fn start(program: &Path, folder: &Path) -> Result<Launcher, Error> {
        let marker = folder.join(guard::MARKER);
        File::create(&marker).map_err(Error::io(format!("write {}", marker.display())))?;
        let mut command = process::Command::new(program);
        environment::clean(&mut command);
        let janitor = command
            .arg(guard::JANITOR)
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the terminal's Ctrl-C, as the children.
            .process_group(0)
            .spawn()
            .map_err(Error::io("start the janitor"))?;
        Ok(Launcher {
            janitor: Some(janitor),
        })
    }

    /// Children that are started as they are, and may outlive us.
    #[cfg(test)]
    pub fn unguarded() -> Launcher {
        Launcher { janitor: None }
    }

    pub fn command(&self, spec: &Spec) -> Command {
        let mut command = match self.janitor {
            Some(_) => Command::from(guarded::command(&spec.program)),
            None => Command::new(&spec.program),
        };
        environment::clean(command.as_std_mut());
        command.args(&spec.args).current_dir(&spec.folder);
        command.env("TMPDIR", &spec.folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The terminal's Ctrl-C is for us: we stop the children in order.
        command.process_group(0).kill_on_drop(true);
        command
    }

    /// Tells the janitor that a child runs (`+`) or has ended (`-`).
    pub fn report(&mut self, sign: char, pid: u32) {
        if let Some(stdin) = self
            .janitor
            .as_mut()
            .and_then(|janitor| janitor.stdin.as_mut())
        {
            // Without a janitor the rig still works; only `kill -9` leaves something behind.
            let _ = writeln!(stdin, "{sign}{pid}");
        }
    }
}

impl Drop for Launcher {
    /// Ends the janitor, whose work is done when the folder is gone already.
    fn drop(&mut self) {
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            guard::await_janitor(&mut janitor);
        }
    }
}
