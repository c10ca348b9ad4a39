//! How to read.

use std::time::Duration;

use super::key::HashName;
use super::probe::ReadRole;
use super::tracking::TrackedOptions;
use super::value::ValueKind;

/// How reads become commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Reads of the same field that wait at the same moment share one command.
    Batch,
    /// One command per read.
    Direct,
    /// As `Batch`, and what was read is kept until the server says that it changed.
    Tracked,
}

/// How to read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The hash that is read.
    pub hash: HashName,
    /// What its values are.
    pub values: ValueKind,
    /// How reads become commands.
    pub mode: ReadMode,
    /// Which servers are read from.
    pub role: ReadRole,
    /// A replica whose data is older than this may not answer; `None`: whatever its age.
    pub max_stale: Option<Duration>,
    /// What is kept in [`ReadMode::Tracked`].
    pub tracked: TrackedOptions,
}
