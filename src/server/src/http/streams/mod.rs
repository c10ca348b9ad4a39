//! Reads that go on: a client is told of each new body instead of asking for it.
//!
//! One task of a worker reads for all of its streams, each set of fields once ([`Topic`]), as soon
//! as the replica tells that something has changed (tracked reads), and each second in any case.
//! What it finds is kept as one event, that all streams send when they can; a stream that could not
//! meanwhile sends the newest.
//!
//! Invariants:
//! - Without streams there is no work: the task sleeps until the first one opens.
//! - Reads of one topic are made one after the other, so no stream goes back to an older body.
//! - Streams are woken a few at a time, and sockets looked at in between: a change for 10,000 of
//!   them does not hold up who just asks.
//!
//! Non-goals: a queue, or what has happened while a client was away. A value is what it is now.

mod accept;
mod event;
mod head;
mod limit;
mod stream;
mod topic;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hyper::header::{HeaderMap, HeaderName};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout_at;

use super::caching::Tag;
use super::response::ResponseDraft;
use crate::metrics;
use crate::store::{ReadError, Reads, Seen};
use crate::turn::Turn;
use stream::Stream;
use topic::{Topic, Whom};

pub use head::head;
pub use limit::Places;
pub use stream::Opening;
pub use topic::Key;

/// Seconds between two heartbeats of a stream. Proxies close what has been silent for 60 s, and
/// some for 30.
const BEAT: u64 = 15;

/// Between two rounds of reads at least: changes that come faster are told of together.
const GAP: Duration = Duration::from_millis(5);

/// Streams that are woken between two looks at the sockets: some 300 µs of work.
const AT_ONCE: usize = 64;

/// Topics that are read together.
const TOGETHER: usize = 64;

/// Topics of one worker. Each costs a read for each change, so they are bounded even where streams
/// are not.
const MAX_TOPICS: usize = 1024;

const TOO_MANY_SETS: &str = "too many different sets of fields are being streamed; ask for one \
                             that other clients stream, or poll";

/// After so long at least a client is to come again whose stream has ended, and by so much later at
/// most: random, so that those which ended together don't come together.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_SPREAD: Duration = Duration::from_secs(2);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The streams of one worker.
pub struct Streams {
    places: Places,
    /// How long a read may take.
    timeout: Duration,
    reads: Rc<Reads>,
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
    random: RefCell<Rng>,
    topics: RefCell<HashMap<Key, Rc<Topic>>>,
    /// A stream waits for its first answer.
    opened: Notify,
}

impl Streams {
    /// Streams of what these read, while there are places. A read may take as long as `timeout`;
    /// `random` spreads when clients come again.
    pub fn new(
        places: Places,
        timeout: Duration,
        reads: Rc<Reads>,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
        random: Rng,
    ) -> Rc<Self> {
        Rc::new(Streams {
            places,
            timeout,
            reads,
            turn,
            metrics,
            random: RefCell::new(random),
            topics: RefCell::default(),
            opened: Notify::new(),
        })
    }

    /// Whether there are streams at all.
    pub fn are_any(&self) -> bool {
        self.places.is_any()
    }

    /// Whether a read with these headers asks for a stream, and there are any.
    pub fn are_wanted(&self, headers: &HeaderMap) -> bool {
        self.places.is_any() && accept::wants_events(headers)
    }

    /// Opens a stream for a request with these headers, of HTTP/1.1 or older.
    ///
    /// # Errors
    /// The answer where there are too many.
    pub fn open(
        self: &Rc<Self>,
        key: Key,
        headers: &HeaderMap,
        chunked: bool,
    ) -> Result<Opening, ResponseDraft> {
        let refused = |why| {
            self.metrics.streams_refused.add(1);
            ResponseDraft::too_many(why, None)
        };
        let place = self.places.take();
        let place = place.ok_or_else(|| refused("too many streams are open (--max-streams)"))?;
        let topic = self.topic(key);
        let topic = topic.ok_or_else(|| refused(TOO_MANY_SETS))?;
        let had = headers.get(LAST_EVENT_ID);
        let had = had.and_then(|id| Tag::parse(id.as_bytes()));
        let stream = Stream::new(self.clone(), topic, place);
        self.opened.notify_one();
        Ok(Opening::new(stream, had, chunked))
    }

    fn topic(&self, key: Key) -> Option<Rc<Topic>> {
        let mut topics = self.topics.borrow_mut();
        if let Some(topic) = topics.get(&key) {
            return Some(topic.clone());
        }
        if topics.len() >= MAX_TOPICS {
            return None;
        }
        let topic = Rc::new(Topic::new(key.clone(), self.turn.now()));
        topics.insert(key, topic.clone());
        Some(topic)
    }

    /// Nobody is left there.
    fn forget(&self, topic: &Topic) {
        self.topics.borrow_mut().remove(&topic.key);
    }

    /// How often the heart of the stream in this seat has beaten: each has its own second.
    fn beats(&self, seat: usize) -> u64 {
        let ticks = self.reads.watch().seen().ticks;
        ticks.wrapping_add(seat as u64 % BEAT) / BEAT
    }

    fn retry(&self) -> Duration {
        RETRY + RETRY_SPREAD.mul_f64(self.random.borrow_mut().f64())
    }

    /// The task that reads for all streams; never returns. Spawn it once.
    pub async fn run(self: Rc<Self>) {
        let watch = self.reads.watch().clone();
        let mut seen = watch.seen();
        loop {
            if self.topics.borrow().is_empty() {
                watch.set_watched(false);
                self.opened.notified().await;
                watch.set_watched(true);
            } else {
                tokio::select! {
                    () = watch.after(seen) => {}
                    () = self.opened.notified() => {}
                }
            }
            let began = self.turn.clock();
            let before = std::mem::replace(&mut seen, watch.seen());
            self.round(before, seen).await;
            self.turn.sleep_until(began + GAP).await;
        }
    }

    /// Reads what may have changed, and tells of it.
    async fn round(&self, before: Seen, seen: Seen) {
        let topics: Vec<_> = self.topics.borrow().values().cloned().collect();
        let is_due = |topic: &&Rc<Topic>| before != seen || topic.due.get();
        let due: Vec<_> = topics.iter().filter(is_due).collect();
        let until = self.turn.now() + self.timeout;
        let mut told = Vec::new();
        for some in due.chunks(TOGETHER) {
            self.read(some, until, &mut told).await;
        }
        for (topic, whom) in told {
            self.wake(&topic, whom).await;
        }
        // More than one, if the last round took long.
        let passed = seen.ticks.wrapping_sub(before.ticks).min(BEAT);
        for tick in (0..passed).map(|ago| seen.ticks.wrapping_sub(ago)) {
            let remainder = (BEAT - tick % BEAT) % BEAT;
            for topic in &topics {
                let of = BEAT;
                self.wake(topic, Whom::Turn { remainder, of }).await;
            }
        }
    }

    /// Reads these together, and adds to `told` who is to be told of what has come.
    async fn read(&self, topics: &[&Rc<Topic>], until: Instant, told: &mut Vec<(Rc<Topic>, Whom)>) {
        let now = self.turn.now();
        let begin = |topic: &&Rc<Topic>| topic.begin(&self.reads, now);
        // Each is sent now.
        let reads: Vec<_> = topics.iter().map(begin).collect();
        for (topic, read) in topics.iter().zip(reads) {
            let (outcome, answer) = match timeout_at(until.into(), read).await {
                Ok(Ok(found)) => {
                    let answer = ResponseDraft::found(found.body, topic.key.absent());
                    (Ok(found.age), answer)
                }
                Ok(Err(error)) => {
                    let answer = ResponseDraft::read_error(&error, self.reads.trouble());
                    (Err(error), answer)
                }
                Err(_) => {
                    let answer = ResponseDraft::read_timeout(self.timeout);
                    (Err(ReadError::Lost), answer)
                }
            };
            if topic.learn(outcome, answer, self.turn.now()) {
                told.push((Rc::clone(topic), Whom::All));
            } else if topic.is_opening() {
                told.push((Rc::clone(topic), Whom::Opening));
            }
        }
    }

    /// Wakes them, with time for others in between.
    async fn wake(&self, topic: &Topic, whom: Whom) {
        let mut from = Some(0);
        while let Some(at) = from {
            from = topic.wake(at, AT_ONCE, whom);
            if from.is_some() {
                yield_now().await;
            }
        }
    }
}
