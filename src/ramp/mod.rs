//! `redis-api ramp`: holds one rate after another on the rig, and draws what came of it.

pub mod chart;
mod error;
pub mod knee;
pub mod step;

pub use error::Error;

/// Which rates, and for how long.
#[derive(Clone, Debug)]
pub struct Options {}

/// Holds each rate.
///
/// # Errors
/// See [`Error`].
pub fn run(_options: Options) -> Result<(), Error> {
    Ok(())
}
