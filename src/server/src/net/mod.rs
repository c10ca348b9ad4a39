//! Sockets: to Redis (dial, TLS, the per-worker connection sets and their driver tasks) and from
//! clients (listen).
//!
//! Invariants: one task per connection drives both directions; all commands of one turn leave in
//! one write; nothing here is shared between workers but the pool for names and files; time comes
//! from the runtime and randomness from the caller, so that a test that pauses tokio's clock and
//! gives the seed sees the same waits each time. What a command or a reply means is `store`'s
//! business.

mod connection;
pub mod credentials;
pub mod dial;
mod dial_error;
mod driver;
pub mod endpoint;
mod explanation;
mod files;
mod link;
pub mod listen;
mod resolve;
pub(crate) mod session;
mod set;
#[cfg(test)]
pub(crate) mod test;
pub mod tls;

pub use credentials::Credentials;
pub use dial_error::{DialError, explain_login, suggests_tls, unreachable};
pub use driver::Driver;
pub use link::{Link, Owner};
pub use resolve::{LOOKUP_THREADS, Resolver};
pub use set::Set;
