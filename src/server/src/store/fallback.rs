//! The master as a second choice: reads go there while no replica may answer, if that is asked for.
//!
//! Invariants:
//! - It has a connection of its own, so that reads and writes don't wait for each other.
//! - Commands that await its answer are limited: pods that all lose their replicas at once must not
//!   take the master down with them. What exceeds the limit is shed.
//! - It is asked only while no replica may answer; the replica's return ends that at once.
//!
//! It is judged like a server at the read address, by itself and by the loosest rule: a failover may
//! have left a replica there that was never in sync.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::found::{ReadError, Waiter};
use super::probe::{ReadRole, Rule};
use super::reads::Reads;
use super::source::{Place, Source};
use crate::metrics;
use crate::net::{Link, Owner, Set};
use redis_api_wire::conn::{Error, Fate, Greeting, Verdict};
use redis_api_wire::resp::Reply;

/// See the module. Of one worker.
pub struct Fallback {
    source: Source,
    reads: Rc<Reads>,
    metrics: Arc<metrics::Worker>,
    in_flight: Cell<usize>,
    max_in_flight: usize,
}

impl Fallback {
    /// A second choice for `reads`, without links as yet: [`start`](Self::start) makes them. At most
    /// `max_in_flight` read commands await its answer at the same moment.
    pub fn new(
        reads: Rc<Reads>,
        address: String,
        max_in_flight: usize,
        metrics: Arc<metrics::Worker>,
    ) -> Rc<Self> {
        let rule = Rule {
            role: ReadRole::Any,
            max_stale: None,
        };
        Rc::new(Fallback {
            source: Source::new(Place::Fallback, address, rule, metrics.clone()),
            reads,
            metrics,
            in_flight: Cell::new(0),
            max_in_flight,
        })
    }

    /// Gives it its links, and itself to the reads. Later calls do nothing.
    pub fn start(self: &Rc<Self>, set: Set<Waiter>) {
        self.source.start(set);
        self.reads.fall_back_to(self.clone());
    }

    /// What the reads ask of it.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The link that a read is sent to now. Every command sent is to be told by
    /// [`sent`](Self::sent).
    pub(super) fn pick(&self) -> Result<&Rc<Link<Waiter>>, ReadError> {
        let link = self.source.pick().ok_or(ReadError::Unavailable)?;
        if self.in_flight.get() >= self.max_in_flight {
            return Err(ReadError::FallbackFull);
        }
        Ok(link)
    }

    /// A read command was sent.
    pub(super) fn sent(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// The command of this waiter awaits no answer any more.
    fn ended(&self, waiter: &Waiter) {
        let (Waiter::Field(answer) | Waiter::Many(answer, _)) = waiter else {
            return;
        };
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.metrics.fallback_reads.add(answer.waiters() as u64);
    }
}

impl Owner<Waiter> for Fallback {
    fn ready(&self, link: &Rc<Link<Waiter>>, greeting: Greeting) {
        self.reads.on_ready(&self.source, link, greeting);
    }

    fn reply(&self, link: &Link<Waiter>, waiter: Waiter, reply: Reply<'_>) -> Verdict {
        self.ended(&waiter);
        self.reads.on_reply(&self.source, link, waiter, reply)
    }

    fn push(&self, _link: &Link<Waiter>, _push: Reply<'_>) {}

    fn lost(&self, waiter: Waiter, _fate: Fate, _error: &Error) {
        self.ended(&waiter);
        waiter.lose();
    }

    fn down(&self, _link: &Link<Waiter>, why: &str) {
        self.source.down(why);
    }
}
