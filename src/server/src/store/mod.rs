//! What the service asks of Redis: reads of the hash's fields from the read side, writes to the
//! master.
//!
//! Invariants:
//! - Everything that reads goes through [`Reads`]' one question, *which link may answer now*.
//! - A read is answered by a command that was sent after the read had arrived; it may share a
//!   command that is not yet sent, never one that is.
//! - A write is handed to a connection at most once unless it was certainly not carried out.
//!
//! All of it belongs to one worker thread: `Rc` and `Cell`, no lock, nothing shared.

mod confirm;
mod fallback;
mod fields;
mod found;
mod number;
mod probe;
mod reads;
mod render;
mod source;
mod waiter;
mod writes;

pub use fallback::Fallback;
pub use found::{Found, ReadError};
pub use number::shortest;
pub use probe::{ReadRole, Replication, Rule, is_loading};
pub use reads::{Read, ReadMode, ReadOptions, Reads};
/// Redis' error words: what [`ReadError`] and [`WriteError`] carry.
pub use redis_api_wire::resp::ErrorKind;
pub use waiter::{Answer, Wait};
pub use writes::{Progress, WriteError, WriteOptions, Writes};

/// The hash that holds all fields, as in the talk this service comes from.
pub const HASH: &str = "currency";

/// The field behind `/`.
pub const CURRENT: &str = "current-value";
