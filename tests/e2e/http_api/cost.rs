//! What requests cost in Redis, how fresh their answers are under load, and what the metrics say of
//! both.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::sys::signal::Signal;

use super::{MODES, check};
use crate::support::{
    Api, Connection, PATIENCE, Redis, Response, eventually, on_one_master, request,
};

#[test]
fn reads_of_many_clients_share_commands_in_batch_mode_only() {
    const CLIENTS: u64 = 64;
    const REQUESTS: u64 = 40;
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5", "EUR", "1.1"]);
    for mode in MODES {
        let mut api = on_one_master(&redis, |builder| {
            builder.args(["--read-mode", mode, "--workers", "1"])
        });
        let open = || Connection::open(api.addr()).expect("it listens");
        let mut connections: Vec<_> = (0..CLIENTS).map(|_| open()).collect();

        let before = redis.calls("hget");
        thread::scope(|scope| {
            for (index, connection) in connections.iter_mut().enumerate() {
                scope.spawn(move || {
                    for round in 0..REQUESTS as usize {
                        let (path, body) = match (index + round) % 2 {
                            0 => ("/", r#"{"current":12.5}"#),
                            _ => ("/EUR", r#"{"current":1.1}"#),
                        };
                        check(&connection.request("GET", path, &[], b""), 200, body);
                    }
                });
            }
        });
        let commands = redis.calls("hget") - before;
        let requests = CLIENTS * REQUESTS;
        match mode {
            "batch" => assert!(commands <= requests, "{commands}"),
            _ => assert_eq!(commands, requests),
        }
        let batches = api.metric("redis_api_read_batch_size_count");
        assert_eq!(batches, Some(commands as f64), "{mode}");
        let reads = api.metric("redis_api_read_batch_size_sum");
        assert_eq!(reads, Some(requests as f64), "{mode}");

        // All arrive in one turn: while the process is stopped, the kernel collects them.
        api.process().signal(Signal::SIGSTOP);
        for connection in &mut connections {
            connection
                .send("GET", "/", &[], b"")
                .expect("it can be sent");
        }
        api.process().signal(Signal::SIGCONT);
        for connection in &mut connections {
            let response = connection
                .read_response("GET")
                .expect("there is a response");
            check(&response, 200, r#"{"current":12.5}"#);
        }
        let commands = redis.calls("hget") - before - commands;
        match mode {
            "batch" => assert!((1..=16).contains(&commands), "{commands}"),
            _ => assert_eq!(commands, CLIENTS),
        }
    }
}

#[test]
fn a_read_after_a_write_is_never_older() {
    const READERS: usize = 8;
    const WRITES: u64 = 400;
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder.args(["--workers", "2"]));
    let addr = api.addr();
    let open = || Connection::open(addr).expect("it listens");
    let number = |response: &Response| -> u64 {
        let json: serde_json::Value =
            serde_json::from_slice(&response.body).expect("every body is JSON");
        json["current"]
            .as_u64()
            .unwrap_or_else(|| panic!("{response:?}"))
    };
    let (written, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let write = |connection: &mut Connection, path: &str, value: u64| {
        let body = format!("{{\"value\":{value}}}");
        let response = connection.request("POST", path, &[], body.as_bytes());
        check(&response, 200, &format!("{{\"current\":{value}}}"));
    };
    write(&mut open(), "/", 0);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut connection = open();
                while !done.load(Ordering::SeqCst) {
                    let floor = written.load(Ordering::SeqCst);
                    let seen = number(&connection.request("GET", "/", &[], b""));
                    assert!(seen >= floor, "{seen} after {floor} was written");
                }
            });
        }
        let writers: Vec<_> = (0..3)
            .map(|index| {
                scope.spawn(move || {
                    let path = format!("/field-{index}");
                    let (mut writer, mut reader) = (open(), open());
                    for value in 1..=WRITES / 4 {
                        write(&mut writer, &path, value);
                        let seen = number(&reader.request("GET", &path, &[], b""));
                        assert_eq!(seen, value, "{path}");
                    }
                })
            })
            .collect();
        let mut connection = open();
        for value in 1..=WRITES {
            write(&mut connection, "/", value);
            written.store(value, Ordering::SeqCst);
        }
        let ends: Vec<_> = writers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::SeqCst);
        assert!(ends.iter().all(Result::is_ok), "a writer failed");
    });
}

/// A server on the loopback that passes one connection on to `redis`; replies are held while the
/// gate is locked.
fn gated(redis: &Redis, gate: &Arc<Mutex<()>>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    let (upstream, gate) = (redis.addr(), Arc::clone(gate));
    // Both threads end with the connection, which ends with the API's process.
    thread::spawn(move || -> io::Result<()> {
        let (mut client, _) = listener.accept()?;
        let mut server = TcpStream::connect(upstream)?;
        let (mut commands, mut to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || io::copy(&mut commands, &mut to_server));
        let mut chunk = [0; 16 * 1024];
        loop {
            let n = server.read(&mut chunk)?;
            if n == 0 {
                return Ok(());
            }
            let _open = gate.lock();
            client.write_all(&chunk[..n])?;
        }
    });
    addr
}

#[test]
fn a_read_never_joins_a_command_that_was_sent_before_it() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1", "EUR", "1"]);
    let gate = Arc::new(Mutex::new(()));
    let mut api = Api::serve()
        .args(["--read-redis-addr", &gated(&redis, &gate).to_string()])
        .write_to(&redis)
        .args(["--workers", "1", "--request-timeout", "20s"])
        .start();
    api.wait_ready(PATIENCE);
    for path in ["/", "/EUR"] {
        let ask = |connection: &mut Connection, commands: u64| {
            let sent = connection.send("GET", path, &[], b"");
            sent.expect("it can be sent");
            eventually(PATIENCE, "the command is run", || {
                redis.calls("hget") == commands
            });
        };
        let answer = |connection: &mut Connection, body: &str| {
            let response = connection.read_response("GET");
            check(&response.expect("there is a response"), 200, body);
        };
        let open = || Connection::open(api.addr()).expect("it listens");
        let (mut early, mut late) = (open(), open());
        let before = redis.calls("hget");
        let held = gate.lock().expect("no thread panics with it");
        ask(&mut early, before + 1);
        check(&api.post(path, r#"{"value":2}"#), 200, r#"{"current":2}"#);
        ask(&mut late, before + 2);
        drop(held);
        answer(&mut early, r#"{"current":1}"#);
        answer(&mut late, r#"{"current":2}"#);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn metrics_agree_with_what_was_done() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| {
        builder.args(["--workers", "1", "--ping-interval", "600s"])
    });
    let call = |method, path, body: &str, status| {
        let response = request(api.addr(), method, path, &[], body.as_bytes());
        assert_eq!(response.status, status, "{method} {path}");
    };
    call("GET", "/", "", 200);
    for value in ["1", "2", "3"] {
        call("POST", "/", &format!("{{\"value\":{value}}}"), 200);
    }
    for _ in 0..5 {
        call("GET", "/", "", 200);
    }
    call("GET", "/missing", "", 404);
    call("GET", "/a/b", "", 404);
    call("GET", "/?fields=", "", 400);
    call("HEAD", "/", "", 200);
    call("POST", "/", "{}", 400);
    call("POST", "/EUR", "", 400);
    call("POST", "/", &" ".repeat(5000), 413);
    call("OPTIONS", "/", "", 204);
    call("PUT", "/", "", 405);
    call("DELETE", "/a/b", "", 404);
    redis.cli(&["HSET", "currency", "bad", "nan"]);
    call("GET", "/bad", "", 502);

    let expect = |sample: &str, value: f64| {
        assert_eq!(api.metric(sample), Some(value), "{sample}");
    };
    let requests = |method: &str, code: u16, count: f64| {
        let labels = format!("code=\"{code}\",method=\"{method}\"");
        let swapped = format!("method=\"{method}\",code=\"{code}\"");
        let found = [labels, swapped]
            .iter()
            .find_map(|labels| api.metric(&format!("redis_api_http_requests_total{{{labels}}}")));
        assert_eq!(found, Some(count), "{method} {code}");
    };
    requests("GET", 200, 6.0);
    requests("GET", 404, 2.0);
    requests("GET", 400, 1.0);
    requests("GET", 502, 1.0);
    requests("HEAD", 200, 1.0);
    requests("POST", 200, 3.0);
    requests("POST", 400, 2.0);
    requests("POST", 413, 1.0);
    requests("OPTIONS", 204, 1.0);
    requests("other", 405, 1.0);
    requests("other", 404, 1.0);
    expect("redis_api_http_request_duration_seconds_count", 20.0);
    expect("redis_api_not_initialised_total", 1.0);
    expect("redis_api_write_failures_total{outcome=\"not-sent\"}", 3.0);
    expect("redis_api_shed_total", 0.0);
    // The reads: 6 and one HEAD of /, /missing and /bad.
    expect("redis_api_read_batch_size_count", 9.0);
    expect("redis_api_read_batch_size_sum", 9.0);
    assert_eq!(redis.calls("hget"), 9);
    // And, every 10 s, one question for the CPU time.
    assert_eq!(redis.calls("hset") - 1, 3, "one is the test's own");
    let writes = api.metric("redis_api_redis_commands_total{role=\"write\"}");
    assert!(
        writes.is_some_and(|count| (3.0..=5.0).contains(&count)),
        "{writes:?}"
    );
    eventually(PATIENCE, "the reads and some whole probes of 4", || {
        let commands = api.metric("redis_api_redis_commands_total{role=\"read\"}");
        commands.is_some_and(|count| count > 9.0 && (count - 9.0) % 4.0 == 0.0)
    });
    for role in ["read", "write"] {
        expect(
            &format!("redis_api_redis_connections{{role=\"{role}\"}}"),
            1.0,
        );
        expect(
            &format!("redis_api_redis_connects_total{{role=\"{role}\"}}"),
            1.0,
        );
    }
    let open: Vec<_> = (0..3).map(|_| Connection::open(api.addr())).collect();
    assert!(open.iter().all(Result::is_ok), "{open:?}");
    eventually(PATIENCE, "3 open connections", || {
        api.metric("redis_api_http_connections") == Some(3.0)
    });
    drop(open);
    eventually(PATIENCE, "no open connection", || {
        api.metric("redis_api_http_connections") == Some(0.0)
    });
}
