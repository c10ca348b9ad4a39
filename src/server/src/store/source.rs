//! A server that reads may be sent to: its links, what each was last heard to be, and which of
//! them may answer now.
//!
//! Invariants:
//! - A link answers nothing before its server has said that it may ([`Rule`]), and nothing after it
//!   has said that it may not.
//! - The age of the data is that of the link which answered: behind one address there can be several
//!   servers. It is looked at once a second, so it is up to a second older than it says.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::found::ReadWaiter;
use super::probe::{self, Replication, Rule, Section};
use crate::metrics::{self, ErrorLabel};
use crate::net::{Link, Set};
use redis_api_wire::conn::{Error, Greeting, Verdict, printable};
use redis_api_wire::resp::{self, ErrorKind, Reply};

/// Which of the two servers that can answer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The read address. Its state is the worker's readiness, and is in the metrics.
    Replica,
    /// The master, as a second choice: it counts neither for readiness nor as a replica.
    Fallback,
}

impl Place {
    /// How log lines call it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Replica => "read",
            Place::Fallback => "fallback",
        }
    }
}

/// What the last probe told of one link.
#[derive(Default)]
struct LinkState {
    /// `loading` of the probe under way.
    loading: Cell<Option<bool>>,
    /// [`Replication::silent_before`] of the next probe that finds the link to the master down.
    silence: Cell<u32>,
    /// The age of its data in seconds, where readers are to be told of it.
    shown_age: Cell<Option<u32>>,
}

/// See the module. Of one worker.
pub struct Source {
    place: Place,
    /// Names the server in messages.
    address: String,
    rule: Rule,
    metrics: Arc<metrics::Worker>,
    set: Set<ReadWaiter>,
    /// By the links' indexes.
    states: Box<[LinkState]>,
    probes: Vec<(Section, Bytes)>,
    /// Why no link may answer, as far as is known.
    trouble: RefCell<Option<String>>,
}

impl Source {
    /// The server at `address`, by these links, which may answer by this rule.
    pub fn new(
        place: Place,
        address: String,
        rule: Rule,
        set: Set<ReadWaiter>,
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        let info = |section, name: &[u8]| (section, resp::constant(&[b"INFO", name]));
        let mut probes = vec![
            info(Section::Persistence, b"persistence"),
            info(Section::Replication, b"replication"),
        ];
        if place == Place::Replica {
            probes.push(info(Section::Cpu, b"cpu"));
        }
        let source = Source {
            place,
            address,
            rule,
            metrics,
            states: set.links().iter().map(|_| LinkState::default()).collect(),
            set,
            probes,
            trouble: RefCell::new(None),
        };
        source.record_trouble("not connected yet");
        source
    }

    /// The link that a read is sent to now.
    pub fn pick(&self) -> Option<&Rc<Link<ReadWaiter>>> {
        self.set.pick()
    }

    /// Whether any link may answer now: unlike [`pick`](Self::pick), it may be asked while a reply is
    /// handed out.
    pub fn is_usable(&self) -> bool {
        self.set.is_usable()
    }

    /// Why no link may answer, in words; `None` while one may.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// How old what this link answers is, in seconds, if readers are to be told.
    pub fn shown_age(&self, link: &Link<ReadWaiter>) -> Option<u32> {
        self.state(link)?.shown_age.get()
    }

    fn state(&self, link: &Link<ReadWaiter>) -> Option<&LinkState> {
        self.states.get(link.index())
    }

    /// Asks every connected link how it is. To be called each second.
    pub fn probe(&self, now: Instant) {
        for link in self.set.links() {
            self.probe_link(link, now);
        }
    }

    /// Asks one link how it is.
    pub fn probe_link(&self, link: &Link<ReadWaiter>, now: Instant) {
        for (section, command) in &self.probes {
            // Not connected, or earlier questions are unanswered: then it tells nothing new.
            let waiter = ReadWaiter::Probe(*section);
            if link
                .enqueue_reserved(waiter, now, |out| out.extend_from_slice(command))
                .is_err()
            {
                return;
            }
        }
    }

    /// Takes in the answer to a probe.
    pub fn on_probe(&self, link: &Link<ReadWaiter>, section: Section, reply: Reply<'_>) -> Verdict {
        let info = match (reply.plain(), reply.as_text()) {
            (_, Some(info)) => info,
            (Reply::Error(text), _) => {
                self.on_refused_probe(link, section, text);
                return Verdict::Continue;
            }
            _ => return Verdict::Close(Error::Confused("INFO was answered with no text")),
        };
        match (section, self.state(link)) {
            (Section::Persistence, Some(seen)) => seen.loading.set(probe::is_loading(info)),
            (Section::Replication, Some(seen)) => {
                let mut state = Replication::parse(info);
                if state.link_up {
                    seen.silence.set(state.age().unwrap_or(0));
                }
                state.silent_before = seen.silence.get();
                let trouble = self.rule.trouble(seen.loading.get(), &state);
                seen.shown_age.set(state.shown_age());
                self.judge(link, trouble.map(|trouble| trouble.to_string()));
                self.record(&state);
            }
            (Section::Cpu, _) => {
                if let Some(cpu) = probe::cpu(info) {
                    self.metrics.read.cpu_micros.set(cpu.as_micros() as u64);
                }
            }
            (_, None) => {}
        }
        Verdict::Continue
    }

    /// A server that doesn't say how it is can't be known to tell the truth. Its CPU time is a
    /// courtesy.
    fn on_refused_probe(&self, link: &Link<ReadWaiter>, section: Section, text: &[u8]) {
        let kind = ErrorKind::of(text);
        self.metrics.read.error(ErrorLabel::of(kind));
        if let (Section::Persistence, Some(seen)) = (section, self.state(link)) {
            // Else the answer to the question behind would be judged by what it said earlier.
            seen.loading.set(None);
        }
        if section != Section::Cpu {
            let why = format!(
                "refuses INFO, so that its state can't be known: {}",
                printable(text)
            );
            self.judge(link, Some(why));
        }
    }

    /// Admits the link, or not. Says so when it changes, and why not each time, as attempts to
    /// connect do: the log sums that up, and shows another cause at once.
    pub fn judge(&self, link: &Link<ReadWaiter>, trouble: Option<String>) {
        let was = link.is_admitted();
        link.admit(trouble.is_none());
        let (role, address) = (self.place.name(), &self.address);
        match trouble {
            None if !was => tracing::info!(role, %address, "{role} {address}: usable"),
            Some(why) => {
                let state = if was {
                    "no longer usable"
                } else {
                    "not usable"
                };
                tracing::warn!(role, %address, error = why, "{role} {address}: {state}: {why}");
                self.record_trouble(&why);
            }
            None => {}
        }
        self.record_usable();
    }

    /// A connection was made: it is yet to be asked how its server is.
    pub fn connected(&self, link: &Link<ReadWaiter>, greeting: Greeting) {
        // Perhaps another server than before.
        if let Some(seen) = self.state(link) {
            seen.loading.set(None);
            seen.silence.set(0);
            seen.shown_age.set(None);
        }
        let (role, address) = (self.place.name(), &self.address);
        let protocol = greeting.protocol;
        tracing::info!(role, %address, "{role} {address}: connected (RESP{protocol})");
    }

    /// A link has no connection any more.
    pub fn down(&self, why: &str) {
        if !self.is_usable() {
            if self.place == Place::Replica {
                self.metrics.replica.forget();
            }
            self.record_trouble(why);
        }
        self.record_usable();
    }

    fn record(&self, state: &Replication) {
        if self.place != Place::Replica {
            return;
        }
        let known = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let replica = &self.metrics.replica;
        replica
            .link_up
            .set(state.is_replica.then_some(state.link_up.into()));
        replica
            .link_down_seconds
            .set(known(state.link_down_seconds));
        replica.last_io_seconds.set(known(state.last_io_seconds));
        replica.lag_bytes.set(known(state.lag_bytes));
    }

    fn record_usable(&self) {
        let usable = self.is_usable();
        if usable {
            *self.trouble.borrow_mut() = None;
        }
        if self.place == Place::Replica {
            self.metrics.replica.usable.set(usable.into());
            if usable {
                self.metrics.set_read_trouble(None);
            }
        }
    }

    fn record_trouble(&self, why: &str) {
        let server = match self.place {
            Place::Replica => "replica",
            Place::Fallback => "master",
        };
        let trouble = format!("{server} {}: {why}", self.address);
        if self.place == Place::Replica {
            self.metrics.set_read_trouble(Some(trouble.clone()));
        }
        *self.trouble.borrow_mut() = Some(trouble);
    }
}
