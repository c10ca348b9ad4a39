//! Tracked reads: values that the server has promised to tell the changes of.
//!
//! `CLIENT TRACKING` makes the server send a push when a key changes that was read on the same
//! connection. <https://redis.io/docs/latest/develop/reference/client-side-caching/>
//!
//! What is kept is dropped as a whole, since Redis tracks keys and all fields are one key: by a
//! push about the hash or about all keys, with the connection, when a look is not answered before
//! the next (each second), when the server stops being usable, when its link to the master goes
//! down or comes back, and by age.
//!
//! A link that goes down and comes back between two looks shows in nothing that `INFO` says (Redis
//! 7.0). It shows in `CLIENT LIST TYPE master`, where the replica's own end of the link has another
//! port then. Who may not ask that does not see it, and loses nothing that is known of: what was
//! missed comes with the link, and a push for each change; after a full synchronisation, one for
//! all keys.
//!
//! Invariants:
//! - A reply is kept only if nothing was dropped since its command was written, and only from a
//!   connection that is tracked.
//! - Where the hash changes more often than it is read, tracking costs more than it saves: then it
//!   is turned off for a while, unless somebody waits for the changes themselves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{Cache, CachedField};
use super::found::ReadWaiter;
use super::key::HashName;
use super::watch::Watch;
use crate::metrics;
use crate::net::Link;
use redis_api_wire::conn::printable;
use redis_api_wire::resp::{self, Reply};

/// Fewest pushes of a second at which it matters what they cost: below, it is less than a hundredth
/// of a core.
const MANY_PUSHES: u64 = 10;

/// Looks, one each second, for which tracking stays off where it does not pay. To try it costs at
/// most a push for each read, for the one second to the next look: a thirtieth more.
pub(super) const PAUSE: u32 = 30;

/// What may be kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedOptions {
    /// Memory at most, of one worker.
    pub max_bytes: usize,
    /// A value is read again after this long, whatever the server says; `None`: never.
    pub max_age: Option<Duration>,
}

/// What is known of one link.
#[derive(Default)]
struct LinkTracking {
    /// Its connection is tracked.
    on: Cell<bool>,
    /// It was looked at, and has not answered.
    unanswered: Cell<bool>,
    /// By which connection its server follows the master, in the server's words.
    upstream: RefCell<Option<Box<[u8]>>>,
    /// The server does not say.
    silent: Cell<bool>,
}

/// See the module. Of one worker.
pub struct Tracking {
    hash: HashName,
    cache: RefCell<Cache>,
    links: Box<[LinkTracking]>,
    address: String,
    metrics: Arc<metrics::Worker>,
    watch: Rc<Watch>,
    /// Looks until tracking is tried again.
    pause: Cell<u32>,
    /// Answers from the cache, and pushes about the hash, since the last look.
    hits: Cell<u64>,
    pushes: Cell<u64>,
    /// That the server can't track has been said.
    warned: Cell<bool>,
}

impl Tracking {
    /// For this hash, over so many links to the server at `address`. `watch` is told of changes.
    pub fn new(
        options: TrackedOptions,
        hash: HashName,
        links: usize,
        address: String,
        metrics: Arc<metrics::Worker>,
        watch: Rc<Watch>,
    ) -> Self {
        Tracking {
            hash,
            cache: RefCell::new(Cache::new(options.max_bytes, options.max_age)),
            links: (0..links).map(|_| LinkTracking::default()).collect(),
            address,
            metrics,
            watch,
            pause: Cell::new(0),
            hits: Cell::new(0),
            pushes: Cell::new(0),
            warned: Cell::new(false),
        }
    }

    fn of(&self, link: &Link<ReadWaiter>) -> Option<&LinkTracking> {
        self.links.get(link.index())
    }

    /// Some connection is tracked: what is kept may be asked for.
    pub fn is_on(&self) -> bool {
        self.links.iter().any(|link| link.on.get())
    }

    /// A connection was made, which speaks this version of RESP. To be told before anything is sent
    /// on it.
    pub fn connected(&self, link: &Link<ReadWaiter>, protocol: u8, now: Instant) {
        if protocol < 3 {
            self.warn("the server does not speak RESP3");
        } else if self.pause.get() == 0 {
            ask(link, true, now);
            self.ask_upstream(link, now);
        }
    }

    /// Asks by which connection the server follows its master, unless it has refused to say. An
    /// empty list is an answer too: a master's.
    fn ask_upstream(&self, link: &Link<ReadWaiter>, now: Instant) {
        if self.of(link).is_some_and(|state| !state.silent.get()) {
            let _ = link.enqueue_reserved(ReadWaiter::Upstream, now, |out| {
                resp::command(out, &[b"CLIENT", b"LIST", b"TYPE", b"master"]);
            });
        }
    }

    /// The answer to that.
    pub fn on_upstream(&self, link: &Link<ReadWaiter>, reply: Reply<'_>) {
        let Some(state) = self.of(link) else { return };
        let Some(list) = reply.as_text() else {
            state.silent.set(true);
            return;
        };
        let known = state.upstream.replace(Some(upstream(list).into()));
        if known.is_some() && known != *state.upstream.borrow() {
            self.drop_all();
        }
    }

    /// The answer to `CLIENT TRACKING`.
    pub fn on_asked(&self, link: &Link<ReadWaiter>, reply: Reply<'_>) {
        let Some(state) = self.of(link) else { return };
        match reply.plain() {
            Reply::Error(text) => self.warn(&printable(text)),
            // Turned off meanwhile: that answer is on its way.
            _ if self.pause.get() > 0 => {}
            _ => {
                state.on.set(true);
                self.warned.set(false);
            }
        }
    }

    fn warn(&self, why: &str) {
        if !self.warned.replace(true) {
            let address = &self.address;
            tracing::warn!(
                role = "read",
                %address,
                error = why,
                "read {address}: cannot track changes, so reads are batched (--read-mode tracked \
                 needs Redis 6 or later and the right +client|tracking): {why}"
            );
        }
    }

    /// The link has no connection any more.
    pub fn ended(&self, link: &Link<ReadWaiter>) {
        if let Some(state) = self.of(link) {
            state.on.set(false);
            state.unanswered.set(false);
            state.upstream.take();
            state.silent.set(false);
        }
        self.drop_all();
    }

    /// What is kept may be wrong from now on.
    pub fn drop_all(&self) {
        self.cache.borrow_mut().clear();
        self.watch.change();
    }

    /// A push arrived.
    pub fn on_push(&self, push: Reply<'_>) {
        let Reply::Push(mut words) = push.plain() else {
            return;
        };
        if words.next().and_then(Reply::as_text) != Some(b"invalidate") {
            return;
        }
        let concerns = match words.next().map(Reply::plain) {
            Some(Reply::Array(mut keys)) => {
                keys.any(|key| key.as_text() == Some(self.hash.as_bytes()))
            }
            // Null: all keys. Anything else is not understood: to drop too much is safe.
            _ => true,
        };
        if concerns {
            self.drop_all();
            self.pushes.set(self.pushes.get() + 1);
            self.metrics.tracked_invalidations.add(1);
        }
    }

    /// Each second, before the links are looked at: drops what may be wrong since a link has not
    /// answered the last look, and turns tracking off or on by what it costs.
    pub fn look<'a>(&self, links: impl Iterator<Item = &'a Link<ReadWaiter>>, now: Instant) {
        let (hits, pushes) = (self.hits.take(), self.pushes.take());
        let watched = self.watch.is_watched();
        // Whoever waits for changes does not wait for the end of a pause.
        let pause = match self.pause.get() {
            1.. if watched => 1,
            pause => pause,
        };
        let turn = match pause {
            0 if pushes >= MANY_PUSHES && hits < pushes && !watched => Some(false),
            1 => Some(true),
            _ => None,
        };
        self.pause.set(match turn {
            Some(false) => PAUSE,
            _ => pause.saturating_sub(1),
        });
        if turn == Some(false) {
            self.drop_all();
        }
        for (link, state) in links.zip(&self.links) {
            if state.unanswered.replace(true) {
                self.drop_all();
            }
            match turn {
                Some(false) if state.on.replace(false) => ask(link, false, now),
                Some(true) => ask(link, true, now),
                _ => {}
            }
            if state.on.get() {
                self.ask_upstream(link, now);
            }
        }
        let entries = self.cache.borrow().entries();
        self.metrics.tracked_entries.set(entries as u64);
    }

    /// A link has answered the last look.
    pub fn answered(&self, link: &Link<ReadWaiter>) {
        if let Some(state) = self.of(link) {
            state.unanswered.set(false);
        }
    }

    /// What a command that is written now must be answered without a drop in between for its reply
    /// to be kept.
    pub fn generation(&self) -> u64 {
        self.cache.borrow().generation()
    }

    /// What is kept of this field.
    pub fn get(&self, field: &[u8], now: Instant) -> Option<CachedField> {
        self.cache.borrow_mut().get(field, now).cloned()
    }

    /// Counts a read that was answered from the cache, or one that was not.
    pub fn count(&self, hit: bool) {
        if hit {
            self.hits.set(self.hits.get() + 1);
            self.metrics.tracked_hits.add(1);
        } else {
            self.metrics.tracked_misses.add(1);
        }
    }

    /// Keeps a reply to a command that was written at `generation`.
    pub fn store(
        &self,
        link: &Link<ReadWaiter>,
        field: &[u8],
        body: Option<bytes::Bytes>,
        generation: u64,
        now: Instant,
    ) {
        if self.of(link).is_some_and(|state| state.on.get()) {
            let kept = CachedField {
                body,
                link: link.index(),
            };
            let mut cache = self.cache.borrow_mut();
            cache.store(field, kept, generation, now);
        }
    }
}

/// What of an entry of `CLIENT LIST` names the connection: its own end's address, or, before Redis
/// 6.2, the client's number, which changes at least with a full synchronisation.
fn upstream(list: &[u8]) -> &[u8] {
    let mut words = list.split(u8::is_ascii_whitespace);
    let named = words.clone().find(|word| word.starts_with(b"laddr="));
    named
        .or_else(|| words.find(|word| word.starts_with(b"id=")))
        .unwrap_or(b"")
}

/// Turns tracking on or off for the connection of a link. One that can't be asked now is asked with
/// its next connection.
fn ask(link: &Link<ReadWaiter>, on: bool, now: Instant) {
    let word: &[u8] = if on { b"ON" } else { b"OFF" };
    let _ = link.enqueue_reserved(ReadWaiter::Tracking(on), now, |out| {
        resp::command(out, &[b"CLIENT", b"TRACKING", word]);
    });
}
