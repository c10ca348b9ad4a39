//! Pipelined requests: answers in order, none lost, none held back, and memory that stays bounded.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use crate::support::{Api, Connection, Redis, on_one_master};

/// Fields `F0`, `F1`, … whose values are their numbers: what an answer says is what it is for.
const FIELDS: usize = 100;

/// A master with the fields, and an API that reads and writes there.
fn start() -> (Redis, Api) {
    let redis = Redis::start_plain();
    let mut command = vec!["HSET".to_owned(), "currency".to_owned()];
    for index in 0..FIELDS {
        command.extend([format!("F{index}"), index.to_string()]);
    }
    redis.cli(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let api = on_one_master(&redis, |builder| builder);
    (redis, api)
}

fn open(api: &Api) -> Connection {
    Connection::open(api.addr()).expect("it listens")
}

fn gets(range: std::ops::Range<usize>) -> Vec<u8> {
    range.flat_map(|index| get(index).into_bytes()).collect()
}

fn get(index: usize) -> String {
    format!("GET /F{index} HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[track_caller]
fn send(connection: &mut Connection, bytes: &[u8]) {
    connection.send_raw(bytes).expect("it can be sent");
}

/// Reads the answers to [`gets`].
#[track_caller]
fn check(connection: &mut Connection, range: std::ops::Range<usize>) {
    for index in range {
        let response = match connection.read_response("GET") {
            Ok(response) => response,
            Err(error) => panic!("no answer {index}: {error}"),
        };
        let expected = format!("{{\"current\":{index}}}");
        assert_eq!((response.status, response.text()), (200, expected));
        assert_eq!(response.header("Connection"), None, "{index}");
    }
}

/// The connection ends cleanly: no reset, no byte more.
#[track_caller]
fn check_end(connection: &mut Connection) {
    let rest = connection.read_to_end().expect("it is closed, not reset");
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[test]
fn a_hundred_requests_in_one_write_are_answered_in_order() {
    let (_redis, api) = start();
    let mut connection = open(&api);
    for _ in 0..5 {
        send(&mut connection, &gets(0..FIELDS));
        check(&mut connection, 0..FIELDS);
    }
    send(&mut connection, &gets(0..FIELDS));
    connection.finish().expect("it is open");
    check(&mut connection, 0..FIELDS);
    check_end(&mut connection);
}

#[test]
fn answers_before_the_last_one_are_not_lost() {
    let (_redis, api) = start();
    let bad = b"GARBAGE\r\n\r\n".to_vec();
    let unequal = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
        Content-Length: 2\r\n\r\n{}"
        .to_vec();
    let no_host = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(40_000)
    );
    for (last, status) in [
        (bad, 400),
        (unequal, 400),
        (no_host, 400),
        (large.into_bytes(), 431),
    ] {
        let mut connection = open(&api);
        send(&mut connection, &[gets(0..10), last].concat());
        check(&mut connection, 0..10);
        let response = connection
            .read_response("GET")
            .expect("there is a response");
        assert_eq!(response.status, status, "{response:?}");
        check_end(&mut connection);
    }
}

#[test]
fn requests_behind_a_close_get_no_answer_and_cost_none() {
    let (redis, api) = start();
    let close = "GET /F10 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let before = redis.calls("hget");
    for behind in [0..0, 11..20, 11..100] {
        let mut connection = open(&api);
        let bytes = [gets(0..10), close.into(), gets(behind.clone())].concat();
        send(&mut connection, &bytes);
        check(&mut connection, 0..10);
        let last = connection
            .read_response("GET")
            .expect("there is a response");
        assert_eq!(last.text(), r#"{"current":10}"#);
        assert_eq!(last.header("Connection"), Some("close"));
        check_end(&mut connection);
    }
    // All three had 11 requests that counted. In batch mode each was a command of its own: they are
    // of different fields, or of different connections one after the other.
    assert_eq!(redis.calls("hget") - before, 33);
    // What is still being sent when the last answer is out is thrown away: a reset could destroy
    // that answer before the client has read it.
    let mut connection = open(&api);
    send(&mut connection, &[gets(0..10), close.into()].concat());
    check(&mut connection, 0..10);
    let last = connection
        .read_response("GET")
        .expect("there is a response");
    for _ in 0..20 {
        send(&mut connection, &gets(11..100));
    }
    assert_eq!(last.text(), r#"{"current":10}"#);
    check_end(&mut connection);
}

#[test]
fn an_incomplete_request_holds_no_answer_back() {
    let (_redis, api) = start();
    let mut connection = open(&api);
    let (start, rest) = ("GET /F10 HT", "TP/1.1\r\nHost: test\r\n\r\n");
    for cut in 0..3 {
        let (first, second) = match cut {
            0 => (start.to_owned(), rest.to_owned()),
            // RFC 9112, section 2.2: an empty line before a request is ignored.
            1 => ("\r\n".to_owned(), get(10)),
            _ => ("\r\nG".to_owned(), get(10)[1..].to_owned()),
        };
        send(&mut connection, &[gets(0..10), first.into_bytes()].concat());
        check(&mut connection, 0..10);
        send(&mut connection, second.as_bytes());
        check(&mut connection, 10..11);
    }
    // Half a body: the requests before it are answered while it is waited for.
    let head = "POST /F0 HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n{\"value";
    send(&mut connection, &[gets(0..10), head.into()].concat());
    check(&mut connection, 0..10);
    send(&mut connection, b"\":0}");
    check(&mut connection, 0..1);
}

#[test]
fn single_bytes_make_whole_requests() {
    let (_redis, api) = start();
    let mut connection = open(&api);
    for byte in gets(0..3) {
        send(&mut connection, &[byte]);
    }
    check(&mut connection, 0..3);
}

#[test]
fn writes_and_reads_keep_their_order() {
    let (_redis, api) = start();
    let mut connection = open(&api);
    let mut bytes = Vec::new();
    for value in 10..60 {
        let body = format!("{{\"value\":{value}}}");
        let post = format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        bytes.extend(post.into_bytes());
        bytes.extend(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        bytes.extend(get(value).into_bytes());
        bytes.extend(b"HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        bytes.extend(b"OPTIONS / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    send(&mut connection, &bytes);
    for value in 10..60 {
        let expected = format!("{{\"current\":{value}}}");
        for method in ["POST", "GET", "GET"] {
            let response = connection.read_response(method).expect("there is one");
            assert_eq!((response.status, response.text()), (200, expected.clone()));
        }
        let head = connection.read_response("HEAD").expect("there is one");
        assert_eq!((head.status, head.text()), (200, String::new()));
        let options = connection.read_response("OPTIONS").expect("there is one");
        assert_eq!(options.status, 204);
    }
}

/// Resident memory of a process, in KiB, as the kernel says it.
fn resident_kib(api: &mut Api) -> u64 {
    let path = format!("/proc/{}/status", api.process().pid());
    let status = std::fs::read_to_string(path).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse().ok())
        .expect("VmRSS is there")
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory() {
    const MOST: usize = 64 * 1024 * 1024;
    const GROWTH_KIB: u64 = 8 * 1024;
    let (_redis, mut api) = start();
    // Warm: buffers and code of the path are there.
    let mut other = open(&api);
    send(&mut other, &gets(0..FIELDS).repeat(10));
    for _ in 0..10 {
        check(&mut other, 0..FIELDS);
    }
    let before = resident_kib(&mut api);

    let block = gets(0..FIELDS).repeat(20);
    let greedy = open(&api);
    let socket = socket2::SockRef::from(greedy.stream());
    socket
        .set_recv_buffer_size(4096)
        .expect("the kernel allows small buffers");
    let patience = Some(Duration::from_secs(1));
    greedy
        .stream()
        .set_write_timeout(patience)
        .expect("it is not zero");
    let mut sent = 0;
    let stuck = loop {
        match greedy.stream().write(&block) {
            Ok(n) => sent += n,
            Err(error) => break error,
        }
        assert!(
            sent < MOST,
            "{sent} bytes taken from a client that reads nothing"
        );
    };
    assert!(
        matches!(stuck.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{stuck}"
    );
    let after = resident_kib(&mut api);
    assert!(
        after < before + GROWTH_KIB,
        "from {before} to {after} KiB after {sent} bytes"
    );
    // Others are served, on its worker and on all.
    for _ in 0..8 {
        let mut connection = open(&api);
        send(&mut connection, &gets(0..FIELDS));
        check(&mut connection, 0..FIELDS);
    }
    drop(greedy);
    send(&mut other, &gets(0..FIELDS));
    check(&mut other, 0..FIELDS);
}
