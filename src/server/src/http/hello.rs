//! The yardstick: the same server with a constant answer, so that the difference to the API is the
//! cost of Redis.

use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};

use super::server::{Body, Entry, Service};
use crate::metrics;
use crate::turn::Turn;

/// `200 Hello World!` on every path, counted as the API counts.
pub struct Hello {
    turn: Rc<Turn>,
    metrics: Arc<metrics::Worker>,
}

impl Hello {
    pub fn new(turn: Rc<Turn>, metrics: Arc<metrics::Worker>) -> Self {
        Hello { turn, metrics }
    }
}

impl Service for Hello {
    type Future = Ready<Response<Body>>;

    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future {
        let (parts, _) = request.into_parts();
        let method = metrics::Method::of(&parts.method);
        let duration = self.turn.now().saturating_duration_since(entry.since());
        self.metrics.observe_request(method, 200, duration);
        let mut headers = parts.headers;
        headers.clear();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let mut response = Response::new(Body::new(Bytes::from_static(b"Hello World!")));
        *response.headers_mut() = headers;
        ready(response)
    }

    fn on_connections(&self, open: usize) {
        self.metrics.http_connections.set(open as u64);
    }
}
