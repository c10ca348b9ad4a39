//! A read API over Redis that scales with its pods: every pod answers reads from a replica of its
//! own, and sends writes to the one master.
//!
//! # The map
//!
//! ```text
//! request  -> http/server -> http/service -> store/reads   (joins or opens this turn's command)
//!          -> net/link -> conn::enqueue -> resp::command   (bytes in a buffer)
//! socket   <- net/driver: one write a turn -> Redis -> one read
//! reply    -> resp::Decoder -> conn: front of the in-flight queue -> store/waiter wakes all
//! response <- http/reply <- http/service
//! ```
//!
//! | module | what it is | may use |
//! | --- | --- | --- |
//! | [`resp`] | RESP2 and RESP3, no I/O | nothing |
//! | [`conn`] | one connection as a state machine: login, order, deadlines; no I/O | `resp` |
//! | [`metrics`] | what each worker counts, and its Prometheus text | `resp` |
//! | [`token_file`] | a file with one bearer token | nothing |
//! | [`turn`] | the clock of a worker, read once a turn | nothing |
//! | [`net`] | sockets: dial, TLS, connection sets, accepting | `conn`, `resp`, `metrics`, `turn` |
//! | [`store`] | reads and writes of the hash | `net` and below |
//! | [`http`] | server, service, admin port | `store`, `metrics`, `turn`, `token_file`; |
//! | | | `http::server` only `turn` |
//! | [`worker`] | threads, start, drain | `http` and below |
//! | [`check`] | says what is wrong with both servers and this process | `worker`, `store` and below |
//! | [`guarded`] | child processes that end with their parent | nothing |
//! | [`load`] | the load rig: bots, aggregator, pages, updater | `worker`, `net`, `metrics`, |
//! | | | `guarded`, `conn`, `token_file` |
//! | [`local`] | the rig on one machine, as processes | `load`, `guarded` |
//! | [`ramp`] | one rate after another on the rig | `local`, `load` |
//! | [`log`] | one line an event on stderr; used by `main` only | nothing |
//! | [`config`] | flags and environment to options | all |
//!
//! # Invariants
//!
//! - **No request sees another's reply.** Replies go to commands strictly in order; whoever gave up
//!   keeps its place; one byte too many ends the connection ([`conn`]).
//! - **No acknowledged write is lost, and none is sent twice** unless it certainly was not carried
//!   out ([`store`]).
//! - **A read is as fresh as its arrival**: it shares commands that are not yet sent, never one
//!   that is ([`store`]).
//! - **Workers share nothing** on the read path: no lock, no channel, no atomic that two cores
//!   write ([`worker`]).
//! - **Everything is bounded**: each queue has a limit, each wait a deadline, each reconnect a
//!   backoff with jitter.
//! - Modules import downwards only; `tests/tidy` holds the table above.

#![deny(unsafe_code)]

pub mod check;
pub mod config;
pub mod conn;
pub mod guarded;
pub mod http;
pub mod load;
pub mod local;
pub mod log;
pub mod metrics;
pub mod net;
pub mod ramp;
pub mod resp;
pub mod store;
pub mod token_file;
pub mod turn;
pub mod worker;
