//! Why a ramp did not get to its end.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::local;

/// What went wrong, to what, and what to do.
#[derive(Debug)]
pub enum Error {
    /// The rig did not start, or a part of it ended.
    Rig(local::Error),
    /// A file or folder of the output can't be written.
    Output {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The rows can't be written as CSV.
    Csv(csv::Error),
    /// The chart can't be drawn.
    Chart(String),
    /// The bot did not start, ended, or gave no window; the text says which.
    Bot {
        /// Requests a second that it was to send.
        rate: f64,
        /// What happened to it.
        trouble: String,
    },
    /// The system refused what every process needs.
    System {
        /// What could not be done.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rig(error) => error.fmt(f),
            Error::Output { path, source } => write!(
                f,
                "can't write {}: {source}; give another folder by --output",
                path.display()
            ),
            Error::Csv(error) => write!(f, "can't write the rows as CSV: {error}"),
            Error::Chart(text) => write!(f, "can't draw the chart: {text}"),
            Error::Bot { rate, trouble } => write!(
                f,
                "the load bot at {rate}/s {trouble}; its lines above say why. Is there a vegeta \
                 (--vegeta; `make setup` installs one), and does the target answer?"
            ),
            Error::System { what, source } => write!(f, "can't {what}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Rig(error) => Some(error),
            Error::Output { source, .. } | Error::System { source, .. } => Some(source),
            Error::Csv(error) => Some(error),
            Error::Chart(_) | Error::Bot { .. } => None,
        }
    }
}

impl From<local::Error> for Error {
    fn from(error: local::Error) -> Error {
        Error::Rig(error)
    }
}
