//! A small HTTP server for the clients who ask little: probes, scrapers, and the pages of the load
//! rig.
//!
//! Invariants: a bounded number of connections; a head that does not come ends its connection, and
//! so does a client that takes nothing of its answer. Where all places are taken, a new client gets
//! that of the one that has been idle for longest, so that no slow client keeps a probe out. No
//! limit on how long an answer may take: a browser keeps its stream of events open.
//!
//! Non-goals: speed, TLS, authentication. The API itself is served by [`super::server`].

mod seats;

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
use tokio::time::sleep;

use self::seats::{Held, Seat, Seats};

/// The body of a response: whole, or a stream.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What its clients may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at a time. Should each of them have a request in progress, more wait in
    /// the backlog.
    pub connections: usize,
    /// How long a client that is gone without a word, or takes nothing, keeps its connection.
    pub client_gone: Duration,
}

/// For the head of a request, and so for an idle connection too. Who polls does so each second.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes that hyper buffers of one request.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long to stop accepting after a failure, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers every request on `listener` by `respond`, for ever.
///
/// # Cancel safety
/// Dropping the future closes the listener and cuts every connection.
pub async fn serve<F>(
    limits: Limits,
    listener: TcpListener,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut seats = Seats::new(limits.connections);
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                watch_client(&stream, limits.client_gone);
                seats.make_room().await;
                let respond = respond.clone();
                seats.take(|seat| serve_connection(stream, seat, respond));
            }
            Err(error) => {
                // Once for each run of failures, which lasts as long as its cause.
                if !failing {
                    tracing::warn!(%error, "can't accept connections; retrying");
                }
                failing = true;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection<F>(
    stream: TcpStream,
    seat: Seat,
    respond: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Response<Body>>,
{
    let service = service_fn(|request| {
        let in_progress = seat.begin();
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await.map(|body| Held::new(body, in_progress))) }
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
fn watch_client(stream: &TcpStream, gone: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(gone / 2));
    // Also for a client whose window stays shut.
    let _ = socket.set_tcp_user_timeout(Some(gone));
}

/// A response with a whole body.
pub fn answer(
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

/// A response without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Instant;

    use hyper::body::Frame;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A body that never ends.
    struct Endless;

    impl hyper::body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    /// Asks, and gives the first line of the answer.
    async fn ask(stream: &mut TcpStream, path: &str) -> std::io::Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head);
        // The body of the answer that ends.
        if path == "/" {
            stream.read_exact(&mut [0; 2]).await?;
        }
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        let mut rest = Vec::new();
        tokio::time::timeout(HEADER_TIMEOUT / 2, stream.read_to_end(&mut rest))
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn the_idlest_makes_room_and_a_request_in_progress_stays() {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let limits = Limits {
            connections: 3,
            client_gone: Duration::from_secs(30),
        };
        // `/` is answered, anything else for ever.
        let respond = |request: Request<Incoming>| async move {
            if request.uri().path() == "/" {
                return answer(StatusCode::OK, "text/plain", "ok");
            }
            Response::new(Endless.boxed_unsync())
        };
        let server = tokio::spawn(serve(limits, listener, respond));
        let connect = || TcpStream::connect(address);
        let started = Instant::now();
        let mut streaming = connect().await.expect("it listens");
        let mut half = connect().await.expect("it listens");
        let mut used = connect().await.expect("it listens");
        let ok = "HTTP/1.1 200 OK";
        assert_eq!(ask(&mut streaming, "/events").await.expect("a head"), ok);
        half.write_all(b"GET / HT").await.expect("it is connected");
        assert_eq!(ask(&mut used, "/").await.expect("an answer"), ok);

        let mut fourth = connect().await.expect("it listens");
        assert_eq!(ask(&mut fourth, "/").await.expect("an answer"), ok);
        assert!(is_closed(&mut half).await, "it never sent a head");
        assert_eq!(ask(&mut used, "/").await.expect("an answer"), ok);
        let mut fifth = connect().await.expect("it listens");
        assert_eq!(ask(&mut fifth, "/").await.expect("an answer"), ok);
        assert!(is_closed(&mut fourth).await, "it has been idle for longest");
        assert!(started.elapsed() < HEADER_TIMEOUT, "nobody was timed out");
        server.abort();
    }
}
