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
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use crate::token_file::{self, TokenFile};

/// How often the file is read. Reading it beats looking at its time of change: that can stay the
/// same when a file is replaced, and the file is small.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Past this, the file system hangs, or the names that are looked up on the same pool do.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The token of a file. Its `Debug` shows nothing.
pub struct Token {
    /// For [`Token::follow`] alone.
    file: Mutex<TokenFile>,
    /// Read by all workers, at writes only.
    secret: watch::Sender<token_file::Token>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Token {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// It can't be read, or holds no token.
    pub fn open(path: PathBuf) -> Result<Self, token_file::Error> {
        let file = TokenFile::open(path)?;
        Ok(Token {
            secret: watch::Sender::new(file.token().clone()),
            file: Mutex::new(file),
        })
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
        let mut file = self.file.lock().await;
        loop {
            sleep(READ_EVERY).await;
            let token = file.renewed(&pool, READ_TIMEOUT).await;
            self.secret.send_replace(token.clone());
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

#[cfg(test)]
mod tests {
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
}
