//! What the end-to-end tests share: certificates, Redis servers, the API as a process, and a raw
//! HTTP client.
//!
//! Everything that is started here ends when its value is dropped, also when a test panics, and
//! every wait has a deadline whose message says what was awaited. Helpers panic on failure: they
//! are part of the test.
// Each helper is for some of the tests, and the tests are written one topic at a time.
#![allow(dead_code)]

pub mod api;
pub mod browser;
pub mod bystander;
pub mod certs;
pub mod cpu;
pub mod events;
pub mod fake;
pub mod files;
pub mod http;
pub mod load;
pub mod peer;
pub mod poll;
pub mod port;
pub mod process;
pub mod redis;
pub mod session;
pub mod wire;
pub mod writer;

#[allow(unused_imports)]
pub use self::{
    api::{Api, on_one_master},
    certs::{Certs, Pair},
    fake::{Act, Fake},
    http::{Connection, Response, request, try_request},
    load::Load,
    poll::{PATIENCE, eventually, pass},
    port::free_port,
    redis::Redis,
    session::Session,
    wire::Wire,
    writer::Writer,
};
