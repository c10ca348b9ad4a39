//! The commands that were written and not yet answered, in the order in which they were written.

use std::collections::VecDeque;
use std::time::Instant;

use super::error::Fate;

/// One awaited reply.
struct Slot<W> {
    waiter: W,
    /// Offset in the connection's output of the command's first byte.
    start: u64,
    since: Instant,
}

/// A queue of awaited replies. Replies carry no name: the n-th reply is the n-th command's, so a
/// slot leaves only by the front, and a waiter that gave up keeps its place.
pub struct InFlight<W> {
    slots: VecDeque<Slot<W>>,
}

impl<W> InFlight<W> {
    pub fn new() -> Self {
        InFlight {
            slots: VecDeque::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn push(&mut self, waiter: W, start: u64, since: Instant) {
        self.slots.push_back(Slot {
            waiter,
            start,
            since,
        });
    }

    /// The waiter of the next reply, when the transport has taken `taken` of the `queued` bytes of
    /// output. `None` if nobody waits, or the oldest command has not left whole: no server can have
    /// answered it.
    pub fn pop(&mut self, taken: u64, queued: u64) -> Option<W> {
        // Commands follow each other without a gap. Mostly all has left, and the next need not be
        // looked at.
        if taken < queued && self.slots.get(1).map_or(queued, |next| next.start) > taken {
            return None;
        }
        self.slots.pop_front().map(|slot| slot.waiter)
    }

    /// Since when the next reply is awaited.
    pub fn oldest(&self) -> Option<Instant> {
        self.slots.front().map(|slot| slot.since)
    }

    /// All waiters, oldest first, with what became of their commands, when the transport had taken
    /// `taken` bytes of the output.
    pub fn drain(&mut self, taken: u64) -> impl Iterator<Item = (W, Fate)> + '_ {
        self.slots.drain(..).map(move |slot| {
            let fate = if slot.start < taken {
                Fate::Unknown
            } else {
                Fate::NotSent
            };
            (slot.waiter, fate)
        })
    }
}
