//! An HTTP client for the rig's own questions: small answers, each with a deadline.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::yield_now;
use tokio::time::timeout;

/// How long a connection that nobody asks on is kept: questions come each second, and who is not
/// asked any more is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// What has arrived by the deadline is in time, also when it is this process that was held up (by
/// its share of the CPU, by the answers of some hundred bots): so many turns of the event loop
/// bring it from the socket to the caller. hyper reads pieces of 8 KiB, each up to twice the last:
/// six of them are far more than the longest window of a bot.
const LAST_TURNS: usize = 6;

/// Keeps connections between questions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Any status; it is for the caller to judge.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// The deadline passed.
    Late(Duration),
    /// The answer is longer than asked for, in bytes.
    Long(usize),
    /// No connection, or it was lost; the request may have arrived.
    Lost {
        /// There was a connection, so that the request may have arrived.
        connected: bool,
        /// What happened.
        text: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Late(timeout) => write!(f, "no answer within {timeout:?}"),
            Error::Long(limit) => write!(f, "the answer is longer than {limit} bytes"),
            Error::Lost { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl Client {
    /// A client for `http://` and, with the roots that are built in, `https://`.
    pub fn new() -> Client {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Client {
            inner: legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build(connector),
        }
    }

    /// Asks for `uri`; the answer must be there, whole and of at most `limit` bytes, within
    /// `deadline`.
    ///
    /// # Errors
    /// See [`Error`]; any status is an answer.
    pub async fn ask(&self, uri: Uri, limit: usize, deadline: Duration) -> Result<Answer, Error> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        self.send(request, limit, deadline).await
    }

    /// Posts JSON, with a bearer token if there is one (RFC 6750 2.1); for the rest as
    /// [`Client::ask`].
    ///
    /// # Errors
    /// See [`Error`]; any status is an answer.
    pub async fn post(
        &self,
        uri: Uri,
        json: String,
        authorization: Option<HeaderValue>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let mut request = Request::new(Full::from(json));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        self.send(request, limit, deadline).await
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let answer =
            async {
                let response = self.inner.request(request).await.map_err(|error| {
                    match error.is_connect() {
                        true => Error::Lost {
                            connected: false,
                            text: format!("no connection: {}", cause(&error)),
                        },
                        false => Error::Lost {
                            connected: true,
                            text: cause(&error),
                        },
                    }
                })?;
                let status = response.status();
                let body = read_body(response.into_body(), limit).await?;
                Ok(Answer { status, body })
            };
        let mut answer = pin!(answer);
        if let Ok(answer) = timeout(deadline, answer.as_mut()).await {
            return answer;
        }
        for _ in 0..LAST_TURNS {
            yield_now().await;
            if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
                return answer;
            }
        }
        Err(Error::Late(deadline))
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

/// Reads a body of at most `limit` bytes. It is copied: a piece that is kept keeps the whole buffer
/// that it was read into, some KiB for a byte that comes by itself.
async fn read_body<B>(mut body: B, limit: usize) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes, Error: std::error::Error + 'static> + Unpin,
{
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Lost {
            connected: true,
            text: cause(&error),
        })?;
        let piece = frame.into_data().unwrap_or_default();
        if piece.len() > limit - bytes.len() {
            return Err(Error::Long(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// The first cause of an error, in its own words. Those of the layers above it are only names of
/// theirs: "client error (Connect): tcp connect error".
fn cause(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::task::Context;
    use std::thread::{JoinHandle, spawn};

    use hyper::body::Frame;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    const DEADLINE: Duration = Duration::from_millis(500);

    /// As long as the window of a busy bot.
    const WINDOW: usize = 40_000;

    fn runtime() -> Runtime {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made")
    }

    /// A server with one answer. It says when it was asked, and waits for a word before it answers;
    /// what it says next is that it has.
    struct Server {
        uri: Uri,
        said: Receiver<()>,
        answer: SyncSender<()>,
        thread: JoinHandle<()>,
    }

    fn server(answer: String) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let uri = format!("http://{}/", listener.local_addr().expect("it is bound"));
        let (say, said) = sync_channel(2);
        let (told, wait) = sync_channel(1);
        let thread = spawn(move || {
            let (mut stream, _) = listener.accept().expect("the client connects");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).expect("the client asks");
            assert!(
                request[..length].ends_with(b"\r\n\r\n"),
                "a request in one piece"
            );
            let _ = say.send(());
            let _ = wait.recv();
            stream
                .write_all(answer.as_bytes())
                .expect("the client reads");
            let _ = say.send(());
            // Until the client has gone.
            let _ = stream.read(&mut request);
        });
        Server {
            uri: uri.parse().expect("a URL"),
            said,
            answer: told,
            thread,
        }
    }

    #[test]
    fn what_has_arrived_by_the_deadline_is_in_time() {
        let server = server(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {WINDOW}\r\n\r\n{:WINDOW$}",
            ""
        ));
        let answer = runtime().block_on(async {
            let (client, uri) = (Client::new(), server.uri);
            let asked = tokio::spawn(async move { client.ask(uri, WINDOW, DEADLINE).await });
            while server.said.try_recv().is_err() && !asked.is_finished() {
                yield_now().await;
            }
            // From here on the whole event loop stands still, beyond the deadline.
            server.answer.send(()).expect("it waits");
            server.said.recv().expect("it has answered");
            let _ = server.said.recv_timeout(2 * DEADLINE);
            asked.await.expect("it does not panic")
        });
        assert_eq!(answer.expect("it is in time").body.len(), WINDOW);
        server.thread.join().expect("the server got a request");
    }

    /// What a piece of a body was read into.
    struct Buffer {
        _alive: Arc<()>,
    }

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }

    /// A body of so many pieces, each a byte in a buffer of its own, as what comes slowly is read.
    struct Drip {
        left: usize,
        buffers: Arc<()>,
        most: Rc<Cell<usize>>,
    }

    impl Body for Drip {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let kept = Arc::strong_count(&self.buffers) - 1;
            self.most.set(self.most.get().max(kept));
            if self.left == 0 {
                return Poll::Ready(None);
            }
            self.left -= 1;
            let piece = Bytes::from_owner(Buffer {
                _alive: self.buffers.clone(),
            });
            Poll::Ready(Some(Ok(Frame::data(piece))))
        }
    }

    #[test]
    fn a_body_that_comes_a_byte_at_a_time_keeps_none_of_its_buffers() {
        let most = Rc::new(Cell::new(0));
        let body = Drip {
            left: 1000,
            buffers: Arc::default(),
            most: most.clone(),
        };
        let bytes = runtime().block_on(read_body(body, 1000));
        assert_eq!(bytes.expect("it is not too long").len(), 1000);
        assert_eq!(most.get(), 0, "buffers that were kept");
    }

    #[test]
    fn who_says_nothing_is_late_and_who_says_too_much_is_cut() {
        let silent = server(String::new());
        let answer = runtime().block_on(Client::new().ask(silent.uri, 10, DEADLINE));
        assert!(matches!(answer, Err(Error::Late(DEADLINE))), "{answer:?}");
        drop(silent.answer);
        silent.thread.join().expect("the server got a request");

        let long = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890";
        let long = server(long.to_owned());
        long.answer.send(()).expect("it waits");
        let answer = runtime().block_on(Client::new().ask(long.uri, 10, 10 * DEADLINE));
        assert!(matches!(answer, Err(Error::Long(10))), "{answer:?}");
        long.thread.join().expect("the server got a request");
    }
}
