//! RESP2 and RESP3, the wire protocol of Redis, as a pure state machine: bytes in, values out.
//!
//! [`command()`] writes commands into a buffer. [`Decoder`] reads replies out of one, in two
//! phases: a resumable scan finds the end of the next reply and validates every byte of it; only
//! then a [`Reply`] is made, a view that borrows from the buffer and parses lazily what is asked
//! for. Rules are those of the [RESP specification]; each is cited where it is applied.
//!
//! # Invariants
//! - No I/O, no clock, no allocation in decoding, no dependency but `bytes` and `memchr`.
//! - No byte is searched twice, however the input is cut: cost grows with the bytes. The cut never
//!   changes the outcome, errors included.
//! - [`Limits`] are checked when a length is announced, before anything is reserved or looped over.
//! - A stream that broke a rule once stays refused: what follows it cannot be trusted to be framed.
//!
//! # Non-goals
//! - Streamed strings and aggregates (`$?`, `*?`): no released server sends them. They are refused.
//! - Repairing or guessing. A malformed reply means that the connection has to be closed.
//! - Encoding replies: a client never sends one.
//!
//! [RESP specification]: https://redis.io/docs/latest/develop/reference/protocol-spec/

mod decode;
mod decode_error;
mod encode;
mod error;
mod layer;
mod number;
mod reply;

pub use decode::{Decoded, Decoder, MAX_DEPTH};
pub use decode_error::DecodeError;
pub use encode::{command, constant};
pub use error::ErrorKind;
pub use reply::{Attributed, Elements, Pairs, Reply};

/// What a reply may announce before it is refused. The server is trusted with our data, not with
/// our memory: a broken proxy, or a stream out of step, announces any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of nesting: aggregates open at the same time, where an attribute counts as one that
    /// holds the value it precedes. At most [`MAX_DEPTH`], to which larger values are cut.
    ///
    /// Default 16: the deepest reply of Redis 7.0, `COMMAND DOCS`, has 12; those read here have 2.
    pub depth: usize,
    /// Elements of one reply, at all levels together; a map or an attribute counts two per pair.
    ///
    /// Default 65,536: the most that is asked for here are a few hundred, and a reply of
    /// this many `$-1` is 320 kB, which a core decodes and reads in a few milliseconds.
    pub elements: usize,
    /// Bytes of one line, without its type byte and CRLF.
    ///
    /// Default 65,536: error texts are lines, and Redis itself bounds its lines (inline
    /// commands, `PROTO_INLINE_MAX_SIZE`) by 64 KiB.
    pub line_len: usize,
    /// Bytes of one bulk string, bulk error or verbatim string.
    ///
    /// Default 16 MiB: far over any value or `INFO` text that makes sense here, and low enough for
    /// one such buffer per connection in a small pod. Redis itself would send 512 MB.
    pub bulk_len: usize,
    /// Bytes of one reply as it stands on the wire.
    ///
    /// Default 32 MiB: one bulk string at its limit and as much again around it.
    pub reply_len: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 16,
            elements: 65_536,
            line_len: 65_536,
            bulk_len: 16 << 20,
            reply_len: 32 << 20,
        }
    }
}
