//! Why a connection could not be made.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why no stream could be made. Says what was tried.
#[derive(Debug)]
pub enum DialError {
    Lookup {
        host: String,
        error: io::Error,
    },
    /// Every address failed; the last one's error.
    Connect {
        target: String,
        error: io::Error,
    },
    /// A file, the name or the handshake; in words.
    Tls(String),
    Secret {
        path: PathBuf,
        error: io::Error,
    },
    /// The deadline for name, TCP, TLS and login passed during this step.
    Timeout(&'static str),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Lookup { host, error } => write!(f, "can't resolve {host}: {error}"),
            DialError::Connect { target, error } => write!(f, "can't connect to {target}: {error}"),
            DialError::Tls(text) => f.write_str(text),
            DialError::Secret { path, error } => {
                write!(
                    f,
                    "can't read the password file {}: {error}; check the path, or mount the file",
                    path.display()
                )
            }
            DialError::Timeout(step) => write!(f, "no answer in time ({step})"),
        }
    }
}

impl std::error::Error for DialError {}
