//! What a role logs in with: its password, the CAs it trusts, its own certificate and key.
//!
//! Files are read at each connect, so that they can be rotated without a restart. A file that can't
//! be used (missing, empty, half-written, a key of another certificate) must not turn a lost
//! connection into an outage: the last good content stays in use, is warned about once, and counted.
//!
//! Invariants:
//! - password, CAs, and certificate with key are kept apart: a broken one doesn't hold back a good
//!   new one of the others;
//! - a certificate is only ever used with the key that was read with it;
//! - no message repeats what a file holds.
//!
//! Non-goals: watching files (a connection that stands needs no new ones); trying the password
//! before the present one (the server may accept two, which has no gap at all).

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::mem;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::dial_error::DialError;
use super::endpoint::{Endpoint, Password, Secret, TlsOptions};
use super::tls::{self, Identity, TlsMaterial, Trust};
use crate::metrics::RoleOf;

/// Redis takes no longer argument from a client that is yet to log in ("unauthenticated bulk
/// length"), so a longer file holds no password.
const MAX_PASSWORD_BYTES: u64 = 16 * 1024;

/// What one connect uses.
pub struct Material {
    pub password: Option<Secret>,
    /// `None`: plaintext.
    pub tls: Option<TlsMaterial>,
}

/// The credentials of one role of one worker, shared by its connections.
pub struct Credentials {
    /// Names the role in log lines: `read` or `write`.
    role: &'static str,
    metrics: RoleOf,
    kept: RefCell<AllKept>,
}

#[derive(Default)]
struct AllKept {
    password: Kept<Secret>,
    trust: Kept<Trust>,
    identity: Kept<Identity>,
}

impl Credentials {
    /// Reads nothing yet.
    pub fn new(role: &'static str, metrics: RoleOf) -> Self {
        Credentials {
            role,
            metrics,
            kept: RefCell::default(),
        }
    }

    /// Reads the files of `endpoint`, which must be the same at each call; `now` is when.
    ///
    /// # Errors
    /// A file can't be used, and there is no earlier good content of it.
    pub fn read(&self, endpoint: &Endpoint, now: SystemTime) -> Result<Material, DialError> {
        let mut kept = self.kept.borrow_mut();
        let material = self.renew(&mut kept, endpoint, now);
        let role = self.metrics.role();
        role.credentials_read.set(kept.oldest().map(unix_seconds));
        role.credentials_stale.set(u64::from(kept.is_stale()));
        material
    }

    fn renew(
        &self,
        kept: &mut AllKept,
        endpoint: &Endpoint,
        now: SystemTime,
    ) -> Result<Material, DialError> {
        let password = match &endpoint.password {
            Password::None => None,
            Password::Given(secret) => Some(secret.clone()),
            Password::File(path) => self.password(&mut kept.password, path, now)?,
        };
        let tls = match &endpoint.tls {
            None => None,
            Some(options) => Some(self.tls(kept, options, now)?),
        };
        Ok(Material { password, tls })
    }

    fn password(
        &self,
        kept: &mut Kept<Secret>,
        path: &Path,
        now: SystemTime,
    ) -> Result<Option<Secret>, DialError> {
        let fresh = match read_password(path) {
            // At the start an empty file means what an empty password does: none.
            Ok(None) if kept.good.is_none() => return Ok(None),
            Ok(None) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty")),
            Ok(Some(secret)) => Ok(secret),
            Err(error) => Err(error),
        };
        let fresh = fresh.map_err(|error| DialError::Secret {
            path: path.to_owned(),
            error,
        });
        kept.renew(fresh, now, self.role, "password").map(Some)
    }

    fn tls(
        &self,
        kept: &mut AllKept,
        options: &TlsOptions,
        now: SystemTime,
    ) -> Result<TlsMaterial, DialError> {
        let of_tls = |error| DialError::Tls(format!("TLS: {error}"));
        let trust = match &options.ca_file {
            None => tls::built_in_roots(),
            Some(path) => {
                let fresh = tls::roots(path);
                let trust = kept.trust.renew(fresh, now, self.role, "CA file");
                trust.map_err(of_tls)?
            }
        };
        let identity = match tls::identity(options).transpose() {
            None => None,
            Some(fresh) => {
                let what = "certificate and key";
                let identity = kept.identity.renew(fresh, now, self.role, what);
                Some(identity.map_err(of_tls)?)
            }
        };
        Ok(TlsMaterial { trust, identity })
    }
}

impl AllKept {
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
struct Kept<T> {
    /// With the time when it was read.
    good: Option<(T, SystemTime)>,
    /// The file was unusable when it was last read; that is said already.
    is_stale: bool,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept {
            good: None,
            is_stale: false,
        }
    }
}

impl<T: Clone> Kept<T> {
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
                    tracing::warn!("{role}: {what} can be read again, the new content is used");
                }
                self.good = Some((value.clone(), now));
                Ok(value)
            }
            (Err(error), Some((value, _))) => {
                if !mem::replace(&mut self.is_stale, true) {
                    tracing::warn!("{role}: {error}; the last good {what} stays in use");
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

/// The text of a password file without one trailing newline; `None` if nothing is left.
fn read_password(path: &Path) -> io::Result<Option<Secret>> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(MAX_PASSWORD_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {MAX_PASSWORD_BYTES} bytes"),
        ));
    }
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
