//! One request on its way through hyper: from the service's call to its response.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};

use super::framing::BodyFraming;
use super::heads::Head;
use super::io::{Socket, Transport};
use super::table::{Entry, State};
use super::{Body, Refusal, Server, Service};

/// The service as hyper calls it, for one connection.
pub struct Adapter<S: Service, T> {
    pub server: Rc<Server<S>>,
    pub entry: Rc<Entry>,
    pub socket: Rc<Socket<T>>,
}

impl<S: Service, T: Transport> hyper::service::Service<Request<Incoming>> for Adapter<S, T> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call<S, T>;

    fn call(&self, request: Request<Incoming>) -> Call<S, T> {
        let Server {
            service,
            limits,
            in_flight,
            turn,
            ..
        } = &*self.server;
        self.entry.begin(turn.now());
        let before = in_flight.get();
        in_flight.set(before + 1);
        let mut refusal = (before >= limits.max_requests).then_some(Refusal::TooBusy);
        let body = body_framing(request.body());
        if body != BodyFraming::None && !is_plainly_framed(request.headers()) {
            refusal = Some(Refusal::Coding);
        }
        if !self.socket.begin(body) {
            refusal = Some(Refusal::Malformed);
        }
        let unread = match body {
            BodyFraming::Chunked if refusal.is_none() => self.unread(&request),
            _ => None,
        };
        let candidate = self.socket.take_candidate();
        if let Some(head) = candidate.filter(|_| refusal.is_none() && body == BodyFraming::None) {
            self.remember(head, &request);
        }
        let future = match refusal {
            None => service.call(request, &self.entry),
            Some(why) => {
                if why != Refusal::TooBusy {
                    self.entry.retire();
                }
                service.refuse(request.into_parts().0, &self.entry, why)
            }
        };
        Call {
            future,
            unread,
            server: self.server.clone(),
            entry: self.entry.clone(),
        }
    }
}

impl<S: Service, T: Transport> Adapter<S, T> {
    /// Keeps the head of this request, which has no body, with what it asks for, if that can be
    /// answered again.
    fn remember(&self, bytes: Box<[u8]>, request: &Request<Incoming>) {
        if begins_with(&bytes, request)
            && let Some(is_last) = is_last(request.headers())
            && let Some(plan) = self.server.service.plan(request)
        {
            self.server.heads.keep(Head::new(bytes, plan, is_last));
        }
    }

    /// What is needed to see a chunked body to its end, if it has no meaning and so nobody reads
    /// it.
    ///
    /// One that the client sends only when asked to need not come.
    fn unread(&self, request: &Request<Incoming>) -> Option<Box<Unread<T>>> {
        if request.method() == Method::POST || request.headers().contains_key(EXPECT) {
            return None;
        }
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.headers = request.headers().clone();
        Some(Box::new(Unread {
            socket: self.socket.clone(),
            parts,
        }))
    }
}

/// Whether a head begins with the line of this request, and that is a `GET` of HTTP/1.1.
fn begins_with(head: &[u8], request: &Request<Incoming>) -> bool {
    let target = request.uri().path_and_query().map_or("", |it| it.as_str());
    let rest = head.strip_prefix(b"GET ");
    let rest = rest.and_then(|rest| rest.strip_prefix(target.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b" HTTP/1.1\r\n")) && request.method() == Method::GET
}

/// Whether a request of HTTP/1.1 with these headers, and without a body, is the last one of its
/// connection; `None`: there is more in them that concerns the connection.
fn is_last(headers: &HeaderMap) -> Option<bool> {
    let others = [EXPECT, UPGRADE, TRANSFER_ENCODING, CONTENT_LENGTH];
    if others.iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let mut options = headers.get_all(CONNECTION).iter();
    let is = |option: &HeaderValue, what: &[u8]| option.as_bytes().eq_ignore_ascii_case(what);
    match (options.next(), options.next()) {
        (None, _) => Some(false),
        (Some(only), None) if is(only, b"keep-alive") => Some(false),
        (Some(only), None) if is(only, b"close") => Some(true),
        _ => None,
    }
}

/// How hyper frames a body.
fn body_framing(body: &Incoming) -> BodyFraming {
    if body.is_end_stream() {
        return BodyFraming::None;
    }
    let length = body.size_hint().exact();
    length.map_or(BodyFraming::Chunked, BodyFraming::Length)
}

/// Whether a body has a length or is in chunks, and in nothing else: RFC 9112, section 6.1.
fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// A body in chunks that nobody reads. It is seen to its end before the request is answered, so
/// that one that is malformed is refused, whatever the method.
struct Unread<T> {
    socket: Rc<Socket<T>>,
    parts: Parts,
}

/// A request being answered.
pub struct Call<S: Service, T> {
    future: S::Future,
    unread: Option<Box<Unread<T>>>,
    server: Rc<Server<S>>,
    entry: Rc<Entry>,
}

impl<S: Service, T: Transport> Call<S, T> {
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(unread) = &self.unread else {
            return Poll::Ready(());
        };
        let refusal = match unread.socket.poll_skip(cx) {
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(_)) => Some(Refusal::Malformed),
            Poll::Pending if self.entry.is_expired() => Some(Refusal::Late),
            Poll::Pending => return Poll::Pending,
        };
        if let Some(unread) = self.unread.take()
            && let Some(why) = refusal
        {
            self.entry.retire();
            self.future = self.server.service.refuse(unread.parts, &self.entry, why);
        }
        Poll::Ready(())
    }
}

impl<S: Service, T: Transport> Future for Call<S, T> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.poll_unread(cx));
        let mut response = ready!(Pin::new(&mut self.future).poll(cx));
        if self.entry.is_last() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        self.entry.advance(State::Write);
        Poll::Ready(Ok(response))
    }
}

impl<S: Service, T> Drop for Call<S, T> {
    fn drop(&mut self) {
        let in_flight = &self.server.in_flight;
        in_flight.set(in_flight.get().saturating_sub(1));
    }
}
