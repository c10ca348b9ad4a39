//! `redis-api ramp`: holds one rate after another on the rig, and draws what came of it.

use crate::load::Error;

/// Which rates, and for how long.
#[derive(Clone, Debug)]
pub struct Options {}

/// Holds each rate.
///
/// # Errors
/// See [`Error`].
pub fn run(_options: Options) -> Result<(), Error> {
    Err(Error::Missing("not built yet".to_owned()))
}
