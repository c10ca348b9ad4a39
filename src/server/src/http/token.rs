//! The token that writes need, from a file that may be replaced while we run.
//!
//! Invariants: one token at a time for the whole process, so that no worker refuses what another
//! has just accepted; it is compared in constant time; neither it nor what a client sent is ever
//! part of a log line or an error. A file that turns bad keeps the last good token.
//!
//! Non-goals: several tokens, users, tokens in the query (they end up in access logs).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::token_file::{Trouble, read};

/// How often the file is read. Reading it beats looking at its time of change: that can stay the
/// same when a file is replaced, and the file is small.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The token of a file. Its `Debug` shows the path only.
pub struct Token {
    path: PathBuf,
    /// Read by all workers, at writes only.
    secret: watch::Sender<Box<[u8]>>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// It can't be read, or holds no token.
    pub fn open(path: PathBuf) -> Result<Self, TokenError> {
        match read(&path) {
            Ok(secret) => Ok(Token {
                path,
                secret: watch::Sender::new(secret),
            }),
            Err(trouble) => Err(TokenError { path, trouble }),
        }
    }

    /// Whether these headers have this token, once: `Authorization: Bearer TOKEN` ([RFC 6750]
    /// section 2.1; the scheme in any case, [RFC 9110] section 11.1).
    ///
    /// The time that it takes depends on the length of the token, not on its letters.
    ///
    /// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
    /// [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|sent| is_same(sent, &self.secret.borrow()))
    }

    /// Reads the file again each second, on `pool`, since a file system that hangs must not stop a
    /// worker; never returns. Spawn it once for the process.
    pub async fn follow(self: Arc<Self>, pool: Handle) {
        let mut failing = false;
        loop {
            sleep(READ_EVERY).await;
            let path = self.path.clone();
            // An error here is the runtime's end.
            if let Ok(outcome) = pool.spawn_blocking(move || read(&path)).await {
                self.take(outcome, &mut failing);
            }
        }
    }

    /// Takes over what was read; warns once for each run of failures.
    fn take(&self, outcome: Result<Box<[u8]>, Trouble>, failing: &mut bool) {
        let path = self.path.display();
        match outcome {
            Ok(secret) => {
                *failing = false;
                let changed = self.secret.send_if_modified(|known| {
                    let changed = *known != secret;
                    *known = secret;
                    changed
                });
                if changed {
                    tracing::info!("write token file {path}: new token loaded");
                }
            }
            Err(trouble) if !*failing => {
                *failing = true;
                tracing::warn!("write token file {path}: {trouble}; keeping the last good token");
            }
            Err(_) => {}
        }
    }
}

/// The one bearer token in a request's headers.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("bearer".len())?;
    let token = token.strip_prefix(b" ")?;
    let blanks = token.iter().take_while(|byte| **byte == b' ').count();
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.get(blanks..))?
}

/// Compares in a time that tells nothing but the lengths.
fn is_same(sent: &[u8], known: &[u8]) -> bool {
    sent.ct_eq(known).into()
}

/// The token file holds no usable token at start.
#[derive(Debug)]
pub struct TokenError {
    path: PathBuf,
    trouble: Trouble,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TokenError { path, trouble } = self;
        write!(
            f,
            "write token file {} (--write-token-file): {trouble}",
            path.display()
        )
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use std::fs;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn one_bearer_token() {
        let check = |values: &[&[u8]], expected: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(bearer(&headers), expected, "{values:?}");
        };
        check(&[b"Bearer abc"], Some(b"abc"));
        check(&[b"bearer abc"], Some(b"abc"));
        check(&[b"BEARER  abc"], Some(b"abc"));
        check(&[b"bEaReR a b"], Some(b"a b"));
        check(&[b"Bearer \xff"], Some(b"\xff"));
        check(&[b"Bearer "], Some(b""));
        check(&[], None);
        check(&[b""], None);
        check(&[b"abc"], None);
        check(&[b"Bearer"], None);
        check(&[b"Bearerabc"], None);
        check(&[b"Bearer\tabc"], None);
        check(&[b"Basic abc"], None);
        check(&[b"Bearer2 abc"], None);
        check(&[b"Bearer abc", b"Bearer abc"], None);
        check(&[b"Bearer abc", b"Basic x"], None);
    }

    #[test]
    fn only_the_same_bytes_are_the_same() {
        let check = |sent: &[u8], expected: bool| {
            assert_eq!(is_same(sent, b"hunter2"), expected, "{sent:?}");
        };
        check(b"hunter2", true);
        check(b"Hunter2", false);
        check(b"hunter3", false);
        check(b"hunter", false);
        check(b"hunter22", false);
        check(b"hunter2\0", false);
        check(b"", false);
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = Token::open(missing.clone()).unwrap_err().to_string();
        assert!(
            error.contains(missing.to_str().unwrap()) && error.contains("can't be read"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_file_keeps_the_last_good_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let token = Token::open(path).unwrap();
        let check = |accepted: &'static str, refused: &'static str| {
            let with = |text: &str| {
                let value = HeaderValue::from_str(&format!("Bearer {text}")).unwrap();
                token.is_in(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
            };
            assert!(with(accepted) && !with(refused), "{accepted} {refused}");
        };
        let mut failing = false;
        check("first", "second");
        token.take(Err(Trouble::Empty), &mut failing);
        assert!(failing);
        check("first", "");
        token.take(Ok(b"second"[..].into()), &mut failing);
        assert!(!failing);
        check("second", "first");
        assert!(!format!("{token:?}").contains("second"));
    }
}
