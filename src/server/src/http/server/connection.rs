//! The task of one connection: what it does between two requests, and by which of two ways a
//! request is answered.
//!
//! A request whose head is known, byte for byte ([`Heads`]), is answered without being parsed
//! again. Every other one is hyper's, which is made when the first of them comes and thrown away
//! when the connection has been idle for a while: an idle connection is then a socket, an entry in
//! the table, and this.
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
use super::io::{Io, Socket, Transport};
use super::streaming::Streamed;
use super::table::{Entry, State};
use super::{Server, Service};

/// Bytes of an answer for which a worker keeps room.
const MAX_OUT: usize = 64 * 1024;

type Http<S, T> = Pin<Box<http1::Connection<Io<T>, Adapter<S, T>>>>;

/// Requests and answers, until either side ends it.
pub struct Connection<S: Service, T: Transport> {
    pub(super) server: Rc<Server<S>>,
    pub(super) entry: Rc<Entry>,
    pub(super) socket: Rc<Socket<T>>,
    /// While there is something to parse, and for a while after.
    http: Option<Http<S, T>>,
    /// A head has come that needs the larger of the two hypers.
    roomy: bool,
    /// A request whose head is known, being answered.
    repeat: Option<S::Repeat>,
    /// An answer without an end, being sent.
    pub(super) stream: Option<Box<Streamed>>,
}

/// What a step came to.
pub(super) enum Step {
    Again,
    End,
}

impl<S: Service, T: Transport> Connection<S, T> {
    pub fn new(server: Rc<Server<S>>, entry: Rc<Entry>, socket: Rc<Socket<T>>) -> Self {
        Connection {
            server,
            entry,
            socket,
            http: None,
            roomy: false,
            repeat: None,
            stream: None,
        }
    }

    /// Does what can be done now; ready when the connection ends.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let step = if self.repeat.is_some() {
                self.poll_repeat(cx)
            } else if self.socket.is_between(self.http.is_some()) {
                self.poll_next(cx)
            } else if self.http.is_none() && self.entry.state() == State::Write {
                self.poll_sent(cx)
            } else if self.entry.state() == State::Stream {
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
        let (server, entry, socket) = (&*self.server, &self.entry, &self.socket);
        match socket.poll_arrive(cx) {
            Poll::Ready(Ok(1..)) => {}
            Poll::Ready(_) => return Poll::Ready(Step::End),
            Poll::Pending if entry.is_closing() && !socket.has_arrived() => {
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

    /// Answers a request whose head is known.
    fn poll_repeat(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let server = &*self.server;
        let Some(repeat) = &mut self.repeat else {
            return Poll::Ready(Step::Again);
        };
        let mut out = server.out.borrow_mut();
        out.clear();
        let service = &server.service;
        let body = ready!(service.poll_repeat(repeat, &self.entry, cx, &mut out));
        self.repeat = None;
        server
            .in_flight
            .set(server.in_flight.get().saturating_sub(1));
        let is_last = self.entry.is_last();
        server.end_head(&mut out, body.len(), is_last);
        out.extend_from_slice(&body);
        self.entry.advance(State::Write);
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
        let (server, entry, socket) = (&self.server, &self.entry, &self.socket);
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
        if self.entry.state() == State::Stream {
            self.http = None;
            self.entry.set_parsing(false);
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

    /// Throws hyper away, if the sweep says that it is time to.
    fn rest(&mut self) {
        if self.entry.take_rest() && self.socket.is_between(true) {
            self.http = None;
            self.entry.set_parsing(false);
        }
    }
}

impl<S: Service, T: Transport> Future for Connection<S, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.entry.listen(cx.waker());
        if self.entry.cut().is_some() {
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
        if self.entry.is_closing() && self.entry.state() == State::Idle {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<S: Service, T: Transport> Drop for Connection<S, T> {
    fn drop(&mut self) {
        if self.repeat.is_some() {
            let in_flight = &self.server.in_flight;
            in_flight.set(in_flight.get().saturating_sub(1));
        }
    }
}
