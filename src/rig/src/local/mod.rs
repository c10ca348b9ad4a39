//! `redis-api local`: the whole rig on this machine, as real processes.
//!
//! A TLS master with a generated password, a replica that follows it over TLS and answers in
//! plaintext, and the API between them: the topology of a pod and its remote master. Around it an
//! updater that posts values, a bot that drives vegeta, and the aggregator with its pages.
//!
//! ```text
//! command: announcements, table, signals -> rig: Rig -> parts (what) -> child (start, watch, stop)
//! ```
//!
//! Invariants:
//! - Nothing outlives the rig: Ctrl-C and SIGTERM stop every child within [`STOP_TIMEOUT`]; after
//!   `kill -9` of this process the kernel ends the children (see [`crate::guarded`]) and the
//!   janitor removes the data folder (see [`run_janitor`]), which holds every file that they write.
//! - Every wait has a deadline, and a failure names the child, shows its last output and the cure.
//! - Nothing listens beyond the loopback unless the options say so.
//!
//! Non-goals: running in production, keeping data.

mod certs;
mod child;
mod command;
mod error;
mod examine;
mod guard;
mod launcher;
mod meter;
mod output;
mod parts;
mod places;
mod ports;
mod probe;
mod program;
mod redis;
pub(crate) mod rig;
mod screen;
mod start_lock;
mod table;
mod usage;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use command::run;
pub use error::Error;
pub use guard::{JANITOR, run_janitor};

pub(crate) use command::StopSignals;

/// From the signal to the end of this process: all children are gone by then.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The port of [`Options::listen`] that may be replaced by a free one.
pub const LISTEN_PORT: u16 = 8080;

/// The port of [`Options::admin_listen`] that may be replaced by a free one.
pub const ADMIN_PORT: u16 = 9090;

/// The port of [`Options::dashboard_listen`] that may be replaced by a free one.
pub const DASHBOARD_PORT: u16 = 8082;

/// Requests a second, where nobody asks for another rate.
pub const RATE: u32 = 1_000;

/// The names of the children.
pub const MASTER: &str = "master";
/// See [`MASTER`].
pub const REPLICA: &str = "replica";
/// See [`MASTER`].
pub const API: &str = "api";
/// See [`MASTER`].
pub const UPDATER: &str = "updater";
/// See [`MASTER`].
pub const BOT: &str = "vegetaserver";
/// See [`MASTER`].
pub const AGGREGATOR: &str = "aggregator";

/// Who answers the API's reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// A replica beside it, in plaintext; writes go to the master.
    #[default]
    Sidekick,
    /// The master, as it takes the writes: over TLS, and there is no replica.
    Naive,
}

/// What to run, and where. By default all of it, on the loopback.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the API listens. If the port is [`LISTEN_PORT`] and taken, a free one is chosen; any
    /// other one that is taken is an error.
    pub listen: SocketAddr,
    /// Where its admin port listens; the same with [`ADMIN_PORT`].
    pub admin_listen: SocketAddr,
    /// Where the aggregator listens; the same with [`DASHBOARD_PORT`].
    pub dashboard_listen: SocketAddr,
    /// Who answers the reads.
    pub topology: Topology,
    /// Requests a second of the load; `None`: there is no bot.
    pub rate: Option<u32>,
    /// What the load attacks instead of an API of the rig's own: then there is the bot alone.
    pub target_url: Option<String>,
    /// The server for master and replica; `None`: `redis-server`, else `valkey-server`, on PATH.
    pub redis_server: Option<PathBuf>,
    /// `None`: the one on PATH, or no load if there is none.
    pub vegeta: Option<PathBuf>,
    /// More arguments for `serve`, behind those of the rig.
    pub serve_args: Vec<String>,
    /// The same for `updater`, `vegetaserver` and `aggregator`.
    pub load_args: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Options {
            listen: loopback(LISTEN_PORT),
            admin_listen: loopback(ADMIN_PORT),
            dashboard_listen: loopback(DASHBOARD_PORT),
            topology: Topology::default(),
            rate: Some(RATE),
            target_url: None,
            redis_server: None,
            vegeta: None,
            serve_args: Vec::new(),
            load_args: Vec::new(),
        }
    }
}
