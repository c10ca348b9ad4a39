//! What production does to the service, under constant load, with a checker that knows what may be
//! answered: README.md beside this file has the table, which a run writes by itself.
//!
//! `cargo test --test faults` runs what `make faults` runs; `-- --include-ignored` the whole table.
//! One row runs at a time, whatever the number of test threads.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

#[path = "../e2e/support/mod.rs"]
mod support;

mod blocking;
mod follower;
mod hostile;
mod ledger;
mod link;
mod master;
mod names;
mod overload;
mod process;
mod record;
mod replica;
mod soak;
mod stage;
mod versions;
