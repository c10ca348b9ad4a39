//! The master as a second choice: reads go there while no replica is usable, if that is asked for.
//!
//! Invariants:
//! - It has a connection of its own, so that reads and writes don't wait for each other.
//! - Commands that await its reply are limited: pods that all lose their replicas at once must not
//!   take the master down with them. What exceeds the limit is shed.
//! - It is asked only while no replica is usable; the replica's return ends that at once.
//!
//! It is judged like a server at the read address, by itself and by the loosest rule: a failover
//! may have left a replica there that was never in sync.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::found::{ReadError, ReadWaiter};
use super::key::HashName;
use super::probe::{ReadRole, Rule};
use super::source::{ReadServer, Source};
use crate::metrics;
use crate::net::{Link, Set};

/// See the module. Of one worker.
pub struct Fallback {
    source: Source,
    metrics: Arc<metrics::Worker>,
    in_flight: Cell<usize>,
    max_in_flight: usize,
}

impl Fallback {
    /// The master at `address`, by these links; `probed` are the hash and the field that it
    /// is judged by. At most `max_in_flight` read commands await its reply at the same moment.
    pub fn new(
        address: String,
        set: Set<ReadWaiter>,
        probed: (&HashName, &[u8]),
        max_in_flight: usize,
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        let rule = Rule {
            role: ReadRole::Any,
            max_stale: None,
        };
        Fallback {
            source: Source::new(
                ReadServer::Fallback,
                address,
                rule,
                set,
                probed,
                metrics.clone(),
            ),
            metrics,
            in_flight: Cell::new(0),
            max_in_flight,
        }
    }

    /// What the reads ask of it.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The link that a read is sent to now. Every command sent is to be told by
    /// [`sent`](Self::sent).
    pub(super) fn pick(&self) -> Result<&Rc<Link<ReadWaiter>>, ReadError> {
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

    /// The command of this waiter awaits no reply any more.
    pub(super) fn ended(&self, waiter: &ReadWaiter) {
        let (ReadWaiter::Field(answer)
        | ReadWaiter::Tracked(answer, _)
        | ReadWaiter::Many(answer, ..)) = waiter
        else {
            return;
        };
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.metrics.fallback_reads.add(answer.waiters() as u64);
    }
}
