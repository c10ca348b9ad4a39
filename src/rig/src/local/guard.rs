//! What ends the children and removes the data folder when the rig's own process can't: it was
//! killed.
//!
//! The kernel kills the children (see [`crate::guarded`]); the rest is a hidden subcommand of our
//! own binary: `local-janitor FOLDER` reads the children's process ids from its standard input. The
//! parent never closes that pipe before its end, so end of file means that the parent is gone,
//! however it ended: the janitor kills the children that are left and removes the folder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::Error;

/// The subcommand of [`run_janitor`].
pub const JANITOR: &str = "local-janitor";

/// A file in the data folder. The janitor removes no folder without it: it must not be possible
/// to remove anything else by calling it by hand.
pub(super) const MARKER: &str = ".redis-api-local";

/// How long the janitor waits for killed children to be gone, and for the folder to go.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits for the end of standard input, then kills the children whose start (`+PID`) was reported
/// there and whose end (`-PID`) was not, and removes the folder in `args`.
///
/// # Errors
/// Bad arguments, a folder that is no data folder of a rig, or one that can't be removed.
pub fn run_janitor(args: impl IntoIterator<Item = OsString>) -> Result<(), Error> {
    let mut args = args.into_iter();
    let (Some(folder), None) = (args.next(), args.next()) else {
        return Err(Error::Internal("local-janitor FOLDER"));
    };
    let folder = PathBuf::from(folder);
    if !folder.join(MARKER).is_file() {
        return Err(Error::Internal("the folder is not one of a rig"));
    }
    let children = read_children(io::stdin().lock());
    let deadline = Instant::now() + CLEAN_TIMEOUT;
    end_children(&children, deadline);
    remove(&folder, Instant::now() + CLEAN_TIMEOUT)
}

/// The children that run at the end of `input`. Ids of 1 and below are no children: `kill` takes
/// them for groups and for everybody.
fn read_children(input: impl BufRead) -> BTreeSet<i32> {
    let mut children = BTreeSet::new();
    for line in input.lines().map_while(Result::ok) {
        let Some((sign, pid)) = line.split_at_checked(1) else {
            continue;
        };
        match (sign, pid.parse::<i32>()) {
            ("+", Ok(pid)) if pid > 1 => children.insert(pid),
            ("-", Ok(pid)) => children.remove(&pid),
            _ => false,
        };
    }
    children
}

fn end_children(children: &BTreeSet<i32>, deadline: Instant) {
    for &pid in children {
        // It fails when the child is gone, which is what is looked for below. Each child leads a
        // process group, in which are those that it has started itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let is_gone = |&pid: &i32| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
    while !children.iter().all(is_gone) && Instant::now() < deadline {
        pause();
    }
}

/// A child that still dies may write a last file meanwhile: tries again until the deadline.
fn remove(folder: &Path, deadline: Instant) -> Result<(), Error> {
    loop {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {
                return Ok(());
            }
            Err(_) if Instant::now() < deadline => pause(),
            Err(error) => return Err(Error::io(format!("remove {}", folder.display()))(error)),
        }
    }
}

/// For the parent at its own end: waits until the janitor is done, a little longer than it takes.
pub(super) fn await_janitor(janitor: &mut process::Child) {
    let deadline = Instant::now() + 3 * CLEAN_TIMEOUT;
    while matches!(janitor.try_wait(), Ok(None)) && Instant::now() < deadline {
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no event loop runs where this is called"
)]
fn pause() {
    thread::sleep(Duration::from_millis(5));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_those_started_and_not_ended() {
        let check = |input: &str, expected: &[i32]| {
            let found: Vec<i32> = read_children(input.as_bytes()).into_iter().collect();
            assert_eq!(found, expected, "{input:?}");
        };
        check("", &[]);
        check("+12\n+13\n-12\n", &[13]);
        check("+12\n-12\n+12\n", &[12]);
        check("+-1\n+0\n+1\nx\n\n+\né\n", &[]);
        check("+12\n+1", &[12]);
    }

    #[test]
    fn janitor_touches_no_other_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let outcome = run_janitor([folder.path().into()]);
        assert!(matches!(outcome, Err(Error::Internal(_))), "{outcome:?}");
        assert!(folder.path().is_dir());
    }
}
