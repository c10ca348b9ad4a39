//! HTTP/1.1 on one worker, generic over the service: connections, their table, their deadlines,
//! drain.
//!
//! Knows nothing of Redis. Non-goals: TLS, HTTP/2 and compression, which the ingress or mesh in
//! front does.

mod chunks;
mod framing;
mod io;
mod table;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::{Method, Request, Response};
use tokio::time::timeout;

use crate::turn::Turn;
use framing::BodyFraming;
use io::{Io, Socket};
use table::{Cut, Table};

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

/// The HTTP side of one worker.
pub struct Server<S> {
    service: S,
    http: http1::Builder,
    /// The same, for a connection with a head of more than [`framing::MAX_PLAIN_LINES`].
    roomy_http: http1::Builder,
    table: Table,
    limits: Limits,
    turn: Rc<Turn>,
    /// Requests in progress.
    in_flight: Cell<usize>,
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
        })
    }

    /// The task that keeps the deadlines; never returns. Spawn it once.
    pub async fn sweep(self: Rc<Self>) {
        self.table.sweep(&self.turn).await;
    }

    /// Serves one connection to its end. It counts as open from the call on, not from the first
    /// poll: [`close`] must not miss one whose task has not run yet.
    ///
    /// [`close`]: Self::close
    pub fn serve(self: Rc<Self>, stream: impl Transport) -> impl Future<Output = ()> {
        let entry = self.table.insert(self.turn.now());
        self.service.on_connections(self.table.len());
        async move {
            let socket = Socket::new(stream, entry.clone(), self.turn.clone());
            let mut http = &self.http;
            loop {
                self.exchange(http, &entry, &socket).await;
                if !socket.begin_again(usize::MAX) {
                    break;
                }
                http = &self.roomy_http;
            }
            if entry.cut() == Some(Cut::SlowReader) {
                socket.give_up();
            } else {
                entry.enter(State::Linger, self.turn.now());
                socket.finish().await;
            }
            self.table.remove(&entry);
            self.service.on_connections(self.table.len());
        }
    }

    /// Requests and answers, until either side ends it.
    async fn exchange<T: Transport>(
        self: &Rc<Self>,
        http: &http1::Builder,
        entry: &Rc<Entry>,
        socket: &Rc<Socket<T>>,
    ) {
        let adapter = Adapter {
            server: self.clone(),
            entry: entry.clone(),
            socket: socket.clone(),
        };
        let mut http = pin!(http.serve_connection(Io(socket.clone()), adapter));
        poll_fn(|cx| {
            entry.listen(cx.waker());
            if entry.cut().is_some() {
                return Poll::Ready(());
            }
            socket.begin_turn();
            // What it ends with matters to nobody but the client, who has been told by then.
            if http.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Poll::Ready(Err(_)) = socket.poll_send(cx) {
                return Poll::Ready(());
            }
            if entry.is_closing() && entry.state() == State::Idle {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }

    /// From now on every answer says `Connection: close`.
    pub fn drain(&self) {
        self.table.drain();
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

/// The service as hyper calls it, for one connection.
struct Adapter<S, T> {
    server: Rc<Server<S>>,
    entry: Rc<Entry>,
    socket: Rc<Socket<T>>,
}

impl<S: Service, T: Transport> hyper::service::Service<Request<Incoming>> for Adapter<S, T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call<S, T>;

    fn call(&self, request: Request<Incoming>) -> Call<S, T> {
        let Server {
            service,
            limits,
            in_flight,
            turn,
            ..
        } = &*self.server;
        self.entry.begin(turn.now());
        let before = in_flight.get();
        in_flight.set(before + 1);
        let mut refusal = (before >= limits.max_requests).then_some(Refusal::TooBusy);
        let body = body_framing(request.body());
        if body != BodyFraming::None && !is_plainly_framed(request.headers()) {
            refusal = Some(Refusal::Coding);
        }
        if !self.socket.begin(body) {
            refusal = Some(Refusal::Malformed);
        }
        let unread = match body {
            BodyFraming::Chunked if refusal.is_none() => self.unread(&request),
            _ => None,
        };
        let future = match refusal {
            None => service.call(request, &self.entry),
            Some(why) => {
                if why != Refusal::TooBusy {
                    self.entry.retire();
                }
                service.refuse(request.into_parts().0, &self.entry, why)
            }
        };
        Call {
            future,
            unread,
            server: self.server.clone(),
            entry: self.entry.clone(),
        }
    }
}

impl<S, T> Adapter<S, T> {
    /// What is needed to see a chunked body to its end, if it has no meaning and so nobody reads
    /// it.
    ///
    /// One that the client sends only when asked to need not come.
    fn unread(&self, request: &Request<Incoming>) -> Option<Box<Unread<T>>> {
        if request.method() == Method::POST || request.headers().contains_key(EXPECT) {
            return None;
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.headers = request.headers().clone();
        Some(Box::new(Unread {
            socket: self.socket.clone(),
            parts,
        }))
    }
}

/// How hyper frames a body.
fn body_framing(body: &Incoming) -> BodyFraming {
    if body.is_end_stream() {
        return BodyFraming::None;
    }
    let length = body.size_hint().exact();
    length.map_or(BodyFraming::Chunked, BodyFraming::Length)
}

/// Whether a body has a length or is in chunks, and in nothing else: RFC 9112, section 6.1.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// A body in chunks that nobody reads. It is seen to its end before the request is answered, so
/// that one that is malformed is refused, whatever the method.
struct Unread<T> {
    socket: Rc<Socket<T>>,
    parts: Parts,
}

/// A request being answered.
struct Call<S: Service, T> {
    future: S::Future,
    unread: Option<Box<Unread<T>>>,
    server: Rc<Server<S>>,
    entry: Rc<Entry>,
}

impl<S: Service, T: Transport> Call<S, T> {
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(unread) = &self.unread else {
            return Poll::Ready(());
        };
        let refusal = match unread.socket.poll_skip(cx) {
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(_)) => Some(Refusal::Malformed),
            Poll::Pending if self.entry.is_expired() => Some(Refusal::Late),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(unread) = self.unread.take()
            && let Some(why) = refusal
        {
            self.entry.retire();
            self.future = self.server.service.refuse(unread.parts, &self.entry, why);
        }
        Poll::Ready(())
    }
}

impl<S: Service, T: Transport> Future for Call<S, T> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.poll_unread(cx));
        let mut response = ready!(Pin::new(&mut self.future).poll(cx));
        if self.entry.is_last() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.entry.advance(State::Write);
        Poll::Ready(Ok(response))
    }
}

impl<S: Service, T> Drop for Call<S, T> {
    fn drop(&mut self) {
        let in_flight = &self.server.in_flight;
        in_flight.set(in_flight.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
