//! The limit on fields, and what becomes of a write whose check fails.

use std::thread;
use std::time::{Duration, Instant};

use super::{UNHURRIED, VALUE, check, check_refused};
use crate::support::{Act, Api, Fake, PATIENCE, Redis, eventually, on_one_master, request};

/// An API that reads from `redis` and writes to `fake`, with a limit of two fields.
fn on_fake(redis: &Redis, fake: &Fake, timeout: &str) -> Api {
    let mut api = Api::serve()
        .read_from(redis)
        .arg(format!("--write-redis-addr={}", fake.addr()))
        .args(["--max-fields", "2", "--workers", "1", timeout])
        .start();
    api.wait_ready(PATIENCE);
    api.wait_log("write", PATIENCE);
    api
}

/// What a master says that has one field, which is not the one asked for.
fn one_other_field(command: &[String]) -> Act {
    match command.first().map(String::as_str) {
        Some("HEXISTS") => Act::Send(b":0\r\n".to_vec()),
        Some("HLEN") => Act::Send(b":1\r\n".to_vec()),
        _ => Act::Behave,
    }
}

#[test]
fn no_write_makes_more_fields_than_allowed() {
    let redis = Redis::start_plain();
    let args = ["--max-fields=3", UNHURRIED];
    let api = on_one_master(&redis, |builder| builder.args(args));
    for path in ["/", "/a", "/b", "/a", "/", "/current-value"] {
        check(&api.post(path, r#"{"value":1}"#), 200, r#"{"current":1}"#);
    }
    for _ in 0..3 {
        check_refused(&api.post("/c", r#"{"value":1}"#), 409);
    }
    assert_eq!(redis.calls("hset"), 6);
    assert_eq!((redis.calls("hexists"), redis.calls("hlen")), (9, 9));
    assert_eq!(redis.cli(&["HLEN", "currency"]), "3");
    check(&api.post("/b", r#"{"value":2}"#), 200, r#"{"current":2}"#);
    check(&api.get("/c"), 404, r#"{"error":"Not found"}"#);
    redis.cli(&["HDEL", "currency", "a"]);
    check(&api.post("/c", r#"{"value":3}"#), 200, r#"{"current":3}"#);
    check_refused(&api.post("/a", r#"{"value":1}"#), 409);

    // Writers at the same moment exceed it by their number at most.
    let addr = api.addr();
    redis.cli(&["HDEL", "currency", "c"]);
    thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || {
                for number in 0..20 {
                    let path = format!("/w{writer}-{number}");
                    let status = request(addr, "POST", &path, &[], VALUE).status;
                    assert!([200, 409].contains(&status), "{status}");
                }
            });
        }
    });
    let fields: usize = redis.cli(&["HLEN", "currency"]).parse().expect("a number");
    assert!((3..=3 + 8).contains(&fields), "{fields}");
}

#[test]
fn without_a_limit_nothing_is_asked() {
    let redis = Redis::start_plain();
    for args in [&[][..], &["--max-fields=0"]] {
        let api = on_one_master(&redis, |builder| builder.args(args.iter().copied()));
        check(&api.post("/a", r#"{"value":1}"#), 200, r#"{"current":1}"#);
    }
    assert_eq!((redis.calls("hexists"), redis.calls("hlen")), (0, 0));
}

#[test]
fn a_check_that_is_refused_sends_no_write() {
    let redis = Redis::start_plain();
    let fake = Fake::start();
    let api = on_fake(&redis, &fake, UNHURRIED);
    let refusals: [(&'static str, &[u8], u16); 6] = [
        (
            "HEXISTS",
            b"-NOPERM no permissions to run the 'hexists' command\r\n",
            502,
        ),
        (
            "HLEN",
            b"-NOPERM no permissions to run the 'hlen' command\r\n",
            502,
        ),
        ("HEXISTS", b"-WRONGTYPE wrong kind of value\r\n", 502),
        ("HLEN", b"-LOADING in memory\r\n", 503),
        ("HEXISTS", b"+OK\r\n", 502),
        ("HLEN", b"$1\r\n0\r\n", 502),
    ];
    for (command, reply, status) in refusals {
        fake.script(move |words| match words.first() {
            Some(word) if word == command => Act::Send(reply.to_vec()),
            _ => one_other_field(words),
        });
        let response = api.post("/a", r#"{"value":1}"#);
        check_refused(&response, status);
        if reply.starts_with(b"-NOPERM") {
            let named = response.text().contains(&command.to_lowercase());
            assert!(named, "{response:?}");
        }
        assert_eq!(fake.seen("HSET"), 0);
    }
    fake.script(one_other_field);
    eventually(PATIENCE, "a connection", || {
        let response = api.post("/a", r#"{"value":1}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
}

#[test]
fn a_check_without_an_answer_is_given_up_in_time() {
    let redis = Redis::start_plain();
    let fake = Fake::start();
    let api = on_fake(&redis, &fake, "--request-timeout=400ms");
    fake.script(|words| match words.first() {
        Some(word) if word == "HLEN" => Act::Silence(Vec::new()),
        _ => one_other_field(words),
    });
    let started = Instant::now();
    check_refused(&api.post("/a", r#"{"value":1}"#), 504);
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(390), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    assert_eq!(fake.seen("HSET"), 0);
}

#[test]
fn a_check_lost_with_its_connection_is_made_again() {
    let redis = Redis::start_plain();
    let fake = Fake::start();
    let api = on_fake(&redis, &fake, UNHURRIED);
    let mut lost = false;
    fake.script(move |words| match words.first() {
        Some(word) if word == "HEXISTS" && !lost => {
            lost = true;
            Act::Close(Vec::new())
        }
        _ => one_other_field(words),
    });
    let response = api.post("/a", r#"{"value":1}"#);
    check(&response, 200, r#"{"current":1}"#);
    assert_eq!((fake.seen("HEXISTS"), fake.seen("HSET")), (2, 1));
}
