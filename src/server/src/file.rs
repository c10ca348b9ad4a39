//! Files that may be replaced while the process runs: read as a whole, again and again.
//!
//! Invariants: no more is read than is asked for; nothing that is not a regular file is waited for;
//! a file that turns bad keeps its last good content; what a file holds is in no error and in no
//! log line.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The content of a regular file of at most so many bytes. Blocks.
///
/// # Errors
/// The system's; or it is larger, or not a regular file.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    content(&open(path)?, most)
}

/// Opens a file; a named pipe too, without waiting for its writer.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
}

/// As [`read`], of an open file.
pub(crate) fn content(file: &File, most: u64) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        let text = "it is not a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut content = Vec::new();
    file.take(most + 1).read_to_end(&mut content)?;
    bounded(content, most)
}

/// The content, unless it is longer than `most`.
pub(crate) fn bounded(content: Vec<u8>, most: u64) -> io::Result<Vec<u8>> {
    if content.len() as u64 > most {
        return Err(invalid(format!("it is longer than {most} bytes")));
    }
    Ok(content)
}

/// The text without one newline at its end: what editors and `echo` add to a secret.
pub(crate) fn without_newline(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// A content that is no use, in words that follow the file's name.
pub(crate) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// The last good content of a file.
pub(crate) struct LastGood<T> {
    good: T,
    /// The file was unusable when it was last read; that is said already.
    is_stale: bool,
}

impl<T> LastGood<T> {
    pub fn new(good: T) -> LastGood<T> {
        LastGood {
            good,
            is_stale: false,
        }
    }

    /// Takes over `fresh` if it is good; what is good now. Says once when the file turns bad, and
    /// once when it is good again: `name` is whose file it is, `what` what it holds.
    pub fn renew<E: fmt::Display>(
        &mut self,
        fresh: Result<T, E>,
        name: impl fmt::Display,
        what: &str,
    ) -> &T {
        match fresh {
            Ok(value) => {
                if mem::take(&mut self.is_stale) {
                    tracing::warn!("{name}: {what} can be read again; the new content is in use");
                }
                self.good = value;
            }
            Err(error) => {
                if !mem::replace(&mut self.is_stale, true) {
                    tracing::warn!("{name}: {error}; keeping the last good {what}");
                }
            }
        }
        &self.good
    }

    pub fn good(&self) -> &T {
        &self.good
    }

    pub fn is_stale(&self) -> bool {
        self.is_stale
    }
}

/// Looks at files off the event loop, one look at a time: where a file system hangs, its thread is
/// waited for, and no second one hangs beside it.
pub(crate) struct Look<T>(Option<JoinHandle<T>>);

impl<T> Default for Look<T> {
    fn default() -> Self {
        Look(None)
    }
}

impl<T: Send + 'static> Look<T> {
    /// What `read` finds on `pool`; `None` if that takes longer than `patience`.
    ///
    /// # Cancel safety
    /// The look goes on, and the next call has its result.
    pub async fn next(
        &mut self,
        pool: &Handle,
        patience: Duration,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let look = self.0.get_or_insert_with(|| pool.spawn_blocking(read));
        let found = timeout(patience, look).await.ok()?;
        self.0 = None;
        // An error is the end of the pool's runtime.
        found.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn no_more_is_read_than_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"0123456789");
        let error = read(&path, 9).unwrap_err().to_string();
        assert_eq!(error, "it is longer than 9 bytes");
    }

    #[test]
    fn what_is_not_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for path in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let error = read(path, 1).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file");
        }
        let missing = read(&folder.path().join("none"), 1).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn one_newline_is_taken_off() {
        let check = |text: &[u8], expected: &[u8]| assert_eq!(without_newline(text), expected);
        check(b"a", b"a");
        check(b"a\n", b"a");
        check(b"a\r\n", b"a");
        check(b" a\n\n", b" a\n");
        check(b"", b"");
    }

    #[test]
    fn the_last_good_content_stays() {
        let mut last_good = LastGood::new(1);
        let mut check = |fresh: Result<u8, &str>, expected| {
            let good = *last_good.renew(fresh, "test", "number");
            assert_eq!((good, last_good.is_stale()), expected);
        };
        check(Err("bad"), (1, true));
        check(Err("bad"), (1, true));
        check(Ok(2), (2, false));
        check(Err("bad"), (2, true));
    }

    #[tokio::test]
    async fn a_look_that_takes_long_is_not_made_twice() {
        let pool = Handle::current();
        let mut look = Look::default();
        let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let slow = move || wait.recv().map(|()| "first");
        let found = look.next(&pool, Duration::from_millis(1), slow).await;
        assert!(found.is_none());
        go.send(()).unwrap();
        let patience = Duration::from_secs(20);
        let found = look.next(&pool, patience, || Ok("second")).await;
        assert_eq!(found, Some(Ok("first")));
        let found = look.next(&pool, patience, || Ok("second")).await;
        assert_eq!(found, Some(Ok("second")));
    }
}
