//! The ends of the process: a drain that loses nothing, and starts that fail with their reason.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{
    Api, Connection, PATIENCE, Redis, Response, eventually, free_port, on_one_master, request,
    try_request,
};

const VALUE: &str = r#"{"current":12.5}"#;

/// A master that holds a value, and an API that drains as these flags say.
fn start(flags: &[&str]) -> (Redis, Api) {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let api = on_one_master(&redis, |builder| builder.args(flags.iter().copied()));
    (redis, api)
}

fn open(api: &Api) -> Connection {
    Connection::open(api.addr()).expect("it listens")
}

#[track_caller]
fn check(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (200, VALUE));
}

fn says_close(response: &Response) -> bool {
    response.header("Connection") == Some("close")
}

#[track_caller]
fn check_exit(api: &Api, status: ExitStatus) {
    let log = api.log().join("\n");
    assert_eq!(status.code(), Some(0), "{status}; log:\n{log}");
}

/// Asks again and again, on one connection for as long as the server keeps it, until nobody
/// listens: how many answers did not say `close`, and how many did.
///
/// Closing a listener resets what completed its handshake since the last accept, which no server
/// can prevent, so one reset is taken for the end if nobody listens from then on. A connection that
/// was accepted is never reset, nor closed without an answer.
fn ask_until_gone(addr: SocketAddr, draining: &AtomicBool) -> (u64, u64) {
    let (mut kept, mut closed) = (0, 0);
    loop {
        match ask_until_close(addr, draining) {
            Ok(answers) => {
                kept += answers;
                closed += 1;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return (kept, closed),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                let after = TcpStream::connect(addr).map_err(|error| error.kind());
                assert_eq!(after.err(), Some(ErrorKind::ConnectionRefused), "{error}");
                return (kept, closed);
            }
            Err(error) => panic!("after {closed} that said close: {error}"),
        }
    }
}

/// Asks on one connection until an answer says `close`; how many before it did not.
fn ask_until_close(addr: SocketAddr, draining: &AtomicBool) -> io::Result<u64> {
    let mut connection = Connection::open(addr)?;
    let mut kept = 0;
    loop {
        let told = draining.load(Ordering::SeqCst);
        let sent = connection.send("GET", "/", &[], b"");
        let response = match sent.and_then(|()| connection.read_response("GET")) {
            Ok(response) => response,
            Err(error) if kept == 0 => return Err(error),
            Err(error) => panic!("after {kept} answers: {error}"),
        };
        check(&response);
        if says_close(&response) {
            return Ok(kept);
        }
        assert!(!told, "an answer without close after the drain began");
        kept += 1;
    }
}

#[test]
fn no_request_fails_while_it_drains_under_load() {
    const CLIENTS: u64 = 8;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (_redis, mut api) = start(&["--drain-delay", "1s"]);
        let (addr, admin) = (api.addr(), api.admin());
        let draining = AtomicBool::new(false);
        let answers = AtomicU64::new(0);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| ask_until_gone(addr, &draining)))
                .collect();
            eventually(PATIENCE, "load", || {
                api.metric("redis_api_http_request_duration_seconds_count") > Some(500.0)
            });
            api.process().signal(signal);
            api.wait_log("draining", PATIENCE);
            // The workers are told by a channel: its first answer shows that it came through.
            eventually(PATIENCE, "an answer that says close", || {
                let mut connections = [open(&api), open(&api), open(&api), open(&api)];
                connections.iter_mut().all(|connection| {
                    let response = connection.request("GET", "/", &[], b"");
                    check(&response);
                    says_close(&response)
                })
            });
            draining.store(true, Ordering::SeqCst);
            for path in ["/readyz", "/livez"] {
                assert_eq!(request(admin, "GET", path, &[], b"").status, 200, "{path}");
            }
            for client in clients {
                match client.join() {
                    Ok((kept, closed)) => {
                        assert!(kept > 0 && closed > 0, "{kept} and {closed}");
                        answers.fetch_add(closed, Ordering::SeqCst);
                    }
                    Err(_) => panic!("a request failed"),
                }
            }
        });
        assert!(answers.load(Ordering::SeqCst) > CLIENTS);
        let status = api.wait_exit(PATIENCE);
        check_exit(&api, status);
        api.wait_log("drained", PATIENCE);
        let log = api.log().join("\n");
        assert!(!log.contains("cut"), "{log}");
    }
}

#[test]
fn connections_in_the_backlog_are_served() {
    for delay in ["0s", "300ms"] {
        let (_redis, mut api) = start(&["--drain-delay", delay]);
        // Stopped, it accepts nothing: the kernel makes the connections and keeps their requests.
        // More than a task may accept in one poll, so that the end comes in between.
        api.process().signal(Signal::SIGSTOP);
        let mut waiting: Vec<_> = (0..300).map(|_| open(&api)).collect();
        for connection in &mut waiting {
            connection
                .send("GET", "/", &[], b"")
                .expect("the kernel takes it");
        }
        api.term();
        api.process().signal(Signal::SIGCONT);
        for connection in &mut waiting {
            let response = connection
                .read_response("GET")
                .expect("it was connected before the end");
            check(&response);
        }
        drop(waiting);
        let status = api.wait_exit(PATIENCE);
        check_exit(&api, status);
    }
}

#[test]
fn idle_connections_are_closed_at_the_end_and_not_before() {
    let (_redis, mut api) = start(&["--drain-delay", "1s"]);
    let (mut idle, mut used, mut fresh) = (open(&api), open(&api), open(&api));
    check(&idle.request("GET", "/", &[], b""));
    check(&used.request("GET", "/", &[], b""));
    let started = Instant::now();
    api.term();
    api.wait_log("draining", PATIENCE);
    eventually(PATIENCE, "the workers know", || {
        says_close(&open(&api).request("GET", "/", &[], b""))
    });
    let response = used.request("GET", "/", &[], b"");
    check(&response);
    assert_eq!(used.read_to_end().expect("it is closed"), b"");
    for connection in [&mut idle, &mut fresh] {
        assert_eq!(connection.read_to_end().expect("it is closed"), b"");
        let after = started.elapsed();
        assert!(after >= Duration::from_millis(990), "{after:?}");
    }
    let status = api.wait_exit(PATIENCE);
    check_exit(&api, status);
}

#[test]
fn a_request_in_flight_at_the_end_is_answered() {
    let (mut redis, mut api) = start(&["--drain-delay", "0s", "--request-timeout", "20s"]);
    let (addr, admin) = (api.addr(), api.admin());
    redis.freeze();
    let mut reading = open(&api);
    reading.send("GET", "/", &[], b"").expect("it can be sent");
    let mut writing = open(&api);
    let body = b"{\"value\":12.5}";
    writing
        .send("POST", "/", &[], body)
        .expect("it can be sent");
    let mut slow = open(&api);
    let length = [("Content-Length", "14")];
    slow.send("POST", "/EUR", &length, &body[..5])
        .expect("it can be sent");
    eventually(PATIENCE, "all are accepted", || {
        api.metric("redis_api_http_connections") == Some(3.0)
    });
    eventually(PATIENCE, "the write is sent", || {
        api.metric("redis_api_redis_commands_total{role=\"write\"}") >= Some(1.0)
    });
    api.term();
    eventually(PATIENCE, "nobody listens", || {
        TcpStream::connect(addr).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    let ready = request(admin, "GET", "/readyz", &[], b"");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("shutting down"), "{ready:?}");
    assert_eq!(request(admin, "GET", "/livez", &[], b"").status, 200);
    api.check_running();

    redis.thaw();
    slow.send_raw(&body[5..]).expect("it can be sent");
    for (connection, method) in [
        (&mut reading, "GET"),
        (&mut writing, "POST"),
        (&mut slow, "POST"),
    ] {
        let response = connection
            .read_response(method)
            .expect("there is a response");
        check(&response);
        assert!(says_close(&response), "{response:?}");
    }
    drop((reading, writing, slow));
    let status = api.wait_exit(PATIENCE);
    check_exit(&api, status);
}

#[test]
fn a_client_that_holds_a_request_back_is_cut() {
    let flags = ["--drain-delay", "0s", "--drain-timeout", "1s"];
    let (_redis, mut api) = start(&[&flags[..], &["--request-timeout", "60s"]].concat());
    let mut holding = open(&api);
    let length = [("Content-Length", "14")];
    holding
        .send("POST", "/", &length, b"{\"va")
        .expect("it can be sent");
    let mut halting = open(&api);
    halting
        .send_raw(b"GET / HTTP/1.1\r\nHo")
        .expect("it can be sent");
    eventually(PATIENCE, "both are accepted", || {
        api.metric("redis_api_http_connections") == Some(2.0)
    });
    let started = Instant::now();
    api.term();
    let status = api.wait_exit(PATIENCE);
    let elapsed = started.elapsed();
    check_exit(&api, status);
    assert!(elapsed >= Duration::from_millis(990), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    let line = api.wait_log("cut", PATIENCE);
    assert!(line.contains("cut 2 connections"), "{line}");
    // Its connection is gone, whatever it says now.
    let mut rest = Vec::new();
    let read = holding.stream().read_to_end(&mut rest);
    assert!(rest.is_empty(), "{read:?} {rest:?}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_redis, mut api) = start(&["--drain-delay", "60s"]);
    let mut open = open(&api);
    check(&open.request("GET", "/", &[], b""));
    api.term();
    api.wait_log("draining", PATIENCE);
    api.term();
    let started = Instant::now();
    let status = api.wait_exit(PATIENCE);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Some(1), "{status}: not all was done");
    let line = api.wait_log("received again", PATIENCE);
    assert!(line.contains("cut 1 connections"), "{line}");
}

#[test]
fn it_can_be_unready_from_the_signal_on() {
    let (_redis, mut api) = start(&["--drain-delay", "60s", "--drain-unready"]);
    api.term();
    eventually(PATIENCE, "/readyz says so", || {
        let ready = request(api.admin(), "GET", "/readyz", &[], b"");
        ready.status == 503 && ready.text().contains("shutting down")
    });
    eventually(PATIENCE, "the workers know", || {
        let response = open(&api).request("GET", "/", &[], b"");
        check(&response);
        says_close(&response)
    });
}

#[test]
fn an_occupied_port_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let addr = taken.local_addr().expect("it is bound");
    let mut api = Api::serve().listen_on(addr).start();
    let status = api.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(1), "{status}");
    let line = api.wait_log("in use", PATIENCE);
    assert!(line.contains(&addr.to_string()), "{line}");
}

#[test]
fn without_a_replica_it_listens_says_why_and_gives_up() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], free_port())).to_string();
    let mut api = Api::serve()
        .args(["--redis-addr", &nowhere, "--redis-wait", "2s"])
        .start();
    let started = Instant::now();
    api.wait_live(PATIENCE);
    let read = try_request(api.addr(), "GET", "/", &[], b"").expect("it listens");
    // A worker that has not begun yet knows no address.
    eventually(PATIENCE, "the address is named", || {
        let ready = try_request(api.admin(), "GET", "/readyz", &[], b"").expect("it listens");
        assert_eq!(ready.status, 503);
        ready.text().contains(&nowhere)
    });
    assert_eq!(read.status, 503, "{read:?}");
    assert_eq!(read.header("Retry-After"), Some("1"));
    assert_eq!(read.header("Access-Control-Allow-Origin"), Some("*"));

    let status = api.wait_exit(PATIENCE);
    let elapsed = started.elapsed();
    assert_eq!(status.code(), Some(1), "{status}");
    assert!(elapsed >= Duration::from_millis(1500), "{elapsed:?}");
    let line = api.wait_log("--redis-wait", PATIENCE);
    assert!(line.contains(&nowhere), "{line}");
    assert!(line.to_lowercase().contains("refused"), "{line}");
}
