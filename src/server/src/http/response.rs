//! From an outcome to a response: status, body and headers. The one place where errors are mapped.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

use super::cors::Cors;
use super::more::{More, write_line};
use super::route::Absent;
use super::server::Body;
use crate::metrics::WriteOutcome;
use crate::store::{ErrorKind, Progress, ReadError, Unfit, WriteError};

/// Methods that a known path has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    All,
    /// All but `POST`.
    ReadOnly,
}

impl Methods {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Methods::All => "GET, HEAD, POST, OPTIONS",
            Methods::ReadOnly => "GET, HEAD, OPTIONS",
        })
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// When to come again after a `503`, in seconds. Reconnects to a local replica are at most one
/// second apart, and the header knows no fractions.
const RETRY: HeaderValue = HeaderValue::from_static("1");

/// What nearly every answer begins with.
const PLAIN_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    access-control-allow-origin: *\r\n";

/// A header beyond those that every answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    None,
    RetryAfter,
    Allow(Methods),
    Preflight {
        methods: Methods,
        /// The headers that a request may have.
        headers: &'static str,
    },
    Challenge,
    Close,
}

/// A response, before it has headers.
#[derive(Clone, Debug)]
pub struct ResponseDraft {
    status: StatusCode,
    body: Bytes,
    extra: Extra,
    more: Option<Rc<More>>,
}

impl ResponseDraft {
    fn new(status: StatusCode, body: impl Into<Bytes>, extra: Extra) -> Self {
        ResponseDraft {
            status,
            body: body.into(),
            extra,
            more: None,
        }
    }

    /// The same, with `X-Data-Age`.
    pub fn with_age(mut self, seconds: Rc<More>) -> Self {
        self.more = Some(seconds);
        self
    }

    /// The same, with what caches are told.
    pub fn with_caching(mut self, headers: Rc<More>) -> Self {
        self.more = Some(match self.more.and_then(|more| more.age.clone()) {
            None => headers,
            age => Rc::new(More {
                age,
                ..(*headers).clone()
            }),
        });
        self
    }

    /// `304`: a `200` whose body the client has.
    pub fn not_modified(mut self) -> Self {
        self.status = StatusCode::NOT_MODIFIED;
        self.body = Bytes::new();
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What a read has found.
    pub fn found(body: Option<Bytes>, absent: Absent) -> Self {
        match (body, absent) {
            (Some(body), _) => ResponseDraft::ok(body),
            (None, Absent::NotFound) => ResponseDraft::not_found(),
            (None, Absent::NotInitialised) => ResponseDraft::not_initialised(),
        }
    }

    /// `200` with a JSON body.
    pub fn ok(body: Bytes) -> Self {
        ResponseDraft::new(StatusCode::OK, body, Extra::None)
    }

    /// Nothing was ever stored at `/`: a `200`, as clients of this API have always had it.
    pub fn not_initialised() -> Self {
        ResponseDraft::ok(Bytes::from_static(b"{\"error\":\"Not initialised\"}"))
    }

    /// `404`: no such path, or no such field.
    pub fn not_found() -> Self {
        let body = Bytes::from_static(b"{\"error\":\"Not found\"}");
        ResponseDraft::new(StatusCode::NOT_FOUND, body, Extra::None)
    }

    /// `204` with what a browser asks before it posts, or sends one of these headers.
    pub fn preflight(methods: Methods, headers: &'static str) -> Self {
        let extra = Extra::Preflight { methods, headers };
        ResponseDraft::new(StatusCode::NO_CONTENT, Bytes::new(), extra)
    }

    /// `405`; `outcome` if it was a write.
    pub fn method_not_allowed(methods: Methods, outcome: Option<WriteOutcome>) -> Self {
        let error = match methods {
            Methods::All => "this path takes GET, HEAD, POST and OPTIONS",
            Methods::ReadOnly => "this API is read-only: it takes GET, HEAD and OPTIONS",
        };
        ResponseDraft::new(
            StatusCode::METHOD_NOT_ALLOWED,
            error_body(error, outcome),
            Extra::Allow(methods),
        )
    }

    /// `401` for a write without the token, or with a wrong one, which is not told apart. Its body
    /// was not read, so the connection ends.
    pub fn unauthorized() -> Self {
        let error =
            "a write needs exactly one Authorization: Bearer TOKEN header with the right token";
        let body = error_body(error, Some(WriteOutcome::NotSent));
        ResponseDraft::new(StatusCode::UNAUTHORIZED, body, Extra::Challenge)
    }

    /// `503`: too many requests are in progress.
    pub fn too_busy(outcome: Option<WriteOutcome>) -> Self {
        ResponseDraft::too_many("too many requests in progress", outcome)
    }

    /// `503`: there are too many of something.
    pub fn too_many(error: &str, outcome: Option<WriteOutcome>) -> Self {
        ResponseDraft::new(
            StatusCode::SERVICE_UNAVAILABLE,
            error_body(error, outcome),
            Extra::RetryAfter,
        )
    }

    /// A request that HTTP itself doesn't allow: what follows on this connection can't be trusted
    /// either.
    pub fn bad_request(error: &str, outcome: Option<WriteOutcome>) -> Self {
        ResponseDraft::new(
            StatusCode::BAD_REQUEST,
            error_body(error, outcome),
            Extra::Close,
        )
    }

    /// `400` for a query or body that says nothing usable.
    pub fn bad_value(error: &str, outcome: Option<WriteOutcome>) -> Self {
        ResponseDraft::new(
            StatusCode::BAD_REQUEST,
            error_body(error, outcome),
            Extra::None,
        )
    }

    /// `400` for a body that broke off or is badly framed.
    pub fn broken_body() -> Self {
        let error = "the body is malformed or ended early";
        ResponseDraft::bad_request(error, Some(WriteOutcome::NotSent))
    }

    pub fn too_large(limit: usize) -> Self {
        let error = format!("the body is larger than {limit} bytes");
        let body = error_body(&error, Some(WriteOutcome::NotSent));
        ResponseDraft::new(StatusCode::PAYLOAD_TOO_LARGE, body, Extra::Close)
    }

    /// `413` for a value that came, and is longer than any that is stored.
    pub fn value_too_long() -> Self {
        let error = format!("the value {}", Unfit::TooLong);
        let body = error_body(&error, Some(WriteOutcome::NotSent));
        ResponseDraft::new(StatusCode::PAYLOAD_TOO_LARGE, body, Extra::None)
    }

    /// `408`: the body did not come in time.
    pub fn body_timeout(limit: Duration, outcome: Option<WriteOutcome>) -> Self {
        let error = format!("the body did not arrive within {} ms", limit.as_millis());
        let body = error_body(&error, outcome);
        ResponseDraft::new(StatusCode::REQUEST_TIMEOUT, body, Extra::Close)
    }

    /// `504` for a read.
    pub fn read_timeout(limit: Duration) -> Self {
        let error = format!("Redis did not answer within {} ms", limit.as_millis());
        ResponseDraft::new(
            StatusCode::GATEWAY_TIMEOUT,
            error_body(&error, None),
            Extra::None,
        )
    }

    /// A write whose deadline has passed; `trouble` says why there is no connection.
    pub fn write_timeout(
        limit: Duration,
        progress: Progress,
        trouble: &str,
    ) -> (Self, WriteOutcome) {
        let ms = limit.as_millis();
        let (status, outcome, error) = match progress {
            Progress::Waiting => (
                StatusCode::SERVICE_UNAVAILABLE,
                WriteOutcome::NotSent,
                format!("no connection to the master within {ms} ms: {trouble}"),
            ),
            Progress::Checking => (
                StatusCode::GATEWAY_TIMEOUT,
                WriteOutcome::NotSent,
                format!("the master did not say within {ms} ms whether the hash has room"),
            ),
            Progress::Sent => (
                StatusCode::GATEWAY_TIMEOUT,
                WriteOutcome::Unknown,
                format!("the master did not answer within {ms} ms"),
            ),
            Progress::ReadOnly => (
                StatusCode::SERVICE_UNAVAILABLE,
                WriteOutcome::Refused,
                format!("the server is a replica and no master was reached within {ms} ms"),
            ),
            Progress::Written { confirmed, wanted } => (
                StatusCode::GATEWAY_TIMEOUT,
                WriteOutcome::Applied,
                match confirmed {
                    Some(confirmed) => too_few(confirmed, wanted, limit),
                    None => format!(
                        "written on the master, which did not say within {ms} ms how many of \
                         {wanted} replicas have it"
                    ),
                },
            ),
        };
        (
            ResponseDraft::new(status, error_body(&error, Some(outcome)), retry(status)),
            outcome,
        )
    }

    /// A read without a value.
    pub fn read_error(error: &ReadError, trouble: Option<String>) -> Self {
        let (status, text) = match error {
            ReadError::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                match trouble {
                    Some(why) => format!("no replica is usable: {why}"),
                    None => "no replica is usable".to_owned(),
                },
            ),
            ReadError::Lost => (
                StatusCode::SERVICE_UNAVAILABLE,
                "the connection to the replica was lost".to_owned(),
            ),
            ReadError::Shed => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many reads are waiting".to_owned(),
            ),
            ReadError::FallbackFull => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no replica is usable, and the master already has as many reads in flight as \
                 --fallback-max-in-flight allows"
                    .to_owned(),
            ),
            ReadError::Refused { kind, text } => (status_of(*kind), error_words(*kind, text)),
            ReadError::Unfit { field, why } => (
                StatusCode::BAD_GATEWAY,
                match field {
                    Some(field) => format!("the value stored in {field} {why}"),
                    None => format!("the stored value {why}"),
                },
            ),
            ReadError::WrongReply(what) => (StatusCode::BAD_GATEWAY, (*what).to_owned()),
        };
        ResponseDraft::new(status, error_body(&text, None), retry(status))
    }

    /// A write that did not succeed.
    pub fn write_error(error: &WriteError) -> (Self, WriteOutcome) {
        let (status, outcome, text) = match error {
            WriteError::Shed => (
                StatusCode::SERVICE_UNAVAILABLE,
                WriteOutcome::NotSent,
                "too many writes are waiting".to_owned(),
            ),
            WriteError::Refused { kind, text } => (
                status_of(*kind),
                WriteOutcome::Refused,
                error_words(*kind, text),
            ),
            WriteError::Lost(why) => (
                StatusCode::SERVICE_UNAVAILABLE,
                WriteOutcome::Unknown,
                format!("the connection to the master was lost before it answered: {why}"),
            ),
            WriteError::WrongReply => (
                StatusCode::BAD_GATEWAY,
                WriteOutcome::Unknown,
                "the master's answer to HSET is not a number".to_owned(),
            ),
            WriteError::TooFew {
                confirmed,
                wanted,
                within,
            } => (
                StatusCode::GATEWAY_TIMEOUT,
                WriteOutcome::Applied,
                too_few(*confirmed, *wanted, *within),
            ),
            WriteError::WaitRefused { kind, text } => (
                status_of(*kind),
                WriteOutcome::Applied,
                format!(
                    "written on the master, but WAIT was refused: {}",
                    error_words(*kind, text)
                ),
            ),
            WriteError::Unconfirmed(why) => (
                StatusCode::GATEWAY_TIMEOUT,
                WriteOutcome::Applied,
                format!(
                    "written on the master, but it is not known whether any replica has it: {why}"
                ),
            ),
            WriteError::NoRoom(max) => (
                StatusCode::CONFLICT,
                WriteOutcome::NotSent,
                format!("the hash has reached its limit of {max} fields (--max-fields)"),
            ),
            WriteError::NotChecked { kind, text } => (
                status_of(*kind),
                WriteOutcome::NotSent,
                error_words(*kind, text),
            ),
            WriteError::WrongCount => (
                StatusCode::BAD_GATEWAY,
                WriteOutcome::NotSent,
                "the master's answer to HEXISTS or HLEN is not a number".to_owned(),
            ),
        };
        (
            ResponseDraft::new(status, error_body(&text, Some(outcome)), retry(status)),
            outcome,
        )
    }

    /// Adds the head of the response to `out`, as hyper makes it but for the lines that hyper adds.
    pub fn write_head(&self, out: &mut Vec<u8>, cors: &Cors, origin: Option<u32>) {
        let is_plain =
            self.status == StatusCode::OK && self.extra == Extra::None && *cors == Cors::Any;
        if !is_plain {
            return self.write_any_head(out, cors, origin);
        }
        out.extend_from_slice(PLAIN_HEAD);
        if let Some(more) = &self.more {
            more.write(out);
        }
    }

    fn write_any_head(&self, out: &mut Vec<u8>, cors: &Cors, origin: Option<u32>) {
        let response = self
            .clone()
            .into_response(&mut HeaderMap::new(), cors, origin);
        let reason = self.status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", self.status.as_str(), " ", reason, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        for (name, value) in response.headers() {
            write_line(out, name, value.as_bytes());
        }
    }

    /// The body alone.
    pub fn into_body(self) -> Bytes {
        self.body
    }

    /// The response, made in an empty header map that was used before, since making one takes two
    /// allocations. The map is taken; swapped rather than moved, for even an empty one has a price
    /// when it is dropped.
    ///
    /// `origin` is the place of the request's origin in `cors`.
    pub fn into_response(
        self,
        headers: &mut HeaderMap,
        cors: &Cors,
        origin: Option<u32>,
    ) -> Response<Body> {
        if !matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        ) {
            headers.insert(CONTENT_TYPE, JSON);
        }
        cors.apply(origin, headers);
        match self.extra {
            Extra::None => {}
            Extra::RetryAfter => drop(headers.insert(RETRY_AFTER, RETRY)),
            Extra::Allow(methods) => drop(headers.insert(ALLOW, methods.header())),
            Extra::Close => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
            Extra::Challenge => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Extra::Preflight {
                methods,
                headers: allowed,
            } => {
                headers.insert(ALLOW, methods.header());
                if *cors != Cors::Nobody {
                    let allowed = HeaderValue::from_static(allowed);
                    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods.header());
                    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
                    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
                }
            }
        }
        if let Some(more) = self.more {
            more.add_to(headers, *cors != Cors::Nobody);
        }
        let mut response = Response::new(Body::new(self.body));
        *response.status_mut() = self.status;
        std::mem::swap(response.headers_mut(), headers);
        response
    }
}

fn too_few(confirmed: u64, wanted: u64, within: Duration) -> String {
    let ms = within.as_millis();
    format!("written on the master; {confirmed} of {wanted} replicas confirmed it within {ms} ms")
}

fn retry(status: StatusCode) -> Extra {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => Extra::RetryAfter,
        _ => Extra::None,
    }
}

/// `503` for what passes by itself, `502` for what somebody must mend.
fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Loading
        | ErrorKind::MasterDown
        | ErrorKind::Busy
        | ErrorKind::Oom
        | ErrorKind::ReadOnly
        | ErrorKind::MaxClients => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NoAuth
        | ErrorKind::WrongPass
        | ErrorKind::NoPerm
        | ErrorKind::Moved
        | ErrorKind::WrongType
        | ErrorKind::MisConf
        | ErrorKind::Denied
        | ErrorKind::NoProto
        | ErrorKind::UnknownCommand
        | ErrorKind::Other => StatusCode::BAD_GATEWAY,
    }
}

/// Redis' words, with ours before them where they alone don't say what is the matter.
fn error_words(kind: ErrorKind, text: &str) -> String {
    let ours = match kind {
        ErrorKind::Loading => "Redis is loading its data set",
        ErrorKind::MasterDown => "the replica has lost its master and does not serve stale data",
        ErrorKind::Busy => "Redis is busy running a script",
        ErrorKind::Oom => "the master's memory is full",
        ErrorKind::ReadOnly => "the write went to a replica",
        ErrorKind::NoAuth | ErrorKind::WrongPass => "Redis rejected the credentials",
        ErrorKind::NoPerm => "the Redis user lacks a permission",
        ErrorKind::Moved => "Redis is in cluster mode, which is not supported",
        ErrorKind::WrongType => "the key holds something other than a hash",
        ErrorKind::MisConf => "Redis can't save its data, and refuses writes",
        ErrorKind::Denied => "Redis is in protected mode",
        ErrorKind::MaxClients
        | ErrorKind::NoProto
        | ErrorKind::UnknownCommand
        | ErrorKind::Other => "Redis answered with an error",
    };
    format!("{ours}: {text}")
}

/// `{"error":"…"}`, and for writes what became of it.
fn error_body(error: &str, outcome: Option<WriteOutcome>) -> Bytes {
    let mut body = serde_json::json!({ "error": error });
    if let Some(outcome) = outcome {
        body["outcome"] = outcome.label().into();
    }
    body.to_string().into()
}

#[cfg(test)]
mod tests;
