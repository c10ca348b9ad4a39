//! The load rig: bots that attack, an aggregator that merges what they measured, the pages that
//! show it, and the updater that keeps the value moving.
//!
//! ```text
//! vegeta attack | vegeta encode -> bot: a Tally each second -> Window (JSON) over HTTP
//! all bots' Windows -> aggregator: one merged Window, pods' CPU, history -> Board
//! Board -> /summary, /history, /events, /metrics; pages: dashboard and currency page
//! ```
//!
//! Invariants:
//! - A percentile comes from a histogram, merged where there are several; none is ever averaged.
//! - What was to be sent is shown beside what was sent, and a window in which the generator itself
//!   was the limit says so.
//! - Everything is bounded: bots, errors kept, history, answers read, clients at a time.
//!
//! What others may use is what is public: `run` and `Options` of each subcommand for the command,
//! and for tests and benches that build windows by hand [`window`], [`board`], [`latency`],
//! [`pages`], [`aggregator::Merge`] and [`bot::Recorder`].
//!
//! Non-goals: generating load (that is vegeta's), authentication, storage.

pub mod aggregator;
pub mod board;
pub mod bot;
mod client;
mod environment;
mod error;
mod figures;
pub mod guarded;
pub mod latency;
pub mod local;
pub mod pages;
mod plot;
mod process;
pub mod ramp;
mod rate;
mod server;
pub mod updater;
pub mod window;

pub use error::Error;
