//! The yardstick: the same server with a constant answer, so that the difference to the API is the
//! cost of Redis.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};

use super::server::{Body, Entry, Refusal, Service};
use crate::metrics;
use crate::turn::Turn;

const GREETING: &[u8] = b"Hello World!";

/// `200 Hello World!` on every path, counted as the API counts.
pub struct Hello {
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
}

impl Hello {
    /// The service of one worker.
    pub fn new(turn: Rc<Turn>, metrics: Arc<metrics::Worker>) -> Self {
        Hello { turn, metrics }
    }

    fn answer(
        &self,
        request: Parts,
        status: StatusCode,
        entry: &Rc<Entry>,
    ) -> Ready<Response<Body>> {
        let method = metrics::Method::of(&request.method);
        let duration = self.turn.now().saturating_duration_since(entry.since());
        self.metrics
            .observe_request(method, status.as_u16(), duration);
        let body = match status {
            StatusCode::OK => GREETING,
            _ => b"Bad request",
        };
        let mut headers = request.headers;
        headers.clear();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let mut response = Response::new(Body::new(Bytes::from_static(body)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        ready(response)
    }
}

impl Service for Hello {
    type Future = Ready<Response<Body>>;

    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future {
        self.answer(request.into_parts().0, StatusCode::OK, entry)
    }

    fn refuse(&self, request: Parts, entry: &Rc<Entry>, why: Refusal) -> Self::Future {
        let status = match why {
            // It waits for nothing.
            Refusal::TooBusy => StatusCode::OK,
            Refusal::Coding | Refusal::Malformed => StatusCode::BAD_REQUEST,
            Refusal::Late => StatusCode::REQUEST_TIMEOUT,
        };
        self.answer(request, status, entry)
    }

    type Plan = ();
    type Repeat = ();

    fn plan(&self, _request: &Request<Incoming>) -> Option<()> {
        Some(())
    }

    fn repeat(&self, _plan: &(), _entry: &Rc<Entry>) {}

    fn poll_repeat(
        &self,
        _repeat: &mut (),
        entry: &Entry,
        _cx: &mut Context<'_>,
        head: &mut Vec<u8>,
    ) -> Poll<Bytes> {
        let duration = self.turn.now().saturating_duration_since(entry.since());
        let method = metrics::Method::Get;
        self.metrics.observe_request(method, 200, duration);
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n");
        Poll::Ready(Bytes::from_static(GREETING))
    }

    fn on_connections(&self, open: usize) {
        self.metrics.http_connections.set(open as u64);
    }
}
