//! HTTP/1.1 on one worker, generic over the service: connections, their table, their deadlines,
//! drain.
//!
//! Knows nothing of Redis. Non-goals: TLS, HTTP/2 and compression, which the ingress or mesh in
//! front does.

mod call;
mod chunks;
mod connection;
mod date;
mod feed;
mod framing;
mod heads;
mod io;
mod streaming;
mod table;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use tokio::time::timeout;

use crate::turn::Turn;
use connection::Connection;
use date::DateLine;
use heads::Heads;
use io::{Inbox, Socket};
use table::Table;

pub use feed::{Feed, Streamed};
pub use io::Transport;
pub use table::{Entry, State, Timeouts};

/// Bytes of a request's head, past which hyper answers `431`.
pub const MAX_HEAD: usize = 16 * 1024;

/// Lines of a request's headers, past which hyper answers `431`: more than twice as many as proxies
/// and tracers are known to add up to.
pub const MAX_HEADER_LINES: usize = 256;

/// Bytes that hyper holds of one connection in each direction at most: a client that never reads
/// costs this and as much again in `io`. It must hold a head.
const MAX_HELD: usize = 64 * 1024;

/// The limits of one worker's clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long they may take for what they do.
    pub timeouts: Timeouts,
    /// Requests in progress at the same time.
    pub max_requests: usize,
}

/// The body of an answer: whole, of known length.
pub type Body = Full<Bytes>;

/// What answers requests. Called on one thread only.
pub trait Service: 'static {
    /// A request being answered.
    type Future: Future<Output = Response<Body>> + Unpin + 'static;

    /// Starts to answer a request whose head is complete. Should drop what it doesn't need of the
    /// request before it returns: hyper then reads the next head into the same memory.
    ///
    /// The future must answer when [`Entry::is_expired`] says so; it is woken then.
    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future;

    /// What a request asks for, once it is parsed: enough to answer every other one with the same
    /// head.
    type Plan: 'static;

    /// Such a request being answered.
    type Repeat: Unpin + 'static;

    /// What this request asks for; `None`: one with the same head is to be parsed again.
    ///
    /// It is a `GET` of HTTP/1.1 without a body, and of what concerns the connection it says at
    /// most whether it is the last one.
    fn plan(&self, request: &Request<Incoming>) -> Option<Self::Plan>;

    /// Starts to answer a request, as [`call`](Self::call) does one with the same head.
    fn repeat(&self, plan: &Self::Plan, entry: &Rc<Entry>) -> Self::Repeat;

    /// The answer's body. Status line and header lines, without those that tell the length, the
    /// date and the connection's end, are added to `head`: byte for byte as hyper makes them of the
    /// same response.
    fn poll_repeat(
        &self,
        repeat: &mut Self::Repeat,
        entry: &Entry,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
    ) -> Poll<Bytes>;

    /// Answers a request that is not to be served.
    fn refuse(&self, request: Parts, entry: &Rc<Entry>, why: Refusal) -> Self::Future;

    /// So many connections are open now.
    fn on_connections(&self, _open: usize) {}
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// [`Limits::max_requests`] are in progress.
    TooBusy,
    /// Its body is in a transfer coding other than `chunked`, so its end is in doubt: the
    /// connection is closed behind the answer. hyper refuses them unless `chunked` is the last.
    Coding,
    /// Its body is in chunks that are not well formed, or breaks off: the connection is closed.
    Malformed,
    /// Its body, which nobody needs, did not come in time: the connection is closed.
    Late,
}

/// What is kept for as long as a connection over `T` is open.
pub trait Ticket<T>: 'static {
    /// Has another server go on with the connection, if that is where it belongs; its next answer
    /// is to be the last one from `retires` on. Nothing is in progress on it, and no byte of a
    /// request was read. `true`: `stream` is only to be dropped.
    fn leave(&self, stream: &T, retires: Option<Instant>) -> bool;
}

/// For a server that shares its connections with no other.
impl<T> Ticket<T> for () {
    fn leave(&self, _: &T, _: Option<Instant>) -> bool {
        false
    }
}

/// The HTTP side of one worker.
pub struct Server<S: Service> {
    service: S,
    http: http1::Builder,
    /// The same, for a connection with a head of more than [`framing::MAX_PLAIN_LINES`].
    roomy_http: http1::Builder,
    table: Table,
    limits: Limits,
    turn: Rc<Turn>,
    /// Requests in progress.
    in_flight: Cell<usize>,
    heads: Heads<S::Plan>,
    inbox: Rc<Inbox>,
    /// Where an answer is put together.
    out: RefCell<Vec<u8>>,
    /// Where a part of a stream is.
    part: RefCell<Vec<u8>>,
    date: DateLine,
}

impl<S: Service> Server<S> {
    /// `random` spreads the ages at which connections end.
    pub fn new(service: S, limits: Limits, turn: Rc<Turn>, random: Rng) -> Rc<Self> {
        let mut http = http1::Builder::new();
        http.max_header_size(MAX_HEAD);
        http.max_buf_size(MAX_HELD);
        // Answers are collected by `io`; hyper then sees a writer that takes one slice at a time.
        http.writev(false);
        // A client that has sent its last request may say so by half a close, as `nc -N` does; it
        // waits for the answers all the same.
        http.half_close(true);
        let mut roomy_http = http.clone();
        // Costs two allocations a request, so not for all.
        roomy_http.max_headers(MAX_HEADER_LINES);
        Rc::new(Server {
            service,
            http,
            roomy_http,
            table: Table::new(limits.timeouts, random),
            limits,
            turn,
            in_flight: Cell::new(0),
            heads: Heads::new(),
            inbox: Rc::default(),
            out: RefCell::default(),
            part: RefCell::default(),
            date: DateLine::default(),
        })
    }

    /// The task that keeps the deadlines; never returns. Spawn it once.
    pub async fn sweep(self: Rc<Self>) {
        self.table.sweep(&self.turn).await;
    }

    /// Serves one connection to its end, and keeps `ticket` until it is closed. It counts as open
    /// from the call on, not from the first poll: [`close`] must not miss one whose task has not
    /// run yet.
    ///
    /// [`close`]: Self::close
    pub fn serve<T: Transport, K: Ticket<T>>(
        self: Rc<Self>,
        stream: T,
        ticket: K,
    ) -> impl Future<Output = ()> {
        let entry = self.table.insert(self.turn.now());
        self.serve_as(entry, stream, ticket)
    }

    /// The same, for one that has left another server.
    pub fn resume<T: Transport, K: Ticket<T>>(
        self: Rc<Self>,
        stream: T,
        ticket: K,
        retires: Option<Instant>,
    ) -> impl Future<Output = ()> {
        let entry = self.table.resume(self.turn.now(), retires);
        self.serve_as(entry, stream, ticket)
    }

    fn serve_as<T: Transport, K: Ticket<T>>(
        self: Rc<Self>,
        entry: Rc<Entry>,
        stream: T,
        ticket: K,
    ) -> impl Future<Output = ()> {
        self.service.on_connections(self.table.len());
        let socket = Socket::new(stream, self.inbox.clone(), entry, self.turn.clone());
        Connection::new(self, socket, ticket)
    }

    /// A request whose head was known is answered, or given up.
    fn end_repeat(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// A connection has ended.
    fn forget(&self, entry: &Entry) {
        self.table.remove(entry);
        self.service.on_connections(self.table.len());
    }

    /// Adds the last lines of a head, as hyper makes them.
    fn end_head(&self, out: &mut Vec<u8>, length: usize, is_last: bool) {
        if is_last {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        out.extend_from_slice(b"\r\n");
        let turn = &self.turn;
        self.date.put(out, turn.now(), || turn.wall_clock());
        out.extend_from_slice(b"\r\n");
    }

    /// Whether no request or answer is unfinished, and no connection is being ended.
    pub fn is_quiet(&self) -> bool {
        self.table.active() == 0
    }

    /// Requests that are being answered.
    pub fn in_progress(&self) -> usize {
        self.in_flight.get()
    }

    /// Asks each connection's ticket once where it belongs, as soon as nothing is in progress on
    /// it.
    pub fn relocate(&self) {
        self.table.relocate();
    }

    /// From now on every answer says `Connection: close`, and streams end in their time.
    pub fn drain(&self) {
        self.table.drain(self.turn.now());
    }

    /// Ends every connection once nothing is in progress on it; resolves when none is left.
    ///
    /// One that was just accepted has its first request on its way: it is waited for as long as for
    /// the rest of what a client sends.
    pub async fn close(&self) {
        self.drain();
        self.table.close_used();
        let _ = timeout(self.limits.timeouts.linger, self.table.emptied()).await;
        self.table.close_all();
        self.table.emptied().await;
    }
}

#[cfg(test)]
mod tests;
