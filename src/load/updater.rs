//! `redis-api updater`: posts a new value at a steady pace.

use super::Error;

/// Where to post, and how often.
#[derive(Clone, Debug)]
pub struct Options {}

/// Posts until the process is told to end.
///
/// # Errors
/// See [`Error`].
pub fn run(_options: Options) -> Result<(), Error> {
    Err(Error::Missing("not built yet".to_owned()))
}
