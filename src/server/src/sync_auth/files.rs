//! The mounted files: read as a whole each time, since Kubernetes changes what a path leads to and
//! not the file.
//!
//! Invariants: no more is read than a file of its kind may hold; nothing that it holds is in an
//! error.

use std::fmt;
use std::path::{Path, PathBuf};

use super::acl::{self, User};
use crate::file;
use crate::net::endpoint::Secret;

/// Redis takes no longer password from a client that is yet to log in.
const MAX_PASSWORD: u64 = 16 * 1024;

/// What a Secret of Kubernetes can hold at most.
const MAX_FILE: u64 = 1 << 20;

/// CA, certificate and key, as far as they are named, in this order.
pub(super) type Certificates = Vec<Vec<u8>>;

/// Where they are. `None`, or empty: not asked for.
pub(super) struct Paths {
    pub masterauth: Option<PathBuf>,
    /// CA, certificate and key, as far as they are named.
    pub certificates: Vec<PathBuf>,
    pub users: Option<PathBuf>,
}

/// What was found at one look. `None`: no such file was asked for.
pub(super) struct Contents {
    pub masterauth: Option<Result<Secret, FileError>>,
    pub certificates: Option<Result<Certificates, FileError>>,
    pub users: Option<Result<Vec<User>, FileError>>,
}

/// Why a file is of no use.
#[derive(Debug)]
pub(super) struct FileError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// Reads them. Blocks.
pub(super) fn read_all(paths: &Paths) -> Contents {
    Contents {
        masterauth: paths.masterauth.as_deref().map(masterauth),
        certificates: (!paths.certificates.is_empty()).then(|| certificates(&paths.certificates)),
        users: paths.users.as_deref().map(users),
    }
}

/// Without one trailing newline, as any password file here.
fn masterauth(path: &Path) -> Result<Secret, FileError> {
    let bytes = read(path, MAX_PASSWORD)?;
    match text(path, file::without_newline(&bytes))? {
        "" => Err(trouble(path, "is empty; put the password there")),
        password => Ok(Secret::new(password)),
    }
}

fn certificates(paths: &[PathBuf]) -> Result<Certificates, FileError> {
    paths
        .iter()
        .map(|path| match read(path, MAX_FILE)? {
            bytes if bytes.is_empty() => Err(trouble(path, "is empty")),
            bytes => Ok(bytes),
        })
        .collect()
}

fn users(path: &Path) -> Result<Vec<User>, FileError> {
    let bytes = read(path, MAX_FILE)?;
    acl::parse(text(path, &bytes)?).map_err(|what| trouble(path, what))
}

fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, FileError> {
    str::from_utf8(bytes).map_err(|_| trouble(path, "is not valid UTF-8"))
}

fn read(path: &Path, longest: u64) -> Result<Vec<u8>, FileError> {
    let read = file::read(path, longest);
    read.map_err(|error| trouble(path, format!("can't be read: {error}")))
}

fn trouble(path: &Path, what: impl Into<String>) -> FileError {
    FileError {
        path: path.to_owned(),
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_password_loses_one_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let check = |bytes: &[u8], expected: Result<&str, &str>| {
            fs::write(&path, bytes).unwrap();
            let found = masterauth(&path);
            let found = found.as_ref().map(Secret::reveal);
            assert_eq!(found.map_err(|trouble| trouble.what.as_str()), expected);
        };
        check(b"geheim", Ok("geheim"));
        check(b"geheim\r\n", Ok("geheim"));
        check(b" geheim\n\n", Ok(" geheim\n"));
        check(b"\n", Err("is empty; put the password there"));
        check(b"\xff", Err("is not valid UTF-8"));
        let long = vec![b'x'; MAX_PASSWORD as usize + 1];
        check(&long, Err("can't be read: it is longer than 16384 bytes"));
    }
}
