//! End-to-end tests: the real binary against real Redis servers, as processes.
//!
//! One test binary, so that only one is linked. Each module is a topic; what they share is in
//! `support`. A missing Redis server is a failure, never a skipped test.
#![cfg(unix)]

mod aggregator;
mod check;
mod degraded;
mod drain;
mod fakes;
mod framing;
mod guards;
mod http_api;
mod limits;
mod local;
mod logs;
mod outages;
mod pipelining;
mod replica;
mod rig;
mod rotation;
mod support;
mod tls;
mod writes;
