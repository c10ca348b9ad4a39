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
//! # How to use it
//!
//! Make a [`conn::Conn`] once the transport is up, and then repeat four steps, in any order:
//!
//! 1. write [`output`](conn::Conn::output) to the transport, and tell [`sent`](conn::Conn::sent)
//!    how much of it was taken;
//! 2. append what was read to [`input`](conn::Conn::input), and call
//!    [`on_input`](conn::Conn::on_input), which hands out the replies;
//! 3. call [`on_timer`](conn::Conn::on_timer) when [`deadline`](conn::Conn::deadline) has come;
//! 4. write commands with [`enqueue`](conn::Conn::enqueue) as they come up. The waiter given with
//!    each comes back with its reply: an index, a channel, whatever finds who asked.
//!
//! Read and write whenever the transport lets you, never one only after the other is done: a
//! server may read no more commands until its replies are taken. When any of these calls fails, or
//! the transport does, [`end`](conn::Conn::end) gives back all who still wait, with what became of
//! their commands. To connect again, make a new `Conn`; [`conn::backoff`] says how long to wait.
//!
//! Here the bytes are moved by hand, in place of a socket:
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use redis_api_wire::conn::{Conn, Event, Fate, Login, Options, Verdict};
//! use redis_api_wire::resp::{self, Limits, Reply};
//!
//! let options = Options {
//!     stall_timeout: Duration::from_secs(1),
//!     ping_interval: Duration::from_secs(1),
//!     max_in_flight: 1024,
//!     limits: Limits::default(),
//! };
//! let login = Login {
//!     username: None,
//!     password: Some("secret".to_owned()),
//!     client_name: "docs".to_owned(),
//!     database: 0,
//!     skip_hello: false,
//! };
//! let now = Instant::now(); // from your own clock
//! let mut conn = Conn::new(options, login, now + Duration::from_secs(5), now);
//!
//! // Login: the first command is in the output already.
//! assert!(conn.output().starts_with(b"*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"));
//! conn.sent(conn.output().len());
//! conn.input().extend_from_slice(b"%1\r\n$5\r\nproto\r\n:3\r\n");
//! let mut protocol = 0;
//! conn.on_input(now, |event| {
//!     if let Event::Ready(greeting) = event {
//!         protocol = greeting.protocol;
//!     }
//!     Verdict::Continue
//! })?;
//! assert_eq!(protocol, 3);
//!
//! // Two commands, which leave together. The waiters are plain words here.
//! let hget = |field: &'static [u8]| {
//!     move |out: &mut bytes::BytesMut| resp::command(out, &[b"HGET", b"currency", field])
//! };
//! assert!(conn.enqueue("euro", now, hget(b"EUR")).is_ok());
//! assert!(conn.enqueue("dollar", now, hget(b"USD")).is_ok());
//! conn.sent(conn.output().len());
//!
//! // A reply and a half arrive. It borrows from the input buffer: take from it what you need.
//! conn.input().extend_from_slice(b"$4\r\n12.5\r\n$-");
//! let mut told = Vec::new();
//! conn.on_input(now, |event| {
//!     if let Event::Reply(waiter, Reply::Bulk(value)) = event {
//!         told.push((waiter, value.to_vec()));
//!     }
//!     Verdict::Continue
//! })?;
//! assert_eq!(told, [("euro", b"12.5".to_vec())]);
//!
//! // The transport fails: nobody knows whether the other command was carried out.
//! assert_eq!(conn.end().collect::<Vec<_>>(), [("dollar", Fate::Unknown)]);
//! # Ok::<(), redis_api_wire::conn::Error>(())
//! ```
//!
//! # Invariant
//!
//! **No command gets another's reply.** Replies go to commands strictly in order; whoever gave up
//! keeps its place; one byte too many ends the connection.

pub mod conn;
pub mod resp;
