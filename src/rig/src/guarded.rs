//! A child process that ends with its parent, even when the parent is killed.
//!
//! Linux can send a signal to a process when its parent ends, but the process must ask for it
//! itself, after `fork` and before `exec`, where next to no code may run. So the child is our own
//! binary at first: its hidden subcommand [`SUBCOMMAND`] asks, and becomes the program.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::environment;

/// The hidden subcommand: `guarded-child PARENT -- PROGRAM ARGS…`.
pub const SUBCOMMAND: &str = "guarded-child";

/// Why the program was not run.
#[derive(Debug)]
pub enum Error {
    /// The subcommand is for this program itself, and was called in another way.
    Usage,
    /// The parent has ended already.
    Orphaned,
    /// The system refused it.
    System {
        /// What could not be done.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage => write!(
                f,
                "this subcommand is for redis-api itself: {SUBCOMMAND} PARENT -- PROGRAM ARGS…"
            ),
            Error::Orphaned => f.write_str("the parent has ended"),
            Error::System { what, source } => write!(f, "can't {what}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::System { source, .. } => Some(source),
            Error::Usage | Error::Orphaned => None,
        }
    }
}

/// A command that runs `program` guarded and with a clean environment ([`environment`]); arguments
/// that are added are the program's. It must be started on the main thread: the child is killed
/// when the thread that started it ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    // Our own file, also when another one has taken its place meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let parent = process::id().to_string();
    command.args([SUBCOMMAND, &parent, "--"]).arg(program);
    environment::clean(&mut command);
    command
}

/// Becomes the program in `args` (`PARENT -- PROGRAM ARGS…`).
///
/// # Errors
/// Returns only on failure; see [`Error`].
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<Infallible, Error> {
    let mut args = args.into_iter();
    let parent = args.next().and_then(|arg| arg.to_str()?.parse().ok());
    let parent = Pid::from_raw(parent.ok_or(Error::Usage)?);
    if args.next().is_none_or(|arg| arg != "--") {
        return Err(Error::Usage);
    }
    let program = args.next().ok_or(Error::Usage)?;
    // SIGKILL: what is guarded has no data to save.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| Error::System {
        what: "ask to be killed with the parent".into(),
        source: errno.into(),
    })?;
    // The parent may have ended before that call: then no signal will ever come.
    if getppid() != parent {
        return Err(Error::Orphaned);
    }
    let source = Command::new(&program).args(args).exec();
    Err(Error::System {
        what: format!("run {}", program.display()),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_wants_its_parent() {
        let check = |args: &[&str]| {
            let outcome = run(args.iter().map(OsString::from));
            assert!(
                matches!(outcome, Err(Error::Usage)),
                "{args:?}: {outcome:?}"
            );
        };
        check(&[]);
        check(&["x", "--", "true"]);
        check(&["1", "true"]);
        check(&["1", "--"]);
    }
}
