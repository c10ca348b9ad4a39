//! A file that holds one bearer token, for those who check it and for those who send it.
//!
//! Invariant: what the file holds is in no error.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// Longest token, in bytes: a quarter of what a request's head may be.
const MAX_TOKEN: usize = 4096;

/// The token in a file: its text without one trailing newline. Blocks.
///
/// # Errors
/// It can't be read, or holds no token.
pub fn read(path: &Path) -> Result<Box<[u8]>, Trouble> {
    // Opening a named pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(Trouble::NotAFile);
    }
    let mut text = Vec::new();
    let longest = MAX_TOKEN + "\r\n".len();
    File::open(path)?
        .take(longest as u64 + 1)
        .read_to_end(&mut text)?;
    let token = text.strip_suffix(b"\n").unwrap_or(&text);
    let token = token.strip_suffix(b"\r").unwrap_or(token);
    match token {
        [] => Err(Trouble::Empty),
        token if token.len() > MAX_TOKEN => Err(Trouble::TooLong),
        token if !token.iter().all(u8::is_ascii_graphic) => Err(Trouble::Unsendable),
        token => Ok(token.into()),
    }
}

/// Why a file gives no token.
#[derive(Debug)]
pub enum Trouble {
    /// It can't be opened or read.
    Io(io::Error),
    /// A folder, a pipe.
    NotAFile,
    /// There is nothing in it.
    Empty,
    /// It holds more than a token may have.
    TooLong,
    /// No header can carry it.
    Unsendable,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Io(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Io(error) => write!(f, "can't be read: {error}"),
            Trouble::NotAFile => f.write_str("is not a regular file"),
            Trouble::Empty => f.write_str("is empty; put the token there"),
            Trouble::TooLong => write!(f, "holds more than {MAX_TOKEN} bytes"),
            Trouble::Unsendable => f.write_str(
                "is not one line of visible ASCII without spaces; put the token there and nothing \
                 else",
            ),
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
        let check = |text: &[u8], expected: Option<&[u8]>| {
            fs::write(&path, text).unwrap();
            let found = read(&path).ok();
            assert_eq!(found.as_deref(), expected, "{}", text.escape_ascii());
        };
        check(b"hunter2", Some(b"hunter2"));
        check(b"hunter2\n", Some(b"hunter2"));
        check(b"hunter2\r\n", Some(b"hunter2"));
        check(b"a+b/c~!==", Some(b"a+b/c~!=="));
        let longest = [b'x'; MAX_TOKEN];
        let with = |end: &[u8]| [&longest, end].concat();
        for end in [&b""[..], b"\n", b"\r\n"] {
            check(&with(end), Some(&longest));
        }
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
            &with(b"x"),
            &with(b"\rx"),
            &with(b"\r\nx"),
            &[b'x'; 3 * MAX_TOKEN],
        ] {
            check(bad, None);
        }
        assert!(matches!(read(folder.path()), Err(Trouble::NotAFile)));
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let check = |trouble: Trouble, expected| assert_eq!(trouble.to_string(), expected);
        let missing = io::Error::other("gone");
        check(Trouble::from(missing), "can't be read: gone");
        check(Trouble::NotAFile, "is not a regular file");
        check(Trouble::Empty, "is empty; put the token there");
        check(Trouble::TooLong, "holds more than 4096 bytes");
        check(
            Trouble::Unsendable,
            "is not one line of visible ASCII without spaces; put the token there and nothing else",
        );
    }
}
