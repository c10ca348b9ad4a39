//! End-to-end tests: the real binary against real Redis servers, as processes.
//!
//! One test binary, so that only one is linked. Each module is a topic; what they share is in
//! `support`. A missing Redis server is a failure, never a skipped test.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

#[cfg(feature = "rig")]
mod aggregator;
mod caching;
mod check;
#[cfg(feature = "rig")]
mod dashboard;
mod data;
mod degraded;
mod drain;
mod fakes;
mod framing;
mod guards;
mod http_api;
mod limits;
#[cfg(feature = "rig")]
mod local;
mod logs;
#[cfg(feature = "rig")]
mod messages;
mod openapi;
mod outages;
mod pipelining;
#[cfg(feature = "rig")]
mod ramp;
mod replica;
#[cfg(feature = "rig")]
mod rig;
mod rotation;
mod streams;
mod support;
mod sync_auth;
mod tls;
mod tracked;
#[cfg(feature = "rig")]
mod updater;
#[cfg(feature = "rig")]
mod vegetaserver;
mod wake;
mod writes;
