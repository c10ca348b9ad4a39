//! The links to the master: waiting for one, and what their replies say.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::confirmations::Confirmations;
use super::probe;
use super::waiter::Answer;
use super::write_error::WriteError;
use super::write_reply::{
    CountReply, HsetReply, NoNumber, WaitReply, WriteWaiter, number, verdict,
};
use crate::metrics::{self, ErrorLabel};
use crate::net::{Link, Owner, Set};
use crate::turn::Turn;
use redis_api_wire::conn::{Error, Fate, Greeting, Verdict};
use redis_api_wire::resp::{self, Reply};

/// Writes that may wait for a connection at the same moment, per worker. Each holds a request and
/// its connection for up to the request timeout; more are refused at once.
pub(super) const MAX_WAITING: usize = 1024;

/// See the module. Of one worker.
pub struct Master {
    address: String,
    set: Set<WriteWaiter>,
    turn: Rc<Turn>,
    pub(super) metrics: Arc<metrics::Worker>,
    confirmations: Confirmations,
    /// Rings when a connection becomes ready.
    ready: Notify,
    waiting: Cell<usize>,
    cpu_refused: Cell<bool>,
    /// Why there is no connection.
    trouble: RefCell<String>,
}

impl Master {
    /// The master at `address`, by these links.
    pub fn new(
        address: String,
        set: Set<WriteWaiter>,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        Master {
            trouble: RefCell::new(format!("master {address}: not connected yet")),
            confirmations: Confirmations::new(set.links().len()),
            address,
            set,
            turn,
            metrics,
            ready: Notify::new(),
            waiting: Cell::new(0),
            cpu_refused: Cell::new(false),
        }
    }

    /// Why there is no connection to the master, in words.
    pub fn trouble(&self) -> String {
        if self.confirmations.any() {
            return "all wait for replicas to confirm earlier writes (--write-wait)".to_owned();
        }
        self.trouble.borrow().clone()
    }

    /// Asks for the CPU time the master has used: a courtesy. Whoever may not know is not asked
    /// again before the next login.
    pub fn ask_cpu(&self) {
        if self.cpu_refused.get() {
            return;
        }
        if let Some(link) = self.set.pick() {
            let command = |out: &mut _| resp::command(out, &[b"INFO", b"cpu"]);
            let _ = link.enqueue(WriteWaiter::Cpu, self.now(), command);
        }
    }

    /// A connected link, waiting for one if need be.
    pub async fn link(&self) -> Result<Rc<Link<WriteWaiter>>, WriteError> {
        if let Some(link) = self.set.pick() {
            return Ok(link.clone());
        }
        if self.waiting.get() >= MAX_WAITING {
            return Err(WriteError::Shed);
        }
        let _seat = Seat::take(&self.waiting);
        loop {
            // Asked for before the look, so that a connection made in between rings.
            let ready = self.ready.notified();
            if let Some(link) = self.set.pick() {
                return Ok(link.clone());
            }
            ready.await;
        }
    }

    /// How many connections there may be. Each that answers `READONLY` ends by it, so that whoever
    /// is refused so many times has met all that were made before the failover.
    pub fn links(&self) -> usize {
        self.set.links().len()
    }

    /// The `WAIT`s under way.
    pub fn confirmations(&self) -> &Confirmations {
        &self.confirmations
    }

    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.turn.now()
    }

    /// The number in a reply to `command`, and whether the connection may go on.
    fn number(&self, reply: Reply<'_>, what: &'static str) -> (Result<i64, NoNumber>, Verdict) {
        let number = number(reply);
        let verdict = match &number {
            Ok(_) => Verdict::Continue,
            Err(NoNumber::Refused { kind, text }) => {
                self.metrics.write.error(ErrorLabel::of(*kind));
                verdict(*kind, text)
            }
            Err(NoNumber::WrongType) => Verdict::Close(Error::Confused(what)),
        };
        (number, verdict)
    }

    fn on_ready(&self, link: &Link<WriteWaiter>, greeting: Greeting) {
        let (address, protocol) = (&self.address, greeting.protocol);
        tracing::info!(role = "write", %address, "write {address}: connected (RESP{protocol})");
        link.admit(true);
        self.cpu_refused.set(false);
        self.confirmations.changed(link);
        self.ready.notify_waiters();
    }

    fn on_reply(&self, link: &Link<WriteWaiter>, waiter: WriteWaiter, reply: Reply<'_>) -> Verdict {
        match waiter {
            WriteWaiter::Hset(answer) => self.on_hset(&answer, reply),
            WriteWaiter::Wait(answer) => self.on_wait(link, &answer, reply),
            WriteWaiter::Count(answer) => self.on_count(&answer, reply),
            WriteWaiter::Cpu => {
                self.on_cpu(reply);
                Verdict::Continue
            }
        }
    }

    fn on_down(&self, link: &Link<WriteWaiter>, why: &str) {
        self.confirmations.changed(link);
        *self.trouble.borrow_mut() = format!("master {}: {why}", self.address);
    }

    fn on_hset(&self, answer: &Answer<HsetReply>, reply: Reply<'_>) -> Verdict {
        let (number, verdict) = self.number(reply, "the reply to HSET is not a number");
        answer.resolve(match number {
            Ok(_) => HsetReply::Done,
            Err(NoNumber::Refused { kind, text }) => HsetReply::Refused { kind, text },
            Err(NoNumber::WrongType) => HsetReply::WrongReply,
        });
        verdict
    }

    fn on_count(&self, answer: &Answer<CountReply>, reply: Reply<'_>) -> Verdict {
        let what = "the reply to HEXISTS or HLEN is not a number";
        let (number, verdict) = self.number(reply, what);
        answer.resolve(match number {
            Ok(number) => CountReply::Is(number),
            Err(NoNumber::Refused { kind, text }) => CountReply::Refused { kind, text },
            Err(NoNumber::WrongType) => CountReply::WrongReply,
        });
        verdict
    }

    fn on_wait(
        &self,
        link: &Link<WriteWaiter>,
        answer: &Answer<WaitReply>,
        reply: Reply<'_>,
    ) -> Verdict {
        let what = "the reply to WAIT is not a number";
        let (number, verdict) = self.number(reply, what);
        if verdict == Verdict::Continue {
            self.confirmations.answered(link);
            // Before those who have waited: they ask again, and would close it to the others.
            self.ready.notify_waiters();
        }
        answer.resolve(match number {
            Ok(replicas) => WaitReply::Confirmed(u64::try_from(replicas).unwrap_or(0)),
            Err(NoNumber::Refused { kind, text }) => WaitReply::Refused { kind, text },
            Err(NoNumber::WrongType) => WaitReply::Lost(what.to_owned()),
        });
        verdict
    }

    fn on_cpu(&self, reply: Reply<'_>) {
        let cpu = reply.as_text().and_then(probe::cpu);
        self.cpu_refused.set(cpu.is_none());
        if let Some(cpu) = cpu {
            self.metrics.write.cpu_micros.set(cpu.as_micros() as u64);
        }
    }
}

/// Takes in what arrives from the master. Weak, since the drivers that hold it belong to the set
/// that the master's links are.
pub struct MasterOwner(pub Weak<Master>);

impl Owner<WriteWaiter> for MasterOwner {
    fn ready(&self, link: &Rc<Link<WriteWaiter>>, greeting: Greeting) {
        if let Some(master) = self.0.upgrade() {
            master.on_ready(link, greeting);
        }
    }

    fn reply(&self, link: &Link<WriteWaiter>, waiter: WriteWaiter, reply: Reply<'_>) -> Verdict {
        let master = self.0.upgrade();
        master.map_or(Verdict::Continue, |master| {
            master.on_reply(link, waiter, reply)
        })
    }

    fn push(&self, _link: &Link<WriteWaiter>, _push: Reply<'_>) {}

    fn lost(&self, waiter: WriteWaiter, fate: Fate, error: &Error) {
        waiter.lose(fate, error);
    }

    fn down(&self, link: &Link<WriteWaiter>, why: &str) {
        if let Some(master) = self.0.upgrade() {
            master.on_down(link, why);
        }
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
