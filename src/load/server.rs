//! A small HTTP server for what people, browsers and scrapers ask of the rig.
//!
//! Invariants: a bounded number of connections; a head that does not come ends its connection, and
//! so does a client that takes nothing of its answer. No limit on how long an answer may take: a
//! browser keeps its stream of events open.
//!
//! Non-goals: speed. The server under test is `http::server`.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// The body of an answer: whole, or a stream.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Connections served at a time; more wait in the backlog. A room full of browsers needs some ten
/// each.
const CONNECTIONS: usize = 1024;

/// For the head of a request, and so for an idle connection too. Who polls does so each second; and
/// should idle connections take all places, a probe is answered again before it has failed for the
/// third time, ten seconds apart as is usual.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes that hyper buffers of one request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long to stop accepting after a failure, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A client that is gone without a word, or takes nothing, keeps its connection for so long: a
/// laptop that sleeps through a coffee opens another.
const CLIENT_GONE: Duration = Duration::from_secs(30);

/// Answers every request on `listener` by `respond`, for ever.
///
/// # Cancel safety
/// Dropping the future closes the listener and cuts every connection.
pub(super) async fn serve<F>(
    listener: TcpListener,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, respond.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept connections; trying on");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection<F>(stream: TcpStream, respond: impl Fn(Request<Incoming>) -> F)
where
    F: Future<Output = Response<Body>>,
{
    watch_client(&stream);
    let service = service_fn(|request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    // What the client did wrong concerns nobody.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Has the kernel end the connection to a client that is gone. Without it, the connection is as
/// good, until the client's own end is noticed.
fn watch_client(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(CLIENT_GONE / 2));
    // Also for a client whose window stays shut.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(CLIENT_GONE));
}

/// An answer with a whole body.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}
