//! Requests whose heads are known: the same answers as hyper's, in the same order, and none for
//! what only looks the same.

use std::collections::VecDeque;

use hyper::header::CONTENT_TYPE;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_local;

use super::*;

/// Answers with the path.
#[derive(Default)]
struct Echo {
    parsed: Cell<usize>,
    repeated: Cell<usize>,
    /// For how many looks each answer waits, in turn; those after the last wait for none.
    waits: RefCell<VecDeque<usize>>,
}

struct EchoPlan(String);

struct EchoRepeat {
    body: String,
    left: usize,
}

impl EchoRepeat {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.left == 0 {
            return Poll::Ready(());
        }
        self.left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Echo {
    fn start(&self, path: &str) -> EchoRepeat {
        let body = path.to_owned();
        let left = self.waits.borrow_mut().pop_front().unwrap_or(0);
        EchoRepeat { body, left }
    }
}

impl Service for Rc<Echo> {
    type Future = Pin<Box<dyn Future<Output = Response<Body>>>>;
    type Plan = EchoPlan;
    type Repeat = EchoRepeat;

    fn call(&self, request: Request<Incoming>, _entry: &Rc<Entry>) -> Self::Future {
        self.parsed.set(self.parsed.get() + 1);
        let mut answer = self.start(request.uri().path());
        Box::pin(async move {
            std::future::poll_fn(|cx| answer.poll(cx)).await;
            // What is not read of a body ends the connection.
            let _ = request.into_body().collect().await;
            let mut response = Response::new(Body::from(answer.body));
            let text = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(CONTENT_TYPE, text);
            response
        })
    }

    fn plan(&self, request: &Request<Incoming>) -> Option<EchoPlan> {
        Some(EchoPlan(request.uri().path().to_owned()))
    }

    fn repeat(&self, plan: &EchoPlan, _entry: &Rc<Entry>) -> EchoRepeat {
        self.repeated.set(self.repeated.get() + 1);
        self.start(&plan.0)
    }

    fn poll_repeat(
        &self,
        repeat: &mut EchoRepeat,
        _entry: &Entry,
        cx: &mut Context<'_>,
        head: &mut Vec<u8>,
    ) -> Poll<Bytes> {
        std::task::ready!(repeat.poll(cx));
        head.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n");
        Poll::Ready(repeat.body.clone().into())
    }

    fn refuse(&self, _request: Parts, _entry: &Rc<Entry>, _why: Refusal) -> Self::Future {
        Box::pin(async move { answer(400, String::new()) })
    }
}

fn echo_server(service: &Rc<Echo>) -> Rc<Server<Rc<Echo>>> {
    let hour = Duration::from_secs(3_600);
    let limits = Limits {
        timeouts: Timeouts::new(hour, hour),
        max_requests: 100,
    };
    Server::new(service.clone(), limits, Rc::default(), Rng::with_seed(1))
}

/// All that a connection answers to these packets, to its end, without the date.
async fn text(server: &Rc<Server<Rc<Echo>>>, packets: &[&[u8]]) -> String {
    text_with(server, packets, || ()).await
}

/// The same; `after` is called behind each packet.
async fn text_with(server: &Rc<Server<Rc<Echo>>>, packets: &[&[u8]], after: impl Fn()) -> String {
    let (mut client, stream) = duplex(1 << 16);
    let serving = spawn_local(server.clone().serve(stream, ()));
    for packet in packets {
        // What follows an answer that says `close` is not read.
        let _ = client.write_all(packet).await;
        after();
        settle().await;
    }
    let _ = client.shutdown().await;
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("an end");
    serving.await.expect("no panic");
    let text = String::from_utf8(bytes).expect("ASCII");
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

fn get(path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

/// The bodies of these answers, which are paths.
fn paths(text: &str) -> Vec<String> {
    let answers = text.split("HTTP/1.1 200 OK").skip(1);
    answers
        .map(|answer| answer.split("\r\n\r\n").nth(1).unwrap_or("none").to_owned())
        .collect()
}

#[test]
fn a_known_head_is_not_parsed_again_and_its_answer_is_the_same() {
    run(async {
        for lines in ["", "Connection: keep-alive\r\n", "Connection: close\r\n"] {
            let service = Rc::<Echo>::default();
            let server = echo_server(&service);
            let head = get("/a?b", lines);
            let first = text(&server, &[&head]).await;
            assert_eq!(service.parsed.get(), 1);
            assert!(first.ends_with("\r\n\r\n/a"), "{first}");
            assert_eq!(first.contains("connection: close"), lines.contains("close"));
            for _ in 0..3 {
                assert_eq!(text(&server, &[&head]).await, first);
            }
            let last = lines.contains("close");
            let many = if last { first.clone() } else { first.repeat(3) };
            assert_eq!(text(&server, &[&head[..]; 3]).await, many);
            assert_eq!(service.parsed.get(), 1, "{lines}");
            server.drain();
            let drained = text(&server, &[&head, &head]).await;
            assert_eq!(drained.matches("HTTP/1.1 200 OK").count(), 1, "{drained}");
            assert!(drained.contains("\r\nconnection: close\r\n"), "{drained}");
            assert_eq!(service.parsed.get(), 1, "{lines}");
            assert_eq!(server.in_flight.get(), 0);
        }
    });
}

#[test]
fn a_head_that_differs_only_in_its_number_is_not_parsed_again() {
    run(async {
        let service = Rc::<Echo>::default();
        let server = echo_server(&service);
        let numbered = |path: &str, number: u32| {
            let lines = format!("User-Agent: some\r\nX-Request-Id: {number}\r\nA: b\r\n");
            get(path, &lines)
        };
        let first = text(&server, &[&numbered("/a", 1)]).await;
        assert!(first.ends_with("\r\n\r\n/a"), "{first}");
        for number in [2, 30, 400_000] {
            assert_eq!(text(&server, &[&numbered("/a", number)]).await, first);
        }
        assert_eq!((service.parsed.get(), service.repeated.get()), (1, 3));
        // Another path is another head; two requests at once are not one.
        let other = text(&server, &[&numbered("/b", 5)]).await;
        assert_eq!(paths(&other), ["/b"]);
        let both = [numbered("/a", 6), numbered("/b", 7)].concat();
        assert_eq!(paths(&text(&server, &[&both]).await), ["/a", "/b"]);
        let smuggled =
            "/a HTTP/1.1\r\nHost: a\r\nUser-Agent: some\r\nX-Request-Id: 1\r\n\r\nGET /c";
        assert_eq!(
            paths(&text(&server, &[&numbered(smuggled, 8)]).await),
            ["/a", "/c"]
        );
    });
}

#[test]
fn what_is_no_plain_get_is_parsed_each_time() {
    run(async {
        let whole = |text: &str| text.as_bytes().to_vec();
        for request in [
            whole("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
            whole("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
            whole("GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
            whole("GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            whole("GET / HTTP/1.1\nHost: a\n\n"),
            whole("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            get("/", "Content-Length: 0\r\n"),
            get("/", "Expect: 100-continue\r\n"),
            get("/", "Connection: upgrade\r\nUpgrade: b\r\n"),
            get("/", "Connection: keep-alive, close\r\n"),
            get("/", "Connection: keep-alive\r\nConnection: close\r\n"),
            get("/", "Connection: close\r\nConnection: close\r\n"),
            get("/", "Transfer-Encoding: chunked\r\n"),
            get("/", &format!("A: {}\r\n", "b".repeat(1_024))),
        ] {
            let service = Rc::<Echo>::default();
            let server = echo_server(&service);
            for _ in 0..20 {
                text(&server, &[&request]).await;
            }
            let count = (service.parsed.get(), service.repeated.get());
            assert_eq!(count.1, 0, "{}", request.escape_ascii());
        }
    });
}

#[test]
fn a_client_that_is_cut_off_leaves_nothing_in_flight() {
    run(async {
        let service = Rc::<Echo>::default();
        let server = echo_server(&service);
        let head = get("/", "");
        text(&server, &[&head]).await;
        service.waits.borrow_mut().push_back(usize::MAX);
        let (mut client, stream) = duplex(1 << 10);
        let serving = spawn_local(server.clone().serve(stream, ()));
        client.write_all(&head).await.expect("there is room");
        settle().await;
        assert_eq!(server.in_flight.get(), 1);
        serving.abort();
        assert!(serving.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(server.in_flight.get(), 0);
    });
}

#[test]
fn a_client_that_has_asked_for_the_end_is_not_waited_for() {
    run(async {
        let service = Rc::<Echo>::default();
        let server = echo_server(&service);
        let head = get("/", "Connection: close\r\n");
        text(&server, &[&head]).await;
        let (mut client, stream) = duplex(1 << 10);
        let serving = spawn_local(server.clone().serve(stream, ()));
        client.write_all(&head).await.expect("there is room");
        // Though the client has closed nothing.
        serving.await.expect("no panic");
        assert_eq!(service.repeated.get(), 1);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("an end");
        assert!(bytes.ends_with(b"\r\n\r\n/"));
        assert_eq!(server.table.len(), 0);
    });
}

#[test]
fn a_client_that_has_asked_for_the_end_gets_all_of_its_answer() {
    run(async {
        let service = Rc::<Echo>::default();
        let server = echo_server(&service);
        let head = get("/", "Connection: close\r\n");
        let first = text(&server, &[&head]).await;
        // There is room for the request, and not for the answer.
        let (mut client, stream) = duplex(64);
        let serving = spawn_local(server.clone().serve(stream, ()));
        client.write_all(&head).await.expect("there is room");
        settle().await;
        assert_eq!(service.repeated.get(), 1);
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("an end");
        let text = String::from_utf8(bytes).expect("ASCII");
        assert!(text.ends_with("\r\n\r\n/"), "{text}");
        assert!(text.len() > first.len(), "the date, too");
        drop(client);
        serving.await.expect("no panic");
        assert_eq!(server.table.len(), 0);
    });
}

/// A connection with these requests, cut in these places, answers each once, in order, whatever is
/// known and however long each answer takes.
#[test]
fn answers_come_in_order_whichever_way_they_are_made() {
    let mut runner = TestRunner::new(Config {
        cases: 1_500,
        failure_persistence: None,
        ..Config::default()
    });
    let request = prop_oneof![
        4 => (0..3_u8).prop_map(|at| (format!("/{at}"), get(&format!("/{at}"), ""))),
        1 => any::<u8>().prop_map(|at| (format!("/x{at}"), get(&format!("/x{at}"), ""))),
        1 => (0..3_u8).prop_map(|at| {
            let body = "GET /smuggled HTTP/1.1\r\n\r\n";
            let head = format!("POST /p{at} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            (format!("/p{at}"), [head, body.to_owned()].concat().into_bytes())
        }),
    ];
    let cut = (any::<prop::sample::Index>(), any::<bool>());
    let input = (
        prop::collection::vec(request, 1..20),
        prop::collection::vec(cut, 0..12),
        prop::collection::vec(0..3_usize, 0..30),
        any::<bool>(),
    );
    let repeated = Cell::new(0);
    let outcome = runner.run(&input, |(requests, cuts, waits, rests)| {
        let service = Rc::<Echo>::default();
        let bytes: Vec<Vec<u8>> = requests.iter().map(|(_, bytes)| bytes.clone()).collect();
        let seen = run(async {
            let server = echo_server(&service);
            // So that what is to come is known from the first request on.
            for at in 0..3 {
                for _ in 0..8 {
                    text(&server, &[&get(&format!("/{at}"), "")]).await;
                }
            }
            service.repeated.set(0);
            *service.waits.borrow_mut() = waits.into();
            let rest = || {
                if rests {
                    server.table.rest_all();
                }
            };
            let packets = packets(&bytes, &cuts);
            let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            text_with(&server, &packets, rest).await
        });
        repeated.set(repeated.get() + service.repeated.get());
        let expected: Vec<String> = requests.into_iter().map(|(path, _)| path).collect();
        prop_assert_eq!(paths(&seen), expected, "{}", seen);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(repeated.get() > 3_000, "{repeated:?}");
}

/// One packet for each request, mostly, as clients send them: at a cut two are joined or one is
/// split.
fn packets(requests: &[Vec<u8>], cuts: &[(prop::sample::Index, bool)]) -> Vec<Vec<u8>> {
    let mut packets = requests.to_vec();
    for (place, splits) in cuts {
        let at = place.index(packets.len());
        let packet = packets.remove(at);
        if *splits {
            let (first, second) = packet.split_at(place.index(packet.len() + 1));
            packets.splice(at..at, [first.to_vec(), second.to_vec()]);
        } else {
            let next = if at < packets.len() {
                packets.remove(at)
            } else {
                Vec::new()
            };
            packets.insert(at, [packet, next].concat());
        }
    }
    packets.retain(|packet| !packet.is_empty());
    packets
}
