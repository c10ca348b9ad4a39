//! The API: it answers reads of a hash's fields from a replica of its own, and sends writes to the
//! one master.
//!
//! # The map
//!
//! ```text
//! request  -> http/server -> http/service -> store/reads   (joins or opens this turn's command)
//!          -> net/link -> conn::enqueue -> resp::command   (bytes in a buffer; crate wire)
//! socket   <- net/driver: one write a turn -> Redis -> one read
//! reply    -> resp::Decoder -> conn: front of the in-flight queue -> store/waiter wakes all
//! response <- http/response <- http/service
//! ```
//!
//! | module | what it is | may use |
//! | --- | --- | --- |
//! | `metrics` | what each worker counts, and its Prometheus text | nothing |
//! | `file` | reads files that may be replaced at any time | nothing |
//! | [`token_file`] | a file with one bearer token | `file` |
//! | `turn` | the clock of a worker, read once a turn | nothing |
//! | `net` | sockets: dial, TLS, connection sets, accepting | `metrics`, `turn`, `file` |
//! | `store` | reads and writes of the hash | `net` and below |
//! | `http` | server, service, small server | `store`, `metrics`, `turn`, `token_file`; |
//! | | | `http::server` only `turn` |
//! | [`worker`] | threads, start, drain, admin port | `http` and below |
//! | [`check`] | says what is wrong with servers and process | `worker`, `store` and below |
//! | [`sync_auth`] | tells a running server what mounted files say | `worker`, `net` and below |
//!
//! All of them may use the crate `redis-api-wire`, which does no I/O.
//!
//! # What others may use
//!
//! What is public below, and no more; the compiler names what nobody uses then. [`worker`],
//! [`check`] and [`sync_auth`] run a subcommand each, and the types listed here are their options.
//! The load rig takes [`bind`], [`small`], [`exposition`], [`token_file`] and
//! [`worker::Termination`] for servers and clients of its own.
//!
//! # Invariants
//!
//! - **No acknowledged write is lost, and none is sent twice** unless it certainly was not carried
//!   out (`store`).
//! - **A read is as fresh as its arrival**: it shares commands that are not yet sent, never one
//!   that is (`store`).
//! - **Workers share nothing** on the read path: no lock, no channel, no atomic that two cores
//!   write ([`worker`]).
//! - **Everything is bounded**: each queue has a limit, each wait a deadline, each reconnect a
//!   backoff with jitter.
//! - Modules import downwards only; `tests/tidy` holds the table above.

pub mod check;
mod file;
mod http;
mod metrics;
mod net;
mod store;
pub mod sync_auth;
pub mod token_file;
mod turn;
pub mod worker;

pub use http::caching::{Options as CachingOptions, cache_control};
pub use http::cors::Cors;
pub use http::guard::{Fields, Options as GuardOptions};
pub use http::small;
pub use metrics::LOG_DROPPED;
pub use net::endpoint::{Address, Endpoint, Password, Secret, SetOptions, Sources, TlsOptions};
pub use net::listen::{BindError, bind};
pub use net::tls::server_name;
pub use store::{
    HashName, ReadMode, ReadOptions, ReadRole, TrackedOptions, ValueKind, WriteOptions,
};

/// Prometheus' text format, for servers with figures of their own.
pub mod exposition {
    pub use crate::metrics::{CONTENT_TYPE, encode, family, gauge, gauge_value, process_families};
}

/// Parts of a worker, for the benches alone, which put them together with bytes in memory where the
/// sockets would be. A bench is a crate of its own: what it uses has to be public.
#[doc(hidden)]
pub mod parts {
    pub use crate::http::guard::Guard;
    pub use crate::http::hello::Hello;
    pub use crate::http::server::{Limits, Server, Service, Ticket, Timeouts, Transport};
    pub use crate::http::service::{Api, Options as ServiceOptions};
    pub use crate::http::streams::{Places, Streams};
    pub use crate::metrics::{RoleMetrics, Side, Worker as WorkerMetrics};
    pub use crate::net::{Credentials, Driver, Resolver, Set};
    pub use crate::store::{Answer, CURRENT, ReadServer, Reads, Wait, Writes};
    pub use crate::turn::Turn;
}
