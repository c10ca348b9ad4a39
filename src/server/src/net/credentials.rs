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
use std::mem;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, timeout_at};

use super::dial_error::{DialError, SecretError};
use super::endpoint::{Endpoint, Flaw, Password, Secret, TlsOptions};
use super::files::{self, Pipes};
use super::resolve::Resolver;
use super::tls::{self, Identity, TlsError, TlsMaterial, Trust};
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
    password: LastGood<Secret>,
    trust: LastGood<Trust>,
    identity: LastGood<Identity>,
}

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
            Some(fresh) => last_good
                .trust
                .renew(fresh, now, self.role, "CA file")
                .map_err(DialError::TlsFile)?,
        };
        let identity = match contents.identity {
            None => None,
            Some(fresh) => {
                let what = "certificate and key";
                let identity = last_good.identity.renew(fresh, now, self.role, what);
                Some(identity.map_err(DialError::TlsFile)?)
            }
        };
        let tls = Some(TlsMaterial { trust, identity });
        Ok(Material { password, tls })
    }

    fn password(
        &self,
        last_good: &mut LastGood<Secret>,
        path: &Path,
        content: io::Result<Option<Secret>>,
        now: SystemTime,
    ) -> Result<Option<Secret>, DialError> {
        let fresh = match content {
            // At the start an empty file means what an empty password does: none.
            Ok(None) if last_good.good.is_none() => return Ok(None),
            Ok(None) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
            Ok(Some(secret)) => Ok(secret),
            Err(error) => Err(error),
        };
        if let Ok(secret) = &fresh
            && let Some(flaw) = secret.flaw()
            && last_good
                .good
                .as_ref()
                .is_none_or(|(good, _)| good != secret)
        {
            let (role, path) = (self.role, path.display());
            tracing::warn!("{role}: the password in {path} {flaw}; if that is wrong, remove it");
        }
        let fresh = fresh.map_err(|error| SecretError {
            path: path.to_owned(),
            error,
        });
        let secret = last_good.renew(fresh, now, self.role, "password");
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
        let times = [
            self.password.read_at(),
            self.trust.read_at(),
            self.identity.read_at(),
        ];
        times.into_iter().flatten().min()
    }

    fn is_stale(&self) -> bool {
        self.password.is_stale || self.trust.is_stale || self.identity.is_stale
    }
}

/// The last good content of a file.
struct LastGood<T> {
    /// With the time when it was read.
    good: Option<(T, SystemTime)>,
    /// The file was unusable when it was last read; that is said already.
    is_stale: bool,
}

impl<T> Default for LastGood<T> {
    fn default() -> Self {
        LastGood {
            good: None,
            is_stale: false,
        }
    }
}

impl<T: Clone> LastGood<T> {
    /// `fresh` if it is good, else what was good before.
    fn renew<E: fmt::Display>(
        &mut self,
        fresh: Result<T, E>,
        now: SystemTime,
        role: &str,
        what: &str,
    ) -> Result<T, E> {
        match (fresh, &self.good) {
            (Ok(value), _) => {
                if mem::take(&mut self.is_stale) {
                    tracing::warn!("{role}: {what} can be read again; new content loaded");
                }
                self.good = Some((value.clone(), now));
                Ok(value)
            }
            (Err(error), Some((value, _))) => {
                if !mem::replace(&mut self.is_stale, true) {
                    tracing::warn!("{role}: {error}; keeping the last good {what}");
                }
                Ok(value.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn read_at(&self) -> Option<SystemTime> {
        self.good.as_ref().map(|(_, time)| *time)
    }
}

/// The text of a password file without one trailing newline; `None` if nothing is left. Blocks.
fn password(path: &Path, pipes: &Pipes) -> io::Result<Option<Secret>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let text = files::read(path, MAX_PASSWORD_BYTES, pipes)?;
    if text.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(invalid(format!(
            "it is longer than {MAX_PASSWORD_BYTES} bytes"
        )));
    }
    let text = String::from_utf8(text).map_err(|_| invalid("it is not valid UTF-8".into()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(Some(text).filter(|text| !text.is_empty()).map(Secret::new))
}

/// 0 for a clock that is set before 1970.
fn unix_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
