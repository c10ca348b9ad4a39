//! Why there is no connection, as data: what happened, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::endpoint::{Address, Endpoint, Flaw, Password};
use super::explanation::Explanation;
use super::tls::{Failure, TlsError};
use redis_api_wire::conn::Error;
use redis_api_wire::resp::{DecodeError, ErrorKind};

/// The first byte of a TLS alert: its content type (RFC 8446 §5.1).
const TLS_ALERT: u8 = 21;

/// A password file that can't be used.
#[derive(Debug)]
pub struct SecretError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub error: io::Error,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, error) = (self.path.display(), &self.error);
        write!(f, "can't read the password file {path}: {error}")
    }
}

/// Why no stream could be made.
#[derive(Debug)]
pub enum DialError {
    /// The name can't be resolved.
    Lookup {
        /// The name.
        host: String,
        /// The resolver's.
        error: io::Error,
    },
    /// Every address failed.
    Connect {
        /// The last one.
        target: String,
        /// The system's, for that one.
        error: io::Error,
    },
    /// There is no TLS session.
    Tls(Failure),
    /// A file or name of ours for TLS can't be used.
    TlsFile(TlsError),
    /// The password file can't be used.
    Secret(SecretError),
    /// The deadline for name, TCP, TLS and login passed during this step.
    Timeout(&'static str),
}

impl DialError {
    /// The cause, and the cure by what gave the settings of `endpoint`.
    pub fn explain(&self, endpoint: &Endpoint) -> Explanation {
        let sources = &endpoint.sources;
        match self {
            DialError::Lookup { host, error } => Explanation::new(
                format!("can't resolve {host}: {error}"),
                format!("correct the name in {}", sources.address),
            ),
            DialError::Connect { target, error } => Explanation::new(
                format!("can't connect to {target}: {error}"),
                unreachable(error, &sources.address),
            ),
            DialError::Tls(failure) => {
                let host = match &endpoint.address {
                    Address::Tcp { host, .. } => host.clone(),
                    Address::Unix(path) => path.display().to_string(),
                };
                let options = endpoint.tls.clone().unwrap_or_default();
                failure.explain(&host, &options, sources)
            }
            DialError::TlsFile(error) => error.explain(sources),
            DialError::Secret(error) => Explanation::new(
                error.to_string(),
                format!(
                    "mount it, let the user of this process read it, or correct {}",
                    sources.password
                ),
            ),
            DialError::Timeout(step) => Explanation::new(
                format!("no answer in time ({step})"),
                "check whether the server or the network hangs",
            ),
        }
    }
}

/// What to do where TCP to an address that `source` gave fails so.
pub fn unreachable(error: &io::Error, source: &str) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "start the server, let it listen on this address (its `bind` and `port`), or correct \
             {source}"
        ),
        io::ErrorKind::TimedOut => format!(
            "correct {source}, or let packets through: firewall, NetworkPolicy, security group"
        ),
        _ => format!("correct {source}, or the network"),
    }
}

/// What reading failed with before login was done. With TLS 1.3 a server refuses our certificate
/// only now.
pub fn failed_login(endpoint: &Endpoint, error: io::Error) -> Error {
    let of_tls = error.get_ref().is_some_and(
        <dyn std::error::Error + std::marker::Send + std::marker::Sync + 'static>::is::<
            rustls::Error,
        >,
    );
    if !of_tls {
        return ended(&error);
    }
    let Explanation { cause, cure } = DialError::Tls(Failure::of(error)).explain(endpoint);
    Error::Tls {
        cause,
        cure: cure.unwrap_or_default(),
    }
}

/// What reading or writing failed with. A server that dies says no goodbye in TLS: that is an end
/// like any other, which rustls tells with a link to its own manual.
pub fn ended(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Closed,
        _ => Error::Io(error.to_string()),
    }
}

/// Whether a login in plaintext that ended so may have reached a port for TLS. It has no words in
/// plaintext: it closes the connection, or sends a TLS alert.
pub fn suggests_tls(endpoint: &Endpoint, error: &Error) -> bool {
    let wordless = match error {
        Error::Closed | Error::Io(_) => true,
        Error::Malformed(DecodeError::UnknownType(byte)) => *byte == TLS_ALERT,
        _ => false,
    };
    wordless && endpoint.tls.is_none() && matches!(endpoint.address, Address::Tcp { .. })
}

/// Why a connection ended before login was done; `flaw` is what is odd about the password.
pub fn explain_login(endpoint: &Endpoint, flaw: Option<Flaw>, error: &Error) -> Explanation {
    let sources = &endpoint.sources;
    if suggests_tls(endpoint, error) {
        return Explanation::new(
            format!("{error}; perhaps it speaks only TLS on this port"),
            format!("give rediss:// in {}, or {}", sources.address, sources.tls),
        );
    }
    let cure = match error {
        Error::Tls { cure, .. } => cure.clone(),
        Error::Login { kind, .. } => return refused(endpoint, flaw, error, *kind),
        Error::Stray(Some(text)) => {
            return refused(endpoint, flaw, error, ErrorKind::of(text.as_bytes()));
        }
        Error::NoUserNames(_) => format!("drop {}, or run Redis 6 or newer", sources.user),
        Error::LoginTimeout => "the server accepts connections and does not answer: see whether \
                                it hangs (its CPU, disk, log), or is stopped"
            .to_string(),
        Error::Closed | Error::Io(_) => {
            "look at the server's log; it may have reached maxclients, or refuse this client"
                .to_string()
        }
        _ => format!(
            "check that {} is the address of a Redis or Valkey server",
            sources.address
        ),
    };
    Explanation::new(error.to_string(), cure)
}

/// Why a connection ended that was logged in.
pub fn explain_end(endpoint: &Endpoint, error: &Error) -> Explanation {
    match error {
        Error::Unusable { kind, .. } => refused(endpoint, None, error, *kind),
        error => Explanation {
            cause: error.to_string(),
            cure: None,
        },
    }
}

/// After an error reply of this kind.
fn refused(endpoint: &Endpoint, flaw: Option<Flaw>, error: &Error, kind: ErrorKind) -> Explanation {
    let sources = &endpoint.sources;
    let password = match &endpoint.password {
        Password::File(path) => format!("{} {}", sources.password, path.display()),
        Password::None | Password::Given(_) => sources.password.clone(),
    };
    let flawed = flaw.or(match &endpoint.password {
        Password::Given(secret) => secret.flaw(),
        Password::None | Password::File(_) => None,
    });
    let cure = match kind {
        ErrorKind::NoAuth if endpoint.password == Password::None => {
            format!("this server requires a password: give {password}")
        }
        ErrorKind::NoAuth | ErrorKind::WrongPass => match flawed {
            Some(flaw) => format!("the password {flaw}, remove that: {password}"),
            None => format!(
                "check the user name ({}) and the password ({password})",
                sources.user
            ),
        },
        ErrorKind::NoPerm => {
            "grant it to the user (docs/access.md, \"Least rights in Redis\")".into()
        }
        ErrorKind::MaxClients => {
            "raise the server's maxclients, or run fewer workers or connections".into()
        }
        ErrorKind::Denied => {
            "protected mode refuses other hosts while there is no password: set one on the \
             server (requirepass), or turn that mode off (protected-mode no)"
                .into()
        }
        ErrorKind::Loading => "wait until it has loaded its data".into(),
        ErrorKind::Busy => "wait for its script, or end that (SCRIPT KILL)".into(),
        ErrorKind::Moved => "cluster mode is not supported: use a server without it".into(),
        ErrorKind::ReadOnly => "the name is resolved again to find the new master".into(),
        _ => "look at the server's log".into(),
    };
    Explanation::new(error.to_string(), cure)
}

#[cfg(test)]
mod tests;
