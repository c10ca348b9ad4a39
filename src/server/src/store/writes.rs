//! Writes to the master, each with an honest outcome.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::confirm::{Confirmations, Confirmed};
use super::fields::Count;
use super::waiter::Answer;
use super::{HASH, probe};
use crate::metrics::{self, ErrorLabel};
use crate::net::{Link, Owner, Set};
use crate::turn::Turn;
use redis_api_wire::conn::{Error, Fate, Greeting, Refusal, Verdict, printable};
use redis_api_wire::resp::{self, ErrorKind, Reply};

/// Writes that may wait for a connection at the same moment, per worker. Each holds a request and
/// its connection for up to the request timeout; more are refused at once.
const MAX_WAITING: usize = 1024;

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// Replicas that must have a write before it is a success; 0: the master's word is enough.
    pub replicas: u64,
}

/// Why a write did not succeed, and so what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Too many writes wait already. Not sent.
    Shed,
    /// The master answered with an error. Not done.
    Refused { kind: ErrorKind, text: String },
    /// The connection ended between sending and reply: it may be done or not.
    Lost(String),
    /// A reply of another type than the command's. Who knows.
    WrongReply,
    /// Done on the master, but too few replicas had it in time.
    TooFew {
        confirmed: u64,
        wanted: u64,
        /// How long they were waited for.
        within: Duration,
    },
    /// Done on the master, which did not let us wait for replicas.
    WaitRefused { kind: ErrorKind, text: String },
    /// Done on the master; why it can't be told which replicas have it.
    Unconfirmed(String),
    /// The hash has this many fields or more, and the write would add one. Not sent.
    NoRoom(u64),
    /// The master answered with an error when asked for room. Not sent.
    NotChecked { kind: ErrorKind, text: String },
    /// The same, with a reply of another type. Not sent.
    WrongCount,
}

/// How far a write has come; read when its deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Waits for a connection; certainly not sent.
    Waiting,
    /// Waits for word whether the hash has room for it; certainly not sent.
    Checking,
    /// Handed to a connection: its fate is unknown until the reply.
    Sent,
    /// Was refused with `READONLY`, certainly not done, and waits to be sent once more.
    ReadOnly,
    /// Done on the master, and waits for replicas; how many had it when they were last counted.
    Written { confirmed: Option<u64>, wanted: u64 },
}

/// What the connection makes of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Refused { kind: ErrorKind, text: String },
    NotSent,
    Lost(String),
    WrongReply,
}

/// Who waits for a reply on a write link.
pub enum Waiter {
    Write(Rc<Answer<Outcome>>),
    /// All whose writes one `WAIT` covers.
    Wait(Rc<Answer<Confirmed>>),
    /// `HEXISTS` or `HLEN`.
    Count(Rc<Answer<Count>>),
    /// `INFO cpu`.
    Cpu,
}

/// The write side of one worker.
pub struct Writes {
    options: WriteOptions,
    address: String,
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
    set: OnceCell<Set<Waiter>>,
    confirmations: OnceCell<Confirmations>,
    /// Rings when a connection becomes ready.
    ready: Notify,
    waiting: Cell<usize>,
    cpu_refused: Cell<bool>,
    /// Why there is no connection.
    trouble: RefCell<String>,
}

impl Writes {
    /// The write side, without links as yet: [`start`](Self::start) makes them.
    pub fn new(
        options: WriteOptions,
        address: String,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Rc<Self> {
        Rc::new(Writes {
            options,
            trouble: RefCell::new(format!("master {address}: not connected yet")),
            address,
            turn,
            metrics,
            set: OnceCell::new(),
            confirmations: OnceCell::new(),
            ready: Notify::new(),
            waiting: Cell::new(0),
            cpu_refused: Cell::new(false),
        })
    }

    /// Gives it its links. Later calls do nothing.
    pub fn start(&self, set: Set<Waiter>) {
        let confirmations = Confirmations::new(set.links().len());
        let _ = self.confirmations.set(confirmations);
        let _ = self.set.set(set);
    }

    /// Why there is no connection to the master, in words.
    pub fn trouble(&self) -> String {
        if self.confirmations().any() {
            return "all wait for replicas to confirm earlier writes (--write-wait)".to_owned();
        }
        self.trouble.borrow().clone()
    }

    /// Stores `value` in a field of the hash; `Ok` only after the master said that it is done, and
    /// so many replicas that they have it as [`WriteOptions`] asks for.
    ///
    /// Waits for a connection as long as the caller lets it, and for replicas until a moment before
    /// `deadline`. To end it then is the caller's task, who is told by `report` how far the write
    /// has come.
    ///
    /// # Errors
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    /// Dropping it abandons the reply, not a command that was handed to a connection.
    pub async fn set(
        &self,
        field: &[u8],
        value: &[u8],
        deadline: Instant,
        report: &impl Fn(Progress),
    ) -> Result<(), WriteError> {
        let mut refusals = 0;
        report(Progress::Waiting);
        loop {
            let link = self.link().await?;
            let connection = self.confirmations().connection(&link);
            let answer = Answer::new(1);
            let waiter = Waiter::Write(answer.clone());
            let sent = link.enqueue(waiter, self.turn.now(), |out| {
                resp::command(out, &[b"HSET", HASH.as_bytes(), field, value]);
            });
            match sent {
                Ok(()) => {}
                Err((_, Refusal::NotReady)) => {
                    link.admit(false);
                    continue;
                }
                Err((_, Refusal::Full)) => return Err(WriteError::Shed),
            }
            report(Progress::Sent);
            match answer.wait().await {
                Outcome::Done if self.options.replicas == 0 => return Ok(()),
                Outcome::Done => return self.confirm(&link, connection, deadline, report).await,
                Outcome::NotSent => report(Progress::Waiting),
                Outcome::Refused {
                    kind: ErrorKind::ReadOnly,
                    ..
                } if refusals < self.links() => {
                    refusals += 1;
                    report(Progress::ReadOnly);
                }
                Outcome::Refused { kind, text } => {
                    return Err(WriteError::Refused { kind, text });
                }
                Outcome::Lost(why) => return Err(WriteError::Lost(why)),
                Outcome::WrongReply => return Err(WriteError::WrongReply),
            }
        }
    }

    /// Asks the master for the CPU time it has used: a courtesy. Whoever may not know is not asked
    /// again before the next login.
    pub fn ask_cpu(&self) {
        if self.cpu_refused.get() {
            return;
        }
        if let Some(link) = self.pick() {
            let command = |out: &mut _| resp::command(out, &[b"INFO", b"cpu"]);
            let _ = link.enqueue(Waiter::Cpu, self.turn.now(), command);
        }
    }

    pub(super) fn replicas(&self) -> u64 {
        self.options.replicas
    }

    pub(super) fn confirmations(&self) -> &Confirmations {
        self.confirmations.get_or_init(Confirmations::default)
    }

    /// A link takes writes: wakes those who wait for one.
    pub(super) fn wake_waiting(&self) {
        self.ready.notify_waiters();
    }

    /// A connected link, waiting for one if need be.
    pub(super) async fn link(&self) -> Result<Rc<Link<Waiter>>, WriteError> {
        if let Some(link) = self.pick() {
            return Ok(link);
        }
        if self.waiting.get() >= MAX_WAITING {
            return Err(WriteError::Shed);
        }
        let _seat = Seat::take(&self.waiting);
        loop {
            // Asked for before the look, so that a connection made in between rings.
            let ready = self.ready.notified();
            if let Some(link) = self.pick() {
                return Ok(link);
            }
            ready.await;
        }
    }

    /// How many connections there may be. Each that answers `READONLY` ends by it, so that whoever is
    /// refused so many times has met all that were made before the failover.
    fn links(&self) -> usize {
        self.set.get().map_or(0, |set| set.links().len())
    }

    fn pick(&self) -> Option<Rc<Link<Waiter>>> {
        self.set.get().and_then(Set::pick).cloned()
    }

    pub(super) fn now(&self) -> Instant {
        self.turn.now()
    }

    /// Counts an error reply.
    pub(super) fn count_error(&self, kind: ErrorKind) {
        self.metrics.write.error(ErrorLabel::of(kind));
    }

    fn outcome(&self, reply: Reply<'_>) -> (Outcome, Verdict) {
        match reply.plain() {
            Reply::Integer(_) => (Outcome::Done, Verdict::Continue),
            Reply::Error(text) => {
                let kind = ErrorKind::of(text);
                let text = printable(text);
                self.count_error(kind);
                let refused = Outcome::Refused {
                    kind,
                    text: text.clone(),
                };
                (refused, self.verdict(kind, text))
            }
            // Not ours, perhaps: then neither is any that follows.
            _ => {
                let confused = Error::Confused("HSET was answered with no number");
                (Outcome::WrongReply, Verdict::Close(confused))
            }
        }
    }

    /// What an error reply means for its connection.
    ///
    /// `READONLY`: a failover made this server a replica; a new connection resolves the name again.
    /// `NOAUTH`: only a new login can help.
    pub(super) fn verdict(&self, kind: ErrorKind, text: String) -> Verdict {
        match kind {
            ErrorKind::ReadOnly | ErrorKind::NoAuth => Verdict::Finish(Error::Unfit { kind, text }),
            _ => Verdict::Continue,
        }
    }
}

impl Owner<Waiter> for Writes {
    fn ready(&self, link: &Rc<Link<Waiter>>, greeting: Greeting) {
        let (address, protocol) = (&self.address, greeting.protocol);
        tracing::info!(role = "write", %address, "write {address}: connected (RESP{protocol})");
        link.admit(true);
        self.cpu_refused.set(false);
        self.confirmations().changed(link);
        self.wake_waiting();
    }

    fn reply(&self, link: &Link<Waiter>, waiter: Waiter, reply: Reply<'_>) -> Verdict {
        match waiter {
            Waiter::Write(answer) => {
                let (outcome, verdict) = self.outcome(reply);
                answer.resolve(outcome);
                verdict
            }
            Waiter::Wait(answer) => self.on_wait(link, &answer, reply),
            Waiter::Count(answer) => {
                let (count, verdict) = self.count(reply);
                answer.resolve(count);
                verdict
            }
            Waiter::Cpu => {
                let cpu = reply.as_text().and_then(probe::cpu);
                self.cpu_refused.set(cpu.is_none());
                if let Some(cpu) = cpu {
                    self.metrics.write.cpu_micros.set(cpu.as_micros() as u64);
                }
                Verdict::Continue
            }
        }
    }

    fn push(&self, _link: &Link<Waiter>, _push: Reply<'_>) {}

    fn lost(&self, waiter: Waiter, fate: Fate, error: &Error) {
        match waiter {
            Waiter::Write(answer) => answer.resolve(match fate {
                Fate::NotSent => Outcome::NotSent,
                Fate::Unknown => Outcome::Lost(error.to_string()),
            }),
            Waiter::Wait(answer) => answer.resolve(Confirmed::Lost(error.to_string())),
            Waiter::Count(answer) => answer.resolve(Count::Lost),
            Waiter::Cpu => {}
        }
    }

    fn down(&self, link: &Link<Waiter>, why: &str) {
        self.confirmations().changed(link);
        *self.trouble.borrow_mut() = format!("master {}: {why}", self.address);
    }
}

/// One of the places to wait in; given back when dropped.
struct Seat<'a>(&'a Cell<usize>);

impl<'a> Seat<'a> {
    fn take(taken: &'a Cell<usize>) -> Self {
        taken.set(taken.get() + 1);
        Seat(taken)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests;
