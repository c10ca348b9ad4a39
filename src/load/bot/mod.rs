//! `redis-api vegetaserver`: drives a real vegeta, and publishes a rolling window of its results.

use std::net::SocketAddr;

use super::Error;

/// What to attack, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
}

/// Attacks until the process is told to end.
///
/// # Errors
/// See [`Error`].
pub fn run(_options: Options) -> Result<(), Error> {
    Err(Error::Missing("not built yet".to_owned()))
}
