//! Why a part of the rig can't run.

use std::fmt;
use std::io;

use redis_api_server::BindError;

/// A failure that ends the process.
#[derive(Debug)]
pub enum Error {
    /// Its port can't be listened on.
    Bind(BindError),
    /// The system refused what every process needs: threads, signals.
    System(io::Error),
    /// Something else is missing; the text says what, and the cure.
    Missing(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind(error) => error.fmt(f),
            Error::System(error) => write!(f, "the system refused what a process needs: {error}"),
            Error::Missing(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<BindError> for Error {
    fn from(error: BindError) -> Error {
        Error::Bind(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::System(error)
    }
}
