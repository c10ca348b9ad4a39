//! Files that hold passwords and certificates, read without waiting for anybody to write them.
//!
//! A named pipe (or `<(…)` of a shell) blocks whoever opens it until there is a writer, and gives
//! its content once. Here it is opened without waiting, read for [`PIPE_PATIENCE`] at most, and
//! what it gave is kept, since every connection reads its files again.
//!
//! All of this blocks on a disk that hangs: it is for the shared pool, never for a worker.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::file;

/// A pipe's writer may take this long altogether: a shell starts it beside us.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);

/// The longest of the waits that this consists of.
const PIPE_WAIT_MS: u8 = 100;

/// What named pipes gave, by their paths: the few of the configuration.
#[derive(Default)]
pub(super) struct Pipes(Mutex<HashMap<PathBuf, Vec<u8>>>);

/// The content of a regular file or a pipe, of at most `max` bytes.
///
/// # Errors
/// The system's; or it is longer, or neither of the two.
pub(super) fn read(path: &Path, max: u64, pipes: &Pipes) -> io::Result<Vec<u8>> {
    let mut file = file::open(path)?;
    match file.metadata()?.file_type().is_fifo() {
        true => file::bounded(pipes.read(path, &mut file, max)?, max),
        false => file::content(&file, max),
    }
}

impl Pipes {
    fn read(&self, path: &Path, file: &mut File, max: u64) -> io::Result<Vec<u8>> {
        let fresh = read_pipe(file, max);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (fresh, kept.get(path)) {
            (Ok(content), Some(earlier)) if content.is_empty() => Ok(earlier.clone()),
            (Ok(content), _) => {
                if !content.is_empty() {
                    kept.insert(path.to_owned(), content.clone());
                }
                Ok(content)
            }
            (Err(_), Some(earlier)) => Ok(earlier.clone()),
            (Err(error), None) => Err(error),
        }
    }
}

/// What a pipe gives until its writer closes it; nothing, if there is no writer.
fn read_pipe(file: &mut File, max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut chunk = [0; 4096];
    let mut waits = PIPE_PATIENCE.as_millis() / u128::from(PIPE_WAIT_MS);
    while content.len() as u64 <= max {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => content.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if waits == 0 {
                    let text = "it is a pipe whose writer neither writes nor closes it";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                waits -= 1;
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
                // A signal may end it early; what it says is what reading says.
                let _ = poll(&mut fds, PollTimeout::from(PIPE_WAIT_MS));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::thread;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_pipe_never_blocks_and_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let pipes = Pipes::default();
        assert_eq!(read(&path, 10, &pipes).unwrap(), b"", "there is no writer");

        // A shell's `<(…)`: its writer is there, and may be late.
        let reader = file::open(&path).unwrap();
        let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
        let writing = thread::spawn(move || writer.write_all(b"geheim\n"));
        assert_eq!(read(&path, 10, &pipes).unwrap(), b"geheim\n");
        writing.join().unwrap().unwrap();
        drop(reader);
        assert_eq!(read(&path, 10, &pipes).unwrap(), b"geheim\n", "once more");
    }

    #[test]
    fn a_pipe_whose_writer_is_silent_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let mut both = OpenOptions::new();
        let _writer = both.read(true).write(true).open(&path).unwrap();
        let error = read(&path, 10, &Pipes::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
