//! Why the rig did not start, or ended by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

/// What went wrong, to what, and what to do.
#[derive(Debug)]
pub enum Error {
    /// Neither Redis nor Valkey is on PATH.
    NoServer,
    /// `--redis-server` names something that can't be run.
    NotAProgram(PathBuf),
    /// `--vegeta` names something that can't be run.
    NoVegeta(PathBuf),
    /// There is no vegeta on PATH.
    VegetaMissing,
    /// An address of the options is in use, or can't be listened on.
    Listen {
        /// As asked for.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Something listens on all ports that were tried, up from this one.
    NoFreePort(u16),
    /// The certificates can't be made.
    Certificate(rcgen::Error),
    /// The system has no random bytes for the password.
    Random,
    /// A call of the system failed.
    Io {
        /// What could not be done.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A child ended by itself.
    Died {
        /// Which child.
        name: String,
        /// How it ended: its exit status or signal.
        status: String,
        /// Its last lines.
        output: String,
        /// Empty: what is to be done stands in its output, if anywhere.
        cure: &'static str,
    },
    /// A child started, and wasn't ready in time.
    Slow {
        /// Which child.
        name: String,
        /// How long it had.
        timeout: Duration,
        /// What it still lacked at the last look.
        lacks: String,
        /// Its last lines.
        output: String,
        /// As of [`Error::Died`].
        cure: &'static str,
    },
    /// A subcommand that is only for this program itself was called in another way.
    Internal(&'static str),
}

impl Error {
    /// For `map_err`: what could not be done.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoServer => write!(
                f,
                "neither redis-server nor valkey-server is on PATH; install one (`make setup`, \
                 `apt-get install redis-server` or `brew install redis`) or name one with \
                 --redis-server"
            ),
            Error::NotAProgram(path) => write!(
                f,
                "--redis-server {}: there is no program that can be run; give the path of a \
                 redis-server or valkey-server",
                path.display()
            ),
            Error::NoVegeta(path) => write!(
                f,
                "--vegeta {}: there is no program that can be run; give the path of vegeta, or \
                 leave the flag out",
                path.display()
            ),
            Error::VegetaMissing => write!(
                f,
                "vegeta is not on PATH; install it (`make setup`, or \
                 `go install github.com/tsenart/vegeta/v12@v12.13.0`) or name it with --vegeta"
            ),
            Error::Listen { addr, source } => {
                write!(
                    f,
                    "can't listen on {addr}: {source}; choose another address or port"
                )
            }
            Error::NoFreePort(port) => write!(
                f,
                "port {port} on 127.0.0.1 and all that were tried instead are taken; stop what \
                 listens there"
            ),
            Error::Certificate(source) => write!(f, "can't make the certificates: {source}"),
            Error::Random => write!(f, "the system gives no random bytes for the password"),
            Error::Io { what, source } => write!(f, "can't {what}: {source}"),
            Error::Died {
                name,
                status,
                output,
                cure,
            } => {
                write!(f, "{name} ended by itself ({status})")?;
                write_cure(f, cure)?;
                write_output(f, name, output)
            }
            Error::Slow {
                name,
                timeout,
                lacks,
                output,
                cure,
            } => {
                write!(f, "{name} was not ready within {timeout:?}: {lacks}")?;
                write_cure(f, cure)?;
                write_output(f, name, output)
            }
            Error::Internal(usage) => {
                write!(
                    f,
                    "this subcommand is for `redis-api local` itself: {usage}"
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. } | Error::Io { source, .. } => Some(source),
            Error::Certificate(source) => Some(source),
            _ => None,
        }
    }
}

fn write_cure(f: &mut fmt::Formatter<'_>, cure: &str) -> fmt::Result {
    match cure {
        "" => Ok(()),
        cure => write!(f, "; {cure}"),
    }
}

fn write_output(f: &mut fmt::Formatter<'_>, name: &str, output: &str) -> fmt::Result {
    if output.trim().is_empty() {
        return write!(f, "\n{name} has printed nothing");
    }
    write!(f, "\nThe last lines of {name}:")?;
    for line in output.lines() {
        write!(f, "\n  {line}")?;
    }
    Ok(())
}
