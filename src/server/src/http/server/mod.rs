//! HTTP/1.1 on one worker, generic over the service: connections, their table, their deadlines,
//! drain.
//!
//! Knows nothing of Redis. Non-goals: TLS, HTTP/2 and compression, which the ingress or mesh in
//! front does.

mod io;
mod table;
mod tail;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use tokio::time::timeout;

use crate::turn::Turn;
use io::{Io, Socket};
use table::{Cut, Table};

pub use io::Transport;
pub use table::{Entry, State, Timeouts};

/// Bytes of a request's head, past which hyper answers `431`.
pub const MAX_HEAD: usize = 16 * 1024;

/// Bytes that hyper holds of one connection in each direction at most: a client that never reads
/// costs this and as much again in `io`. It must hold a head.
const MAX_HELD: usize = 64 * 1024;

/// The limits of one worker's clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub timeouts: Timeouts,
    /// Requests in hand at the same time.
    pub max_requests: usize,
}

/// The body of an answer: whole, of known length.
pub type Body = Full<Bytes>;

/// What answers requests. Called on one thread only.
pub trait Service: 'static {
    type Future: Future<Output = Response<Body>> + Unpin + 'static;

    /// Starts to answer a request whose head is complete. Should drop what it doesn't need of the
    /// request before it returns: hyper then reads the next head into the same memory.
    ///
    /// The future must answer when [`Entry::is_expired`] says so; it is woken then.
    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future;

    /// Answers a request that is not to be served. A service that waits for nothing and reads no
    /// body may as well answer it as any other.
    fn refuse(&self, request: Request<Incoming>, entry: &Rc<Entry>, _why: Refusal) -> Self::Future {
        self.call(request, entry)
    }

    /// So many connections are open now.
    fn on_connections(&self, _open: usize) {}
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// [`Limits::max_requests`] are in hand.
    TooBusy,
    /// Its body is in a transfer coding other than `chunked`, so its end is in doubt: the
    /// connection is closed behind the answer. hyper refuses them unless `chunked` is the last.
    Coding,
}

/// The HTTP side of one worker.
pub struct Server<S> {
    service: S,
    http: http1::Builder,
    table: Table,
    limits: Limits,
    turn: Rc<Turn>,
    /// Requests in hand.
    in_flight: Cell<usize>,
}

impl<S: Service> Server<S> {
    pub fn new(service: S, limits: Limits, turn: Rc<Turn>) -> Rc<Self> {
        let mut http = http1::Builder::new();
        http.max_header_size(MAX_HEAD);
        http.max_buf_size(MAX_HELD);
        // Answers are collected by `io`; hyper then sees a writer that takes one slice at a time.
        http.writev(false);
        // A client that has sent its last request may say so by half a close, as `nc -N` does; it
        // waits for the answers all the same.
        http.half_close(true);
        Rc::new(Server {
            service,
            http,
            table: Table::new(limits.timeouts),
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
            self.exchange(&entry, &socket).await;
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
    async fn exchange<T: Transport>(self: &Rc<Self>, entry: &Rc<Entry>, socket: &Rc<Socket<T>>) {
        let adapter = Adapter {
            server: self.clone(),
            entry: entry.clone(),
            socket: socket.clone(),
        };
        let mut http = pin!(self.http.serve_connection(Io(socket.clone()), adapter));
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
            let ending = entry.is_closing() && entry.state() == State::Idle;
            if ending || socket.poll_resume(cx).is_ready() {
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

    /// Ends every connection once nothing is in hand on it; resolves when none is left.
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
    type Future = Call<S>;

    fn call(&self, request: Request<Incoming>) -> Call<S> {
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
        if !request.body().is_end_stream() {
            self.socket.expect_body();
            if !is_plainly_framed(request.headers()) {
                self.entry.retire();
                refusal = Some(Refusal::Coding);
            }
        }
        let future = match refusal {
            None => service.call(request, &self.entry),
            Some(why) => service.refuse(request, &self.entry, why),
        };
        Call {
            future,
            server: self.server.clone(),
            entry: self.entry.clone(),
        }
    }
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

/// A request being answered.
struct Call<S: Service> {
    future: S::Future,
    server: Rc<Server<S>>,
    entry: Rc<Entry>,
}

impl<S: Service> Future for Call<S> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
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

impl<S: Service> Drop for Call<S> {
    fn drop(&mut self) {
        let in_flight = &self.server.in_flight;
        in_flight.set(in_flight.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    impl Transport for DuplexStream {
        fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }

        fn has_arrived(&self) -> bool {
            false
        }
    }

    /// Reads the body, answers nothing, and remembers whom.
    #[derive(Default)]
    struct Last(Rc<RefCell<Option<Rc<Entry>>>>);

    impl Service for Last {
        type Future = Pin<Box<dyn Future<Output = Response<Body>>>>;

        fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future {
            *self.0.borrow_mut() = Some(entry.clone());
            Box::pin(async {
                let _ = request.into_body().collect().await;
                Response::new(Body::default())
            })
        }
    }

    /// What a connection is doing once the request in `bytes` is answered.
    async fn check(bytes: &[u8], expected: State) {
        let last = Last::default();
        let entry = last.0.clone();
        let hour = Duration::from_secs(3_600);
        let limits = Limits {
            timeouts: Timeouts::new(hour, hour),
            max_requests: 1,
        };
        let server = Server::new(last, limits, Rc::default());
        let (mut client, stream) = duplex(MAX_HEAD);
        let serving = tokio::task::spawn_local(server.serve(stream));
        client.write_all(bytes).await.expect("there is room");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let read = client.read_buf(&mut answer).await;
            assert!(read.is_ok_and(|read| read > 0), "an answer");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        let state = entry.borrow().as_ref().map(|entry| entry.state());
        assert_eq!(state, Some(expected), "{}", bytes.escape_ascii());
        serving.abort();
    }

    #[test]
    fn a_next_head_has_begun_only_if_bytes_of_it_are_there() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", State::Idle).await;
            check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", State::Head).await;
            let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n1.5";
            check(post, State::Idle).await;
        });
    }
}
