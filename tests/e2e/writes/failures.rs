//! Writes that the master does not take, and what is said of each.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::{SLACK, check, check_failed};
use crate::support::{
    Act, Api, Fake, PATIENCE, Redis, Response, eventually, on_one_master, request,
};

const BODY: &[u8] = b"{\"value\":12.5}";

/// Reads from `reads`, writes to `master`, and has written once.
fn with_master(reads: &Redis, master: &Redis, timeout: &str) -> Api {
    let mut api = Api::serve()
        .read_from(reads)
        .write_to(master)
        .args(["--workers", "1", "--ping-interval", "600s"])
        .args(["--request-timeout", timeout])
        .start();
    api.wait_ready(PATIENCE);
    eventually(PATIENCE, "the first write", || {
        let response = api.post("/first", r#"{"value":1}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
    api
}

fn post_beside(addr: SocketAddr, path: &'static str) -> JoinHandle<Response> {
    thread::spawn(move || request(addr, "POST", path, &[], BODY))
}

fn commands(api: &Api) -> f64 {
    let sample = "redis_api_redis_commands_total{role=\"write\"}";
    api.metric(sample).expect("it is there from the start")
}

#[test]
fn a_master_that_is_down_gets_nothing() {
    let reads = Redis::start_plain();
    let mut master = Redis::start_plain();
    let mut api = with_master(&reads, &master, "400ms");
    master.kill();
    for _ in 0..3 {
        let started = Instant::now();
        check_failed(&api.post("/", r#"{"value":1}"#), 503, "not-sent");
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    }
    // Reads go on, and a pod without its master stays ready.
    check(&api.get("/"), r#"{"error":"Not initialised"}"#);
    api.wait_ready(PATIENCE);
    master.restart();
    eventually(PATIENCE, "writes work again", || {
        let response = api.post("/", r#"{"value":2}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
}

#[test]
fn a_write_waits_for_the_master_within_its_deadline() {
    let reads = Redis::start_plain();
    let mut master = Redis::start_plain();
    let api = with_master(&reads, &master, "20s");
    master.kill();
    eventually(PATIENCE, "the loss is noticed", || {
        api.metric("redis_api_redis_connections{role=\"write\"}") == Some(0.0)
    });
    let writing = post_beside(api.addr(), "/late");
    eventually(PATIENCE, "the request has arrived", || {
        api.metric("redis_api_http_connections") == Some(1.0)
    });
    master.restart();
    let response = writing.join().expect("there is a response");
    check(&response, r#"{"current":12.5}"#);
    assert_eq!(master.cli(&["HGET", "currency", "late"]), "12.5");
    assert_eq!(master.calls("hset"), 1);
}

#[test]
fn a_frozen_master_leaves_the_outcome_unknown() {
    let reads = Redis::start_plain();
    let mut master = Redis::start_plain();
    let api = with_master(&reads, &master, "400ms");
    let calls = master.calls("hset");
    master.freeze();
    let started = Instant::now();
    check_failed(&api.post("/late", r#"{"value":1}"#), 504, "unknown");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    master.thaw();
    eventually(PATIENCE, "writes work again", || {
        let response = api.post("/second", r#"{"value":2}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
    // Those of the loop above may have been unknown too; each was sent once at most.
    let posted = commands(&api);
    assert!(master.calls("hset") as f64 <= posted, "{posted}");
    assert!(master.calls("hset") > calls);
}

#[test]
fn a_write_of_unknown_outcome_is_never_sent_again() {
    let reads = Redis::start_plain();
    let mut master = Redis::start_plain();
    let api = with_master(&reads, &master, "20s");
    let before = commands(&api);
    master.freeze();
    let writing = post_beside(api.addr(), "/lost");
    eventually(PATIENCE, "the write is sent", || {
        commands(&api) == before + 1.0
    });
    master.kill();
    let response = writing.join().expect("there is a response");
    check_failed(&response, 503, "unknown");

    // The master that comes back is empty: whatever it has was sent to it anew.
    master.restart();
    eventually(PATIENCE, "writes work again", || {
        let response = api.post("/second", r#"{"value":2}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
    assert_eq!(master.cli(&["HGET", "currency", "lost"]), "");
    assert_eq!(master.calls("hset"), 1);
    assert_eq!(commands(&api), before + 2.0);
}

#[test]
fn what_the_master_refuses_is_told_with_its_reason() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    check(&api.post("/", r#"{"value":1}"#), r#"{"current":1}"#);
    let refused = |status: u16, word: &str| {
        let response = api.post("/", r#"{"value":2}"#);
        check_failed(&response, status, "refused");
        assert!(response.text().contains(word), "{word}: {response:?}");
    };

    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    refused(503, "OOM");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);

    // The connection in use is checked against the new rights at its next command.
    redis.cli(&["ACL", "SETUSER", "default", "-hset"]);
    refused(502, "hset");
    redis.cli(&["ACL", "SETUSER", "default", "+hset"]);
    check(&api.get("/"), r#"{"current":1}"#);

    redis.cli(&["RENAME", "currency", "kept"]);
    redis.cli(&["SET", "currency", "text"]);
    refused(502, "WRONGTYPE");
    redis.cli(&["RENAME", "kept", "currency"]);
    check(&api.get("/"), r#"{"current":1}"#);

    // An address where nobody listens: it stays a replica that never was in sync.
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let started = Instant::now();
    refused(503, "replica");
    assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually(PATIENCE, "writes work again", || {
        let response = api.post("/", r#"{"value":3}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
    assert_eq!(redis.cli(&["HGET", "currency", "current-value"]), "3");
}

/// Both answers have arrived when the connection is closed for the first one's.
#[test]
fn two_writes_refused_at_once_are_both_known_to_be() {
    const READONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";
    let fake = Fake::start();
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let mut api = api
        .args(["--workers", "1", "--request-timeout", "5s"])
        .start();
    api.wait_ready(PATIENCE);
    // Both answers to a pair leave together.
    let mut pairs = [true, false].into_iter().cycle();
    fake.script(move |command| match command[0].as_str() {
        "HSET" if pairs.next() == Some(true) => Act::Hold(READONLY.to_vec()),
        "HSET" => Act::Send(READONLY.to_vec()),
        _ => Act::Behave,
    });
    let posts = ["/f01", "/f02"].map(|path| post_beside(api.addr(), path));
    for sent in [2, 4] {
        eventually(PATIENCE, "both are sent", || fake.seen("HSET") == sent);
        fake.release();
    }
    for post in posts {
        check_failed(&post.join().expect("there is a response"), 503, "refused");
    }
    assert_eq!(fake.seen("HSET"), 4, "each was sent once more, and no more");
}
