//! Redis' protocol without I/O, for clients that bring their own sockets.
//!
//! [`resp`] encodes commands and decodes replies of RESP2 and RESP3, incrementally and in place.
//! [`conn`] is one pipelined connection as a state machine: login, order, deadlines, and what
//! becomes of each command when the connection ends. Bytes and the time go in, bytes and events
//! come out: nothing here opens a socket, reads a clock or needs a runtime, so all of it runs in
//! tests, fuzzers and benches as it runs in a server.
//!
//! | module | what it is | may use |
//! | --- | --- | --- |
//! | [`resp`] | RESP2 and RESP3 | nothing |
//! | [`conn`] | a connection: login, order, deadlines | `resp` |
//!
//! # Invariant
//!
//! **No command gets another's reply.** Replies go to commands strictly in order; whoever gave up
//! keeps its place; one byte too many ends the connection.

pub mod conn;
pub mod resp;
