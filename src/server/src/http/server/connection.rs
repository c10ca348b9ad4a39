//! The task of one connection: what it does between two requests, and by which of two ways a
//! request is answered.
//!
//! A request whose head is known ([`Heads`]) is answered without being parsed again. Every other
//! one is hyper's, which is made when the first of them comes and thrown away when the connection
//! has been idle for a while: an idle connection is then a socket, an entry in the table, and this.
//!
//! An answer without an end is nobody's but [`streaming`]'s, once it has begun.
//!
//! Between two requests it is this task that reads the socket, whether there is a hyper or not;
//! during one it is hyper, by way of [`Io`].
//!
//! Invariants: one request is in progress at a time, and nothing of a next one is looked at until
//! its answer has left and hyper, if it is there, asks for more. So no answer overtakes another,
//! whichever way each was made, and none follows one that said `close`.
//!
//! [`Heads`]: super::heads::Heads
//! [`streaming`]: super::streaming

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1;

use super::call::Adapter;
use super::feed::Streamed;
use super::io::{Io, MAX_LINGER, Socket, Transport};
use super::table::{Cut, Place, State};
use super::{Server, Service, Ticket};

/// Bytes of an answer for which a worker keeps room.
const MAX_OUT: usize = 64 * 1024;

type Http<S, T> = Pin<Box<http1::Connection<Io<T>, Adapter<S, T>>>>;

/// Requests and answers, until either side ends it; then the end of the socket.
///
/// There is one of them for each idle connection: `tests/idle` holds it to its size.
pub struct Connection<S: Service, T: Transport, K> {
    server: Rc<Server<S>>,
    socket: Rc<Socket<T>>,
    /// While there is something to parse, and for a while after.
    http: Option<Http<S, T>>,
    /// A head has come that needs the larger of the two hypers.
    roomy: bool,
    /// A request whose head is known, being answered.
    repeat: Option<S::Repeat>,
    /// An answer without an end, being sent.
    stream: Option<Box<Streamed>>,
    /// The request in progress said that it is the last one.
    client_ends: bool,
    /// There are no more requests.
    ending: bool,
    /// What the client may send then before it is cut off, in bytes.
    left: u32,
    /// Kept until the connection is closed.
    ticket: K,
}

impl<S: Service, T: Transport, K> Unpin for Connection<S, T, K> {}

/// What a step came to.
enum Step {
    Again,
    End,
}

impl<S: Service, T: Transport, K: Ticket<T>> Connection<S, T, K> {
    pub fn new(server: Rc<Server<S>>, socket: Rc<Socket<T>>, ticket: K) -> Self {
        Connection {
            server,
            socket,
            http: None,
            roomy: false,
            repeat: None,
            stream: None,
            client_ends: false,
            ending: false,
            left: MAX_LINGER,
            ticket,
        }
    }

    /// Does what can be done now; ready when there are no more requests here.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let step = if self.repeat.is_some() {
                self.poll_repeat(cx)
            } else if self.socket.is_between(self.http.is_some()) {
                self.poll_next(cx)
            } else if self.http.is_none() && self.socket.entry().state() == State::Write {
                self.poll_sent(cx)
            } else if self.socket.entry().state() == State::Stream {
                self.poll_stream(cx)
            } else {
                self.poll_http(cx)
            };
            if let Step::End = ready!(step) {
                return Poll::Ready(());
            }
        }
    }

    /// Looks for a next request.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let (server, socket) = (&*self.server, &self.socket);
        let entry = socket.entry();
        match socket.poll_arrive(cx) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(_) => return Poll::Ready(Step::End),
            Poll::Pending if entry.is_closing() && !socket.has_arrived() => {
                return Poll::Ready(Step::End);
            }
            Poll::Pending if entry.is_astray() && self.leaves() => {
                return Poll::Ready(Step::End);
            }
            Poll::Pending => return Poll::Pending,
        }
        let now = server.turn.now();
        let is_busy = server.in_flight.get() >= server.limits.max_requests;
        let known = socket.arrived(|head| match server.heads.find(head) {
            None if server.heads.wants(head) => Err(Some(head.into())),
            None => Err(None),
            // hyper's, which says so to the client.
            Some(_) if is_busy => Err(None),
            Some(known) => Ok(known),
        });
        match known {
            Ok(known) => {
                socket.take_arrived();
                entry.begin(now);
                if known.is_last {
                    entry.retire();
                }
                self.client_ends = known.is_last;
                server.in_flight.set(server.in_flight.get() + 1);
                self.repeat = Some(server.service.repeat(&known.plan, entry));
            }
            Err(candidate) => {
                socket.set_candidate(candidate);
                if entry.state() == State::Idle {
                    entry.enter(State::Head, now);
                }
            }
        }
        Poll::Ready(Step::Again)
    }

    /// Whether another worker goes on with the connection, which may be astray, as nothing is in
    /// progress on it.
    #[cold]
    fn leaves(&self) -> bool {
        let (entry, socket) = (self.socket.entry(), &self.socket);
        // (The first request of a new one is waited for where it is.)
        if !entry.is_used() || entry.state() != State::Idle || !socket.is_empty() {
            return false;
        }
        let leave = |stream: &T| self.ticket.leave(stream, entry.retires());
        // One that ends with its next answer need not move.
        let leaves = !entry.is_last() && socket.with_stream(leave);
        entry.set_place(if leaves { Place::Left } else { Place::Here });
        leaves
    }

    /// Answers a request whose head is known.
    fn poll_repeat(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let server = &*self.server;
        let Some(repeat) = &mut self.repeat else {
            return Poll::Ready(Step::Again);
        };
        let mut out = server.out.borrow_mut();
        out.clear();
        let service = &server.service;
        let entry = self.socket.entry();
        let body = ready!(service.poll_repeat(repeat, entry, cx, &mut out));
        self.repeat = None;
        server.end_repeat();
        let is_last = entry.is_last();
        server.end_head(&mut out, body.len(), is_last);
        out.extend_from_slice(&body);
        entry.advance(State::Write);
        let sent = self.socket.send(cx, &out);
        if out.capacity() > MAX_OUT {
            *out = Vec::new();
        }
        drop(out);
        if sent.is_err() || is_last {
            return Poll::Ready(Step::End);
        }
        self.poll_sent(cx)
    }

    /// Waits until all answers have left.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        Poll::Ready(match ready!(self.socket.poll_send(cx)) {
            Ok(()) => Step::Again,
            Err(_) => Step::End,
        })
    }

    /// Lets hyper do what it can.
    fn poll_http(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let (server, socket) = (&self.server, &self.socket);
        let entry = socket.entry();
        let http = self.http.get_or_insert_with(|| {
            entry.set_parsing(true);
            let adapter = Adapter {
                server: server.clone(),
                entry: entry.clone(),
                socket: socket.clone(),
            };
            let http = match self.roomy {
                false => &server.http,
                true => &server.roomy_http,
            };
            Box::pin(http.serve_connection(Io(socket.clone()), adapter))
        });
        // What it ends with matters to nobody but the client, who has been told by then.
        if http.as_mut().poll(cx).is_ready() {
            self.http = None;
            self.roomy = self.socket.begin_again(usize::MAX);
            return Poll::Ready(match self.roomy {
                true => Step::Again,
                false => Step::End,
            });
        }
        if self.socket.entry().state() == State::Stream {
            self.http = None;
            self.socket.entry().set_parsing(false);
            self.socket.take_arrived();
            return Poll::Ready(Step::Again);
        }
        self.socket.hold_arrived();
        if let Step::End = ready!(self.poll_sent(cx)) {
            return Poll::Ready(Step::End);
        }
        match self.socket.is_between(true) {
            true => Poll::Ready(Step::Again),
            false => Poll::Pending,
        }
    }

    /// Goes on with an answer without an end.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let (server, socket) = (&*self.server, &*self.socket);
        if let Some(mut stream) = socket.entry().take_stream() {
            stream.begin(server, socket);
            self.stream = Some(stream);
        }
        match &mut self.stream {
            Some(stream) => stream.poll(cx, server, socket).map(|()| Step::End),
            None => Poll::Ready(Step::End),
        }
    }

    /// Throws hyper away, if the sweep says that it is time to.
    fn rest(&mut self) {
        let entry = self.socket.entry();
        if entry.take_rest() && self.socket.is_between(true) {
            self.http = None;
            entry.set_parsing(false);
        }
    }

    /// Serves, until there are no more requests here.
    fn poll_serve(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.socket.entry().cut().is_some() {
            if let Some(stream) = &mut self.stream {
                stream.feed.on_cut();
            }
            return Poll::Ready(());
        }
        self.socket.begin_turn();
        self.rest();
        if self.poll_exchange(cx).is_ready() {
            return Poll::Ready(());
        }
        let entry = self.socket.entry();
        if entry.is_closing() && entry.state() == State::Idle {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S: Service, T: Transport, K: Ticket<T>> Future for Connection<S, T, K> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.socket.entry().listen(cx.waker());
        if !this.ending {
            ready!(this.poll_serve(cx));
            this.end();
            let entry = this.socket.entry();
            if entry.has_left() {
                this.server.forget(entry);
                return Poll::Ready(());
            }
            let gives_up = entry.cut() == Some(Cut::SlowReader);
            if gives_up {
                this.socket.give_up();
            }
            // A client that said so sends nothing more (RFC 9112, section 9.6): once it has its
            // answer there is nothing to wait for.
            if gives_up || (this.client_ends && this.socket.is_empty()) {
                this.server.forget(entry);
                return Poll::Ready(());
            }
            entry.enter(State::Linger, this.server.turn.now());
            this.ending = true;
        }
        ready!(this.socket.poll_finish(cx, &mut this.left));
        this.server.forget(this.socket.entry());
        Poll::Ready(())
    }
}

impl<S: Service, T: Transport, K> Connection<S, T, K> {
    /// Requests and answers are over.
    fn end(&mut self) {
        self.http = None;
        self.stream = None;
        if self.repeat.take().is_some() {
            self.server.end_repeat();
        }
    }
}

impl<S: Service, T: Transport, K> Drop for Connection<S, T, K> {
    fn drop(&mut self) {
        self.end();
    }
}
