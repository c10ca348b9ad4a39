//! Reads: joining this turn's command or opening one, and sharing its one answer.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::probe::{self, ReadRole, Replication};
use super::render::{self, CurrentBody};
use super::waiter::{Answer, Wait};
use super::{CURRENT, HASH};
use crate::conn::{Error, Fate, Greeting, Refusal, Verdict, printable};
use crate::metrics::{self, ErrorLabel};
use crate::net::{Link, Owner, Set};
use crate::resp::{self, ErrorKind, Reply};
use crate::turn::Turn;

/// Waiters of one command. More are shed: it bounds what a server that hangs makes us keep.
const MAX_WAITERS: usize = 16 * 1024;

/// Times that one read is sent at most, when connections are lost under it.
const MAX_SENDS: u8 = 3;

/// How reads become commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Reads of the same field that wait at the same moment share one command.
    Batch,
    /// One command per read.
    Direct,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    pub mode: ReadMode,
    pub role: ReadRole,
}

/// Why a read has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// No link may answer now.
    Unavailable,
    /// The connection ended before the reply.
    Lost,
    /// A window or a batch is full: load is shed.
    Shed,
    /// Redis answered with an error.
    Refused { kind: ErrorKind, text: Rc<str> },
    /// What is stored is no JSON number.
    NotANumber,
    /// A reply of a type that the command doesn't have.
    WrongReply(&'static str),
}

impl ReadError {
    /// For a reply that is no value: Redis' error, or one of the wrong type.
    pub(super) fn wrong_type(command: &'static str, reply: Reply<'_>) -> Self {
        match reply {
            Reply::Error(text) => ReadError::Refused {
                kind: ErrorKind::of(text),
                text: printable(text).into(),
            },
            _ if command == "HGET" => ReadError::WrongReply("HGET was answered with no text"),
            _ => ReadError::WrongReply("HMGET was answered with no list of texts"),
        }
    }
}

/// A body, `None` for a field that isn't there, or why not.
type Outcome = Result<Option<Bytes>, ReadError>;

/// Who waits for a reply on a read link.
pub enum Waiter {
    /// All who joined one `HGET`.
    Field(Rc<Answer<Outcome>>),
    /// One `HMGET`, and the names it asked for.
    Many(Rc<Answer<Outcome>>, Box<[Box<[u8]>]>),
    Probe(Section),
}

/// A section of `INFO`, asked for one by one: several in one command need Redis 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Persistence,
    Replication,
    Cpu,
}

/// A command that can still be joined: not yet sent while its link's stamp stands.
struct Open {
    answer: Rc<Answer<Outcome>>,
    link: Rc<Link<Waiter>>,
    stamp: u64,
}

impl Open {
    fn joinable(&self) -> bool {
        self.link.stamp() == self.stamp && self.link.is_admitted()
    }
}

/// The read side of one worker.
pub struct Reads {
    options: ReadOptions,
    /// Names the server in messages.
    address: String,
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
    set: OnceCell<Set<Waiter>>,
    hget_current: Bytes,
    probes: [(Section, Bytes); 3],
    /// This turn's command for `/`.
    current: RefCell<Option<Open>>,
    /// This turn's commands for other fields.
    fields: RefCell<HashMap<Box<[u8]>, Open>>,
    body: CurrentBody,
    /// Waiters of the last batch: what the next one makes room for.
    last_size: Cell<usize>,
    /// Per link, `loading` of the probe under way.
    loading: RefCell<Vec<Option<bool>>>,
}

impl Reads {
    /// The read side, without links as yet: [`start`](Self::start) makes them.
    pub fn new(
        options: ReadOptions,
        address: String,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Rc<Self> {
        let info = |section, name: &[u8]| (section, resp::constant(&[b"INFO", name]));
        metrics.set_read_trouble(Some(format!("replica {address}: not connected yet")));
        Rc::new(Reads {
            options,
            address,
            turn,
            metrics,
            set: OnceCell::new(),
            hget_current: resp::constant(&[b"HGET", HASH.as_bytes(), CURRENT.as_bytes()]),
            probes: [
                info(Section::Persistence, b"persistence"),
                info(Section::Replication, b"replication"),
                info(Section::Cpu, b"cpu"),
            ],
            current: RefCell::new(None),
            fields: RefCell::new(HashMap::new()),
            body: CurrentBody::default(),
            last_size: Cell::new(0),
            loading: RefCell::new(Vec::new()),
        })
    }

    /// Gives it its links. Later calls do nothing.
    pub fn start(&self, set: Set<Waiter>) {
        *self.loading.borrow_mut() = vec![None; set.links().len()];
        let _ = self.set.set(set);
    }

    /// The field behind `/`.
    pub fn current(self: &Rc<Self>, now: Instant) -> Read {
        self.read(Asked::Current, now)
    }

    /// Any other field. `field` must be of the alphabet of field names.
    pub fn field(self: &Rc<Self>, field: &[u8], now: Instant) -> Read {
        self.read(Asked::Field(field.into()), now)
    }

    /// Several fields by one `HMGET`; the body is an object in the order asked.
    pub fn many(self: &Rc<Self>, fields: Box<[Box<[u8]>]>, now: Instant) -> Read {
        self.read(Asked::Many(fields), now)
    }

    fn read(self: &Rc<Self>, asked: Asked, now: Instant) -> Read {
        let wait = self.send(&asked, now);
        Read {
            reads: self.clone(),
            asked,
            wait,
            sends: 1,
        }
    }

    fn send(&self, asked: &Asked, now: Instant) -> Result<Wait<Outcome>, ReadError> {
        match asked {
            Asked::Current => self.send_current(now),
            Asked::Field(field) => self.send_field(field, now),
            Asked::Many(fields) => self.send_many(fields, now),
        }
    }

    fn send_current(&self, now: Instant) -> Result<Wait<Outcome>, ReadError> {
        let mut current = self.current.borrow_mut();
        if let Some(open) = current.as_ref().filter(|open| open.joinable()) {
            return join(open);
        }
        let open = self.open(now, |out| out.extend_from_slice(&self.hget_current))?;
        let wait = open.answer.wait();
        *current = (self.options.mode == ReadMode::Batch).then_some(open);
        Ok(wait)
    }

    fn send_field(&self, field: &[u8], now: Instant) -> Result<Wait<Outcome>, ReadError> {
        let mut fields = self.fields.borrow_mut();
        if let Some(open) = fields.get(field).filter(|open| open.joinable()) {
            return join(open);
        }
        // What was sent can't be joined any more, so the map holds this turn's fields only.
        fields.retain(|_, open| open.joinable());
        let open = self.open(now, |out| {
            resp::command(out, &[b"HGET", HASH.as_bytes(), field]);
        })?;
        let wait = open.answer.wait();
        if self.options.mode == ReadMode::Batch {
            fields.insert(field.into(), open);
        }
        Ok(wait)
    }

    fn send_many(&self, fields: &[Box<[u8]>], now: Instant) -> Result<Wait<Outcome>, ReadError> {
        let link = self.source()?;
        let answer = Answer::new(1);
        let waiter = Waiter::Many(answer.clone(), fields.into());
        link.enqueue(waiter, now, |out| {
            let mut args: Vec<&[u8]> = vec![b"HMGET", HASH.as_bytes()];
            args.extend(fields.iter().map(Box::as_ref));
            resp::command(out, &args);
        })
        .map_err(|(_, refusal)| refused(refusal))?;
        Ok(answer.wait())
    }

    /// Opens a command that others may join.
    fn open(
        &self,
        now: Instant,
        encode: impl FnOnce(&mut bytes::BytesMut),
    ) -> Result<Open, ReadError> {
        let link = self.source()?;
        let answer = Answer::new(self.last_size.get());
        link.enqueue(Waiter::Field(answer.clone()), now, encode)
            .map_err(|(_, refusal)| refused(refusal))?;
        Ok(Open {
            answer,
            link: link.clone(),
            stamp: link.stamp(),
        })
    }

    /// Which link may answer now: the one place that decides it.
    fn source(&self) -> Result<&Rc<Link<Waiter>>, ReadError> {
        self.set
            .get()
            .and_then(Set::pick)
            .ok_or(ReadError::Unavailable)
    }

    /// Asks every connected link how it is. To be called each second.
    pub fn probe(&self) {
        for link in self.set.get().map(Set::links).unwrap_or_default() {
            self.probe_link(link);
        }
    }

    fn probe_link(&self, link: &Link<Waiter>) {
        let now = self.turn.now();
        for (section, command) in &self.probes {
            // Not connected, or a full window: then its answers are no better than none.
            let waiter = Waiter::Probe(*section);
            if link
                .enqueue(waiter, now, |out| out.extend_from_slice(command))
                .is_err()
            {
                return;
            }
        }
    }

    fn on_probe(&self, link: &Link<Waiter>, section: Section, reply: Reply<'_>) -> Verdict {
        let info = match (reply.plain(), reply.as_text()) {
            (_, Some(info)) => info,
            (Reply::Error(text), _) => {
                self.on_refused_probe(link, section, text);
                return Verdict::Continue;
            }
            _ => return Verdict::Close(Error::Confused("INFO was answered with no text")),
        };
        match section {
            Section::Persistence => {
                if let Some(loading) = self.loading.borrow_mut().get_mut(link.index()) {
                    *loading = probe::is_loading(info);
                }
            }
            Section::Replication => {
                let state = Replication::parse(info);
                let loading = self.loading.borrow().get(link.index()).copied().flatten();
                let trouble = probe::trouble(loading, &state, self.options.role);
                self.judge(link, trouble.map(String::from));
                self.record(&state);
            }
            Section::Cpu => {
                if let Some(cpu) = probe::cpu(info) {
                    self.metrics.read.cpu_micros.set(cpu.as_micros() as u64);
                }
            }
        }
        Verdict::Continue
    }

    /// A server that doesn't say how it is can't be known to tell the truth. Its CPU time is a
    /// courtesy.
    fn on_refused_probe(&self, link: &Link<Waiter>, section: Section, text: &[u8]) {
        let kind = ErrorKind::of(text);
        self.metrics.read.error(ErrorLabel::of(kind));
        if section != Section::Cpu {
            let why = format!(
                "refuses INFO, so that its state can't be known: {}",
                printable(text)
            );
            self.judge(link, Some(why));
        }
    }

    /// Admits the link, or not, and says so when it changes.
    fn judge(&self, link: &Link<Waiter>, trouble: Option<String>) {
        let was = link.is_admitted();
        link.admit(trouble.is_none());
        match trouble {
            None if !was => tracing::info!("read {}: usable", self.address),
            Some(why) => {
                if was {
                    tracing::warn!("read {}: no longer usable: {why}", self.address);
                }
                self.record_trouble(&why);
            }
            None => {}
        }
        self.record_usable();
    }

    fn record(&self, state: &Replication) {
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
        let usable = self.source().is_ok();
        self.metrics.replica.usable.set(usable.into());
        if usable {
            self.metrics.set_read_trouble(None);
        }
    }

    fn record_trouble(&self, why: &str) {
        self.metrics
            .set_read_trouble(Some(format!("replica {}: {why}", self.address)));
    }

    /// The answer to one `HGET`.
    fn outcome(&self, reply: Reply<'_>) -> Outcome {
        match reply.plain() {
            Reply::Bulk(stored) => self.body.render(stored).map(Some),
            Reply::Null => Ok(None),
            other => Err(ReadError::wrong_type("HGET", other)),
        }
    }

    fn settle(&self, link: &Link<Waiter>, answer: &Answer<Outcome>, outcome: Outcome) -> Verdict {
        let waiters = answer.waiters();
        self.last_size.set(waiters);
        self.metrics.read_batch_size.observe(waiters as u64);
        let verdict = match &outcome {
            Err(ReadError::Refused { kind, text }) => self.verdict(link, *kind, text.to_string()),
            // Not ours, perhaps: then neither is any that follows.
            Err(ReadError::WrongReply(what)) => Verdict::Close(Error::Confused(what)),
            _ => Verdict::Continue,
        };
        answer.resolve(outcome);
        verdict
    }

    /// What an error reply means for its connection.
    fn verdict(&self, link: &Link<Waiter>, kind: ErrorKind, text: String) -> Verdict {
        self.metrics.read.error(ErrorLabel::of(kind));
        match kind {
            // It says itself that it can't be asked now; the next probe tells when it can.
            ErrorKind::Loading | ErrorKind::MasterDown => {
                self.judge(link, Some(text));
                Verdict::Continue
            }
            // Only a new login can help.
            ErrorKind::NoAuth => Verdict::Finish(Error::Unfit { kind, text }),
            _ => Verdict::Continue,
        }
    }
}

impl Owner<Waiter> for Reads {
    fn ready(&self, link: &Rc<Link<Waiter>>, greeting: Greeting) {
        tracing::info!(
            "read {}: connected (RESP{})",
            self.address,
            greeting.protocol
        );
        self.probe_link(link);
    }

    fn reply(&self, link: &Link<Waiter>, waiter: Waiter, reply: Reply<'_>) -> Verdict {
        // A reply that was overtaken by the news that its server can't be trusted.
        let trusted = link.is_admitted();
        match waiter {
            Waiter::Probe(section) => self.on_probe(link, section, reply),
            Waiter::Field(answer) | Waiter::Many(answer, _) if !trusted => {
                answer.resolve(Err(ReadError::Lost));
                Verdict::Continue
            }
            Waiter::Field(answer) => self.settle(link, &answer, self.outcome(reply)),
            Waiter::Many(answer, names) => {
                let outcome = render::many(&names, reply.plain()).map(Some);
                self.settle(link, &answer, outcome)
            }
        }
    }

    fn push(&self, _link: &Link<Waiter>, _push: Reply<'_>) {
        // Nothing is subscribed to or tracked: a push tells us nothing.
    }

    fn lost(&self, waiter: Waiter, _fate: Fate, _error: &Error) {
        match waiter {
            Waiter::Field(answer) | Waiter::Many(answer, _) => {
                answer.resolve(Err(ReadError::Lost));
            }
            Waiter::Probe(_) => {}
        }
    }

    fn down(&self, _link: &Link<Waiter>, why: &str) {
        if self.source().is_err() {
            self.metrics.replica.forget();
            self.record_trouble(why);
        }
        self.record_usable();
    }
}

fn join(open: &Open) -> Result<Wait<Outcome>, ReadError> {
    if open.answer.waiters() >= MAX_WAITERS {
        return Err(ReadError::Shed);
    }
    Ok(open.answer.wait())
}

fn refused(refusal: Refusal) -> ReadError {
    match refusal {
        Refusal::NotReady => ReadError::Unavailable,
        Refusal::Full => ReadError::Shed,
    }
}

/// What a read asked for, kept so that it can be asked again.
enum Asked {
    Current,
    Field(Box<[u8]>),
    Many(Box<[Box<[u8]>]>),
}

/// A read under way: `Ok(None)` for a field that isn't there.
///
/// A read lost with its connection is sent again on another, unless in [`ReadMode::Direct`]. The
/// deadline is the caller's.
///
/// # Cancel safety
/// Dropping it abandons the answer; the command keeps its place in the connection's queue.
pub struct Read {
    reads: Rc<Reads>,
    asked: Asked,
    wait: Result<Wait<Outcome>, ReadError>,
    sends: u8,
}

impl Future for Read {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        loop {
            let outcome = match &mut self.wait {
                Err(error) => return Poll::Ready(Err(error.clone())),
                Ok(wait) => std::task::ready!(Pin::new(wait).poll(cx)),
            };
            let again = self.sends < MAX_SENDS && self.reads.options.mode == ReadMode::Batch;
            if !(again && outcome == Err(ReadError::Lost)) {
                return Poll::Ready(outcome);
            }
            self.sends += 1;
            let now = self.reads.turn.now();
            self.wait = self.reads.send(&self.asked, now);
        }
    }
}
