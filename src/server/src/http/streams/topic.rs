//! What one set of fields has come to, and who is to be told.
//!
//! Invariants: what is known here is of reads that were made one after the other, so that it never
//! goes back to what was before. Only the newest body is kept.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

use super::super::caching::Tag;
use super::super::response::ResponseDraft;
use super::super::route::{Absent, Names};
use super::event;
use crate::store::{ErrorKind, Read, ReadError, Reads};

/// What is read for a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// `/`
    Current,
    /// `/FIELD`
    Field(Box<[u8]>),
    /// `/?fields=…`
    Many(Names),
}

impl Key {
    /// Reads it.
    pub fn read(&self, reads: &Rc<Reads>, now: Instant) -> Read {
        match self {
            Key::Current => reads.current(now),
            Key::Field(name) => reads.field(name, now),
            Key::Many(names) => reads.many(names.clone(), now),
        }
    }

    /// What it means that there is nothing.
    pub fn absent(&self) -> Absent {
        match self {
            Key::Current => Absent::NotInitialised,
            Key::Field(_) | Key::Many(_) => Absent::NotFound,
        }
    }
}

/// An outage shorter than this is not worth a word: a connection that was lost is soon replaced.
const SHORT: Duration = Duration::from_secs(1);

/// One stream's place.
#[derive(Default)]
struct Seat {
    task: Option<Waker>,
    /// It waits for a first answer.
    opening: bool,
}

/// See the module.
pub struct Topic {
    pub key: Key,
    pub known: RefCell<Known>,
    seats: RefCell<Slab<Seat>>,
    /// How many of them wait for a first answer.
    opening: Cell<usize>,
    /// Reads that were begun.
    begun: Cell<u64>,
    /// It is to be read in the next round.
    pub due: Cell<bool>,
}

/// What the last reads have brought.
pub struct Known {
    /// Reads that have ended.
    ended: u64,
    /// What a plain read would have been answered.
    answer: Option<ResponseDraft>,
    /// The number of the body, from 1; 0: none is known.
    pub number: u64,
    pub tag: Option<Tag>,
    /// The event that tells of it.
    pub event: Bytes,
    /// When the data were last known to be right.
    as_of: Instant,
    /// They are older than usual, or can't be read.
    pub is_stale: bool,
    /// The body of an answer that says why.
    error: Option<Bytes>,
}

impl Known {
    /// Adds what is to be said while the data are stale.
    pub fn put_stale(&self, now: Instant, out: &mut Vec<u8>) {
        let age = now.saturating_duration_since(self.as_of);
        event::stale(age, self.error.as_deref(), out);
    }

    fn learn_body(&mut self, body: &[u8]) -> bool {
        let tag = Tag::of(body);
        let is_new = self.tag != Some(tag);
        if is_new {
            self.tag = Some(tag);
            self.number += 1;
            self.event = event::body(tag, body).into();
        }
        is_new
    }
}

/// Who is to be woken.
#[derive(Clone, Copy, Debug)]
pub enum Whom {
    All,
    /// Those who wait for a first answer.
    Opening,
    /// Those whose place has this remainder.
    Turn {
        remainder: u64,
        of: u64,
    },
}

impl Topic {
    pub fn new(key: Key, now: Instant) -> Self {
        Topic {
            key,
            known: RefCell::new(Known {
                ended: 0,
                answer: None,
                number: 0,
                tag: None,
                event: Bytes::new(),
                as_of: now,
                is_stale: false,
                error: None,
            }),
            seats: RefCell::default(),
            opening: Cell::new(0),
            begun: Cell::new(0),
            due: Cell::new(true),
        }
    }

    /// Begins to read.
    pub fn begin(&self, reads: &Rc<Reads>, now: Instant) -> Read {
        self.due.set(false);
        self.begun.set(self.begun.get() + 1);
        self.key.read(reads, now)
    }

    /// How many reads were begun.
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// The answer to a read that was begun after `begun` others.
    pub fn answer(&self, begun: u64) -> Option<ResponseDraft> {
        let known = self.known.borrow();
        known.answer.clone().filter(|_| known.ended > begun)
    }

    /// Takes in how a read ended: with data of some age, or without; `answer` is what it would have
    /// been answered. Whether there is news.
    pub fn learn(
        &self,
        outcome: Result<Option<u32>, ReadError>,
        answer: ResponseDraft,
        now: Instant,
    ) -> bool {
        let known = &mut *self.known.borrow_mut();
        known.ended = self.begun.get();
        let was_stale = known.is_stale;
        let mut news = false;
        match outcome {
            Ok(age) => {
                let age_then = Duration::from_secs(age.unwrap_or(0).into());
                known.as_of = now.checked_sub(age_then).unwrap_or(now);
                known.is_stale = age.is_some();
                known.error = None;
                news = known.learn_body(answer.body());
            }
            Err(error) if is_of_data(&error) => {
                known.as_of = now;
                known.is_stale = false;
                known.error = None;
                news = known.learn_body(answer.body());
            }
            Err(_) => {
                let age = now.saturating_duration_since(known.as_of);
                known.is_stale |= age >= SHORT;
                known.error = Some(answer.body().clone());
            }
        }
        known.answer = Some(answer);
        news || was_stale != known.is_stale
    }

    /// Takes a place, in which the first answer is waited for.
    pub fn sit(&self) -> usize {
        self.opening.set(self.opening.get() + 1);
        self.due.set(true);
        self.seats.borrow_mut().insert(Seat {
            task: None,
            opening: true,
        })
    }

    /// The first answer has come to this place.
    pub fn opened(&self, seat: usize) {
        if let Some(seat) = self.seats.borrow_mut().get_mut(seat)
            && std::mem::take(&mut seat.opening)
        {
            self.opening.set(self.opening.get() - 1);
        }
    }

    /// Leaves a place; whether nobody is left.
    pub fn leave(&self, seat: usize) -> bool {
        self.opened(seat);
        let mut seats = self.seats.borrow_mut();
        seats.try_remove(seat);
        seats.is_empty()
    }

    /// Who sits there is to be woken by `waker`.
    pub fn listen(&self, seat: usize, waker: &Waker) {
        if let Some(seat) = self.seats.borrow_mut().get_mut(seat)
            && !seat.task.as_ref().is_some_and(|task| task.will_wake(waker))
        {
            seat.task = Some(waker.clone());
        }
    }

    /// Whether a first answer is waited for.
    pub fn is_opening(&self) -> bool {
        self.opening.get() > 0
    }

    /// Wakes up to `most` from this place on; where to go on, if there may be more.
    pub fn wake(&self, from: usize, most: usize, whom: Whom) -> Option<usize> {
        let seats = self.seats.borrow();
        let mut woken = 0;
        for at in from..seats.capacity() {
            let Some(seat) = seats.get(at) else { continue };
            let is_meant = match whom {
                Whom::All => true,
                Whom::Opening => seat.opening,
                Whom::Turn { remainder, of } => at as u64 % of == remainder,
            };
            if !is_meant {
                continue;
            }
            if woken == most {
                return Some(at);
            }
            if let Some(task) = &seat.task {
                task.wake_by_ref();
                woken += 1;
            }
        }
        None
    }
}

/// Whether it is what is stored that is wrong: then a plain read's answer, which says so, is what
/// there is to tell.
fn is_of_data(error: &ReadError) -> bool {
    match error {
        ReadError::Unfit { .. } => true,
        ReadError::Refused { kind, .. } => *kind == ErrorKind::WrongType,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;
    use crate::store::Unfit;

    fn ok(body: &'static str) -> ResponseDraft {
        ResponseDraft::ok(Bytes::from_static(body.as_bytes()))
    }

    fn error() -> ResponseDraft {
        ResponseDraft::read_error(&ReadError::Lost, None)
    }

    fn topic() -> (Topic, Instant) {
        let start = Instant::now();
        (Topic::new(Key::Current, start), start)
    }

    fn said(topic: &Topic, now: Instant) -> String {
        let mut out = Vec::new();
        topic.known.borrow().put_stale(now, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn the_same_body_is_no_news() {
        let (topic, now) = topic();
        assert!(topic.learn(Ok(None), ok("1"), now));
        assert!(!topic.learn(Ok(None), ok("1"), now));
        assert!(topic.learn(Ok(None), ok("2"), now));
        assert!(topic.learn(Ok(None), ok("1"), now));
        assert_eq!(topic.known.borrow().number, 3);
        let unfit = || ReadError::Unfit {
            field: None,
            why: Unfit::NotANumber,
        };
        let answer = || ResponseDraft::read_error(&unfit(), None);
        assert!(topic.learn(Err(unfit()), answer(), now));
        assert!(!topic.learn(Err(unfit()), answer(), now));
        assert!(!topic.known.borrow().is_stale);
    }

    #[test]
    fn data_are_stale_when_they_are_old_or_have_been_out_of_reach_for_a_while() {
        let (topic, start) = topic();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert!(topic.learn(Ok(None), ok("1"), at(0.0)));
        assert!(
            !topic.learn(Err(ReadError::Lost), error(), at(0.9)),
            "a moment"
        );
        assert!(!topic.learn(Ok(None), ok("1"), at(1.0)));
        assert!(!topic.learn(Err(ReadError::Lost), error(), at(1.5)));
        assert!(topic.learn(Err(ReadError::Lost), error(), at(2.0)));
        assert!(
            !topic.learn(Err(ReadError::Lost), error(), at(3.0)),
            "known"
        );
        let text = said(&topic, at(5.2));
        let expected = "event: stale\ndata: {\"age\":4,\"error\":\"the connection to the replica \
                        was lost\"}\n\n";
        assert_eq!(text, expected);
        assert!(topic.learn(Ok(None), ok("1"), at(6.0)), "fresh again");
        assert!(topic.learn(Ok(Some(12)), ok("1"), at(20.0)));
        assert_eq!(
            said(&topic, at(21.0)),
            "event: stale\ndata: {\"age\":13}\n\n"
        );
        assert!(!topic.learn(Err(ReadError::Lost), error(), at(22.0)));
        assert!(topic.known.borrow().is_stale, "as before");
        assert!(topic.learn(Ok(None), ok("1"), at(23.0)));
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn some_are_woken_at_a_time_and_none_is_left_out() {
        let (topic, _) = topic();
        let counts: Vec<_> = (0..100).map(|_| Arc::new(Count::default())).collect();
        let seats: Vec<_> = counts.iter().map(|_| topic.sit()).collect();
        for (seat, count) in seats.iter().zip(&counts) {
            topic.listen(*seat, &Waker::from(count.clone()));
        }
        for seat in &seats[..50] {
            topic.opened(*seat);
        }
        assert!(!topic.leave(seats[7]));
        let woken = || -> Vec<_> {
            counts
                .iter()
                .map(|count| count.0.swap(0, Relaxed))
                .collect()
        };
        let wake = |whom| {
            let (mut from, mut steps) = (Some(0), 0);
            while let Some(at) = from {
                from = topic.wake(at, 10, whom);
                assert!(counts.iter().all(|count| count.0.load(Relaxed) <= 1));
                steps += 1;
            }
            steps
        };
        assert_eq!(wake(Whom::All), 10);
        assert_eq!(woken().iter().sum::<usize>(), 99);
        wake(Whom::Opening);
        assert_eq!(woken()[50..], [1; 50]);
        for remainder in 0..15 {
            wake(Whom::Turn { remainder, of: 15 });
        }
        let all = woken();
        assert_eq!((all[7], all.iter().sum::<usize>()), (0, 99));
        assert!(topic.is_opening());
        for seat in seats.iter().filter(|seat| **seat != 7) {
            topic.leave(*seat);
        }
        assert!(!topic.is_opening());
    }
}
