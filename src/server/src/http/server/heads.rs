//! Heads that were parsed before, and what they ask for: a client mostly sends the same bytes again
//! and again, and bytes that were parsed once mean the same the next time.
//!
//! A head is kept only with what the service made of it after hyper had parsed it, and found again
//! only by all of its bytes, but for the values of headers that tell one request from another and
//! mean nothing here ([`FREE`]): load generators, proxies and meshes number all that they send. So
//! nothing here reads HTTP, but where such a value ends.
//!
//! Invariants: at most twice [`SETS`] times [`WAYS`] heads are kept, each of at most [`MAX_KEPT`]
//! bytes. Clients that never repeat themselves can't push out what others ask for: what was found
//! since it was last in danger stays.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

/// Longest head that is kept, in bytes.
const MAX_KEPT: usize = 1024;

const SETS: usize = 16;

/// Heads of the same length and beginning that are told apart by the rest.
const WAYS: usize = 4;

/// One of so many unknown heads is kept: a client that changes its heads each time costs next to
/// nothing, and one that repeats itself is soon known.
const EVERY: u8 = 8;

/// Headers whose values differ from request to request and matter neither to hyper nor to the
/// service: numbers, trace identities (W3C Trace Context, B3, the clouds' own), and the client
/// behind a proxy. One that the service comes to read must not stay here.
const FREE: [&str; 14] = [
    "x-vegeta-seq",
    "x-request-id",
    "x-correlation-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "x-forwarded-for",
    "x-real-ip",
];

/// What heads with such values are looked for by: mostly the path and the host.
const PREFIX: usize = 32;

/// A head and what it asks for.
pub struct Head<P> {
    bytes: Box<[u8]>,
    /// Where the values are that may be others.
    free: Box<[Range<usize>]>,
    pub plan: P,
    /// It says that its request is the last one of its connection.
    pub is_last: bool,
}

impl<P> Head<P> {
    /// Of a request that hyper has parsed, with all of its bytes.
    pub fn new(bytes: Box<[u8]>, plan: P, is_last: bool) -> Self {
        Head {
            free: free_values(&bytes),
            bytes,
            plan,
            is_last,
        }
    }

    /// Whether `bytes` are this head, but for the values that are free.
    fn is_like(&self, bytes: &[u8]) -> bool {
        let (mut known, mut rest) = (0, bytes);
        for value in &self.free {
            let Some(after) = rest.strip_prefix(&self.bytes[known..value.start]) else {
                return false;
            };
            // What follows is then seen to be the line's end.
            let length = after.iter().take_while(|byte| is_of_value(**byte)).count();
            rest = &after[length..];
            known = value.end;
        }
        *rest == self.bytes[known..]
    }
}

/// The values of the head's lines whose names are of [`FREE`], with the blanks before them.
fn free_values(head: &[u8]) -> Box<[Range<usize>]> {
    let (mut at, mut free) = (0, Vec::new());
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or_default();
        if let Some(colon) = text.iter().position(|byte| *byte == b':')
            && FREE
                .iter()
                .any(|name| text[..colon].eq_ignore_ascii_case(name.as_bytes()))
        {
            free.push(at + colon + 1..at + text.len());
        }
        at += line.len();
    }
    free.into()
}

/// Whether a byte may stand in the value of a header (RFC 9110, section 5.5).
fn is_of_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The heads that one worker knows.
pub struct Heads<P> {
    /// Those that are always the same.
    sets: [RefCell<Set<P>>; SETS],
    /// Those with values that are free.
    likes: [RefCell<Set<P>>; SETS],
    /// There are any of those.
    has_likes: Cell<bool>,
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

impl<P> Set<P> {
    fn new() -> RefCell<Self> {
        RefCell::new(Set {
            ways: std::array::from_fn(|_| None),
            hand: 0,
        })
    }

    fn find(&mut self, is_it: impl Fn(&Head<P>) -> bool) -> Option<Rc<Head<P>>> {
        let mut ways = self.ways.iter_mut().flatten();
        let way = ways.find(|way| is_it(&way.head))?;
        way.used = true;
        Some(way.head.clone())
    }

    /// Keeps a head, if there is room or another one was not found lately.
    fn keep(&mut self, head: Head<P>) {
        let free = self.ways.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            let hand = self.hand;
            self.hand = (hand + 1) % WAYS;
            hand
        });
        let way = &mut self.ways[at];
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

impl<P> Heads<P> {
    pub fn new() -> Self {
        Heads {
            sets: std::array::from_fn(|_| Set::new()),
            likes: std::array::from_fn(|_| Set::new()),
            has_likes: Cell::new(false),
            unknown: Cell::new(0),
        }
    }

    /// The head that is all of `bytes`, but for values that are free.
    pub fn find(&self, bytes: &[u8]) -> Option<Rc<Head<P>>> {
        let mut set = self.sets[place(bytes)].borrow_mut();
        if let Some(head) = set.find(|head| *head.bytes == *bytes) {
            return Some(head);
        }
        if !self.has_likes.get() || bytes.len() > MAX_KEPT {
            return None;
        }
        let mut set = self.likes[place_of_like(bytes)?].borrow_mut();
        set.find(|head| head.is_like(bytes))
    }

    /// Whether this head, which is not known, is to be kept once it is parsed.
    pub fn wants(&self, bytes: &[u8]) -> bool {
        let count = self.unknown.get();
        self.unknown.set((count + 1) % EVERY);
        count == 0 && bytes.len() <= MAX_KEPT
    }

    /// Keeps a head, if there is room or another one was not found lately.
    pub fn keep(&self, head: Head<P>) {
        let Some(first) = head.free.first() else {
            self.sets[place(&head.bytes)].borrow_mut().keep(head);
            return;
        };
        if first.start >= PREFIX
            && let Some(place) = place_of_like(&head.bytes)
        {
            self.likes[place].borrow_mut().keep(head);
            self.has_likes.set(true);
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

/// The set for a head with free values: by what they can't be in.
fn place_of_like(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.first_chunk::<PREFIX>()?.as_chunks::<8>();
    let mixed = words.iter().fold(0, |mixed: u64, word| {
        (mixed.rotate_left(5) ^ u64::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    Some((mixed >> 60) as usize % SETS)
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
        heads.keep(Head::new(head(field), plan, false));
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
    /// With a number and a trace of its own.
    fn numbered(number: &str, trace: &str) -> Vec<u8> {
        let lines = [
            "GET /EUR HTTP/1.1",
            "Host: some.where:8080",
            &format!("X-Vegeta-Seq:{number}"),
            "Accept: */*",
            &format!("Traceparent:{trace}"),
            "",
            "",
        ];
        lines.join("\r\n").into_bytes()
    }

    #[test]
    fn a_head_is_found_whatever_its_number_is() {
        let heads = Heads::new();
        let known = numbered(" 1", " 00-ab-cd-01");
        heads.keep(Head::new(known.clone().into(), 7, false));
        let plan = |bytes: &[u8]| heads.find(bytes).map(|head| head.plan);
        for (number, trace) in [
            (" 1", " 00-ab-cd-01"),
            (" 123456", " 00-ffff-cd-01"),
            ("", ""),
            ("\t7 ", " \u{e9}: a"),
            (" Host: b", " Connection: close"),
        ] {
            assert_eq!(plan(&numbered(number, trace)), Some(7), "{number} {trace}");
        }
        for (number, trace) in [
            (" 1\r\nHost: b", ""),
            (" 1\nHost: b", ""),
            (" 1\rHost: b", ""),
            (" 1\r\n b", ""),
            (" 1\0", ""),
            (" 1\u{7f}", ""),
            ("", "\r\nConnection: close"),
            ("", "\r\n\r\nGET / HTTP/1.1"),
            (&"1".repeat(MAX_KEPT), ""),
        ] {
            assert_eq!(plan(&numbered(number, trace)), None, "{number:?} {trace:?}");
        }
    }

    #[test]
    fn every_other_byte_must_be_the_same() {
        let heads = Heads::new();
        let known = numbered(" 1", " 2");
        let free = free_values(&known);
        assert_eq!(free.len(), 2);
        heads.keep(Head::new(known.clone().into(), (), false));
        for cut in 0..known.len() {
            assert!(heads.find(&known[..cut]).is_none(), "{cut}");
        }
        assert!(heads.find(&[&known[..], b"G"].concat()).is_none());
        for at in 0..known.len() {
            let mut other = known.clone();
            other[at] ^= 0x40;
            let is_free = free.iter().any(|value| value.contains(&at));
            assert_eq!(heads.find(&other).is_some(), is_free, "{at}");
        }
    }

    #[test]
    fn a_value_that_comes_early_is_not_free() {
        let heads = Heads::new();
        let early = |number| format!("GET / HTTP/1.1\r\nB3: {number}\r\nHost: some.where\r\n\r\n");
        heads.keep(Head::new(early(1).into_bytes().into(), (), false));
        assert!(heads.find(early(1).as_bytes()).is_none());
        assert!(heads.find(early(2).as_bytes()).is_none());
    }
}
