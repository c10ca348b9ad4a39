//! `redis-api local`: the whole rig on this machine, as real processes.
//!
//! A TLS master with a generated password, a replica that follows it over TLS and answers in
//! plaintext, and the API between them: the topology of a pod and its remote master.
//!
//! Invariants:
//! - Nothing outlives the rig: Ctrl-C and SIGTERM stop every child within [`STOP_TIMEOUT`]; after
//!   `kill -9` of this process the kernel ends the children (see [`crate::guarded`]) and the janitor
//!   removes the data folder (see [`run_janitor`]).
//! - Every wait has a deadline, and a failure names the child, shows its last output and the cure.
//! - Nothing listens beyond the loopback unless the options say so.
//!
//! Non-goals: running in production, keeping data.

#[cfg(unix)]
mod certs;
#[cfg(unix)]
mod child;
mod error;
#[cfg(unix)]
mod examine;
#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod ports;
#[cfg(unix)]
mod probe;
#[cfg(unix)]
mod redis;
#[cfg(unix)]
mod rig;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::Error;
#[cfg(unix)]
pub use guard::{JANITOR, run_janitor};
#[cfg(unix)]
pub use rig::run;

/// From the signal to the end of this process: all children are gone by then.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The port of [`Options::listen`] that may be replaced by a free one.
pub const LISTEN_PORT: u16 = 8080;

/// The port of [`Options::admin_listen`] that may be replaced by a free one.
pub const ADMIN_PORT: u16 = 9090;

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the API listens. If the port is [`LISTEN_PORT`] and taken, a free one is chosen; any
    /// other one that is taken is an error.
    pub listen: SocketAddr,
    /// Where its admin port listens; the same with [`ADMIN_PORT`].
    pub admin_listen: SocketAddr,
    /// The server for master and replica; `None`: `redis-server`, else `valkey-server`, on PATH.
    pub redis_server: Option<PathBuf>,
    /// More arguments for `serve`, behind those of the rig.
    pub serve_args: Vec<String>,
}

/// Without processes of Unix there is no rig.
///
/// # Errors
/// Always.
#[cfg(not(unix))]
pub fn run(_options: Options) -> Result<(), Error> {
    Err(Error::Unsupported)
}
