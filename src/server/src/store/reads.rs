//! Reads: joining this turn's command or opening one, and sharing its one answer.

mod owner;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use self::owner::LinkOwner;
use super::fallback::Fallback;
use super::found::{Found, ReadError, ReadResult, ReadWaiter, Wanted};
use super::joinable::Joinable;
use super::key::{CURRENT, HashName};
use super::probe::{self, Question, ReadCommand, Rule};
use super::read_options::{ReadMode, ReadOptions};
use super::render::{self, CurrentBody};
use super::source::{ReadServer, Source};
use super::tracking::Tracking;
use super::value::ValueKind;
use super::waiter::{Answer, Wait};
use super::watch::Watch;
use crate::metrics;
use crate::net::{Link, Owner, Set};
use crate::turn::Turn;
use redis_api_wire::conn::{Error, Refusal, Verdict};
use redis_api_wire::resp::{self, Reply};

/// So many waiters of one command make a crowd: more are on their way (see [`Link::set_crowded`]).
const CROWD: usize = 4;

/// Fewest fields in the map of a turn's commands at which those already sent are dropped from it.
const MIN_SWEEP: usize = 64;

/// Times that one read is sent at most, when connections are lost under it.
const MAX_SENDS: u8 = 3;

/// The read side of one worker.
pub struct Reads {
    mode: ReadMode,
    hash: HashName,
    values: ValueKind,
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
    replica: Source,
    /// What is kept of it, if that is asked for.
    tracking: Option<Tracking>,
    watch: Rc<Watch>,
    /// The turn in which what had arrived was last taken in ahead of the reads.
    received: Cell<Option<Instant>>,
    /// Asked while no link of `replica` is usable.
    fallback: Option<Fallback>,
    hget_current: Bytes,
    /// This turn's command for `/`.
    current: RefCell<Option<Joinable>>,
    /// This turn's commands for other fields, and some that were sent.
    fields: RefCell<HashMap<Box<[u8]>, Joinable>>,
    /// How many of these make it time to drop what was sent.
    sweep_at: Cell<usize>,
    body: CurrentBody,
    /// Waiters of the last batch: what the next one makes room for.
    last_size: Cell<usize>,
}

impl Reads {
    /// The read side over these links to the server at `address`, and perhaps a second choice;
    /// `probed` is the field that the server is judged by. The links' drivers are to tell
    /// [`owner`](Self::owner) what arrives.
    pub fn new(
        options: ReadOptions,
        address: String,
        set: Set<ReadWaiter>,
        probed: &[u8],
        fallback: Option<Fallback>,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Rc<Self> {
        let rule = Rule {
            role: options.role,
            max_stale: options.max_stale,
        };
        let watch = Rc::new(Watch::default());
        let tracking = (options.mode == ReadMode::Tracked).then(|| {
            let (links, address) = (set.links().len(), address.clone());
            let hash = options.hash.clone();
            let (metrics, watch) = (metrics.clone(), watch.clone());
            Tracking::new(options.tracked, hash, links, address, metrics, watch)
        });
        Rc::new(Reads {
            mode: options.mode,
            tracking,
            watch,
            received: Cell::new(None),
            turn,
            replica: Source::new(
                ReadServer::Replica,
                address,
                rule,
                set,
                (&options.hash, probed),
                metrics.clone(),
            ),
            metrics,
            fallback,
            hget_current: resp::constant(&[b"HGET", options.hash.as_bytes(), CURRENT.as_bytes()]),
            current: RefCell::new(None),
            fields: RefCell::new(HashMap::new()),
            sweep_at: Cell::new(MIN_SWEEP),
            body: CurrentBody::new(options.values),
            last_size: Cell::new(0),
            values: options.values,
            hash: options.hash,
        })
    }

    /// Whom the drivers of the links to this server tell what arrives.
    pub fn owner(self: &Rc<Self>, server: ReadServer) -> Rc<dyn Owner<ReadWaiter>> {
        Rc::new(LinkOwner {
            reads: Rc::downgrade(self),
            server,
        })
    }

    /// Why nothing can be read, in words; `None` while no reason is known.
    pub fn trouble(&self) -> Option<String> {
        let replica = self.replica.trouble()?;
        let fallback = self.fallback.as_ref();
        Some(
            match fallback.and_then(|master| master.source().trouble()) {
                Some(master) => format!("{replica}; the fallback is not usable either: {master}"),
                None => replica,
            },
        )
    }

    /// The field behind `/`.
    pub fn current(self: &Rc<Self>, now: Instant) -> Read {
        match self.kept(CURRENT.as_bytes()) {
            Some(found) => Read::done(found),
            None => self.read(Query::Current, now),
        }
    }

    /// Any other field. `field` must be of the alphabet of field names.
    pub fn field(self: &Rc<Self>, field: &[u8], now: Instant) -> Read {
        match self.kept(field) {
            Some(found) => Read::done(found),
            None => self.read(Query::Field(field.into()), now),
        }
    }

    /// Several fields by one `HMGET`; the body is an object in the order asked.
    pub fn many(self: &Rc<Self>, fields: Box<[Box<[u8]>]>, now: Instant) -> Read {
        match self.kept_many(&fields) {
            Some(found) => Read::done(found),
            None => self.read(Query::Many(fields), now),
        }
    }

    /// What is kept of a field. What has arrived from the server is taken in first, once in a turn:
    /// a push among it may say that it is true no more.
    fn kept(&self, field: &[u8]) -> Option<Found> {
        let (tracking, now) = self.tracking()?;
        let kept = tracking.get(field, now);
        tracking.count(kept.is_some());
        kept.map(|kept| Found {
            body: kept.body,
            age: self.replica.shown_age_of(kept.link),
        })
    }

    /// The same for several fields, if all of them are known.
    fn kept_many(&self, fields: &[Box<[u8]>]) -> Option<Found> {
        let (tracking, now) = self.tracking()?;
        let mut age = None;
        let body = render::many_kept(fields, |field| {
            let kept = tracking.get(field, now)?;
            age = age.max(self.replica.shown_age_of(kept.link));
            Some(kept.body)
        });
        tracking.count(body.is_some());
        body.map(|body| Found {
            body: Some(body),
            age,
        })
    }

    fn tracking(&self) -> Option<(&Tracking, Instant)> {
        let tracking = self.tracking.as_ref()?;
        let now = self.turn.now();
        if self.received.replace(Some(now)) != Some(now) {
            self.replica.receive();
        }
        tracking.is_on().then_some((tracking, now))
    }

    fn generation(&self) -> Option<u64> {
        self.tracking.as_ref().map(Tracking::generation)
    }

    fn read(self: &Rc<Self>, query: Query, now: Instant) -> Read {
        let wait = self.send(&query, now);
        Read(Reading::Sent {
            reads: self.clone(),
            query,
            wait,
            sends: 1,
        })
    }

    fn send(&self, query: &Query, now: Instant) -> Result<Wait<ReadResult>, ReadError> {
        match query {
            Query::Current => self.send_current(now),
            Query::Field(field) => self.send_field(field, now),
            Query::Many(fields) => self.send_many(fields, now),
        }
    }

    fn send_current(&self, now: Instant) -> Result<Wait<ReadResult>, ReadError> {
        let mut current = self.current.borrow_mut();
        if let Some(open) = current.as_ref().filter(|open| open.is_open()) {
            return open.join();
        }
        let open = self.open(CURRENT.as_bytes(), now, |out| {
            out.extend_from_slice(&self.hget_current);
        })?;
        let wait = open.answer.wait();
        *current = (self.mode != ReadMode::Direct).then_some(open);
        Ok(wait)
    }

    fn send_field(&self, field: &[u8], now: Instant) -> Result<Wait<ReadResult>, ReadError> {
        let mut fields = self.fields.borrow_mut();
        if let Some(open) = fields.get(field).filter(|open| open.is_open()) {
            return open.join();
        }
        self.forget_sent(&mut fields);
        let open = self.open(field, now, |out| {
            resp::command(out, &[b"HGET", self.hash.as_bytes(), field]);
        })?;
        let wait = open.answer.wait();
        if self.mode != ReadMode::Direct {
            fields.insert(field.into(), open);
        }
        Ok(wait)
    }

    /// Drops the commands that were sent and so can't be joined any more: not each time, which
    /// would cost a look at all of a turn's fields for each of them, but when they may be half the
    /// map.
    fn forget_sent(&self, fields: &mut HashMap<Box<[u8]>, Joinable>) {
        if fields.len() >= self.sweep_at.get() {
            fields.retain(|_, open| open.is_open());
            self.sweep_at.set((2 * fields.len()).max(MIN_SWEEP));
        }
    }

    fn send_many(&self, fields: &[Box<[u8]>], now: Instant) -> Result<Wait<ReadResult>, ReadError> {
        let answer = Answer::new(1);
        let generation = self.generation().unwrap_or(0);
        let waiter = ReadWaiter::Many(answer.clone(), fields.into(), generation);
        self.enqueue(waiter, now, |out| {
            let mut args: Vec<&[u8]> = vec![b"HMGET", self.hash.as_bytes()];
            args.extend(fields.iter().map(Box::as_ref));
            resp::command(out, &args);
        })?;
        Ok(answer.wait())
    }

    /// Opens a command that others may join.
    fn open(
        &self,
        field: &[u8],
        now: Instant,
        encode: impl FnOnce(&mut bytes::BytesMut),
    ) -> Result<Joinable, ReadError> {
        let answer = Answer::new(self.last_size.get());
        let waiter = match self.generation() {
            None => ReadWaiter::Field(answer.clone()),
            Some(generation) => {
                let field = field.into();
                ReadWaiter::Tracked(answer.clone(), Box::new(Wanted { field, generation }))
            }
        };
        let link = self.enqueue(waiter, now, encode)?;
        Ok(Joinable {
            answer,
            link: link.clone(),
            stamp: link.stamp(),
        })
    }

    /// Sends one command to a server that is usable.
    fn enqueue(
        &self,
        waiter: ReadWaiter,
        now: Instant,
        encode: impl FnOnce(&mut bytes::BytesMut),
    ) -> Result<&Rc<Link<ReadWaiter>>, ReadError> {
        let (link, fallback) = self.source()?;
        link.enqueue(waiter, now, encode)
            .map_err(|(_, refusal)| refused(refusal))?;
        if let Some(fallback) = fallback {
            fallback.sent();
        }
        Ok(link)
    }

    /// The link that a read is sent to, and whether it is the second choice: the one place that
    /// decides it.
    fn source(&self) -> Result<(&Rc<Link<ReadWaiter>>, Option<&Fallback>), ReadError> {
        if let Some(link) = self.replica.pick() {
            return Ok((link, None));
        }
        let unavailable = || self.replica.refusal().unwrap_or(ReadError::Unavailable);
        let fallback = self.fallback.as_ref().ok_or_else(unavailable)?;
        let link = fallback.pick().map_err(|error| match error {
            ReadError::Unavailable => unavailable(),
            other => other,
        })?;
        Ok((link, Some(fallback)))
    }

    /// Asks every connected link how it is. To be called each second.
    pub fn probe(&self) {
        let now = self.turn.now();
        if let Some(tracking) = &self.tracking {
            tracking.look(self.replica.links(), now);
        }
        self.replica.probe(now);
        if let Some(fallback) = &self.fallback {
            fallback.source().probe(now);
        }
        self.watch.tick();
    }

    /// Tells when to read again.
    pub fn watch(&self) -> &Rc<Watch> {
        &self.watch
    }

    /// The answer to one `HGET`.
    fn value(&self, reply: Reply<'_>) -> Result<Option<Bytes>, ReadError> {
        match reply.plain() {
            Reply::Bulk(stored) => self.body.render(stored).map(Some),
            Reply::Null => Ok(None),
            other => Err(ReadError::wrong_type(ReadCommand::Hget, other)),
        }
    }

    fn settle(
        &self,
        source: &Source,
        link: &Link<ReadWaiter>,
        command: ReadCommand,
        answer: &Answer<ReadResult>,
        value: Result<Option<Bytes>, ReadError>,
    ) -> Verdict {
        let waiters = answer.waiters();
        self.last_size.set(waiters);
        link.set_crowded(waiters >= CROWD);
        self.metrics.read_batch_size.observe(waiters as u64);
        let verdict = match &value {
            Err(refusal @ ReadError::Refused { .. }) => {
                source.on_refused_read(link, command, refusal)
            }
            // Not ours, perhaps: then neither is any that follows.
            Err(ReadError::WrongReply(what)) => Verdict::Close(Error::Confused(what)),
            _ => Verdict::Continue,
        };
        let age = source.shown_age(link);
        answer.resolve(value.map(|body| Found { body, age }));
        verdict
    }

    /// A reply arrived on a link of this source.
    fn on_reply(
        &self,
        source: &Source,
        tracking: Option<&Tracking>,
        link: &Link<ReadWaiter>,
        waiter: ReadWaiter,
        reply: Reply<'_>,
    ) -> Verdict {
        // A value that was overtaken by the news that its server can't be trusted. An error is what
        // it is.
        let believed = link.is_admitted() || matches!(reply.plain(), Reply::Error(_));
        match waiter {
            ReadWaiter::Probe(question) => {
                let verdict = source.on_probe(link, question, reply);
                if let Some(tracking) = tracking {
                    if question == Question::Replication {
                        tracking.answered(link);
                    }
                    if source.has_link_changed(link) || !link.is_admitted() {
                        tracking.drop_all();
                    }
                }
                verdict
            }
            ReadWaiter::Tracking(on) => {
                if let Some(tracking) = tracking.filter(|_| on) {
                    tracking.on_asked(link, reply);
                }
                Verdict::Continue
            }
            ReadWaiter::Upstream => {
                if let Some(tracking) = tracking {
                    tracking.on_upstream(link, reply);
                }
                Verdict::Continue
            }
            _ if !believed => {
                waiter.lose();
                Verdict::Continue
            }
            ReadWaiter::Tracked(answer, wanted) => {
                let value = self.value(reply);
                if let (Some(tracking), Ok(body)) = (tracking, &value) {
                    let now = self.turn.now();
                    tracking.store(link, &wanted.field, body.clone(), wanted.generation, now);
                }
                self.settle(source, link, ReadCommand::Hget, &answer, value)
            }
            ReadWaiter::Field(answer) => {
                let value = self.value(reply);
                self.settle(source, link, ReadCommand::Hget, &answer, value)
            }
            ReadWaiter::Many(answer, names, generation) => {
                let value = render::many(self.values, &names, reply.plain()).map(Some);
                if let (Some(tracking), Ok(_)) = (tracking, &value) {
                    let now = self.turn.now();
                    for (name, body) in render::each(self.values, &names, reply.plain()) {
                        tracking.store(link, name, body, generation, now);
                    }
                }
                self.settle(source, link, ReadCommand::Hmget, &answer, value)
            }
        }
    }
}

fn refused(refusal: Refusal) -> ReadError {
    match refusal {
        Refusal::NotReady => ReadError::Unavailable,
        Refusal::Full => ReadError::Shed,
    }
}

/// What a read asked for, kept so that it can be asked again.
enum Query {
    Current,
    Field(Box<[u8]>),
    Many(Box<[Box<[u8]>]>),
}

impl Query {
    /// Whether another server may have the answer that this one did not give.
    fn is_lost(&self, error: &ReadError) -> bool {
        let command = match self {
            Query::Current | Query::Field(_) => ReadCommand::Hget,
            Query::Many(_) => ReadCommand::Hmget,
        };
        match error {
            ReadError::Lost => true,
            ReadError::Refused { kind, .. } => probe::concerns_server(*kind, command),
            _ => false,
        }
    }
}

/// A read under way.
///
/// A read lost with its connection, or sent to a server that refuses all reads, is sent again on
/// another connection, unless in [`ReadMode::Direct`]. The deadline is the caller's.
///
/// # Cancel safety
/// Dropping it abandons the answer; the command keeps its place in the connection's queue.
pub struct Read(Reading);

enum Reading {
    /// Answered from what is kept. Taken by the first poll.
    Done(Option<Found>),
    Sent {
        reads: Rc<Reads>,
        query: Query,
        wait: Result<Wait<ReadResult>, ReadError>,
        sends: u8,
    },
}

impl Read {
    fn done(found: Found) -> Self {
        Read(Reading::Done(Some(found)))
    }
}

impl Future for Read {
    type Output = ReadResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReadResult> {
        let (reads, query, wait, sends) = match &mut self.0 {
            Reading::Done(found) => {
                return found.take().map_or(Poll::Pending, |it| Poll::Ready(Ok(it)));
            }
            Reading::Sent {
                reads,
                query,
                wait,
                sends,
            } => (reads, query, wait, sends),
        };
        loop {
            let outcome = match wait {
                Err(error) => return Poll::Ready(Err(error.clone())),
                Ok(wait) => std::task::ready!(Pin::new(wait).poll(cx)),
            };
            let again = *sends < MAX_SENDS && reads.mode != ReadMode::Direct;
            if !(again && outcome.as_ref().is_err_and(|error| query.is_lost(error))) {
                return Poll::Ready(outcome);
            }
            *sends += 1;
            *wait = reads.send(query, reads.turn.now());
        }
    }
}

#[cfg(test)]
mod tests;
