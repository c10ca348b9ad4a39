//! The token that the API wants of writers, read anew for each post so that it can be rotated.
//!
//! Invariants: what the file holds is in no message; a file that turns bad, or a file system that
//! hangs, keeps the last good token; one read at a time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use redis_api_server::token_file::{self, Trouble};

/// For reading a small file. What takes longer is taken over by a later post.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// The file, and the header that it last gave.
pub(super) struct TokenFile {
    path: PathBuf,
    good: HeaderValue,
    is_bad: bool,
    reading: Option<JoinHandle<Result<HeaderValue, Trouble>>>,
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
                tracing::warn!(
                    "token file {path} was not read within {READ_TIMEOUT:?}; \
                     keeping the last good token"
                );
            }
        }
        self.good.clone()
    }

    fn take(&mut self, outcome: Result<HeaderValue, Trouble>) {
        let path = self.path.display();
        match outcome {
            Ok(header) => {
                if header != self.good {
                    tracing::info!("token file {path}: new token loaded");
                }
                self.is_bad = false;
                self.good = header;
            }
            Err(trouble) => {
                if !self.is_bad {
                    tracing::warn!("token file {path}: {trouble}; keeping the last good token");
                }
                self.is_bad = true;
            }
        }
    }
}

/// The header with the token in a file ([RFC 6750] section 2.1).
///
/// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
fn read(path: &Path) -> Result<HeaderValue, Trouble> {
    let token = token_file::read(path)?;
    let text = [b"Bearer ", &*token].concat();
    let mut header = HeaderValue::from_bytes(&text).map_err(|_| Trouble::Unsendable)?;
    // Its `Debug` then shows nothing.
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
        let header = read(&path).unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer hunter2");
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
