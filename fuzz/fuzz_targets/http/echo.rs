//! A service that answers with what it was asked, and a connection in memory.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::server::{Body, Entry, Refusal, Service, Transport};

/// The header of an answer that says to which request it is.
pub const REQUEST: &str = "x-request";

/// What an answer says of its request. Of bodies only those of `POST` are read, as by the API.
pub fn describe(method: &str, target: &str, body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let (length, hash) = (body.len(), hasher.finish() as u32);
    format!("{method} {} {length} {hash:x}", target.escape_debug())
}

/// See the module.
pub struct Echo;

/// An answer that is there at the last of some looks, so that more may arrive meanwhile.
pub struct Waiting {
    text: String,
    looks: usize,
}

impl Waiting {
    fn new(text: String) -> Waiting {
        let looks = text.len() % 3;
        Waiting { text, looks }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<String> {
        if self.looks == 0 {
            return Poll::Ready(self.text.clone());
        }
        self.looks -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn refusal() -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

fn text_of(request: &Request<Incoming>, body: &[u8]) -> String {
    describe(request.method().as_str(), &request.uri().to_string(), body)
}

impl Service for Echo {
    type Future = Pin<Box<dyn Future<Output = Response<Body>>>>;

    fn call(&self, request: Request<Incoming>, _entry: &Rc<Entry>) -> Self::Future {
        let reads = *request.method() == Method::POST;
        let (empty, request) = (text_of(&request, &[]), request);
        // Else hyper would take the 200 for the beginning of a tunnel.
        let is_connect = *request.method() == Method::CONNECT;
        let body = reads.then_some(request);
        Box::pin(async move {
            let text = match body {
                None => empty,
                Some(request) => {
                    let (parts, body) = request.into_parts();
                    let Ok(body) = body.collect().await else {
                        return refusal();
                    };
                    let target = parts.uri.to_string();
                    describe(parts.method.as_str(), &target, &body.to_bytes())
                }
            };
            let mut waiting = Waiting::new(text);
            let text = std::future::poll_fn(|cx| waiting.poll(cx)).await;
            let mut response = Response::new(Body::from(text.clone()));
            let value = HeaderValue::from_str(&text).expect("no control characters");
            response
                .headers_mut()
                .insert(HeaderName::from_static(REQUEST), value);
            if is_connect {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            }
            response
        })
    }

    type Plan = String;
    type Repeat = Waiting;

    fn plan(&self, request: &Request<Incoming>) -> Option<String> {
        Some(text_of(request, &[]))
    }

    fn repeat(&self, plan: &String, _entry: &Rc<Entry>) -> Waiting {
        Waiting::new(plan.clone())
    }

    fn poll_repeat(
        &self,
        repeat: &mut Waiting,
        _entry: &Entry,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
    ) -> Poll<Bytes> {
        let text = ready!(repeat.poll(cx));
        let lines = format!("HTTP/1.1 200 OK\r\n{REQUEST}: {text}\r\n");
        head.extend_from_slice(lines.as_bytes());
        Poll::Ready(text.into())
    }

    fn refuse(&self, _request: Parts, _entry: &Rc<Entry>, _why: Refusal) -> Self::Future {
        Box::pin(async { refusal() })
    }
}

/// A stream in memory.
pub struct Memory(pub DuplexStream);

impl Transport for Memory {
    fn has_arrived(&self) -> bool {
        false
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
