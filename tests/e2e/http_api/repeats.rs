//! Requests whose bytes the server has seen before: their answers are those of the first.

use std::io::Read;

use super::on_one_master;
use crate::support::{Api, Connection, PATIENCE, Redis, eventually};

/// More than the server needs to know a head, however many others came.
const TIMES: usize = 40;

/// The whole answer to these bytes but for its date, on a connection of its own.
fn raw(api: &Api, request: &str) -> String {
    let mut connection = Connection::open(api.addr()).expect("it listens");
    connection
        .send_raw(request.as_bytes())
        .expect("it can be sent");
    let mut bytes = Vec::new();
    connection
        .stream()
        .read_to_end(&mut bytes)
        .expect("it is closed");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// The answer to the first of many requests with the same head, which is hyper's, after checking
/// that all others are the same.
#[track_caller]
fn check_all_same(api: &Api, path: &str, lines: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
    let numbered = |name: &str, number: usize| {
        let unique = request.replace("\r\n\r\n", &format!("\r\n{name}: {number}\r\n\r\n"));
        raw(api, &unique)
    };
    // Never remembered, since it is never the same.
    let parsed = |number| numbered("X-Number", number);
    let first = parsed(0);
    for number in 1..TIMES {
        assert_eq!(raw(api, &request), first, "{request}");
        assert_eq!(parsed(number), first, "{request}");
        assert_eq!(numbered("X-Request-Id", number), first, "{request}");
    }
    first
}

#[test]
fn every_kind_of_answer_is_the_same_when_its_head_is_known() {
    let redis = Redis::start_plain();
    let origins = ["--cors-origin", "https://a.example"];
    for args in [&[][..], &["--cors-origin", "none"], &origins] {
        redis.cli(&["DEL", "currency"]);
        let api = on_one_master(&redis, |builder| {
            builder.args(
                ["--fields", "current-value,EUR,bad"]
                    .iter()
                    .chain(args)
                    .copied(),
            )
        });
        let check = |path: &str, part: &str| {
            for lines in [
                "",
                "Origin: https://a.example\r\n",
                "Origin: https://b.example\r\n",
            ] {
                let answer = check_all_same(&api, path, lines);
                assert!(answer.contains(part), "{path}: {answer}");
                let is_allowed = answer.contains("access-control-allow-origin: https://a.example");
                assert_eq!(is_allowed, args == origins && lines.contains("a.example"));
            }
        };
        check("/", "{\"error\":\"Not initialised\"}");
        check("/EUR", "HTTP/1.1 404 Not Found\r\n");
        redis.cli(&[
            "HSET",
            "currency",
            "current-value",
            "1",
            "EUR",
            "2",
            "bad",
            "nan",
        ]);
        check("/", "\r\n\r\n{\"current\":1}");
        check("/EUR", "\r\n\r\n{\"current\":2}");
        check("/EUR?fields=bad", "\r\n\r\n{\"current\":2}");
        check("/?a=b", "\r\n\r\n{\"current\":1}");
        check("/?fields=EUR", "\r\n\r\n{\"EUR\":2}");
        check("/bad", "HTTP/1.1 502 Bad Gateway\r\n");
        check("/USD", "HTTP/1.1 404 Not Found\r\n");
        check("/a/b", "HTTP/1.1 404 Not Found\r\n");
        redis.cli(&["DEL", "currency"]);
        redis.cli(&["SET", "currency", "1"]);
        check("/", "HTTP/1.1 502 Bad Gateway\r\n");
    }
}

#[test]
fn answers_without_a_replica_and_with_old_data_are_the_same() {
    let master = Redis::start_plain();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    master.cli(&["HSET", "currency", "current-value", "1"]);
    let mut api = Api::serve()
        .read_from(&replica)
        .write_to(&master)
        .args(["--read-role", "replica", "--workers", "1"])
        .start();
    api.wait_ready(PATIENCE);
    drop(master);
    eventually(PATIENCE, "the age of the data", || {
        check_age(&api).then_some(()).ok_or("no age")
    });
    drop(replica);
    // The reason that is given last, and from then on.
    eventually(PATIENCE, "no replica", || {
        raw(
            &api,
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .contains("Connection refused")
    });
    let answer = check_all_same(&api, "/", "");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
}

/// Whether answers say how old their data is, those to known heads as all others.
fn check_age(api: &Api) -> bool {
    let known = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let unknown = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nA: b\r\nC: d\r\n\r\n";
    (0..TIMES).all(|_| raw(api, known).contains("\r\nx-data-age: "))
        && raw(api, unknown).contains("\r\nx-data-age: ")
}

/// What a connection holds that has been idle for a while: a socket, and little more.
#[test]
fn idle_connections_give_their_memory_back() {
    const CONNECTIONS: usize = 4_000;
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1"]);
    let api = on_one_master(&redis, |builder| {
        builder
            .args(["--workers", "1"])
            .descriptors(CONNECTIONS as u32 + 200)
    });
    let memory = || {
        let bytes = api.metric("process_resident_memory_bytes");
        bytes.expect("it is there")
    };
    let before = memory();
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(api.addr()).expect("it listens");
        // A head that is new each time, so that each has to be parsed.
        let number = number.to_string();
        let response = connection.request("GET", "/", &[("X-Number", &number)], b"");
        assert_eq!(response.status, 200);
        connections.push(connection);
    }
    let busy = (memory() - before) / CONNECTIONS as f64;
    eventually(PATIENCE, "they give it back", || {
        let idle = (memory() - before) / CONNECTIONS as f64;
        (idle < 6_000.0).then_some(()).ok_or((busy, idle))
    });
    for connection in &mut connections {
        assert_eq!(connection.request("GET", "/", &[], b"").status, 200);
    }
}
