//! Writes: what is taken, what is stored, and what a client is told of a write that failed.

mod failures;

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Connection, PATIENCE, Redis, Response, eventually, on_one_master, request};

/// How late a deadline may be noticed on a loaded machine.
const SLACK: Duration = Duration::from_secs(3);

/// A failed write: its status, and what it says of the outcome.
#[track_caller]
fn check_failed(response: &Response, status: u16, outcome: &str) {
    assert_eq!(response.status, status, "{response:?}");
    let json: serde_json::Value = serde_json::from_slice(&response.body).expect("it is JSON");
    assert_eq!(json["outcome"], outcome, "{response:?}");
    let error = json["error"].as_str();
    assert!(error.is_some_and(|text| !text.is_empty()), "{response:?}");
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("*"));
    let retry = response.header("Retry-After");
    assert_eq!(retry.is_some(), status == 503, "{response:?}");
}

#[track_caller]
fn check(response: &Response, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (200, body));
}

/// Bodies that hold no finite number at `value`.
const BAD: &[&[u8]] = &[
    b"",
    b" ",
    b"\0",
    b"{",
    b"}",
    b"{}",
    b"[]",
    b"[{\"value\":1}]",
    b"[1]",
    b"12.5",
    b"null",
    b"true",
    b"\"value\"",
    b"value=1",
    b"{\"value\"}",
    b"{\"value\":}",
    b"{\"value\":null}",
    b"{\"value\":true}",
    b"{\"value\":false}",
    b"{\"value\":\"1\"}",
    b"{\"value\":\"\"}",
    b"{\"value\":\"\\ud800\"}",
    b"{\"value\":[]}",
    b"{\"value\":[1]}",
    b"{\"value\":{}}",
    b"{\"value\":{\"value\":1}}",
    b"{\"a\":{\"value\":1}}",
    b"{\"value\":1e999}",
    b"{\"value\":-1e999}",
    b"{\"value\":1.8e308}",
    b"{\"value\":NaN}",
    b"{\"value\":nan}",
    b"{\"value\":Infinity}",
    b"{\"value\":-Infinity}",
    b"{\"value\":inf}",
    b"{\"value\":+1}",
    b"{\"value\":--1}",
    b"{\"value\":-}",
    b"{\"value\":01}",
    b"{\"value\":-01}",
    b"{\"value\":1.}",
    b"{\"value\":.5}",
    b"{\"value\":1e}",
    b"{\"value\":1e+}",
    b"{\"value\":0x10}",
    b"{\"value\":1_000}",
    b"{\"value\":1,5}",
    b"{\"value\":1 2}",
    b"{\"value\":1",
    b"{\"value\":1]",
    b"{\"value\":1}x",
    b"{\"value\":1}{\"value\":2}",
    b"{\"value\":1},",
    b"{\"value\":1,}",
    b"{,\"value\":1}",
    b"{\"value\" 1}",
    b"{\"value\"=1}",
    b"{value:1}",
    b"{'value':1}",
    b"{\"Value\":1}",
    b"{\"value \":1}",
    b"{\"\\ud800\":1}",
    b"{\"value\":2,\"value\":null}",
    b"{\"value\":2,\"value\":\"3\"}",
    b"{\"value\":\xff}",
    b"{\"\xff\":1,\"value\":1}",
    b"{\"a\":\"\xff\",\"value\":1}",
    b"{\"a\":\"\xed\xa0\x80\",\"value\":1}",
    b"{\"a\":\"\n\",\"value\":1}",
    b"{\"a\":\"\\x\",\"value\":1}",
    b"{\"a\":tru,\"value\":1}",
    b"{/**/\"value\":1}",
    b"\xef\xbb\xbf{\"value\":1}",
    b"\xff\xfe{\0\"\0",
];

#[test]
fn bad_bodies_are_refused_and_change_nothing() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    check(&api.post("/", r#"{"value":7}"#), r#"{"current":7}"#);
    let digits = format!("{{\"value\":1{}}}", "0".repeat(400));
    let nested = format!("{{\"a\":{}", "[".repeat(4000));
    let closed = format!("{{\"value\":{}1{}}}", "[".repeat(1500), "]".repeat(1500));
    let objects = "{\"value\":".repeat(400);
    let long = [digits, nested, closed, objects];
    let bodies: HashSet<&[u8]> = BAD
        .iter()
        .copied()
        .chain(long.iter().map(String::as_bytes))
        .collect();
    assert!(bodies.len() >= 64, "{}", bodies.len());
    assert_eq!(bodies.len(), BAD.len() + long.len(), "one is there twice");

    let mut connection = Connection::open(api.addr()).expect("it listens");
    for body in &bodies {
        // One connection for all: each leaves it usable.
        let response = connection.request("POST", "/", &[], body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(response.status, 400, "{shown}: {response:?}");
        check_failed(&response, 400, "not-sent");
    }
    check(
        &connection.request("GET", "/", &[], b""),
        r#"{"current":7}"#,
    );
    assert_eq!(redis.calls("hset"), 1);
}

#[test]
fn a_write_with_a_wrong_host_is_not_sent() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let response = request(
        api.addr(),
        "POST",
        "/",
        &[("Host", "a/b")],
        b"{\"value\":7}",
    );
    check_failed(&response, 400, "not-sent");
    assert_eq!(redis.calls("hset"), 0);
}

#[test]
fn bodies_that_a_client_may_well_send() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let mut connection = Connection::open(api.addr()).expect("it listens");
    for (body, stored) in [
        (r#"{"value":12.5}"#, "12.5"),
        ("\r\n\t {\"value\" :\t12.50 }\n", "12.5"),
        (r#"{"a":[{"value":1}],"value":2,"b":null}"#, "2"),
        (r#"{"value":"x","value":3}"#, "3"),
        (r#"{"value":1,"value":4}"#, "4"),
        (r#"{"v\u0061lue":5}"#, "5"),
        (r#"{"value":-0}"#, "-0"),
        (r#"{"value":0}"#, "0"),
        (r#"{"value":1E2}"#, "100"),
        (r#"{"value":1e-999}"#, "0"),
        (r#"{"value":9007199254740993}"#, "9007199254740992"),
        (r#"{"value":6,"a":1e999}"#, "6"),
        ("{\"value\":8,\"\u{20ac}\":\"\u{1f600}\"}", "8"),
    ] {
        for path in ["/", "/EUR"] {
            let expected = format!("{{\"current\":{stored}}}");
            check(
                &connection.request("POST", path, &[], body.as_bytes()),
                &expected,
            );
            check(&connection.request("GET", path, &[], b""), &expected);
        }
    }
    let nested = format!(
        "{{\"a\":{}1{},\"value\":1}}",
        "[".repeat(1500),
        "]".repeat(1500)
    );
    let response = connection.request("POST", "/", &[], nested.as_bytes());
    check(&response, r#"{"current":1}"#);
    for media in [
        "application/x-www-form-urlencoded",
        "text/plain; charset=latin1",
        "nonsense",
        "",
    ] {
        let headers = [("Content-Type", media)];
        let response = connection.request("POST", "/", &headers, b"{\"value\":9}");
        check(&response, r#"{"current":9}"#);
    }
    let expect = [("Expect", "100-continue"), ("Content-Length", "12")];
    connection
        .send("POST", "/", &expect, b"")
        .expect("it can be sent");
    let interim = connection
        .read_response("POST")
        .expect("there is a response");
    assert_eq!(interim.status, 100, "{interim:?}");
    connection
        .send_raw(b"{\"value\":10}")
        .expect("it can be sent");
    let response = connection
        .read_response("POST")
        .expect("there is a response");
    check(&response, r#"{"current":10}"#);
}

/// The doubles to write: the corners, and random bits.
fn doubles(seed: u64, random: usize) -> Vec<f64> {
    let mut values = vec![
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        -f64::from_bits(1),
        f64::from_bits(0x000f_ffff_ffff_ffff),
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        0.1 + 0.2,
        1e21,
        1e-7,
        1e22,
        1e23,
        123456789012345680000.0,
    ];
    let two_53 = 9_007_199_254_740_992_u64;
    values.extend((two_53 - 20..two_53 + 40).map(|integer| integer as f64));
    let mut rng = fastrand::Rng::with_seed(seed);
    for index in 0..random {
        let bits = rng.u64(..);
        values.push(f64::from_bits(match index % 4 {
            // Subnormals.
            0 => bits & 0x800f_ffff_ffff_ffff,
            _ => bits,
        }));
        values.push((bits % 1_000_000_000) as f64 / 1000.0);
    }
    values.retain(|value| value.is_finite());
    values
}

#[test]
fn doubles_come_back_to_the_bit() {
    const BATCH: usize = 25;
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let addr = api.addr();
    thread::scope(|scope| {
        for client in 0..4 {
            scope.spawn(move || {
                let path = format!("/field-{client}");
                let mut connection = Connection::open(addr).expect("it listens");
                for batch in doubles(client, 400).chunks(BATCH) {
                    for value in batch {
                        let body = format!("{{\"value\":{value:?}}}");
                        let post = connection.send("POST", &path, &[], body.as_bytes());
                        let get = connection.send("GET", &path, &[], b"");
                        post.and(get).expect("it can be sent");
                    }
                    for value in batch {
                        let mut read = |method| {
                            let response = connection.read_response(method);
                            response.expect("there is a response").text()
                        };
                        let (posted, stored) = (read("POST"), read("GET"));
                        assert_eq!(posted, stored, "{value:?}");
                        let text = stored
                            .strip_prefix("{\"current\":")
                            .and_then(|rest| rest.strip_suffix('}'))
                            .unwrap_or_else(|| panic!("{value:?}: {stored}"));
                        let back: f64 = text.parse().expect("it is a number");
                        assert_eq!(back.to_bits(), value.to_bits(), "{text}");
                    }
                }
            });
        }
    });
}

#[test]
fn bodies_have_a_limit() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let body = |len: usize| {
        let frame = r#"{"value":1,"pad":""}"#.len();
        format!("{{\"value\":1,\"pad\":\"{}\"}}", "x".repeat(len - frame))
    };
    let chunked = |body: &str| {
        let mut coded = Vec::new();
        for chunk in body.as_bytes().chunks(100) {
            coded.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            coded.extend([chunk, b"\r\n"].concat());
        }
        coded.extend(b"0\r\n\r\n");
        coded
    };
    let coding = [("Transfer-Encoding", "chunked")];
    let post =
        |headers: &[(&str, &str)], body: &[u8]| request(api.addr(), "POST", "/", headers, body);
    assert_eq!(body(4096).len(), 4096);
    check(&post(&[], body(4096).as_bytes()), r#"{"current":1}"#);
    check(&post(&coding, &chunked(&body(4096))), r#"{"current":1}"#);
    for over in [4097, 5000, 200_000] {
        check_failed(&post(&[], body(over).as_bytes()), 413, "not-sent");
        check_failed(&post(&coding, &chunked(&body(over))), 413, "not-sent");
    }
    // Told before the body comes, of which none is waited for.
    let mut connection = Connection::open(api.addr()).expect("it listens");
    let huge = [("Content-Length", "1000000000")];
    check_failed(
        &connection.request("POST", "/", &huge, b""),
        413,
        "not-sent",
    );
    assert_eq!(connection.read_to_end().expect("it is closed"), b"");
    assert_eq!(redis.calls("hset"), 2);

    let api = on_one_master(&redis, |builder| builder.args(["--max-body", "11"]));
    check(&api.post("/", r#"{"value":2}"#), r#"{"current":2}"#);
    check_failed(&api.post("/", r#"{"value":22}"#), 413, "not-sent");
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let halves = [
        (("Content-Length", "12"), ""),
        (("Content-Length", "12"), "{\"value\":1"),
        (("Transfer-Encoding", "chunked"), "5\r\n{\"va"),
    ];
    for (header, half) in halves {
        let mut connection = Connection::open(api.addr()).expect("it listens");
        let started = Instant::now();
        let response = connection.request("POST", "/", &[header], half.as_bytes());
        let elapsed = started.elapsed();
        check_failed(&response, 408, "not-sent");
        assert!(elapsed >= Duration::from_millis(390), "{elapsed:?}");
        assert!(elapsed < SLACK, "{elapsed:?}");
        assert_eq!(response.header("Connection"), Some("close"));
        assert_eq!(connection.read_to_end().expect("it is closed"), b"");
    }
    for (header, half) in halves {
        let mut connection = Connection::open(api.addr()).expect("it listens");
        connection
            .send("POST", "/", &[header], half.as_bytes())
            .expect("it can be sent");
        drop(connection);
        let mut connection = Connection::open(api.addr()).expect("it listens");
        let sent = connection.send("POST", "/", &[header], half.as_bytes());
        sent.and_then(|()| connection.finish())
            .expect("it can be sent");
        // A client that says it is done may be told so or not, but not kept waiting.
        let rest = connection.read_to_end().expect("it is closed");
        let text = String::from_utf8_lossy(&rest).into_owned();
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 400 "),
            "{text}"
        );
    }
    eventually(PATIENCE, "no connection is left", || {
        api.metric("redis_api_http_connections") == Some(0.0)
    });
    check(&api.get("/"), r#"{"error":"Not initialised"}"#);
    assert_eq!(redis.calls("hset"), 0);
}
