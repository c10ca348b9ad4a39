//! The token that the API wants of writers, read anew for each post so that it can be rotated.
//!
//! Invariants: what the file holds is in no message; a file that turns bad, or a file system that
//! hangs, keeps the last good token; one read at a time.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// As the API has it: a quarter of what a request's head may be.
const TOKEN_BYTES_MAX: usize = 4096;

/// For reading a small file. What takes longer is taken over by a later post.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// The file, and the header that it last gave.
pub(super) struct TokenFile {
    path: PathBuf,
    good: HeaderValue,
    is_bad: bool,
    reading: Option<JoinHandle<Result<HeaderValue, Trouble>>>,
}

/// Why a file gives no token.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    NotAFile,
    Empty,
    TooLong,
    Unsendable,
}

impl TokenFile {
    /// Reads the file for the first time. Blocks.
    ///
    /// # Errors
    /// It gives no token, and there is no earlier one.
    pub fn open(path: PathBuf) -> Result<TokenFile, Trouble> {
        let good = read(&path)?;
        Ok(TokenFile {
            path,
            good,
            is_bad: false,
            reading: None,
        })
    }

    /// The header for one post: of the file as it is now, if it can be read.
    ///
    /// # Cancel safety
    /// Nothing is lost: a read that was begun is used by the next call.
    pub async fn header(&mut self) -> HeaderValue {
        let path = self.path.clone();
        let reading = self
            .reading
            .get_or_insert_with(|| spawn_blocking(move || read(&path)));
        match timeout(READ_TIMEOUT, &mut *reading).await {
            Ok(Ok(outcome)) => {
                self.reading = None;
                self.take(outcome);
            }
            // The runtime ends.
            Ok(Err(_)) => self.reading = None,
            Err(_) => {
                let path = self.path.display();
                tracing::warn!("token file {path}: is not read in time; the last good token stays");
            }
        }
        self.good.clone()
    }

    fn take(&mut self, outcome: Result<HeaderValue, Trouble>) {
        let path = self.path.display();
        match outcome {
            Ok(header) => {
                if header != self.good {
                    tracing::info!("token file {path}: has a new token, now in use");
                }
                self.is_bad = false;
                self.good = header;
            }
            Err(trouble) => {
                if !self.is_bad {
                    tracing::warn!("token file {path}: {trouble}; the last good token stays");
                }
                self.is_bad = true;
            }
        }
    }
}

/// `Bearer` and the text of a file without one trailing newline ([RFC 6750] section 2.1).
///
/// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
fn read(path: &Path) -> Result<HeaderValue, Trouble> {
    // Opening a named pipe would wait for its writer.
    if !fs::metadata(path).map_err(Trouble::Io)?.is_file() {
        return Err(Trouble::NotAFile);
    }
    let longest = TOKEN_BYTES_MAX + "\r\n".len();
    let mut text = Vec::from("Bearer ");
    let scheme = text.len();
    File::open(path)
        .and_then(|file| file.take(longest as u64 + 1).read_to_end(&mut text))
        .map_err(Trouble::Io)?;
    for newline in [b'\n', b'\r'] {
        // A lone CR is no newline, but no token ends with one either.
        if text.last() == Some(&newline) {
            text.pop();
        }
    }
    match text.split_at(scheme).1 {
        [] => Err(Trouble::Empty),
        token if token.len() > TOKEN_BYTES_MAX => Err(Trouble::TooLong),
        token if !token.iter().all(u8::is_ascii_graphic) => Err(Trouble::Unsendable),
        _ => {
            let mut header = HeaderValue::from_bytes(&text).map_err(|_| Trouble::Unsendable)?;
            // Its `Debug` then shows nothing.
            header.set_sensitive(true);
            Ok(header)
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Io(error) => write!(f, "can't be read: {error}"),
            Trouble::NotAFile => f.write_str("is no regular file"),
            Trouble::Empty => f.write_str("is empty; put the token there"),
            Trouble::TooLong => write!(f, "holds more than {TOKEN_BYTES_MAX} bytes"),
            Trouble::Unsendable => {
                f.write_str("holds more than one line of visible ASCII, which no header can carry")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let check = |text: &[u8], expected: Option<&str>| {
            fs::write(&path, text).unwrap();
            let found = read(&path).ok();
            let found = found.as_ref().map(|header| header.to_str().unwrap());
            assert_eq!(found, expected, "{}", text.escape_ascii());
        };
        check(b"hunter2", Some("Bearer hunter2"));
        check(b"hunter2\n", Some("Bearer hunter2"));
        check(b"hunter2\r\n", Some("Bearer hunter2"));
        check(b"a+b/c~!==", Some("Bearer a+b/c~!=="));
        for bad in [
            &b""[..],
            b"\n",
            b"\r\n",
            b"\n\n",
            b"hunter2\n\n",
            b"hunter 2",
            b"hunter2\nhunter3",
            b"hunter\xc3\xa9",
            &[b'x'; TOKEN_BYTES_MAX + 1],
            &[b'x'; 3 * TOKEN_BYTES_MAX],
        ] {
            check(bad, None);
        }
        assert!(matches!(read(folder.path()), Err(Trouble::NotAFile)));
    }

    #[tokio::test]
    async fn a_bad_file_keeps_the_last_good_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let mut token = TokenFile::open(path.clone()).unwrap();
        let mut check = async |expected: &str| {
            assert_eq!(token.header().await, expected);
        };
        check("Bearer first").await;
        fs::write(&path, "").unwrap();
        check("Bearer first").await;
        fs::remove_file(&path).unwrap();
        check("Bearer first").await;
        fs::write(&path, "second").unwrap();
        check("Bearer second").await;
    }

    #[test]
    fn the_header_does_not_show() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hunter2").unwrap();
        assert_eq!(format!("{:?}", read(&path).unwrap()), "Sensitive");
    }
}
