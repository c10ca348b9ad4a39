//! One Redis connection as a pure state machine: bytes and `now` in, bytes and events out. No
//! socket, no clock, no waker; generic over what waits for a reply.
//!
//! Invariants:
//! - The n-th reply goes to the n-th command's waiter. Nothing leaves the in-flight queue but by
//!   its front, or all at once with the connection.
//! - A reply that nobody awaits, and a byte that is no RESP, end the connection: past them no reply
//!   could be trusted to be the next command's. A command that has not left whole awaits no reply
//!   yet.
//! - `queued` = `taken` + bytes in the output buffer: a command whose first byte is at or past
//!   `taken` has certainly not been sent.
//! - Nothing is accepted before login is done, nor after the end.
//!
//! Not here: reconnecting (`net`), what a reply means (`store`), sending anything a second time
//! (nobody, for writes).

pub mod backoff;
mod error;
mod handshake;
mod inflight;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};

pub use error::{Error, Fate, Refusal};
pub use handshake::{Greeting, Hello, Login};

use crate::resp::{self, Decoder, Reply};
use handshake::{Handshake, Progress};
use inflight::InFlight;

/// Bytes that may wait in the output buffer. A full window of small commands is far below; it is
/// what bounds memory when a server stops reading.
const MAX_OUTPUT: usize = 1 << 20;

/// Places beyond the window for [`Conn::enqueue_reserved`]: two rounds of the questions that are
/// asked each second, because a round may still be under way when the next one comes.
const RESERVED: usize = 12;

/// The timing and limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Older than this, an unanswered command ends the connection.
    pub stall_timeout: Duration,
    /// After this long without a byte from an idle server it is asked `PING`.
    pub ping_interval: Duration,
    /// Unanswered commands at most.
    pub max_in_flight: usize,
    /// What one reply may cost.
    pub limits: resp::Limits,
}

/// What the owner of a connection is told while input is taken in.
pub enum Event<'a, W> {
    /// Login is done: commands are accepted from now on.
    Ready(Greeting),
    /// The reply to the oldest unanswered command.
    Reply(W, Reply<'a>),
    /// A RESP3 push, outside the order of replies.
    Push(Reply<'a>),
}

/// What the owner of a connection makes of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The connection goes on.
    Continue,
    /// The reply shows that no more of this connection can be trusted: not even the replies that
    /// have arrived behind it.
    Close(Error),
    /// The connection is of no more use, but what it says can be trusted: hand out the replies that
    /// have arrived already, then end. Otherwise what was refused would count as lost.
    Finish(Error),
}

/// Who awaits a reply: the owner's waiter, or the connection itself.
enum Waiter<W> {
    Owner(W),
    Ping,
}

enum Phase {
    Login {
        handshake: Box<Handshake>,
        deadline: Instant,
    },
    Ready,
}

/// A connection. See the module for its invariants.
pub struct Conn<W> {
    options: Options,
    phase: Phase,
    in_flight: InFlight<Waiter<W>>,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// Bytes that the transport has accepted so far.
    taken: u64,
    last_input: Instant,
    ping: Bytes,
}

impl<W> Conn<W> {
    /// A connection whose transport is up; the first login command waits in
    /// [`output`](Self::output). Login must be done by `login_deadline`.
    pub fn new(options: Options, login: Login, login_deadline: Instant, now: Instant) -> Self {
        let mut output = BytesMut::with_capacity(1024);
        let handshake = Box::new(Handshake::start(login, &mut output));
        Conn {
            phase: Phase::Login {
                handshake,
                deadline: login_deadline,
            },
            in_flight: InFlight::new(),
            decoder: Decoder::new(options.limits),
            input: BytesMut::with_capacity(4096),
            output,
            taken: 0,
            last_input: now,
            ping: resp::constant(&[b"PING"]),
            options,
        }
    }

    /// Login is done.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Nothing has come since `HELLO` was written. A server that closes the connection now may be a
    /// proxy that doesn't know it: see [`Login::skip_hello`].
    pub fn awaits_hello(&self) -> bool {
        match &self.phase {
            Phase::Login { handshake, .. } => handshake.awaits_hello() && self.input.is_empty(),
            Phase::Ready => false,
        }
    }

    /// Unanswered commands.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Writes a command with `encode` straight into the output buffer, and queues its waiter.
    ///
    /// `encode` must write exactly one command.
    ///
    /// # Errors
    /// Gives the waiter back, and nothing was written, when the connection is not ready or its
    /// window is full.
    pub fn enqueue(
        &mut self,
        waiter: W,
        now: Instant,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (W, Refusal)> {
        self.enqueue_within(self.options.max_in_flight, waiter, now, encode)
    }

    /// Like [`enqueue`](Self::enqueue), with a few reserved places beyond the window: for the
    /// owner's questions about the server itself, which matter most while there is too much to do.
    ///
    /// # Errors
    /// As for [`enqueue`](Self::enqueue).
    pub fn enqueue_reserved(
        &mut self,
        waiter: W,
        now: Instant,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (W, Refusal)> {
        let window = self.options.max_in_flight.saturating_add(RESERVED);
        self.enqueue_within(window, waiter, now, encode)
    }

    fn enqueue_within(
        &mut self,
        window: usize,
        waiter: W,
        now: Instant,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (W, Refusal)> {
        if !self.is_ready() {
            return Err((waiter, Refusal::NotReady));
        }
        if self.in_flight.len() >= window || self.output.len() >= MAX_OUTPUT {
            return Err((waiter, Refusal::Full));
        }
        self.push(Waiter::Owner(waiter), now, encode);
        Ok(())
    }

    fn push(&mut self, waiter: Waiter<W>, now: Instant, encode: impl FnOnce(&mut BytesMut)) {
        let start = self.taken + self.output.len() as u64;
        encode(&mut self.output);
        self.in_flight.push(waiter, start, now);
    }

    /// The bytes to send next.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The transport has accepted the first `n` bytes of [`output`](Self::output).
    pub fn sent(&mut self, n: usize) {
        self.output.advance(n);
        self.taken += n as u64;
        if self.output.is_empty() {
            // Starts over at the front of the allocation instead of creeping through it.
            self.output.clear();
        }
    }

    /// Where received bytes are appended, with room for more. [`on_input`](Self::on_input) takes
    /// them in.
    pub fn input(&mut self) -> &mut BytesMut {
        const ROOM: usize = 4096;
        let missing = self.decoder.missing(self.input.len());
        self.input.reserve(missing.max(ROOM));
        &mut self.input
    }

    /// Takes in what was appended to [`input`](Self::input), reply by reply, and tells `owner` of
    /// each. A reply borrows from the input buffer and is gone when `owner` returns.
    ///
    /// # Errors
    /// The connection must be [ended](Self::end): malformed or stray reply, failed login, or
    /// `owner`'s verdict.
    pub fn on_input(
        &mut self,
        now: Instant,
        mut owner: impl FnMut(Event<'_, W>) -> Verdict,
    ) -> Result<(), Error> {
        self.last_input = now;
        let mut done = 0;
        let mut finish = None;
        while let Some(decoded) = self
            .decoder
            .decode(&self.input[done..])
            .map_err(Error::Malformed)?
        {
            done += decoded.len;
            let event = match &mut self.phase {
                _ if decoded.reply.is_push() => Event::Push(decoded.reply),
                Phase::Login { .. } if !self.output.is_empty() => return Err(stray(decoded.reply)),
                Phase::Login { handshake, .. } => {
                    match handshake.on_reply(decoded.reply, &mut self.output)? {
                        Progress::Continue => continue,
                        Progress::Done(greeting) => {
                            self.phase = Phase::Ready;
                            Event::Ready(greeting)
                        }
                    }
                }
                Phase::Ready => {
                    let queued = self.taken + self.output.len() as u64;
                    match self.in_flight.pop(self.taken, queued) {
                        None => return Err(stray(decoded.reply)),
                        // Any answer to it, an error too, shows that the server is alive.
                        Some(Waiter::Ping) => continue,
                        Some(Waiter::Owner(waiter)) => Event::Reply(waiter, decoded.reply),
                    }
                }
            };
            match owner(event) {
                Verdict::Continue => {}
                Verdict::Close(error) => return Err(error),
                // The first is the cause; those behind it say the same.
                Verdict::Finish(error) => drop(finish.get_or_insert(error)),
            }
        }
        self.input.advance(done);
        finish.map_or(Ok(()), Err)
    }

    /// When [`on_timer`](Self::on_timer) must be called next, unless something else happens before:
    /// the one timer of this connection.
    pub fn deadline(&self) -> Instant {
        match (&self.phase, self.in_flight.oldest()) {
            (Phase::Login { deadline, .. }, _) => *deadline,
            (Phase::Ready, Some(since)) => since + self.options.stall_timeout,
            (Phase::Ready, None) => self.last_input + self.options.ping_interval,
        }
    }

    /// Acts on the passing of time: nothing before [`deadline`](Self::deadline).
    ///
    /// # Errors
    /// The connection must be [ended](Self::end): login or the oldest command took too long.
    pub fn on_timer(&mut self, now: Instant) -> Result<(), Error> {
        if now < self.deadline() {
            return Ok(());
        }
        match (&self.phase, self.in_flight.oldest()) {
            (Phase::Login { .. }, _) => Err(Error::LoginTimeout),
            (Phase::Ready, Some(since)) => Err(Error::Stalled(now - since)),
            (Phase::Ready, None) => {
                let ping = self.ping.clone();
                self.push(Waiter::Ping, now, |out| out.extend_from_slice(&ping));
                Ok(())
            }
        }
    }

    /// Ends the connection: every waiter, oldest first, with what became of its command.
    pub fn end(mut self) -> impl Iterator<Item = (W, Fate)> {
        let waiters: Vec<_> = self.in_flight.drain(self.taken).collect();
        waiters
            .into_iter()
            .filter_map(|(waiter, fate)| match waiter {
                Waiter::Owner(waiter) => Some((waiter, fate)),
                Waiter::Ping => None,
            })
    }
}

fn stray(reply: Reply<'_>) -> Error {
    match reply.plain() {
        // It is how a server says, for example, that its number of clients is reached.
        Reply::Error(text) => Error::Stray(Some(printable(text))),
        _ => Error::Stray(None),
    }
}

/// A server's words, fit for a log line: at most 200 bytes, control characters replaced.
pub fn printable(text: &[u8]) -> String {
    const LONGEST: usize = 200;
    let end = text.len().min(LONGEST);
    let words = String::from_utf8_lossy(&text[..end]);
    words
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
