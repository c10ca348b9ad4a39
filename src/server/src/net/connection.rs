//! One connection over its stream: moves bytes both ways until it ends.
//!
//! One task drives both directions: a server that stops reading until its replies are read can't
//! deadlock it. All commands of one turn leave in one `write`, because the task runs behind the
//! requests that woke it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

use super::dial::Stream;
use super::dial_error::{ended, failed_login};
use super::endpoint::Endpoint;
use super::link::OwnedLink;
use crate::metrics;
use crate::turn::{Deadline, Turn};
use redis_api_wire::conn::{Error, Event, Verdict};

/// Reads in one poll of the task, so that a server that never stops talking can't starve the
/// worker.
const MAX_READS: usize = 16;

/// See the module. The link holds the protocol's state, this the socket's.
pub(super) struct Connection<'a, W> {
    owned: &'a OwnedLink<W>,
    endpoint: &'a Endpoint,
    turn: &'a Turn,
    metrics: &'a metrics::RoleMetrics,
    stream: Stream,
    timer: Pin<Box<Sleep>>,
    /// That of the timer.
    deadline: Deadline<'a>,
    /// The transport has bytes that it may still hold back.
    unflushed: bool,
    /// Commands are held back until the runtime has looked at the sockets once more.
    held: bool,
}

impl<'a, W: 'static> Connection<'a, W> {
    /// A connection over `stream`, whose protocol state the link holds already.
    pub(super) fn new(
        stream: Stream,
        owned: &'a OwnedLink<W>,
        endpoint: &'a Endpoint,
        turn: &'a Turn,
        metrics: &'a metrics::RoleMetrics,
    ) -> Self {
        let now = turn.clock();
        Connection {
            owned,
            endpoint,
            turn,
            metrics,
            stream,
            timer: Box::pin(sleep_until(now.into())),
            deadline: turn.deadline(now),
            unflushed: false,
            held: false,
        }
    }

    /// Moves bytes until the connection ends; why it did.
    pub(super) async fn drive(mut self) -> Error {
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                // Commands are held back. This relies on tokio: a task that yields runs again after
                // the next look at the sockets, and behind the tasks that it woke. The tests hold
                // tokio to that.
                Ok(()) => yield_now().await,
                Err(error) => return error,
            }
        }
    }

    /// Goes as far as the socket lets it. `Ok`: it holds commands back.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.owned.link.listen(cx.waker());
        match self.advance(cx) {
            Ok(()) if !self.held => Poll::Pending,
            other => Poll::Ready(other),
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        for _ in 0..MAX_READS {
            self.held = !self.held && self.may_wait();
            if !self.held
                && let Err(error) = self.write(cx)
            {
                // The reason may be there to be read: an alert, sent before the server closed.
                return match self.read(cx) {
                    Err(alert @ Error::Tls { .. }) => Err(alert),
                    _ => Err(error),
                };
            }
            let received = match self.read(cx) {
                Err(error @ Error::Unusable { .. }) => {
                    self.read_rest(cx);
                    return Err(error);
                }
                other => other?,
            };
            let acted = self.run_timer(cx)?;
            if !received && !acted {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Whether the commands should wait for the runtime's next look at the sockets; at most once.
    ///
    /// At 64 busy connections this brings 17 requests to a command instead of 13, and saves a
    /// fifth of Redis' work (tuning/README.md). Where few share a command it would only cost a
    /// system call, and is left out.
    fn may_wait(&self) -> bool {
        let link = &self.owned.link;
        link.is_crowded() && link.with(|conn| !conn.output().is_empty()).unwrap_or(false)
    }

    /// Gives the transport what it takes of the commands written so far.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Connection {
            owned,
            stream,
            unflushed,
            ..
        } = self;
        let link = &owned.link;
        let outcome = link.with(|conn| {
            while !conn.output().is_empty() {
                link.begin_flush();
                match Pin::new(&mut *stream).poll_write(cx, conn.output()) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(0)) => return Err(Error::Closed),
                    Poll::Ready(Ok(n)) => {
                        conn.sent(n);
                        *unflushed = true;
                    }
                    Poll::Ready(Err(error)) => return Err(ended(&error)),
                }
            }
            // TLS keeps records of its own until it is flushed; for a plain socket this is no
            // system call.
            if *unflushed {
                match Pin::new(&mut *stream).poll_flush(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => *unflushed = false,
                    Poll::Ready(Err(error)) => return Err(ended(&error)),
                }
            }
            Ok(())
        });
        outcome.unwrap_or(Err(Error::Closed))
    }

    /// Reads once and hands the replies out; whether anything came.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let OwnedLink { link, owner } = self.owned;
        let outcome = link.with(|conn| {
            let polled = pin!(self.stream.read_buf(conn.input())).poll(cx);
            match polled {
                Poll::Pending => return Ok((false, None)),
                Poll::Ready(Err(error)) if !conn.is_ready() => {
                    return Err(failed_login(self.endpoint, error));
                }
                Poll::Ready(Err(error)) => return Err(ended(&error)),
                Poll::Ready(Ok(0)) => return Err(Error::Closed),
                Poll::Ready(Ok(_)) => {}
            }
            let mut greeting = None;
            conn.on_input(self.turn.now(), |event| match event {
                Event::Reply(waiter, reply) => owner.reply(link, waiter, reply),
                Event::Push(push) => {
                    owner.push(link, push);
                    Verdict::Continue
                }
                Event::Ready(hello) => {
                    // Before what has come with the greeting, which may end the connection.
                    self.metrics.role().connections.add(1);
                    greeting = Some(hello);
                    Verdict::Continue
                }
            })?;
            Ok((true, greeting))
        });
        let (received, greeting) = outcome.unwrap_or(Err(Error::Closed))?;
        if let Some(greeting) = greeting {
            owner.ready(link, greeting);
        }
        Ok(received)
    }

    /// Hands out the replies that have arrived behind one that makes the connection useless: a
    /// command that the server has refused is not lost.
    fn read_rest(&mut self, cx: &mut Context<'_>) {
        // There can't be more replies than that, and a read that brings none is the last.
        for _ in 0..self.owned.link.in_flight() {
            match self.read(cx) {
                Ok(true) | Err(Error::Unusable { .. }) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Runs the connection's one timer; whether it had something to do.
    ///
    /// The timer is moved only forward to an earlier deadline or when it fires: with traffic the
    /// deadline moves with every reply, and following it would cost a timer operation each.
    fn run_timer(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let link = &self.owned.link;
        let deadline = link.with(|conn| conn.deadline()).ok_or(Error::Closed)?;
        let deadline = Instant::from_std(deadline);
        if deadline < self.timer.deadline() {
            self.set_timer(deadline);
        }
        let mut acted = false;
        while self.timer.as_mut().poll(cx).is_ready() {
            // The clock, not the turn: a turn that lasted must not let a stalled connection pass
            // for a young one.
            let now = self.turn.clock();
            link.with(|conn| conn.on_timer(now))
                .unwrap_or(Err(Error::Closed))?;
            let next = link.with(|conn| conn.deadline()).ok_or(Error::Closed)?;
            let next = next.max(now + Duration::from_millis(1));
            self.set_timer(Instant::from_std(next));
            acted = true;
        }
        Ok(acted)
    }

    fn set_timer(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
        self.deadline.set(at.into_std());
    }
}

#[cfg(test)]
mod tests;
