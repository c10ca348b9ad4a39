//! The server on a connection in memory: what it relies on in hyper, and where it sees requests
//! end.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::header::{CONNECTION, HeaderValue};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::Notify;

use super::*;
use fastrand::Rng;

mod moving;
mod repeats;
mod streams;

impl Transport for DuplexStream {
    fn has_arrived(&self) -> bool {
        false
    }
}

/// Reads the body of a POST and answers with its length. Remembers who asked last.
#[derive(Default)]
struct Length {
    /// How often it was called.
    asked: Rc<Cell<usize>>,
    last: Rc<RefCell<Option<Rc<Entry>>>>,
    /// Answers wait for this, if it is there.
    gate: Option<Rc<Notify>>,
}

fn answer(status: u16, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    if status != 200 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

impl Service for Length {
    type Future = Pin<Box<dyn Future<Output = Response<Body>>>>;

    fn call(&self, request: Request<Incoming>, entry: &Rc<Entry>) -> Self::Future {
        self.asked.set(self.asked.get() + 1);
        *self.last.borrow_mut() = Some(entry.clone());
        let gate = self.gate.clone();
        let post = (request.method() == Method::POST).then(|| request.into_body());
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.notified().await;
            }
            let Some(body) = post else {
                return answer(200, "get".to_owned());
            };
            match body.collect().await {
                Ok(body) => answer(200, body.to_bytes().len().to_string()),
                Err(_) => answer(400, String::new()),
            }
        })
    }

    type Plan = Infallible;
    type Repeat = Infallible;

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

    fn refuse(&self, _request: Parts, _entry: &Rc<Entry>, why: Refusal) -> Self::Future {
        let status = match why {
            Refusal::TooBusy => 503,
            Refusal::Coding | Refusal::Malformed => 400,
            Refusal::Late => 408,
        };
        Box::pin(async move { answer(status, String::new()) })
    }
}

fn server(service: Length) -> Rc<Server<Length>> {
    let hour = Duration::from_secs(3_600);
    let limits = Limits {
        timeouts: Timeouts::new(hour, hour),
        max_requests: 100,
    };
    Server::new(service, limits, Rc::default(), Rng::with_seed(1))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Status and body of all answers to these packets, to the end of the connection.
async fn answers(packets: &[&[u8]]) -> Vec<(u16, String)> {
    let (mut client, stream) = duplex(1 << 20);
    let serving = tokio::task::spawn_local(server(Length::default()).serve(stream, ()));
    for packet in packets {
        // What is refused may be closed before all of it is sent.
        let _ = client.write_all(packet).await;
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    let _ = client.shutdown().await;
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("an end");
    serving.await.expect("no panic");
    let text = String::from_utf8(bytes).expect("ASCII");
    let answers = text.split("HTTP/1.1 ").skip(1);
    answers
        .filter_map(|answer| {
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.get(..3)?.parse().ok()?, body.to_owned()))
        })
        .collect()
}

/// What a connection is doing once the request in `bytes` is answered.
async fn check_state(bytes: &[u8], expected: State) {
    let service = Length::default();
    let entry = service.last.clone();
    let (mut client, stream) = duplex(MAX_HEAD);
    let serving = tokio::task::spawn_local(server(service).serve(stream, ()));
    client.write_all(bytes).await.expect("there is room");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = client.read_buf(&mut answer).await;
        assert!(read.is_ok_and(|read| read > 0), "an answer");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    let state = entry.borrow().as_ref().map(|entry| entry.state());
    assert_eq!(state, Some(expected), "{}", bytes.escape_ascii());
    serving.abort();
}

#[test]
fn a_next_head_has_begun_only_if_bytes_of_it_are_there() {
    run(async {
        check_state(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", State::Idle).await;
        check_state(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", State::Head).await;
        check_state(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", State::Idle).await;
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n1.5";
        check_state(post, State::Idle).await;
        check_state(&[post, &b"G"[..]].concat(), State::Head).await;
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        check_state(post, State::Idle).await;
        check_state(&[post, &b"G"[..]].concat(), State::Head).await;
    });
}

/// Counts how often hyper looks for something to read.
struct Counted(DuplexStream, Rc<Cell<usize>>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.1.set(self.1.get() + 1);
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Transport for Counted {
    fn has_arrived(&self) -> bool {
        false
    }
}

async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

/// Fails when answers pile up for a client that goes on asking: each would cost memory without end.
#[test]
fn who_takes_no_answers_is_soon_asked_for_no_more_requests() {
    run(async {
        let asked = Rc::new(Cell::new(0));
        let service = Length {
            asked: asked.clone(),
            ..Length::default()
        };
        let (mut client, stream) = duplex(MAX_HEAD);
        let serving = tokio::task::spawn_local(server(service).serve(stream, ()));
        let many = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut sent, mut looks) = (0, 0);
        while looks < 100 {
            let next = &many[sent % many.len()..];
            match std::pin::pin!(client.write(next)).poll(&mut context) {
                Poll::Ready(count) => (sent, looks) = (sent + count.expect("it is open"), 0),
                // What is read at once then ends within a head, and the server looks for its end.
                Poll::Pending => {
                    settle().await;
                    looks += 1;
                }
            }
            // An answer is longer than 64 bytes.
            assert!(asked.get() * 64 < 4 * MAX_HELD, "{} requests", asked.get());
        }
        let mut bytes = Vec::new();
        client.shutdown().await.expect("it is open");
        client.read_to_end(&mut bytes).await.expect("an end");
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("HTTP/1.1 200 ").count(), asked.get());
        serving.await.expect("no panic");
    });
}

/// Fails when a new hyper reads while a request is in progress: that costs each request a look at
/// the socket, and may bring bytes whose place nobody has told yet.
#[test]
fn hyper_reads_nothing_while_a_request_is_in_progress() {
    run(async {
        let gate = Rc::new(Notify::new());
        let service = Length {
            gate: Some(gate.clone()),
            ..Length::default()
        };
        let (mut client, stream) = duplex(MAX_HEAD);
        let reads = Rc::new(Cell::new(0));
        let stream = Counted(stream, reads.clone());
        let serving = tokio::task::spawn_local(server(service).serve(stream, ()));
        settle().await;
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for _ in 0..3 {
            let before = reads.get();
            client.write_all(get).await.expect("there is room");
            settle().await;
            assert_eq!(reads.get() - before, 1, "for the request");
            client.write_all(b"GET").await.expect("there is room");
            settle().await;
            assert_eq!(reads.get() - before, 1, "none while it is in progress");
            gate.notify_one();
            settle().await;
            assert_eq!(reads.get() - before, 3, "what has come, and nothing more");
            client.write_all(&get[3..]).await.expect("there is room");
            settle().await;
            gate.notify_one();
            settle().await;
        }
        client.shutdown().await.expect("it is open");
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("an end");
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("HTTP/1.1 200 ").count(), 6, "{text}");
        serving.await.expect("no panic");
    });
}

#[test]
fn the_limit_on_lines_is_the_one_that_is_documented() {
    run(async {
        let head = |lines: usize| {
            let lines = "A: b\r\n".repeat(lines - 1);
            format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
        };
        let (few, many, most, over) = (head(2), head(101), head(256), head(257));
        let ok = (200, "get".to_owned());
        for heads in [
            &[&few[..], &many[..], &few[..], &most[..], &many[..]][..],
            &[&most, &few],
            &[&many, &many],
        ] {
            let expected = vec![ok.clone(); heads.len()];
            assert_eq!(answers(&[&heads.concat()]).await, expected);
            assert_eq!(answers(heads).await, expected);
        }
        let refused = (431, String::new());
        assert_eq!(answers(&[&over]).await, std::slice::from_ref(&refused));
        assert_eq!(answers(&[&few, &over]).await, [ok, refused]);
    });
}

/// Packets that end within a head, or before one has begun.
#[test]
fn a_head_in_two_packets_is_answered_as_one() {
    run(async {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let ok = (200, "get".to_owned());
        let refused = (400, String::new());
        for empty in ["\n", "\r\n", "\r\n\n"] {
            let empty = empty.as_bytes();
            assert_eq!(answers(&[empty, get]).await, std::slice::from_ref(&ok));
            let both = answers(&[get, empty, get]).await;
            assert_eq!(both, [ok.clone(), ok.clone()]);
            let bad = answers(&[empty, b"H\x02\r\n\r\n"]).await;
            assert_eq!(
                bad,
                std::slice::from_ref(&refused),
                "{}",
                empty.escape_ascii()
            );
        }
        // Any character of a token may begin a method.
        let head = b"*POST / HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 1..head.len() {
            let seen = answers(&[&head[..cut], &head[cut..]]).await;
            assert_eq!(seen, std::slice::from_ref(&ok), "{cut}");
        }
    });
}

const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

/// Where the chunked body at the beginning of `bytes` ends, and how much data is in it; `None`: it
/// is malformed or breaks off. Line by line, unlike the scanner that is tested.
fn reference(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut data) = (0, 0);
    loop {
        let line = line(bytes, &mut at)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (size, extensions) = line.split_at(digits);
        let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        are_extensions(extensions).then_some(())?;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        let end = at.checked_add(size)?;
        (bytes.get(end..end.checked_add(2)?)? == b"\r\n").then_some(())?;
        at = end + 2;
        data += size;
    }
    loop {
        match line(bytes, &mut at)? {
            b"" => return Some((at, data)),
            field => {
                let colon = field.iter().position(|byte| *byte == b':')?;
                let value = |byte: &u8| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f);
                let fits = is_name(&field[..colon]) && field[colon..].iter().all(value);
                fits.then_some(())?;
            }
        }
    }
}

/// The line at `at`, which must end with CRLF and have no other CR or LF in it.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    rest[end..].starts_with(b"\r\n").then_some(())?;
    *at += end + 2;
    Some(&rest[..end])
}

fn is_name(name: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    !name.is_empty() && name.iter().all(letter)
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = trim(rest).strip_prefix(b";") else {
            return false;
        };
        rest = trim(after);
        let name = rest.iter().take_while(|byte| is_name(&[**byte])).count();
        if name == 0 {
            return false;
        }
        rest = &rest[name..];
        let Some(value) = trim(rest).strip_prefix(b"=") else {
            continue;
        };
        let value = trim(value);
        let Some(length) = value_length(value) else {
            return false;
        };
        rest = &value[length..];
    }
    true
}

fn value_length(value: &[u8]) -> Option<usize> {
    if value.first() != Some(&b'"') {
        let length = value.iter().take_while(|byte| is_name(&[**byte])).count();
        return (length > 0).then_some(length);
    }
    let mut at = 1;
    loop {
        let byte = *value.get(at)?;
        at += match byte {
            b'"' => return Some(at + 1),
            b'\\' => 1 + usize::from(is_text(*value.get(at + 1)?)),
            byte if is_text(byte) => 1,
            _ => return None,
        };
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blanks = bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    &bytes[blanks..]
}

/// Well-formed bodies, and such with up to three bytes of interest put in, left out or changed.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let blank = prop_oneof![Just(""), Just(""), Just(" "), Just("\t ")];
    let value = prop_oneof![
        Just(""),
        Just("=b"),
        Just(" = \"\""),
        Just("=\"a;\\\"\\\\ \u{e9}\""),
    ];
    let extension = (blank, value).prop_map(|(blank, value)| format!("{blank};{blank}a{value}"));
    let extensions = prop::collection::vec(extension, 0..2).prop_map(|all| all.concat());
    let chunk = (
        extensions.clone(),
        prop::sample::select(vec!["x", "\r\n", "0\r\n\r\n"]),
    )
        .prop_map(|(extensions, data)| format!("{:x}{extensions}\r\n{data}\r\n", data.len()));
    let fields = vec!["", "A: b\r\n", "A:\r\nB-c: \t\u{e9} \r\n"];
    let whole = (
        prop::collection::vec(chunk, 0..3),
        prop::sample::select(vec!["0", "000"]),
        extensions,
        prop::sample::select(fields),
    )
        .prop_map(|(chunks, zero, extensions, fields)| {
            format!("{}{zero}{extensions}\r\n{fields}\r\n", chunks.concat()).into_bytes()
        });
    let byte = prop::sample::select(b"\r\r\n\n\n \t;=\"\\:0a2x\0\x0b\x7f\x80,".to_vec());
    let edit = (any::<prop::sample::Index>(), byte, 0..3);
    (whole, prop::collection::vec(edit, 0..4)).prop_map(|(mut body, edits)| {
        for (place, byte, kind) in edits {
            let place = place.index(body.len().max(1));
            match kind {
                0 => body.insert(place, byte),
                1 if !body.is_empty() => drop(body.remove(place)),
                _ if place < body.len() => body[place] = byte,
                _ => {}
            }
        }
        body
    })
}

/// A body ends where the grammar says, or the connection does: nothing behind a malformed one is
/// answered, and nothing behind a good one is lost.
#[test]
fn chunked_bodies_end_where_a_strict_parser_says() {
    let mut runner = TestRunner::new(Config {
        cases: 2_000,
        failure_persistence: None,
        ..Config::default()
    });
    let input = (bodies(), any::<prop::sample::Index>(), any::<bool>());
    let (good, bad) = (Cell::new(0), Cell::new(0));
    let outcome = runner.run(&input, |(body, cut, get)| {
        let whole = [&body, NEXT].concat();
        let expected = reference(&whole);
        let method = if get { "GET" } else { "POST" };
        let head = format!("{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let bytes = [head.as_bytes(), &whole].concat();
        let (first, second) = bytes.split_at(cut.index(bytes.len()));
        let count = if expected.is_some() { &good } else { &bad };
        count.set(count.get() + 1);
        for packets in [&[&bytes[..]][..], &[first, second]] {
            let seen = run(answers(packets));
            let text = whole.escape_ascii();
            let Some((end, data)) = expected else {
                prop_assert_eq!(seen.len(), 1, "{}: {:?}", text, seen);
                prop_assert_eq!(seen[0].0, 400, "{}: {:?}", text, seen);
                continue;
            };
            let data = if get {
                "get".to_owned()
            } else {
                data.to_string()
            };
            prop_assert_eq!(seen.first(), Some(&(200, data)), "{}: {:?}", text, seen);
            // hyper ends the connection behind a body that nobody read.
            if &whole[end..] == NEXT && !get {
                prop_assert_eq!(seen.get(1), Some(&(200, "get".to_owned())), "{}", text);
                prop_assert_eq!(seen.len(), 2);
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(good.get() > 400 && bad.get() > 400, "{good:?}, {bad:?}");
}
