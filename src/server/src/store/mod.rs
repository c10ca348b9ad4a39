//! What the service asks of Redis: reads of the hash's fields from the read side, writes to the
//! master.
//!
//! Invariants:
//! - Everything that reads goes through [`Reads`]' one question, *which link is usable*.
//! - A read is answered by a command that was sent after the read had arrived; it may share a
//!   command that is not yet sent, never one that is.
//! - A write is handed to a connection at most once unless it was certainly not carried out.
//!
//! All of it belongs to one worker thread: `Rc` and `Cell`, no lock, nothing shared.

mod cache;
mod confirm;
mod confirmations;
mod fallback;
mod found;
mod joinable;
mod key;
mod master;
mod number;
mod probe;
mod read_options;
mod reads;
mod render;
mod room;
mod source;
mod tracking;
mod value;
mod waiter;
mod watch;
mod write_error;
mod write_reply;
mod writes;

pub use fallback::Fallback;
pub use found::{Found, ReadError};
pub use key::{CURRENT, HashName};
pub use number::shortest;
pub use probe::{ReadRole, Replication, Rule, is_loading};
pub use read_options::{ReadMode, ReadOptions};
pub use reads::{Read, Reads};
/// Redis' error words: what [`ReadError`] and [`WriteError`] carry.
pub use redis_api_wire::resp::ErrorKind;
pub use render::current;
pub use source::ReadServer;
pub use tracking::TrackedOptions;
pub use value::{MAX_VALUE, Unfit, ValueKind, check_json, compact};
pub use waiter::{Answer, Wait};
pub use watch::Seen;
pub use write_error::{Progress, WriteError};
pub use writes::{WriteOptions, Writes};
