//! What a role logs in with: its password, the CAs it trusts, its own certificate and key.
//!
//! Files are read at each connect, so that they can be rotated without a restart. A file that can't
//! be used (missing, empty, half-written, a key of another certificate) must not turn a lost
//! connection into an outage: the last good content stays in use, is warned about once, and
//! counted.
//!
//! Invariants:
//! - files are read on the shared pool and for as long as a connect may take: a disk that hangs, or
//!   a pipe, stops no worker;
//! - password, CAs, and certificate with key are kept apart: a broken one doesn't hold back a good
//!   new one of the others;
//! - a certificate is only ever used with the key that was read with it;
//! - no message repeats what a file holds.
//!
//! Non-goals: watching files (a connection that stands needs no new ones); trying the password
//! before the present one (the server may accept two, which has no gap at all).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout_at};

use super::dial_error::{DialError, SecretError};
use super::endpoint::{Endpoint, Flaw, Password, Secret, TlsOptions};
use super::files::{self, Pipes};
use super::resolve::Resolver;
use super::tls::{self, Identity, TlsError, TlsMaterial, Trust};
use crate::file::{self, LastGood};
use crate::metrics::RoleMetrics;

/// Redis takes no longer argument from a client that is yet to log in ("unauthenticated bulk
/// length"), so a longer file holds no password.
const MAX_PASSWORD_BYTES: u64 = 16 * 1024;

/// What one connect uses.
pub struct Material {
    /// `None`: none is needed.
    pub password: Option<Secret>,
    /// `None`: plaintext.
    pub tls: Option<TlsMaterial>,
}

/// The credentials of one role of one worker, shared by its connections.
pub struct Credentials {
    /// Names the role in log lines: `read` or `write`.
    role: &'static str,
    metrics: RoleMetrics,
    last_good: RefCell<LastGoodFiles>,
    /// Of the password in use.
    flaw: Cell<Option<Flaw>>,
}

#[derive(Default)]
struct LastGoodFiles {
    password: Kept<Secret>,
    trust: Kept<Trust>,
    identity: Kept<Identity>,
}

/// What a file gave, and when it was read; `None`: nothing good yet.
type Kept<T> = Option<LastGood<(T, SystemTime)>>;

/// The files of an endpoint.
#[derive(Clone)]
struct Files {
    password: Option<PathBuf>,
    ca: Option<PathBuf>,
    /// Certificate and key.
    identity: Option<TlsOptions>,
}

/// What the files hold; `None` where there is no such file.
struct Contents {
    /// The inner `None`: the file is empty.
    password: Option<io::Result<Option<Secret>>>,
    trust: Option<Result<Trust, TlsError>>,
    identity: Option<Result<Identity, TlsError>>,
}

impl Credentials {
    /// Reads nothing yet.
    pub fn new(role: &'static str, metrics: RoleMetrics) -> Self {
        Credentials {
            role,
            metrics,
            last_good: RefCell::default(),
            flaw: Cell::new(None),
        }
    }

    /// What is odd about the password that was read last.
    pub fn flaw(&self) -> Option<Flaw> {
        self.flaw.get()
    }

    /// Reads the files of `endpoint`, which must be the same at each call, by `deadline` and on the
    /// pool of `resolver`; `now` is when.
    ///
    /// # Errors
    /// A file can't be used, and there is no earlier good content of it.
    pub async fn read(
        &self,
        endpoint: &Endpoint,
        resolver: &Resolver,
        deadline: Instant,
        now: SystemTime,
    ) -> Result<Material, DialError> {
        let contents = Files::of(endpoint).read(resolver, deadline).await;
        let mut last_good = self.last_good.borrow_mut();
        let material = self.renew(&mut last_good, endpoint, contents, now);
        let role = self.metrics.role();
        role.credentials_read
            .set(last_good.oldest().map(unix_seconds));
        role.credentials_stale.set(u64::from(last_good.is_stale()));
        let password = material.as_ref().ok().and_then(|m| m.password.as_ref());
        self.flaw.set(password.and_then(Secret::flaw));
        material
    }

    fn renew(
        &self,
        last_good: &mut LastGoodFiles,
        endpoint: &Endpoint,
        contents: Contents,
        now: SystemTime,
    ) -> Result<Material, DialError> {
        let password = match (&endpoint.password, contents.password) {
            (Password::Given(secret), _) => Some(secret.clone()),
            (Password::File(path), Some(content)) => {
                self.password(&mut last_good.password, path, content, now)?
            }
            (Password::None | Password::File(_), _) => None,
        };
        if endpoint.tls.is_none() {
            let tls = None;
            return Ok(Material { password, tls });
        }
        let trust = match contents.trust {
            None => tls::built_in_roots(),
            Some(fresh) => renew(&mut last_good.trust, fresh, now, self.role, "CA file")
                .map_err(DialError::TlsFile)?,
        };
        let identity = match contents.identity {
            None => None,
            Some(fresh) => {
                let what = "certificate and key";
                let identity = renew(&mut last_good.identity, fresh, now, self.role, what);
                Some(identity.map_err(DialError::TlsFile)?)
            }
        };
        let tls = Some(TlsMaterial { trust, identity });
        Ok(Material { password, tls })
    }

    fn password(
        &self,
        last_good: &mut Kept<Secret>,
        path: &Path,
        content: io::Result<Option<Secret>>,
        now: SystemTime,
    ) -> Result<Option<Secret>, DialError> {
        let fresh = match content {
            // At the start an empty file means what an empty password does: none.
            Ok(None) if last_good.is_none() => return Ok(None),
            Ok(None) => Err(file::invalid("it is empty")),
            Ok(Some(secret)) => Ok(secret),
            Err(error) => Err(error),
        };
        if let Ok(secret) = &fresh
            && let Some(flaw) = secret.flaw()
            && last_good
                .as_ref()
                .is_none_or(|good| good.good().0 != *secret)
        {
            let (role, path) = (self.role, path.display());
            tracing::warn!("{role}: the password in {path} {flaw}; if that is wrong, remove it");
        }
        let fresh = fresh.map_err(|error| SecretError {
            path: path.to_owned(),
            error,
        });
        let secret = renew(last_good, fresh, now, self.role, "password");
        secret.map(Some).map_err(DialError::Secret)
    }
}

impl Files {
    fn of(endpoint: &Endpoint) -> Self {
        let tls = endpoint.tls.as_ref();
        Files {
            password: match &endpoint.password {
                Password::File(path) => Some(path.clone()),
                Password::None | Password::Given(_) => None,
            },
            ca: tls.and_then(|tls| tls.ca_file.clone()),
            identity: tls
                .filter(|tls| tls.cert_file.is_some() || tls.key_file.is_some())
                .cloned(),
        }
    }

    async fn read(self, resolver: &Resolver, deadline: Instant) -> Contents {
        let key = self.key();
        if key.is_empty() {
            return Contents {
                password: None,
                trust: None,
                identity: None,
            };
        }
        let files = self.clone();
        let reading = resolver.read_files(&key, move |pipes| files.contents(pipes));
        match timeout_at(deadline, reading).await {
            Ok(Ok(contents)) => contents,
            Ok(Err(error)) => self.unreadable(|| io::Error::new(error.kind(), error.to_string())),
            Err(_) => self.unreadable(|| {
                io::Error::new(io::ErrorKind::TimedOut, "reading it takes too long")
            }),
        }
    }

    /// All paths in one, to tell sets of files apart.
    fn key(&self) -> String {
        let identity = self.identity.as_ref();
        let paths = [
            self.password.as_ref(),
            self.ca.as_ref(),
            identity.and_then(|tls| tls.cert_file.as_ref()),
            identity.and_then(|tls| tls.key_file.as_ref()),
        ];
        let shown = paths.into_iter().flatten().map(|path| path.display());
        shown.map(|path| format!("file {path}\n")).collect()
    }

    /// Reads them. Blocks.
    fn contents(&self, pipes: &Pipes) -> Contents {
        Contents {
            password: self.password.as_ref().map(|path| password(path, pipes)),
            trust: self.ca.as_ref().map(|path| tls::roots(path, pipes)),
            identity: self
                .identity
                .as_ref()
                .and_then(|options| tls::identity(options, pipes).transpose()),
        }
    }

    fn unreadable(&self, error: impl Fn() -> io::Error) -> Contents {
        let of_tls = |path: &PathBuf| TlsError::Unreadable {
            path: path.clone(),
            error: error(),
        };
        let identity = self.identity.as_ref();
        Contents {
            password: self.password.as_ref().map(|_| Err(error())),
            trust: self.ca.as_ref().map(|path| Err(of_tls(path))),
            identity: identity
                .and_then(|tls| tls.cert_file.as_ref().or(tls.key_file.as_ref()))
                .map(|path| Err(of_tls(path))),
        }
    }
}

impl LastGoodFiles {
    /// When the oldest of what is in use was read; `None` while no file is.
    fn oldest(&self) -> Option<SystemTime> {
        fn read_at<T>(kept: &Kept<T>) -> Option<SystemTime> {
            kept.as_ref().map(|kept| kept.good().1)
        }
        let times = [
            read_at(&self.password),
            read_at(&self.trust),
            read_at(&self.identity),
        ];
        times.into_iter().flatten().min()
    }

    fn is_stale(&self) -> bool {
        self.password.as_ref().is_some_and(LastGood::is_stale)
            || self.trust.as_ref().is_some_and(LastGood::is_stale)
            || self.identity.as_ref().is_some_and(LastGood::is_stale)
    }
}

/// `fresh` if it is good, else what was good before.
fn renew<T: Clone, E: fmt::Display>(
    kept: &mut Kept<T>,
    fresh: Result<T, E>,
    now: SystemTime,
    role: &str,
    what: &str,
) -> Result<T, E> {
    let fresh = fresh.map(|value| (value, now));
    let (value, _) = match kept {
        Some(kept) => kept.renew(fresh, role, what),
        None => kept.insert(LastGood::new(fresh?)).good(),
    };
    Ok(value.clone())
}

/// The text of a password file without one trailing newline; `None` if nothing is left. Blocks.
fn password(path: &Path, pipes: &Pipes) -> io::Result<Option<Secret>> {
    let text = files::read(path, MAX_PASSWORD_BYTES, pipes)?;
    let text = str::from_utf8(file::without_newline(&text));
    let text = text.map_err(|_| file::invalid("it is not valid UTF-8"))?;
    Ok(Some(text).filter(|text| !text.is_empty()).map(Secret::new))
}

/// 0 for a clock that is set before 1970.
fn unix_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
