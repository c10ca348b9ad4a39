//! Bodies kept in memory by field, in bounded memory: the data structure behind tracked reads.
//!
//! Invariants:
//! - Nothing is found that was stored before the last [`clear`](Cache::clear), or longer ago than
//!   the maximum age.
//! - The field behind `/` has a place of its own, and fields that are not there have their own
//!   room: neither many fields nor made-up names evict it, and made-up names evict no field that is
//!   there.
//! - A lookup allocates nothing.
//!
//! Clearing is a count: what it makes invalid is replaced or evicted later, so that it costs the
//! same with a million fields as with one. Eviction is [CLOCK]: a hand goes round, spares once what
//! was read since it came by, and takes the first that was not.
//!
//! [CLOCK]: https://en.wikipedia.org/wiki/Page_replacement_algorithm#Clock

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::CURRENT;

/// What an entry costs beside its bytes: its slot, its place in the map, the counts of both shared
/// allocations, rounded up.
const OVERHEAD: usize = 256;

/// The part of the memory that fields which are not there may take: one in so many bytes.
const ABSENT_PART: usize = 64;

/// What is kept of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedField {
    /// `None`: the field is not there.
    pub body: Option<Bytes>,
    /// The index of the link that it was read by.
    pub link: usize,
}

struct Entry {
    kept: CachedField,
    generation: u64,
    at: Instant,
}

/// See the module. Of one worker.
pub struct Cache {
    max_age: Option<Duration>,
    generation: u64,
    current: Option<Entry>,
    present: Clock,
    absent: Clock,
}

impl Cache {
    /// An empty one of about `max_bytes` at most. Nothing is found after `max_age`.
    pub fn new(max_bytes: usize, max_age: Option<Duration>) -> Self {
        let absent = max_bytes / ABSENT_PART;
        Cache {
            max_age,
            generation: 0,
            current: None,
            present: Clock::new(max_bytes - absent),
            absent: Clock::new(absent),
        }
    }

    /// How often it was cleared: what a reply was asked for before a clearing must not be stored
    /// after it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// From now on nothing that is stored here is found.
    pub fn clear(&mut self) {
        self.generation += 1;
    }

    /// What is known of this field.
    pub fn get(&mut self, field: &[u8], now: Instant) -> Option<&CachedField> {
        let (generation, max_age) = (self.generation, self.max_age);
        let valid = |entry: &Entry| {
            let age = now.saturating_duration_since(entry.at);
            entry.generation == generation && max_age.is_none_or(|max| age < max)
        };
        let entry = if field == CURRENT.as_bytes() {
            self.current.as_ref().filter(|entry| valid(entry))
        } else {
            let present = self.present.get(field, valid);
            present.or_else(|| self.absent.get(field, valid))
        };
        entry.map(|entry| &entry.kept)
    }

    /// Keeps what was read of this field, if nothing was cleared since `generation`.
    pub fn store(&mut self, field: &[u8], kept: CachedField, generation: u64, now: Instant) {
        if generation != self.generation {
            return;
        }
        let entry = Entry {
            kept,
            generation,
            at: now,
        };
        if field == CURRENT.as_bytes() {
            self.current = Some(entry);
        } else if entry.kept.body.is_some() {
            self.present.store(field, entry, generation);
        } else {
            self.absent.store(field, entry, generation);
        }
    }

    /// How many entries there are, those that are found no more included.
    pub fn entries(&self) -> usize {
        usize::from(self.current.is_some()) + self.present.slots.len() + self.absent.slots.len()
    }
}

/// One field in a [`Clock`].
struct Slot {
    field: Rc<[u8]>,
    entry: Entry,
    /// It was read since the hand came by.
    read: bool,
}

impl Slot {
    fn cost(&self) -> usize {
        OVERHEAD + self.field.len() + self.entry.kept.body.as_ref().map_or(0, Bytes::len)
    }
}

/// Entries by field, in at most so many bytes.
struct Clock {
    max_bytes: usize,
    bytes: usize,
    slots: Vec<Slot>,
    /// Where in `slots` each field is.
    places: HashMap<Rc<[u8]>, usize>,
    hand: usize,
}

impl Clock {
    fn new(max_bytes: usize) -> Self {
        Clock {
            max_bytes,
            bytes: 0,
            slots: Vec::new(),
            places: HashMap::new(),
            hand: 0,
        }
    }

    fn get(&mut self, field: &[u8], valid: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let slot = self.slots.get_mut(*self.places.get(field)?)?;
        if !valid(&slot.entry) {
            return None;
        }
        slot.read = true;
        Some(&slot.entry)
    }

    fn store(&mut self, field: &[u8], entry: Entry, generation: u64) {
        if let Some(slot) = self
            .places
            .get(field)
            .and_then(|at| self.slots.get_mut(*at))
        {
            self.bytes -= slot.cost();
            slot.entry = entry;
            self.bytes += slot.cost();
            self.evict(0, generation);
            return;
        }
        let field: Rc<[u8]> = field.into();
        let slot = Slot {
            field: field.clone(),
            entry,
            read: false,
        };
        let cost = slot.cost();
        if cost > self.max_bytes {
            return;
        }
        let was = self.slots.len();
        self.evict(cost, generation);
        self.bytes += cost;
        let last = self.slots.len();
        self.slots.push(slot);
        self.places.insert(field, last);
        // In the place of what gave way, behind the hand: at the end it would be next.
        if last < was && self.hand < last {
            self.slots.swap(self.hand, last);
            self.note_place(self.hand);
            self.note_place(last);
            self.hand += 1;
        }
    }

    /// The slot at `at` is there now.
    fn note_place(&mut self, at: usize) {
        if let Some(slot) = self.slots.get(at)
            && let Some(place) = self.places.get_mut(&slot.field)
        {
            *place = at;
        }
    }

    /// Makes room for so many bytes. What was stored before `generation` is not spared.
    fn evict(&mut self, room: usize, generation: u64) {
        while self.bytes + room > self.max_bytes && !self.slots.is_empty() {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            let spared = slot.read && slot.entry.generation == generation;
            if spared {
                slot.read = false;
                self.hand += 1;
                continue;
            }
            let gone = self.slots.swap_remove(self.hand);
            self.bytes -= gone.cost();
            self.places.remove(&gone.field);
            // The last one is where the hand is now.
            self.note_place(self.hand);
        }
    }
}

#[cfg(test)]
mod tests;
