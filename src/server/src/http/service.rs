//! The read API: from a request to a read or a write, and from its outcome to a response.
//!
//! The hot path is `GET /`: it meets no router, no map and no formatter, and drops the request at
//! once, so that hyper reads the next one into the same memory.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderMap, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::age::AgeHeader;
use super::caching::{self, Condition, Labels};
use super::guard::{Denial, Guard};
use super::host;
use super::posted;
use super::response::{Methods, ResponseDraft};
use super::route::{self, Absent, Names, Route};
use super::server::{Body, Entry, Feed, Refusal, Service, State, Streamed};
use super::streams::{self, Key, Opening, Streams};
use crate::metrics::{self, WriteOutcome};
use crate::store::{
    CURRENT, Found, Progress, Read, ReadError, Reads, ValueKind, WriteError, Writes, current,
};
use crate::turn::Turn;

/// The limits and rules that the service itself keeps.
#[derive(Clone, Debug)]
pub struct Options {
    /// From the end of a request's head to its answer.
    pub request_timeout: Duration,
    /// Bytes of a body.
    pub max_body: usize,
    /// What is stored, and so what may be posted.
    pub values: ValueKind,
    /// What caches are told.
    pub caching: caching::Options,
    /// Who may write, and which fields there are.
    pub guard: Guard,
}

/// The API of one worker. Cheap to clone.
#[derive(Clone)]
pub struct Api(Rc<Inner>);

struct Inner {
    options: Options,
    /// Whether there is a `/`: asked for every request.
    serves_current: bool,
    /// What caches are told, if anything.
    labels: Option<Labels>,
    reads: Rc<Reads>,
    writes: Rc<Writes>,
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
    streams: Rc<Streams>,
    age: AgeHeader,
}

impl Api {
    /// The API that reads and writes by these.
    pub fn new(
        options: Options,
        reads: Rc<Reads>,
        writes: Rc<Writes>,
        streams: Rc<Streams>,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        Api(Rc::new(Inner {
            serves_current: options.guard.serves(CURRENT.as_bytes()),
            labels: (!options.caching.is_off()).then(|| Labels::new(options.caching.clone())),
            options,
            reads,
            writes,
            turn,
            metrics,
            streams,
            age: AgeHeader::default(),
        }))
    }

    /// Every request but a plain `GET /`; with its header map, to be used again.
    fn start(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> (Work, HeaderMap) {
        if !host::is_valid(&request) {
            let error = "a request must have exactly one valid Host header";
            let draft = ResponseDraft::bad_request(error, self.not_sent(request.method()));
            return (Work::done(draft), HeaderMap::new());
        }
        let (parts, body) = request.into_parts();
        (self.dispatch(&parts, body, entry), parts.headers)
    }

    fn dispatch(&self, parts: &Parts, body: Incoming, entry: &Rc<Entry>) -> Work {
        let Some(route) = Route::of(parts.uri.path()) else {
            return Work::done(ResponseDraft::not_found());
        };
        let guard = &self.0.options.guard;
        let methods = match guard.is_read_only() {
            true => Methods::ReadOnly,
            false => Methods::All,
        };
        match parts.method {
            Method::GET if self.0.streams.are_wanted(&parts.headers) => self.stream(route, parts),
            Method::GET | Method::HEAD => self.get(route, parts.uri.query(), entry),
            _ if !guard.serves(route.field().as_bytes()) => Work::done(ResponseDraft::not_found()),
            Method::POST => match guard.may_write(&parts.headers) {
                Ok(()) => self.post(route, body, entry),
                Err(denial) => self.deny(denial),
            },
            Method::OPTIONS => {
                Work::done(ResponseDraft::preflight(methods, self.request_headers()))
            }
            _ => Work::done(ResponseDraft::method_not_allowed(methods, None)),
        }
    }

    /// The headers that pages of other origins may send.
    fn request_headers(&self) -> &'static str {
        match (self.0.options.caching.etag, self.0.streams.are_any()) {
            (false, false) => "Content-Type, Authorization",
            (true, false) => "Content-Type, Authorization, If-None-Match",
            (false, true) => "Content-Type, Authorization, Last-Event-ID",
            (true, true) => "Content-Type, Authorization, If-None-Match, Last-Event-ID",
        }
    }

    /// What became of a request of this method that is refused as it stands; counted.
    fn not_sent(&self, method: &Method) -> Option<WriteOutcome> {
        if method != Method::POST {
            return None;
        }
        self.0.metrics.write_failed(WriteOutcome::NotSent);
        Some(WriteOutcome::NotSent)
    }

    fn deny(&self, denial: Denial) -> Work {
        let outcome = WriteOutcome::NotSent;
        self.0.metrics.write_failed(outcome);
        Work::done(match denial {
            Denial::ReadOnly => ResponseDraft::method_not_allowed(Methods::ReadOnly, Some(outcome)),
            Denial::Token => ResponseDraft::unauthorized(),
        })
    }

    fn get(&self, route: Route<'_>, query: Option<&str>, entry: &Rc<Entry>) -> Work {
        let (reads, now) = (&self.0.reads, entry.since());
        let names = match self.names(route, query) {
            Ok(names) => names,
            Err(draft) => return Work::done(draft),
        };
        match (route, names) {
            (Route::Current, Some(names)) => Work::Read(reads.many(names, now), Absent::NotFound),
            (Route::Current, None) => Work::Read(reads.current(now), Absent::NotInitialised),
            (Route::Field(name), _) => {
                Work::Read(reads.field(name.as_bytes(), now), Absent::NotFound)
            }
        }
    }

    /// The fields that a read asks for, if it asks for several, and whether all are served.
    fn names(&self, route: Route<'_>, query: Option<&str>) -> Result<Option<Names>, ResponseDraft> {
        let serves = |name: &[u8]| self.0.options.guard.serves(name);
        match (route, query.and_then(route::fields)) {
            (Route::Current, Some(Err(why))) => Err(ResponseDraft::bad_value(why, None)),
            // As a whole: half an answer would hide that the other half is not served.
            (Route::Current, Some(Ok(names))) if !names.iter().all(|name| serves(name)) => {
                Err(ResponseDraft::not_found())
            }
            (Route::Current, Some(Ok(names))) => Ok(Some(names)),
            _ if !serves(route.field().as_bytes()) => Err(ResponseDraft::not_found()),
            _ => Ok(None),
        }
    }

    fn stream(&self, route: Route<'_>, parts: &Parts) -> Work {
        let key = self
            .names(route, parts.uri.query())
            .map(|names| match (route, names) {
                (Route::Current, Some(names)) => Key::Many(names),
                (Route::Current, None) => Key::Current,
                (Route::Field(name), _) => Key::Field(name.as_bytes().into()),
            });
        // HTTP/1.0 knows no chunks.
        let chunked = parts.version == Version::HTTP_11;
        let opening = key.and_then(|key| self.0.streams.open(key, &parts.headers, chunked));
        match opening {
            Ok(opening) => Work::Stream(Box::new(opening)),
            Err(draft) => Work::done(draft),
        }
    }

    fn post(&self, route: Route<'_>, body: Incoming, entry: &Rc<Entry>) -> Work {
        let stage = Rc::new(Cell::new(Stage::Body));
        entry.advance(State::Body);
        let post = post(
            self.clone(),
            route.field().into(),
            body,
            entry.clone(),
            stage.clone(),
        );
        Work::Post(Box::pin(post), stage)
    }

    fn read_response(&self, outcome: Result<Found, ReadError>, absent: Absent) -> ResponseDraft {
        let found = match outcome {
            Ok(found) => found,
            Err(error) => {
                if matches!(error, ReadError::Shed | ReadError::FallbackFull) {
                    self.0.metrics.shed.add(1);
                }
                return ResponseDraft::read_error(&error, self.0.reads.trouble());
            }
        };
        if found.body.is_none() && absent == Absent::NotInitialised {
            self.0.metrics.not_initialised.add(1);
        }
        let draft = ResponseDraft::found(found.body, absent);
        match found.age {
            None => draft,
            Some(age) => draft.with_age(self.0.age.of(age)),
        }
    }

    fn write_response(&self, (draft, outcome): (ResponseDraft, WriteOutcome)) -> ResponseDraft {
        self.0.metrics.write_failed(outcome);
        draft
    }

    /// Makes the answer what it is for caches, and counts it: it is given now.
    fn finish(
        &self,
        method: metrics::Method,
        draft: ResponseDraft,
        condition: Option<&Condition>,
        entry: &Entry,
    ) -> ResponseDraft {
        let draft = match &self.0.labels {
            None => draft,
            Some(labels) => {
                let is_read = matches!(method, metrics::Method::Get | metrics::Method::Head);
                labels.apply(draft, is_read, condition)
            }
        };
        self.count(method, draft.status(), entry);
        draft
    }

    fn count(&self, method: metrics::Method, status: StatusCode, entry: &Entry) {
        let Inner { turn, metrics, .. } = &*self.0;
        let duration = turn.now().saturating_duration_since(entry.since());
        metrics.observe_request(method, status.as_u16(), duration);
    }

    /// The answer to a request whose deadline has passed.
    fn late(&self, work: &Work) -> ResponseDraft {
        let limit = self.0.options.request_timeout;
        match work {
            Work::Post(_, stage) => match stage.get() {
                Stage::Body => {
                    let outcome = WriteOutcome::NotSent;
                    self.write_response((
                        ResponseDraft::body_timeout(limit, Some(outcome)),
                        outcome,
                    ))
                }
                Stage::Write(progress) => {
                    let trouble = self.0.writes.trouble();
                    self.write_response(ResponseDraft::write_timeout(limit, progress, &trouble))
                }
            },
            Work::Read(..) | Work::Stream(_) | Work::Done(_) => ResponseDraft::read_timeout(limit),
        }
    }
}

impl Service for Api {
    type Future = Answering;

    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Answering {
        let method = metrics::Method::of(request.method());
        let uri = request.uri();
        let plain = method == metrics::Method::Get
            && uri.path() == "/"
            && uri.query().is_none()
            && self.0.serves_current
            && !self.0.streams.are_wanted(request.headers())
            && host::is_valid(&request);
        let origin = self.0.options.guard.cors().position(request.headers());
        let condition = self.0.options.caching.condition(request.headers());
        // Now rather than with the response: names and values are slices of hyper's read buffer,
        // which it can use again once the last of them is gone.
        let (work, mut headers) = if plain {
            let work = Work::Read(self.0.reads.current(entry.since()), Absent::NotInitialised);
            (work, request.into_parts().0.headers)
        } else {
            self.start(request, entry)
        };
        headers.clear();
        Answering {
            api: self.clone(),
            entry: entry.clone(),
            work,
            method,
            headers,
            origin,
            condition,
        }
    }

    type Plan = Plan;
    type Repeat = Reading;

    fn plan(&self, request: &Request<Incoming>) -> Option<Plan> {
        if request.method() != Method::GET || !host::is_valid(request) {
            return None;
        }
        if self.0.streams.are_wanted(request.headers()) {
            return None;
        }
        // Changes with each value, so that hardly one comes again.
        if self.0.options.caching.etag && request.headers().contains_key(IF_NONE_MATCH) {
            return None;
        }
        let route = Route::of(request.uri().path())?;
        let guard = &self.0.options.guard;
        let asks_for_one = match route {
            Route::Current => request.uri().query().and_then(route::fields).is_none(),
            Route::Field(_) => true,
        };
        (asks_for_one && guard.serves(route.field().as_bytes())).then(|| Plan {
            field: match route {
                Route::Current => None,
                Route::Field(name) => Some(name.as_bytes().into()),
            },
            origin: guard.cors().position(request.headers()),
        })
    }

    fn repeat(&self, plan: &Plan, entry: &Rc<Entry>) -> Reading {
        let (reads, now) = (&self.0.reads, entry.since());
        let (read, absent) = match &plan.field {
            None => (reads.current(now), Absent::NotInitialised),
            Some(name) => (reads.field(name, now), Absent::NotFound),
        };
        Reading {
            read,
            absent,
            origin: plan.origin,
        }
    }

    fn poll_repeat(
        &self,
        repeat: &mut Reading,
        entry: &Entry,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
    ) -> Poll<Bytes> {
        let draft = match entry.is_expired() {
            true => ResponseDraft::read_timeout(self.0.options.request_timeout),
            false => {
                let outcome = ready!(Pin::new(&mut repeat.read).poll(cx));
                self.read_response(outcome, repeat.absent)
            }
        };
        let draft = self.finish(metrics::Method::Get, draft, None, entry);
        draft.write_head(head, self.0.options.guard.cors(), repeat.origin);
        Poll::Ready(draft.into_body())
    }

    fn refuse(&self, request: Parts, entry: &Rc<Entry>, why: Refusal) -> Answering {
        let outcome = self.not_sent(&request.method);
        let draft = match why {
            Refusal::TooBusy => {
                self.0.metrics.shed.add(1);
                ResponseDraft::too_busy(outcome)
            }
            Refusal::Coding => {
                ResponseDraft::bad_value("the only supported Transfer-Encoding is chunked", outcome)
            }
            Refusal::Malformed => {
                ResponseDraft::bad_request("the chunked body is malformed", outcome)
            }
            Refusal::Late => ResponseDraft::body_timeout(self.0.options.request_timeout, outcome),
        };
        Answering {
            api: self.clone(),
            entry: entry.clone(),
            work: Work::done(draft),
            method: metrics::Method::of(&request.method),
            headers: HeaderMap::new(),
            origin: self.0.options.guard.cors().position(&request.headers),
            condition: None,
        }
    }

    fn on_connections(&self, open: usize) {
        self.0.metrics.http_connections.set(open as u64);
    }
}

/// A read of one field, as a head that was parsed once asks for it.
pub struct Plan {
    /// `None`: that of `/`.
    field: Option<Box<[u8]>>,
    /// See [`Answering::origin`].
    origin: Option<u32>,
}

/// Such a read under way.
pub struct Reading {
    read: Read,
    absent: Absent,
    origin: Option<u32>,
}

/// How far a POST has come.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Body,
    Write(Progress),
}

/// What an answer waits for.
enum Work {
    /// Taken when answered.
    Done(Option<ResponseDraft>),
    Read(Read, Absent),
    Stream(Box<Opening>),
    Post(
        Pin<Box<dyn Future<Output = ResponseDraft>>>,
        Rc<Cell<Stage>>,
    ),
}

impl Work {
    fn done(draft: ResponseDraft) -> Self {
        Work::Done(Some(draft))
    }
}

/// A request being answered.
pub struct Answering {
    api: Api,
    entry: Rc<Entry>,
    work: Work,
    method: metrics::Method,
    /// The request's, cleared: the response's are made in it.
    headers: HeaderMap,
    /// The place of the request's origin in the list of those that may read.
    origin: Option<u32>,
    /// What the client has already.
    condition: Option<Condition>,
}

impl Answering {
    fn poll_draft(&mut self, cx: &mut Context<'_>) -> Poll<ResponseDraft> {
        if let Work::Done(draft) = &mut self.work {
            return draft.take().map_or(Poll::Pending, Poll::Ready);
        }
        if self.entry.is_expired() {
            return Poll::Ready(self.api.late(&self.work));
        }
        match &mut self.work {
            Work::Done(_) => Poll::Pending,
            Work::Post(post, _) => post.as_mut().poll(cx),
            Work::Stream(opening) => match ready!(Pin::new(&mut **opening).poll(cx)) {
                Ok(feed) => {
                    let chunked = opening.chunked;
                    self.begin_stream(feed, chunked);
                    // No answer of hyper's.
                    Poll::Pending
                }
                Err(draft) => Poll::Ready(draft),
            },
            Work::Read(read, absent) => {
                let outcome = ready!(Pin::new(read).poll(cx));
                Poll::Ready(self.api.read_response(outcome, *absent))
            }
        }
    }
}

impl Answering {
    /// Hands the connection over to a stream.
    fn begin_stream(&self, feed: Box<dyn Feed>, chunked: bool) {
        self.api.count(self.method, StatusCode::OK, &self.entry);
        let head = streams::head(self.api.0.options.guard.cors(), self.origin);
        let now = self.api.0.turn.now();
        let streamed = Streamed::new(head, chunked, feed);
        self.entry.stream(Box::new(streamed), now);
    }
}

impl Future for Answering {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response<Body>> {
        let draft = ready!(self.poll_draft(cx));
        let this = &mut *self;
        let condition = this.condition.as_ref();
        let draft = this.api.finish(this.method, draft, condition, &this.entry);
        let cors = this.api.0.options.guard.cors();
        Poll::Ready(draft.into_response(&mut this.headers, cors, this.origin))
    }
}

async fn post(
    api: Api,
    field: Box<str>,
    body: Incoming,
    entry: Rc<Entry>,
    stage: Rc<Cell<Stage>>,
) -> ResponseDraft {
    let options = &api.0.options;
    let (value, shown) = match value_of(body, options.max_body, options.values).await {
        Ok(posted) => posted,
        Err(draft) => {
            api.0.metrics.write_failed(WriteOutcome::NotSent);
            return draft;
        }
    };
    entry.advance(State::Handler);
    let deadline = entry.since() + options.request_timeout;
    let report = |progress| stage.set(Stage::Write(progress));
    match write(&api, field.as_bytes(), value.as_bytes(), deadline, &report).await {
        Ok(()) => ResponseDraft::ok(shown),
        Err(error) => {
            if error == WriteError::Shed {
                api.0.metrics.shed.add(1);
            }
            api.write_response(ResponseDraft::write_error(&error))
        }
    }
}

/// Stores `value`, if the hash has room for it.
async fn write(
    api: &Api,
    field: &[u8],
    value: &[u8],
    deadline: Instant,
    report: &impl Fn(Progress),
) -> Result<(), WriteError> {
    let Inner {
        writes, options, ..
    } = &*api.0;
    if let Some(max) = options.guard.max_fields() {
        writes.has_room(field, max.get(), report).await?;
    }
    writes.set(field, value, deadline, report).await
}

/// Reads a body of at most `limit` bytes. It is copied: a piece that is kept keeps the whole buffer
/// that it was read into, some KiB for a byte that comes by itself.
async fn read_body(mut body: Incoming, limit: usize) -> Result<Vec<u8>, ResponseDraft> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ResponseDraft::broken_body())?;
        let piece = frame.into_data().unwrap_or_default();
        if piece.len() > limit - bytes.len() {
            return Err(ResponseDraft::too_large(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Reads a body of at most `limit` bytes: the value in it, as it is to be stored, and the answer
/// that tells of it.
async fn value_of(
    body: Incoming,
    limit: usize,
    kind: ValueKind,
) -> Result<(String, Bytes), ResponseDraft> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ResponseDraft::too_large(limit));
    }
    let body = read_body(body, limit).await?;
    let outcome = Some(WriteOutcome::NotSent);
    let value = posted::value(kind, &body).map_err(|refusal| match refusal {
        posted::Refusal::Wrong(why) => ResponseDraft::bad_value(&why, outcome),
        posted::Refusal::TooLong => ResponseDraft::value_too_long(),
    })?;
    let shown = current(kind, value.as_bytes())
        .map_err(|why| ResponseDraft::bad_value(&format!("the value {why}"), outcome))?;
    Ok((value, shown))
}
