//! Streams of events: who gets one, what is told in it, and by whom it is seen.

mod crowds;
mod front;
mod outages;

use std::time::Duration;

use crate::support::api::Builder;
use crate::support::events::{Event, Events};
use crate::support::{Api, Connection, PATIENCE, Redis, eventually, on_one_master, request};

const MODES: [&str; 3] = ["batch", "direct", "tracked"];

/// Long enough for a poll, which is made each second.
const SILENCE: Duration = Duration::from_millis(2_500);

/// More than the server needs to know a head.
const TIMES: usize = 40;

fn start(flags: &[&str]) -> (Redis, Api) {
    start_with(|builder| builder.args(flags.iter().copied()))
}

fn start_with(configure: impl FnOnce(Builder) -> Builder) -> (Redis, Api) {
    let redis = Redis::start_plain();
    set(&redis, "current-value", "0");
    let api = on_one_master(&redis, configure);
    (redis, api)
}

fn set(redis: &Redis, field: &str, value: &str) {
    redis.cli(&["HSET", "currency", field, value]);
}

fn current(value: impl std::fmt::Display) -> String {
    format!("{{\"current\":{value}}}")
}

/// Waits until this many streams are open.
#[track_caller]
fn wait_streams(api: &Api, count: usize) {
    eventually(PATIENCE, &format!("{count} streams"), || {
        let open = api.metric("redis_api_streams");
        (open == Some(count as f64)).then_some(()).ok_or(open)
    });
}

#[test]
fn each_stream_of_each_worker_is_told_of_each_change_in_order() {
    for mode in MODES {
        let (redis, api) = start(&["--workers", "2", "--read-mode", mode]);
        set(&redis, "EUR", "0");
        let paths = ["/", "/EUR", "/?fields=EUR,none"];
        let mut streams: Vec<_> = (0..24)
            .map(|number| (number % 3, Events::open(api.addr(), paths[number % 3])))
            .collect();
        let expected = |path: usize, value: u32| match path {
            2 => format!("{{\"EUR\":{value},\"none\":null}}"),
            _ => current(value),
        };
        for (path, stream) in &mut streams {
            assert_eq!(stream.next_data(), expected(*path, 0), "{mode}");
        }
        let changes = if mode == "tracked" { 20 } else { 3 };
        for value in 1..=changes {
            set(&redis, "EUR", &value.to_string());
            set(&redis, "current-value", &value.to_string());
            for (path, stream) in &mut streams {
                assert_eq!(stream.next_data(), expected(*path, value), "{mode}");
            }
        }
        // Faster than anybody is told: some are left out, none comes late.
        for value in changes + 1..=changes + 500 {
            set(&redis, "current-value", &value.to_string());
        }
        for (_, stream) in streams.iter_mut().filter(|(path, _)| *path == 0) {
            let before = stream.until_data(&current(changes + 500));
            let told = before.iter().map(|event| event.data.clone());
            let told: Vec<u32> = told
                .map(|data| {
                    let number = data.trim_start_matches("{\"current\":");
                    number.trim_end_matches('}').parse().expect("a number")
                })
                .collect();
            assert!(told.is_sorted_by(|a, b| a < b), "{mode}: {told:?}");
        }
        // What did not change is not told.
        for (_, stream) in streams.iter_mut().filter(|(path, _)| *path == 1).take(1) {
            assert!(stream.is_silent_for(SILENCE), "{mode}");
        }
        wait_streams(&api, 24);
        drop(streams);
        wait_streams(&api, 0);
    }
}

#[test]
fn a_change_is_told_at_once_by_one_read_for_all_streams() {
    let (redis, api) = start(&["--workers", "1", "--read-mode", "tracked"]);
    let mut streams: Vec<_> = (0..50).map(|_| Events::open(api.addr(), "/")).collect();
    for stream in &mut streams {
        stream.next();
    }
    // The poll of each second would bring none of these in time.
    let before = redis.calls("hget");
    let since = std::time::Instant::now();
    for value in 1..=50 {
        set(&redis, "current-value", &value.to_string());
        for stream in &mut streams {
            assert_eq!(stream.next_data(), current(value));
        }
    }
    let took = since.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let reads = redis.calls("hget") - before;
    let probes = took.as_secs() + 2;
    assert!((50..=50 + 4 * probes).contains(&reads), "{reads} reads");
}

#[test]
fn the_head_says_that_nobody_may_keep_it() {
    let (_redis, api) = start(&["--cache-control", "max-age=1", "--etag"]);
    let stream = Events::open(api.addr(), "/");
    for (name, value) in [
        ("Content-Type", Some("text/event-stream")),
        ("Cache-Control", Some("no-store")),
        ("Vary", Some("Accept")),
        ("Access-Control-Allow-Origin", Some("*")),
        ("Connection", Some("close")),
        ("Transfer-Encoding", Some("chunked")),
        ("X-Accel-Buffering", Some("no")),
        ("Content-Length", None),
        ("ETag", None),
    ] {
        assert_eq!(stream.head.header(name), value, "{:?}", stream.head);
    }
    assert!(stream.head.header("Date").is_some());
    let plain = request(api.addr(), "GET", "/", &[], b"");
    assert_eq!(plain.header("Vary"), Some("Accept"));
    let (_redis, api) = start(&["--cors-origin", "https://a.example"]);
    let headers = [("Origin", "https://a.example")];
    let stream = Events::open_with(api.addr(), "/", &headers);
    let allowed = stream.head.header("Access-Control-Allow-Origin");
    assert_eq!(allowed, Some("https://a.example"));
    let varies = |name: &str| {
        let mut headers = stream.head.headers.iter();
        headers.any(|(key, value)| key.eq_ignore_ascii_case("vary") && value == name)
    };
    assert!(varies("Origin") && varies("Accept"), "{:?}", stream.head);
}

#[test]
fn http_1_0_has_no_chunks() {
    let (redis, api) = start(&["--read-mode", "tracked"]);
    let head = "GET / HTTP/1.0\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    let mut stream = Events::ask_raw(api.addr(), head).expect("it answers");
    assert_eq!(stream.head.header("Transfer-Encoding"), None);
    assert_eq!(stream.next_data(), current(0));
    set(&redis, "current-value", "1");
    assert_eq!(stream.next_data(), current(1));
}

#[test]
fn an_event_has_a_line_of_data_for_each_line_of_the_body() {
    let (redis, api) = start(&["--values", "json", "--read-mode", "tracked"]);
    let mut stream = Events::open(api.addr(), "/");
    stream.next();
    set(&redis, "current-value", "{\n  \"a\": 1,\r\n\r  \"b\": 2\n}");
    let data = stream.next_data();
    assert_eq!(data, "{\"current\":{\n  \"a\": 1,\n\n  \"b\": 2\n}}");
}

#[test]
fn who_does_not_ask_for_events_gets_an_answer_whatever_heads_are_known() {
    let (_redis, api) = start(&["--workers", "1"]);
    let head = |accept: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
    for accept in [
        "*/*",
        "application/json",
        "text/*",
        "text/event-stream;q=0",
        "text/event-stream, application/json",
        "text/event-stream;q=0.5, */*",
        ";;q=,,/",
        "text/event-stream;q=nan",
    ] {
        let mut connection = Connection::open(api.addr()).expect("it listens");
        for _ in 0..TIMES {
            let sent = connection.send_raw(head(accept).as_bytes());
            let response = sent.and_then(|()| connection.read_response("GET"));
            let response = response.expect("an answer");
            assert_eq!(response.header("Content-Type"), Some("application/json"));
            assert_eq!(response.text(), current(0), "{accept}");
            // The same bytes but for the last.
            let mut stream = Events::ask_raw(api.addr(), &head("text/event-stream")).expect("it");
            assert_eq!(stream.next_data(), current(0));
        }
    }
    for method in ["HEAD", "POST", "OPTIONS", "PUT"] {
        let headers = [("Accept", "text/event-stream")];
        let response = request(api.addr(), method, "/", &headers, b"{\"value\":0}");
        assert_ne!(response.header("Content-Type"), Some("text/event-stream"));
    }
}

#[test]
fn a_stream_behind_other_requests_comes_behind_their_answers() {
    let (redis, api) = start(&["--read-mode", "tracked"]);
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream = "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    let all = [plain, plain, stream, plain].concat();
    let mut connection = Connection::open(api.addr()).expect("it listens");
    connection.send_raw(all.as_bytes()).expect("it can be sent");
    for _ in 0..2 {
        let response = connection.read_response("GET").expect("an answer");
        assert_eq!(response.text(), current(0));
    }
    wait_streams(&api, 1);
    set(&redis, "current-value", "1");
    eventually(PATIENCE, "two events", || {
        api.metric("redis_api_stream_events_total") == Some(2.0)
    });
    connection.finish().expect("it is open");
    let rest = connection.read_to_end().expect("a clean end");
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 1, "{rest}");
    assert_eq!(rest.matches("data: ").count(), 2, "{rest}");
    wait_streams(&api, 0);
}

#[test]
fn who_has_the_present_body_is_not_told_it_again() {
    let (redis, api) = start(&["--read-mode", "tracked", "--etag"]);
    let Event { id, data, .. } = Events::open(api.addr(), "/").next();
    let id = id.expect("it has a name");
    assert_eq!(data, current(0));
    let tag = request(api.addr(), "GET", "/", &[], b"");
    assert_eq!(tag.header("ETag"), Some(format!("\"{id}\"").as_str()));
    let mut stream = Events::open_with(api.addr(), "/", &[("Last-Event-ID", &id)]);
    assert!(stream.is_silent_for(SILENCE));
    set(&redis, "current-value", "1");
    assert_eq!(stream.next_data(), current(1));
    for other in [id.as_str(), "x", "", &id.to_uppercase()] {
        let mut stream = Events::open_with(api.addr(), "/", &[("Last-Event-ID", other)]);
        assert_eq!(stream.next_data(), current(1), "{other:?}");
    }
}

#[test]
fn what_a_read_may_not_a_stream_may_not() {
    let (redis, api) = start(&["--fields", "current-value,EUR,none,bad"]);
    set(&redis, "bad", "nan");
    set(&redis, "EUR", "1");
    let (long, other) = (format!("/{}", "x".repeat(129)), "/?fields=EUR,other");
    for (path, status) in [
        ("/none", 404),
        ("/other", 404),
        (other, 404),
        ("/?fields=", 400),
        ("/?fields=,", 400),
        ("/bad", 502),
        (&long, 404),
        ("/a/b", 404),
    ] {
        let plain = request(api.addr(), "GET", path, &[], b"");
        assert_eq!(plain.status, status, "{path}");
        let headers = [("Accept", "text/event-stream")];
        let refused = request(api.addr(), "GET", path, &headers, b"");
        assert_eq!((refused.status, &refused.body), (status, &plain.body));
        assert_eq!(refused.header("Content-Type"), Some("application/json"));
    }
    wait_streams(&api, 0);
    let mut stream = Events::open(api.addr(), "/EUR");
    assert_eq!(stream.next_data(), current(1));
    // What a read says of it is what there is to tell.
    redis.cli(&["HDEL", "currency", "EUR"]);
    assert_eq!(stream.next_data(), "{\"error\":\"Not found\"}");
    set(&redis, "EUR", "x");
    let data = stream.next_data();
    assert!(data.contains("is not a JSON number"), "{data}");
    set(&redis, "EUR", "2");
    assert_eq!(stream.next_data(), current(2));
}

#[test]
fn what_is_not_initialised_is_told_and_needs_no_token() {
    let redis = Redis::start_plain();
    let builder = |api: Builder| {
        let token = api.file("token", "0123456789abcdef0123456789abcdef");
        let token = token.display().to_string();
        api.args(["--read-mode", "tracked", "--write-token-file", &token])
    };
    let api = on_one_master(&redis, builder);
    let mut stream = Events::open(api.addr(), "/");
    assert_eq!(stream.next_data(), "{\"error\":\"Not initialised\"}");
    set(&redis, "current-value", "1");
    assert_eq!(stream.next_data(), current(1));
}

#[test]
fn a_silent_stream_has_a_heartbeat() {
    let (_redis, api) = start(&["--idle-timeout", "1s"]);
    let mut stream = Events::open(api.addr(), "/");
    stream.next();
    let since = std::time::Instant::now();
    for _ in 0..2 {
        let event = stream.next_of_any_kind().expect("it goes on");
        assert!(event.is_some_and(|event| event.is_comment));
    }
    let took = since.elapsed();
    let expected = Duration::from_secs(14)..Duration::from_secs(33);
    assert!(expected.contains(&took), "{took:?}");
    let counted = api.metric("redis_api_stream_events_total");
    assert_eq!(counted, Some(1.0), "heartbeats do not count");
}

#[test]
fn a_stream_is_a_connection_and_no_request_in_progress() {
    let (_redis, api) = start(&["--workers", "1", "--max-requests", "1"]);
    let streams: Vec<_> = (0..4).map(|_| Events::open(api.addr(), "/")).collect();
    assert_eq!(request(api.addr(), "GET", "/", &[], b"").status, 200);
    let open = api.metric("redis_api_http_connections");
    assert!(open >= Some(4.0), "{open:?}");
    wait_streams(&api, 4);
    let requests = "redis_api_http_requests_total{method=\"GET\",code=\"200\"}";
    assert!(api.metric(requests) >= Some(5.0));
    drop(streams);
}
