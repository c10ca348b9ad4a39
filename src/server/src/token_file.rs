//! A file that holds one bearer token, for those who check it and for those who send it.
//!
//! Invariants: what the file holds is in no message; a file that turns bad, or a file system that
//! hangs, keeps the last good token.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::file::{self, LastGood, Look};

/// Longest file, in bytes: a quarter of what a request's head may be.
const MAX_FILE: u64 = 4096;

/// A token: visible ASCII.
pub type Token = Box<[u8]>;

/// The file, and the token that it last gave.
pub struct TokenFile {
    path: PathBuf,
    last_good: LastGood<Token>,
    look: Look<Result<Token, Flaw>>,
}

impl TokenFile {
    /// Reads the file for the first time. Blocks.
    ///
    /// # Errors
    /// It gives no token, and there is no earlier one.
    pub fn open(path: PathBuf) -> Result<TokenFile, Error> {
        match read(&path) {
            Ok(token) => Ok(TokenFile {
                path,
                last_good: LastGood::new(token),
                look: Look::default(),
            }),
            Err(trouble) => Err(Error { path, trouble }),
        }
    }

    /// The token that the file last gave.
    pub fn token(&self) -> &Token {
        self.last_good.good()
    }

    /// The token that the file gives now, read on `pool`; the last good one where it gives none, or
    /// not within `patience`.
    ///
    /// # Cancel safety
    /// Nothing is lost: what was read meanwhile is used by the next call.
    pub async fn renewed(&mut self, pool: &Handle, patience: Duration) -> &Token {
        let path = self.path.clone();
        let found = self.look.next(pool, patience, move || read(&path)).await;
        let fresh = found.unwrap_or(Err(Flaw::Late(patience)));
        let name = format!("token file {}", self.path.display());
        if fresh.as_ref().is_ok_and(|token| token != self.token()) {
            tracing::info!("{name}: new token loaded");
        }
        self.last_good.renew(fresh, name, "token")
    }
}

/// The token in a file: its text without one trailing newline. Blocks.
fn read(path: &Path) -> Result<Token, Flaw> {
    let text = file::read(path, MAX_FILE).map_err(Flaw::Io)?;
    match file::without_newline(&text) {
        [] => Err(Flaw::Empty),
        token if !token.iter().all(u8::is_ascii_graphic) => Err(Flaw::Unsendable),
        token => Ok(token.into()),
    }
}

/// Why a file gives no token.
#[derive(Debug)]
enum Flaw {
    Io(io::Error),
    Late(Duration),
    Empty,
    /// No header can carry it.
    Unsendable,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Io(error) => write!(f, "can't be read: {error}"),
            Flaw::Late(patience) => write!(f, "can't be read within {patience:?}"),
            Flaw::Empty => f.write_str("is empty; put the token there"),
            Flaw::Unsendable => f.write_str(
                "is not one line of visible ASCII without spaces; put the token there and nothing \
                 else",
            ),
        }
    }
}

/// There is no token at start.
#[derive(Debug)]
pub struct Error {
    path: PathBuf,
    trouble: Flaw,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, trouble) = (self.path.display(), &self.trouble);
        write!(f, "token file {path} (--write-token-file): {trouble}")
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_holds_one_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let check = |text: &[u8], expected: Option<&[u8]>| {
            fs::write(&path, text).unwrap();
            let found = read(&path).ok();
            assert_eq!(found.as_deref(), expected, "{}", text.escape_ascii());
        };
        check(b"hunter2", Some(b"hunter2"));
        check(b"hunter2\n", Some(b"hunter2"));
        check(b"hunter2\r\n", Some(b"hunter2"));
        check(b"a+b/c~!==", Some(b"a+b/c~!=="));
        let longest = [b'x'; MAX_FILE as usize];
        check(&longest, Some(&longest));
        for bad in [
            &b""[..],
            b"\n",
            b"\r\n",
            b"\n\n",
            b"hunter2\n\n",
            b"hunter 2",
            b" hunter2",
            b"hunter2\nhunter3",
            b"hunter\xc3\xa9",
            b"hunter\0",
            &[b'x'; MAX_FILE as usize + 1],
        ] {
            check(bad, None);
        }
    }

    #[tokio::test]
    async fn a_bad_file_keeps_the_last_good_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let mut file = TokenFile::open(path.clone()).unwrap();
        let pool = Handle::current();
        let mut check = async |expected: &[u8]| {
            let renewed = file.renewed(&pool, Duration::from_secs(20)).await;
            assert_eq!(&**renewed, expected);
        };
        check(b"first").await;
        fs::write(&path, "").unwrap();
        check(b"first").await;
        fs::remove_file(&path).unwrap();
        check(b"first").await;
        fs::write(&path, "second").unwrap();
        check(b"second").await;
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let check = |expected: &str| {
            let error = TokenFile::open(path.clone()).err().unwrap().to_string();
            let (name, words) = error.split_once(" (--write-token-file): ").unwrap();
            assert_eq!(name, format!("token file {}", path.display()));
            assert!(words.starts_with(expected), "{words}");
        };
        check("can't be read: No such file");
        fs::write(&path, "\n").unwrap();
        check("is empty; put the token there");
        fs::write(&path, "hunter 2").unwrap();
        check("is not one line of visible ASCII");
        fs::write(&path, [b'x'; 3 * MAX_FILE as usize]).unwrap();
        check("can't be read: it is longer than 4096 bytes");
    }
}
