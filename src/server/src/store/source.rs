//! A server that reads may be sent to: its links, what each was last heard to be, and which of
//! them are usable.
//!
//! Invariants:
//! - A link answers nothing before its server has said that it may ([`Rule`]) and has answered a
//!   read of the service's own form, and nothing after it has said that it may not or has refused
//!   one.
//! - Its data do not go back in time while its server follows a master, restarts included.
//! - The age of the data is that of the link which answered: behind one address there can be
//!   several servers. It is looked at once a second, so it is up to a second older than it says.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::found::{ReadError, ReadWaiter};
use super::key::HashName;
use super::probe::{self, Position, Question, ReadCommand, Replication, Rule};
use crate::metrics::{self, ErrorLabel};
use crate::net::{Link, Set};
use redis_api_wire::conn::{Error, Greeting, Verdict, printable};
use redis_api_wire::resp::{self, ErrorKind, Reply};

/// Which of the two servers that can answer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadServer {
    /// The read address. Its state is the worker's readiness, and is in the metrics.
    Replica,
    /// The master, as a second choice: it counts neither for readiness nor as a replica.
    Fallback,
}

impl ReadServer {
    /// How log lines call it.
    pub fn name(self) -> &'static str {
        match self {
            ReadServer::Replica => "read",
            ReadServer::Fallback => "fallback",
        }
    }
}

/// What the last probe told of one link.
#[derive(Default)]
struct LinkState {
    /// `loading` of the probe under way.
    loading: Cell<Option<bool>>,
    /// The error that its last probing read was answered with.
    refusal: RefCell<Option<ReadError>>,
    /// [`Replication::silent_before`] of the next probe that finds the link to the master down.
    silence: Cell<u32>,
    /// [`Replication::farthest`] of the next probe, whatever connection it is sent on.
    farthest: Cell<Option<Position>>,
    /// Its server's link to the master, at the last look.
    link_up: Cell<Option<bool>>,
    /// That has changed since it was last asked for.
    link_changed: Cell<bool>,
    /// It was connected since the server was last asked.
    is_new: Cell<bool>,
    /// The age of its data in seconds, where readers are to be told of it.
    shown_age: Cell<Option<u32>>,
}

/// See the module. Of one worker.
pub struct Source {
    server: ReadServer,
    /// Names the server in messages.
    address: String,
    rule: Rule,
    metrics: Arc<metrics::Worker>,
    set: Set<ReadWaiter>,
    /// By the links' indexes.
    states: Box<[LinkState]>,
    probes: Vec<(Question, Bytes)>,
    /// Why no link is usable, as far as is known.
    trouble: RefCell<Option<String>>,
    /// The error that reads get meanwhile, if it is the server that refuses them.
    refusal: RefCell<Option<ReadError>>,
}

impl Source {
    /// The server at `address`, by these links, which is usable by this rule and if it answers a
    /// read of the field `probed` of the hash.
    pub fn new(
        server: ReadServer,
        address: String,
        rule: Rule,
        set: Set<ReadWaiter>,
        (hash, probed): (&HashName, &[u8]),
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        let info = |question, name: &[u8]| (question, resp::constant(&[b"INFO", name]));
        let mut probes = vec![
            info(Question::Persistence, b"persistence"),
            (
                Question::Read,
                resp::constant(&[b"HGET", hash.as_bytes(), probed]),
            ),
            info(Question::Replication, b"replication"),
        ];
        if server == ReadServer::Replica {
            probes.push(info(Question::Cpu, b"cpu"));
        }
        let source = Source {
            server,
            address,
            rule,
            metrics,
            states: set.links().iter().map(|_| LinkState::default()).collect(),
            set,
            probes,
            trouble: RefCell::new(None),
            refusal: RefCell::new(None),
        };
        source.record_trouble("not connected yet");
        source
    }

    /// The link that a read is sent to now.
    pub fn pick(&self) -> Option<&Rc<Link<ReadWaiter>>> {
        self.set.pick()
    }

    /// Whether any link is usable: unlike [`pick`](Self::pick), it may be asked while a reply is
    /// handed out.
    pub fn is_usable(&self) -> bool {
        self.set.is_usable()
    }

    /// Why no link is usable, in words; `None` while one is.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// What a read is told while no link is usable.
    pub fn refusal(&self) -> Option<ReadError> {
        self.refusal.borrow().clone()
    }

    /// How old what this link answers is, in seconds, if readers are to be told.
    pub fn shown_age(&self, link: &Link<ReadWaiter>) -> Option<u32> {
        self.shown_age_of(link.index())
    }

    /// The same, by the link's index.
    pub fn shown_age_of(&self, link: usize) -> Option<u32> {
        self.states.get(link)?.shown_age.get()
    }

    /// Whether its server's link to the master has gone down or come back since this was last
    /// asked.
    pub fn has_link_changed(&self, link: &Link<ReadWaiter>) -> bool {
        self.state(link)
            .is_some_and(|state| state.link_changed.take())
    }

    /// The links.
    pub fn links(&self) -> impl Iterator<Item = &Link<ReadWaiter>> {
        self.set.links().iter().map(|link| &**link)
    }

    /// Takes in what has arrived on the links.
    pub fn receive(&self) {
        self.set.receive();
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
        for (question, command) in &self.probes {
            // Not connected, or earlier questions are unanswered: then it tells nothing new.
            let waiter = ReadWaiter::Probe(*question);
            if link
                .enqueue_reserved(waiter, now, |out| out.extend_from_slice(command))
                .is_err()
            {
                return;
            }
        }
    }

    /// Takes in the answer to a question.
    pub fn on_probe(
        &self,
        link: &Link<ReadWaiter>,
        question: Question,
        reply: Reply<'_>,
    ) -> Verdict {
        let Some(state) = self.state(link) else {
            return Verdict::Continue;
        };
        if question == Question::Read {
            return self.on_read(state, reply);
        }
        let info = match (reply.plain(), reply.as_text()) {
            (_, Some(info)) => info,
            (Reply::Error(text), _) => {
                self.on_refused_info(link, state, question, text);
                return Verdict::Continue;
            }
            _ => return Verdict::Close(Error::Confused("the reply to INFO is not text")),
        };
        match question {
            Question::Persistence => state.loading.set(probe::is_loading(info)),
            Question::Replication => self.on_replication(link, state, info),
            Question::Cpu => {
                if let Some(cpu) = probe::cpu(info) {
                    self.metrics.read.cpu_micros.set(cpu.as_micros() as u64);
                }
            }
            Question::Read => {}
        }
        Verdict::Continue
    }

    /// Whether it answers what the service asks. That the field is not there is an answer, and so
    /// is a key of another type: that is the data's fault.
    fn on_read(&self, state: &LinkState, reply: Reply<'_>) -> Verdict {
        let refusal = match reply.plain() {
            Reply::Bulk(_) | Reply::Null => None,
            other => match ReadError::wrong_type(ReadCommand::Hget, other) {
                ReadError::WrongReply(what) => return Verdict::Close(Error::Confused(what)),
                refused => Some(refused),
            },
        };
        let refusal = refusal.filter(|refusal| match refusal {
            ReadError::Refused { kind, .. } => {
                self.metrics.read.error(ErrorLabel::of(*kind));
                *kind != ErrorKind::WrongType
            }
            _ => true,
        });
        let verdict = verdict(refusal.as_ref());
        *state.refusal.borrow_mut() = refusal;
        verdict
    }

    fn on_replication(&self, link: &Link<ReadWaiter>, state: &LinkState, info: &[u8]) {
        let mut replication = Replication::parse(info);
        let link_up = Some(replication.link_up);
        if state.link_up.replace(link_up) != link_up {
            state.link_changed.set(true);
        }
        // The silence that was seen counts for a server that has heard of nothing since: the same
        // one, if only our connection was lost, or one whose data are as old.
        let position = replication.position;
        let is_there_still = position.is_some() && position == state.farthest.get();
        if state.is_new.take() && !is_there_still {
            state.silence.set(0);
        }
        if replication.link_up {
            state.silence.set(replication.age().unwrap_or(0));
        }
        replication.silent_before = state.silence.get();
        replication.farthest = state.farthest.get();
        if let Some(position) = replication.position
            && !replication
                .farthest
                .is_some_and(|it| position.is_before(&it))
        {
            state.farthest.set(Some(position));
        }
        state.shown_age.set(replication.shown_age());
        let trouble = self.rule.trouble(state.loading.get(), &replication);
        let refusal = state.refusal.borrow().clone();
        self.judge(link, trouble.map(|trouble| trouble.to_string()), refusal);
        self.record(&replication);
    }

    /// A server that doesn't say how it is can't be known to tell the truth. Its CPU time is a
    /// courtesy.
    fn on_refused_info(
        &self,
        link: &Link<ReadWaiter>,
        state: &LinkState,
        question: Question,
        text: &[u8],
    ) {
        self.metrics.read.error(ErrorLabel::of(ErrorKind::of(text)));
        if question == Question::Persistence {
            // Else the answer to the question behind would be judged by what it said earlier.
            state.loading.set(None);
        }
        if question != Question::Cpu {
            let why = format!("refuses INFO, so its state is unknown: {}", printable(text));
            self.judge(link, Some(why), state.refusal.borrow().clone());
        }
    }

    /// A read was answered with an error; what that means for its connection.
    pub fn on_refused_read(
        &self,
        link: &Link<ReadWaiter>,
        command: ReadCommand,
        refusal: &ReadError,
    ) -> Verdict {
        let ReadError::Refused { kind, .. } = refusal else {
            return Verdict::Continue;
        };
        self.metrics.read.error(ErrorLabel::of(*kind));
        if probe::concerns_server(*kind, command) && link.is_admitted() {
            self.judge(link, None, Some(refusal.clone()));
        }
        verdict(Some(refusal))
    }

    /// Admits the link if there is neither a reason of ours against it, nor an error by which it
    /// refuses reads. Says so when it changes, and why not each time, as attempts to connect do:
    /// the log sums that up, and shows another cause at once.
    fn judge(&self, link: &Link<ReadWaiter>, why: Option<String>, refusal: Option<ReadError>) {
        let was = link.is_admitted();
        let why = why.or_else(|| match &refusal {
            Some(ReadError::Refused { text, .. }) => Some(format!("refuses reads: {text}")),
            _ => None,
        });
        link.admit(why.is_none());
        let (role, address) = (self.server.name(), &self.address);
        match why {
            None if !was => tracing::info!(role, %address, "{role} {address}: usable"),
            Some(why) => {
                let state = if was {
                    "no longer usable"
                } else {
                    "not usable"
                };
                tracing::warn!(role, %address, error = why, "{role} {address}: {state}: {why}");
                self.record_trouble(&why);
                *self.refusal.borrow_mut() = refusal;
            }
            None => {}
        }
        self.record_usable();
    }

    /// A connection was made: it is yet to be asked how its server is.
    pub fn connected(&self, link: &Link<ReadWaiter>, greeting: Greeting) {
        // Perhaps another server than before.
        if let Some(state) = self.state(link) {
            state.loading.set(None);
            state.refusal.take();
            state.is_new.set(true);
            state.shown_age.set(None);
        }
        let (role, address) = (self.server.name(), &self.address);
        let protocol = greeting.protocol;
        tracing::info!(role, %address, "{role} {address}: connected (RESP{protocol})");
    }

    /// A link has no connection any more.
    pub fn down(&self, why: &str) {
        if !self.is_usable() {
            if self.server == ReadServer::Replica {
                self.metrics.replica.forget();
            }
            self.record_trouble(why);
            self.refusal.take();
        }
        self.record_usable();
    }

    fn record(&self, state: &Replication) {
        if self.server != ReadServer::Replica {
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
            self.trouble.take();
            self.refusal.take();
        }
        if self.server == ReadServer::Replica {
            self.metrics.replica.usable.set(usable.into());
            if usable {
                self.metrics.set_read_trouble(None);
            }
        }
    }

    fn record_trouble(&self, why: &str) {
        let server = match self.server {
            ReadServer::Replica => "replica",
            ReadServer::Fallback => "master",
        };
        let trouble = format!("{server} {}: {why}", self.address);
        if self.server == ReadServer::Replica {
            self.metrics.set_read_trouble(Some(trouble.clone()));
        }
        *self.trouble.borrow_mut() = Some(trouble);
    }
}

/// What an error reply means for its connection.
fn verdict(refusal: Option<&ReadError>) -> Verdict {
    match refusal {
        // Only a new login can help.
        Some(ReadError::Refused {
            kind: kind @ ErrorKind::NoAuth,
            text,
        }) => Verdict::Finish(Error::Unusable {
            kind: *kind,
            text: text.to_string(),
        }),
        _ => Verdict::Continue,
    }
}
