//! `redis-api aggregator`: finds all bots, merges their windows, and serves what comes of it.

use std::net::SocketAddr;

use super::Error;

/// Where the bots are, and the API.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
}

/// Aggregates until the process is told to end.
///
/// # Errors
/// See [`Error`].
pub fn run(_options: Options) -> Result<(), Error> {
    Err(Error::Missing("not built yet".to_owned()))
}
