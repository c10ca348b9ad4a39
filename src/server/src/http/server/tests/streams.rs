//! Answers without an end: how they are framed, and what ends them.

use std::pin::pin;
use std::task::Waker;

use hyper::Version;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_local};

use super::super::io::MAX_LINGER;
use super::*;

/// Answers with what the test sends.
struct Given(RefCell<Option<Receiver<&'static str>>>);

struct PartsFeed(Receiver<&'static str>);

impl Feed for PartsFeed {
    fn poll_part(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(part)) => {
                out.extend_from_slice(part.as_bytes());
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"bye");
    }

    fn on_cut(&mut self) {}
}

impl Service for Given {
    type Future = Pin<Box<dyn Future<Output = Response<Body>>>>;
    type Plan = Infallible;
    type Repeat = Infallible;

    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future {
        let parts = self.0.take().expect("one stream");
        let chunked = request.version() == Version::HTTP_11;
        let head = b"HTTP/1.1 200 OK\r\n".to_vec();
        let streamed = Streamed::new(head, chunked, Box::new(PartsFeed(parts)));
        entry.stream(Box::new(streamed), Turn::default().now());
        Box::pin(std::future::pending())
    }

    fn plan(&self, _request: &Request<Incoming>) -> Option<Infallible> {
        None
    }

    fn repeat(&self, plan: &Infallible, _entry: &Rc<Entry>) -> Infallible {
        *plan
    }

    fn poll_repeat(
        &self,
        repeat: &mut Infallible,
        _entry: &Entry,
        _cx: &mut Context<'_>,
        _head: &mut Vec<u8>,
    ) -> Poll<Bytes> {
        match *repeat {}
    }

    fn refuse(&self, _request: Parts, _entry: &Rc<Entry>, _why: Refusal) -> Self::Future {
        Box::pin(async move { answer(400, String::new()) })
    }
}

/// A stream that has begun, and its client.
struct Stream {
    server: Rc<Server<Given>>,
    serving: JoinHandle<()>,
    client: DuplexStream,
    parts: Sender<&'static str>,
}

impl Stream {
    async fn begin(version: &str) -> Stream {
        let hour = Duration::from_secs(3_600);
        let limits = Limits {
            timeouts: Timeouts::new(hour, hour),
            max_requests: 100,
        };
        let (parts, given) = channel(8);
        let service = Given(RefCell::new(Some(given)));
        let server = Server::new(service, limits, Rc::default(), Rng::with_seed(1));
        let (client, stream) = duplex(MAX_HEAD);
        let serving = spawn_local(server.clone().serve(stream, ()));
        let mut stream = Stream {
            server,
            serving,
            client,
            parts,
        };
        stream
            .say(&format!("GET / {version}\r\nHost: a\r\n\r\n"))
            .await;
        let head = stream.told().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n"),
            "{head}"
        );
        assert!(head.ends_with("\r\n\r\n"), "{head}");
        let chunked = head.contains("\r\ntransfer-encoding: chunked\r\n");
        assert_eq!(chunked, version == "HTTP/1.1", "{head}");
        stream
    }

    /// The client sends this.
    async fn say(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.client.write_all(bytes).await.expect("there is room");
    }

    async fn give(&self, part: &'static str) {
        self.parts.send(part).await.expect("it goes on");
    }

    /// What has come to the client since it was last asked.
    async fn told(&mut self) -> String {
        settle().await;
        let mut bytes = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = pin!(self.client.read_buf(&mut bytes)).poll(&mut context) {
            if read.expect("a connection") == 0 {
                break;
            }
        }
        String::from_utf8(bytes).expect("ASCII")
    }

    /// Nothing of it is left.
    async fn check_over(self) {
        self.serving.await.expect("no panic");
        assert!(self.parts.is_closed(), "the feed has ended, too");
        assert_eq!(self.server.table.len(), 0);
    }
}

#[test]
fn parts_are_chunks_and_to_http_1_0_plain() {
    run(async {
        let long = "0123456789abcdef";
        for (version, expected) in [
            (
                "HTTP/1.1",
                [
                    "3\r\none\r\n",
                    "10\r\n0123456789abcdef\r\n",
                    "3\r\nbye\r\n0\r\n\r\n",
                ],
            ),
            ("HTTP/1.0", ["one", long, "bye"]),
        ] {
            let mut stream = Stream::begin(version).await;
            for (part, expected) in ["one", long].into_iter().zip(expected) {
                stream.give(part).await;
                assert_eq!(stream.told().await, expected, "{version}");
            }
            stream.server.table.close_all();
            assert_eq!(stream.told().await, expected[2], "{version}");
            let _ = stream.client.shutdown().await;
            stream.check_over().await;
        }
    });
}

#[test]
fn what_comes_behind_the_request_is_thrown_away_and_its_end_is_the_streams() {
    run(async {
        let mut stream = Stream::begin("HTTP/1.1").await;
        stream.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(stream.told().await, "", "no second answer");
        stream.give("one").await;
        assert_eq!(stream.told().await, "3\r\none\r\n");
        stream.client.shutdown().await.expect("it is open");
        stream.check_over().await;
    });
}

#[test]
fn who_sends_too_much_behind_the_request_is_cut_off() {
    run(async {
        let mut stream = Stream::begin("HTTP/1.1").await;
        let packet = "a".repeat(MAX_HEAD);
        for sent in (0..MAX_LINGER as usize).step_by(MAX_HEAD) {
            assert!(!stream.parts.is_closed(), "after {sent} bytes");
            stream.say(&packet).await;
            settle().await;
        }
        assert!(stream.parts.is_closed(), "the stream has ended");
    });
}
