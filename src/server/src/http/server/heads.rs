//! Heads that were parsed before, and what they ask for: a client mostly sends the same bytes again
//! and again, and bytes that were parsed once mean the same the next time.
//!
//! A head is kept only with what the service made of it after hyper had parsed it, and found again
//! only by all of its bytes. So nothing here reads HTTP.
//!
//! Invariants: at most [`SETS`] times [`WAYS`] heads are kept, each of at most [`MAX_KEPT`] bytes.
//! Clients that never repeat themselves can't push out what others ask for: what was found since it
//! was last in danger stays.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Longest head that is kept, in bytes.
const MAX_KEPT: usize = 1024;

const SETS: usize = 16;

/// Heads of the same length and beginning that are told apart by the rest.
const WAYS: usize = 4;

/// One of so many unknown heads is kept: a client that changes its heads each time costs next to
/// nothing, and one that repeats itself is soon known.
const EVERY: u8 = 8;

/// A head and what it asks for.
pub struct Head<P> {
    pub bytes: Box<[u8]>,
    pub plan: P,
    /// It says that its request is the last one of its connection.
    pub is_last: bool,
}

/// The heads that one worker knows.
pub struct Heads<P> {
    sets: [RefCell<Set<P>>; SETS],
    unknown: Cell<u8>,
}

struct Set<P> {
    ways: [Option<Way<P>>; WAYS],
    /// The way that is in danger next.
    hand: usize,
}

struct Way<P> {
    head: Rc<Head<P>>,
    /// It was found since the hand last passed.
    used: bool,
}

impl<P> Heads<P> {
    pub fn new() -> Self {
        Heads {
            sets: std::array::from_fn(|_| {
                RefCell::new(Set {
                    ways: std::array::from_fn(|_| None),
                    hand: 0,
                })
            }),
            unknown: Cell::new(0),
        }
    }

    /// The head that is all of `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Option<Rc<Head<P>>> {
        let mut set = self.sets[place(bytes)].borrow_mut();
        let mut ways = set.ways.iter_mut().flatten();
        let way = ways.find(|way| *way.head.bytes == *bytes)?;
        way.used = true;
        Some(way.head.clone())
    }

    /// Whether this head, which is not known, is to be kept once it is parsed.
    pub fn wants(&self, bytes: &[u8]) -> bool {
        let count = self.unknown.get();
        self.unknown.set((count + 1) % EVERY);
        count == 0 && bytes.len() <= MAX_KEPT
    }

    /// Keeps a head, if there is room or another one was not found lately.
    pub fn keep(&self, head: Head<P>) {
        let mut set = self.sets[place(&head.bytes)].borrow_mut();
        let free = set.ways.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            let hand = set.hand;
            set.hand = (hand + 1) % WAYS;
            hand
        });
        let way = &mut set.ways[at];
        match way {
            Some(way) if way.used => way.used = false,
            _ => {
                *way = Some(Way {
                    head: Rc::new(head),
                    used: false,
                });
            }
        }
    }
}

/// The set for a head: by its length and the eight bytes that a path begins in, `GET /` left out.
fn place(bytes: &[u8]) -> usize {
    let path = bytes.get(5..13).and_then(|path| path.try_into().ok());
    let path = path.map_or(0, u64::from_ne_bytes);
    let mixed = (path ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 60) as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(field: &str) -> Box<[u8]> {
        format!("GET /{field} HTTP/1.1\r\nHost: a\r\n\r\n")
            .into_bytes()
            .into()
    }

    fn keep(heads: &Heads<u32>, field: &str, plan: u32) {
        heads.keep(Head {
            bytes: head(field),
            plan,
            is_last: false,
        });
    }

    fn plan(heads: &Heads<u32>, field: &str) -> Option<u32> {
        heads.find(&head(field)).map(|head| head.plan)
    }

    #[test]
    fn a_head_is_found_by_all_of_its_bytes() {
        let heads = Heads::new();
        keep(&heads, "", 1);
        keep(&heads, "EUR", 2);
        keep(&heads, "EUS", 3);
        assert_eq!(plan(&heads, ""), Some(1));
        assert_eq!(plan(&heads, "EUR"), Some(2));
        assert_eq!(plan(&heads, "EUS"), Some(3));
        assert_eq!(plan(&heads, "EUT"), None);
        let whole = head("EUR");
        for cut in 0..whole.len() {
            assert!(heads.find(&whole[..cut]).is_none(), "{cut}");
        }
        let more = [&whole[..], b"G"].concat();
        assert!(heads.find(&more).is_none());
        for at in 0..whole.len() {
            let mut other = whole.to_vec();
            other[at] ^= 0x20;
            assert!(heads.find(&other).is_none(), "{at}");
        }
    }

    #[test]
    fn heads_that_come_once_do_not_push_out_what_is_asked_for() {
        let heads = Heads::new();
        keep(&heads, "EUR", 0);
        for number in 0..10_000 {
            // The same length and beginning as each other: one set for all of them.
            keep(&heads, &format!("AAAAAAAA{number:05}"), number);
            keep(&heads, &number.to_string(), number);
            assert_eq!(plan(&heads, "EUR"), Some(0), "{number}");
        }
        let kept = heads.sets.iter().map(|set| {
            let set = set.borrow();
            set.ways.iter().flatten().count()
        });
        assert!(kept.sum::<usize>() <= SETS * WAYS);
    }

    #[test]
    fn one_of_eight_unknown_heads_is_wanted_and_no_long_one() {
        let heads = Heads::<u32>::new();
        let wanted = (0..80).filter(|_| heads.wants(&head("EUR"))).count();
        assert_eq!(wanted, 10);
        assert!(!heads.wants(&[b'a'; MAX_KEPT + 1]));
    }
}
