//! `redis-api aggregator`: finds all bots, merges their windows, and serves what comes of it.
//!
//! ```text
//! names    -> roster: who is there, and was a moment ago
//! rounds   -> all bots, pods and the API asked at once, each with its deadline
//!          -> report: checked -> merge -> Board -> state
//! answers  <- state: the latest board, the history; pages
//! ```
//!
//! Invariants:
//! - A bot that is slow, dead or sends no valid window costs its own figures and nobody else's, and
//!   is shown as what it is.
//! - Bots, pods, bytes of an answer, points of the history, clients: everything has a limit.
//!
//! Non-goals: keeping anything beyond five minutes (scrape `/metrics`), rights in the cluster (DNS
//! is enough).

mod absence;
mod answers;
mod body;
mod current;
mod exposition;
mod merge;
mod names;
mod pods;
mod report;
mod roster;
mod rounds;
mod samples;
mod state;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Uri;

use super::{Error, process, server};
use redis_api_server::{bind, worker};

pub use merge::{Merge, Trend};
pub use names::Name;
pub use report::{REPORT_MAX, Report, ReportError};
pub use target::Target;

/// Bots that one aggregator takes: more than twice the 800 that it was measured with, and few
/// enough for one core.
pub const BOTS_MAX: usize = 2048;

/// Where the bots are, and the API.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
    /// Bots that were listed.
    pub bots: Vec<Target>,
    /// A name with the addresses of bots.
    pub bots_name: Option<Name>,
    /// A name with the addresses of the API's pods, and their admin port.
    pub pods_name: Option<Name>,
    /// Where the API's value is.
    pub api: Option<Uri>,
    /// Where browsers find the API.
    pub stream: Option<Uri>,
    /// The name server to ask; `None`: those of the system.
    pub dns_server: Option<SocketAddr>,
}

/// Aggregates until the process is told to end.
///
/// # Errors
/// See [`Error`].
pub fn run(options: Options) -> Result<(), Error> {
    process::run(async {
        // A connection to each bot, and to each browser.
        worker::raise_descriptor_limit();
        let listener = bind(options.listen, options.listen_defaulted)?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!("listening on {address}; the page is /dashboard");
        }
        let rounds = rounds::Rounds::new(options)?;
        let state = Arc::new(state::State::new());
        let asked = Arc::clone(&state);
        let respond = move |request| answers::respond(request, Arc::clone(&asked));
        tokio::join!(rounds.run(state), server::serve(listener, respond));
        Ok(())
    })
}
