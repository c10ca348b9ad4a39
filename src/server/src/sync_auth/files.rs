//! The mounted files: read as a whole each time, since Kubernetes changes what a path leads to and
//! not the file.
//!
//! Invariants: no more is read than a file of its kind may hold; nothing but a regular file is
//! waited for; nothing that a file holds is in an error.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::acl::{self, User};
use crate::net::endpoint::Secret;

/// Redis takes no longer password from a client that is yet to log in.
const MAX_PASSWORD: u64 = 16 * 1024;

/// What a Secret of Kubernetes can hold at most.
const MAX_FILE: u64 = 1 << 20;

/// Files in memory are read in microseconds: past this, their file system hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

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
    pub masterauth: Option<Result<Secret, Trouble>>,
    pub certificates: Option<Result<Certificates, Trouble>>,
    pub users: Option<Result<Vec<User>, Trouble>>,
}

/// Why a file is of no use.
#[derive(Debug)]
pub(super) struct Trouble {
    path: PathBuf,
    what: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// Reads them off the event loop, one look at a time: one that hangs is waited for, and not joined
/// by others.
pub(super) struct Reader {
    paths: Arc<Paths>,
    pool: Handle,
    pending: Option<JoinHandle<Contents>>,
}

impl Reader {
    pub fn new(paths: Arc<Paths>, pool: Handle) -> Self {
        Reader {
            paths,
            pool,
            pending: None,
        }
    }

    /// What the files hold; `None` while they can't be read in time.
    ///
    /// # Cancel safety
    /// The look goes on, and the next call has its result.
    pub async fn look(&mut self) -> Option<Contents> {
        let paths = &self.paths;
        let pending = self.pending.get_or_insert_with(|| {
            let paths = Arc::clone(paths);
            self.pool.spawn_blocking(move || read_all(&paths))
        });
        let outcome = timeout(READ_TIMEOUT, pending).await.ok()?;
        self.pending = None;
        outcome.ok()
    }
}

fn read_all(paths: &Paths) -> Contents {
    Contents {
        masterauth: paths.masterauth.as_deref().map(masterauth),
        certificates: (!paths.certificates.is_empty()).then(|| certificates(&paths.certificates)),
        users: paths.users.as_deref().map(users),
    }
}

/// Without one trailing newline, as any password file here.
fn masterauth(path: &Path) -> Result<Secret, Trouble> {
    let text = text(path, MAX_PASSWORD)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password {
        "" => Err(trouble(path, "is empty; put the password there")),
        password => Ok(Secret::new(password)),
    }
}

fn certificates(paths: &[PathBuf]) -> Result<Certificates, Trouble> {
    paths
        .iter()
        .map(|path| match read(path, MAX_FILE)? {
            bytes if bytes.is_empty() => Err(trouble(path, "is empty")),
            bytes => Ok(bytes),
        })
        .collect()
}

fn users(path: &Path) -> Result<Vec<User>, Trouble> {
    let text = text(path, MAX_FILE)?;
    acl::parse(&text).map_err(|what| trouble(path, what))
}

fn text(path: &Path, longest: u64) -> Result<String, Trouble> {
    let bytes = read(path, longest)?;
    String::from_utf8(bytes).map_err(|_| trouble(path, "is not valid UTF-8"))
}

fn read(path: &Path, longest: u64) -> Result<Vec<u8>, Trouble> {
    let failed = |error: io::Error| trouble(path, format!("can't be read: {error}"));
    // Opening a named pipe would wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(trouble(path, "is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 > longest {
        true => Err(trouble(path, format!("holds more than {longest} bytes"))),
        false => Ok(bytes),
    }
}

fn trouble(path: &Path, what: impl Into<String>) -> Trouble {
    Trouble {
        path: path.to_owned(),
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

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
        check(&long, Err("holds more than 16384 bytes"));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for path in [pipe.as_path(), folder.path()] {
            let trouble = read(path, 1).unwrap_err();
            assert_eq!(trouble.what, "is not a regular file");
        }
        let missing = read(&folder.path().join("none"), 1).unwrap_err();
        assert!(missing.to_string().contains("can't be read: "));
    }
}
