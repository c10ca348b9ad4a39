//! Clients that take more than their share: each is stopped in the time promised, and meanwhile
//! another client is served as if nothing were.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::api::Builder;
use crate::support::bystander::{Bystander, CALM, REQUEST_TIMEOUT};
use crate::support::{Api, Connection, PATIENCE, Redis, eventually, on_one_master, pass};

const VALUE: &str = r#"{"current":12.5}"#;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// How much later than promised something may be seen on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn start(flags: &[&str]) -> (Redis, Api) {
    start_with(flags, |builder| builder)
}

fn start_with(flags: &[&str], limit: impl FnOnce(Builder) -> Builder) -> (Redis, Api) {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let flags = flags.iter().copied();
    let api = on_one_master(&redis, |builder| limit(builder.args(flags)));
    (redis, api)
}

fn open(api: &Api) -> Connection {
    Connection::open(api.addr()).expect("it listens")
}

#[track_caller]
fn send(connection: &mut Connection, bytes: &[u8]) {
    connection.send_raw(bytes).expect("it can be sent");
}

#[track_caller]
fn check_answer(connection: &mut Connection) {
    let response = connection.read_response("GET").expect("there is an answer");
    assert_eq!((response.status, response.text().as_str()), (200, VALUE));
}

fn open_connections(api: &Api) -> f64 {
    let open = api.metric("redis_api_http_connections");
    open.expect("it is always there")
}

/// Sends a byte again and again until the server ends the connection; when that was.
fn drip(connection: &mut Connection) -> Instant {
    let mut stream = connection.stream();
    let pause = Some(Duration::from_millis(20));
    stream.set_read_timeout(pause).expect("it is above zero");
    let mut answer = [0; 1024];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return Instant::now(),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return Instant::now(),
        }
        if stream.write_all(b"x").is_err() {
            return Instant::now();
        }
    }
}

#[track_caller]
fn check_span(since: Instant, end: Instant, limit: Duration) {
    let lasted = end.saturating_duration_since(since);
    let expected = limit.saturating_sub(limit / 10)..limit + SLACK;
    assert!(expected.contains(&lasted), "{lasted:?}, not {expected:?}");
}

#[test]
fn heads_that_drip_end_in_time() {
    let limit = Duration::from_millis(600);
    let (_redis, api) = start(&["--header-timeout", "600ms"]);
    let bystander = Bystander::start(&api, VALUE);
    let attacks: Vec<_> = (0..20)
        .map(|index| {
            let mut connection = open(&api);
            thread::spawn(move || {
                // Some right away, some behind a request that is answered, in one packet.
                if index % 2 == 0 {
                    send(
                        &mut connection,
                        &[GET, GET, b"GET / HTTP/1.1\r\nX: "].concat(),
                    );
                    check_answer(&mut connection);
                    check_answer(&mut connection);
                } else {
                    send(&mut connection, b"GET / HTTP/1.1\r\nX: ");
                }
                let since = Instant::now();
                check_span(since, drip(&mut connection), limit);
            })
        })
        .collect();
    for attack in attacks {
        attack.join().expect("each ends in time");
    }
    bystander.check("dripping heads");
}

#[test]
fn half_a_head_that_stays_half_ends_in_time() {
    let limit = Duration::from_millis(600);
    let (_redis, api) = start(&["--header-timeout", "600ms"]);
    let whole = [GET, b"G"].concat();
    for bytes in [&whole[..], b"G", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut connection = open(&api);
        let since = Instant::now();
        send(&mut connection, bytes);
        if bytes.len() > GET.len() {
            check_answer(&mut connection);
        }
        assert_eq!(connection.read_to_end().expect("a clean end"), b"");
        check_span(since, Instant::now(), limit);
    }
}

#[test]
fn a_head_may_be_split_and_slow_within_its_time() {
    let (_redis, api) = start(&["--header-timeout", "10s"]);
    let mut connection = open(&api);
    for part in GET.chunks(7) {
        send(&mut connection, part);
        pass(Duration::from_millis(20));
    }
    check_answer(&mut connection);
}

#[test]
fn idle_connections_end_in_time_and_no_sooner() {
    let limit = Duration::from_millis(1500);
    let flags = ["--idle-timeout", "1500ms", "--header-timeout", "200ms"];
    let (_redis, api) = start(&flags);
    let bystander = Bystander::start(&api, VALUE);
    let split = GET.split_at(GET.len() - 1);
    let with_body = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{\"value\":12.5}";
    let parts: [&[&[u8]]; 6] = [
        &[],
        &[GET],
        &[split.0, split.1],
        &[with_body],
        &[post],
        &[&post[..60], &post[60..]],
    ];
    let mut connections: Vec<_> = parts
        .iter()
        .map(|parts| {
            let mut connection = open(&api);
            for part in *parts {
                send(&mut connection, part);
                pass(Duration::from_millis(20));
            }
            let since = Instant::now();
            if !parts.is_empty() {
                check_answer(&mut connection);
            }
            (connection, since)
        })
        .collect();
    for (connection, since) in &mut connections {
        assert_eq!(connection.read_to_end().expect("a clean end"), b"");
        check_span(*since, Instant::now(), limit);
    }
    bystander.check("idle connections");
}

#[test]
fn bodies_that_drip_are_answered_408_and_closed() {
    let (_redis, api) = start(&[]);
    let bystander = Bystander::start(&api, VALUE);
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n3E8\r\n");
        let mut connections: Vec<_> = (0..10).map(|_| open(&api)).collect();
        let since = Instant::now();
        for connection in &mut connections {
            send(connection, head.as_bytes());
        }
        while since.elapsed() < REQUEST_TIMEOUT / 2 {
            for connection in &mut connections {
                send(connection, b"1");
            }
            pass(Duration::from_millis(10));
        }
        for connection in &mut connections {
            let response = connection.read_response("POST").expect("it is answered");
            assert_eq!(response.status, 408, "{response:?}");
            assert!(response.text().contains("not-sent"), "{response:?}");
            assert_eq!(response.header("Connection"), Some("close"));
            check_span(since, Instant::now(), REQUEST_TIMEOUT);
            assert_eq!(connection.read_to_end().expect("a clean end"), b"");
        }
    }
    bystander.check("dripping bodies");
}

/// Sends requests, and reads no answer, until the server ends the connection: a server that takes
/// nothing for a moment may only wait for the CPU.
fn stuff(connection: &Connection) {
    let mut stream = connection.stream();
    let pause = Some(Duration::from_millis(100));
    stream.set_write_timeout(pause).expect("it is above zero");
    let (requests, mut sent) = (GET.repeat(2_000), 0);
    eventually(
        2 * PATIENCE,
        "the server ends the connection",
        || match stream.write(&requests[sent..]) {
            Ok(length) => {
                sent = (sent + length) % requests.len();
                false
            }
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        },
    );
}

#[test]
fn clients_that_do_not_read_are_cut_off_and_cost_little() {
    let (_redis, mut api) = start(&["--write-timeout", "1s"]);
    let bystander = Bystander::start(&api, VALUE);
    let before = api.process().resident_kib();
    let started = Instant::now();
    let attacks: Vec<_> = (0..10).map(|_| open(&api)).collect();
    let stuffed = thread::scope(|scope| {
        let threads: Vec<_> = attacks
            .iter()
            .map(|connection| scope.spawn(|| stuff(connection)))
            .collect();
        let mut most = 0;
        while !threads
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            pass(Duration::from_millis(20));
            {
                most = api.process().resident_kib().max(most);
            }
        }
        most
    });
    {
        let grown = stuffed.saturating_sub(before);
        println!("10 clients that don't read: {grown} KiB over {before}");
        assert!(grown < 10 * 400, "{grown} KiB");
    }
    eventually(PATIENCE, "only the bystander is left", || {
        open_connections(&api) == 1.0
    });
    println!("slow readers were gone after {:?}", started.elapsed());
    for connection in &attacks {
        let mut rest = Vec::new();
        let read = connection.stream().read_to_end(&mut rest);
        let end = read.map_err(|error| error.kind());
        assert!(
            matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    }
    api.check_running();
    bystander.check("clients that don't read");
}

#[test]
fn a_slow_reader_that_goes_on_gets_everything() {
    let (_redis, api) = start(&["--write-timeout", "2s"]);
    let mut connection = open(&api);
    let count = 20_000;
    thread::scope(|scope| {
        let mut writer = connection.stream().try_clone().expect("a descriptor");
        scope.spawn(move || writer.write_all(&GET.repeat(count)));
        for round in 0..count {
            if round % 4000 == 0 {
                pass(Duration::from_millis(300));
            }
            check_answer(&mut connection);
        }
    });
}

#[test]
fn heads_over_16_kib_are_answered_431_and_closed() {
    let (_redis, api) = start(&[]);
    let bystander = Bystander::start(&api, VALUE);
    let head = |filler: usize| {
        let filler = "x".repeat(filler);
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {filler}\r\n\r\n")
    };
    let mut connection = open(&api);
    send(&mut connection, head(16 * 1024 - 64).as_bytes());
    check_answer(&mut connection);
    let since = Instant::now();
    let fillers = [16 * 1024, 60_000, 200_000].into_iter().cycle();
    for filler in fillers.take_while(|_| since.elapsed() < CALM) {
        let mut connection = open(&api);
        // It may be closed before all of it is sent.
        let _ = connection.send_raw(head(filler).as_bytes());
        let response = connection.read_response("GET").expect("it is answered");
        assert_eq!(response.status, 431, "{response:?}");
        assert_eq!(connection.read_to_end().expect("a clean end"), b"");
    }
    bystander.check("large heads");
}

#[test]
fn heads_of_256_lines_are_served_and_those_of_more_are_answered_431() {
    let (_redis, api) = start(&[]);
    let head = |lines: usize| {
        let lines: String = (1..lines).map(|line| format!("x-{line}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
    };
    let mut connection = open(&api);
    for lines in [100, 101, 1, 256, 101, 256] {
        send(&mut connection, &head(lines));
        check_answer(&mut connection);
    }
    let pipelined = [100, 101, 1, 256, 101].map(head).concat();
    send(&mut connection, &pipelined);
    for _ in 0..5 {
        check_answer(&mut connection);
    }
    send(&mut connection, &head(257));
    let response = connection.read_response("GET").expect("it is answered");
    assert_eq!(response.status, 431, "{response:?}");
    assert_eq!(connection.read_to_end().expect("a clean end"), b"");
}

#[test]
fn past_max_connections_clients_wait_in_the_backlog() {
    let flags = ["--max-connections", "8", "--request-timeout", "20s"];
    let (_redis, api) = start(&flags);
    let bystander = Bystander::start(&api, VALUE);
    let mut taken: Vec<_> = (0..7).map(|_| open(&api)).collect();
    eventually(PATIENCE, "all places are taken", || {
        open_connections(&api) == 8.0
    });
    let mut waiting = open(&api);
    send(&mut waiting, GET);
    api.wait_log("--max-connections", PATIENCE);
    pass(Duration::from_millis(300));
    assert_eq!(open_connections(&api), 8.0);
    drop(taken.pop());
    check_answer(&mut waiting);
    assert!(api.metric("redis_api_http_accept_pauses_total") >= Some(1.0));
    drop(waiting);
    drop(taken);
    for _ in 0..20 {
        check_answer_of_new(&api);
    }
    let full = |line: &&String| line.contains("as many as --max-connections");
    assert_eq!(api.log().iter().filter(full).count(), 1);
    assert_eq!(api.metric("redis_api_http_accept_errors_total"), Some(0.0));
    bystander.check("too many connections");
}

#[test]
fn past_max_connections_clients_are_refused_in_the_end() {
    let (_redis, api) = start(&["--max-connections", "8"]);
    let bystander = Bystander::start(&api, VALUE);
    let mut taken: Vec<_> = (0..7).map(|_| open(&api)).collect();
    eventually(PATIENCE, "all places are taken", || {
        open_connections(&api) == 8.0
    });
    let mut waiting = open(&api);
    let since = Instant::now();
    send(&mut waiting, GET);
    let lost = waiting.read_response("GET").expect_err("there is no place");
    assert_eq!(lost.kind(), io::ErrorKind::ConnectionReset, "{lost}");
    check_span(since, Instant::now(), REQUEST_TIMEOUT);
    let refused = Connection::open(api.addr()).err().map(|error| error.kind());
    assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
    drop(taken.pop());
    eventually(PATIENCE, "a new client is served", || {
        let mut connection = Connection::open(api.addr()).map_err(|error| error.to_string())?;
        let sent: io::Result<()> = connection.send_raw(GET);
        let response = sent.and_then(|()| connection.read_response("GET"));
        response.map_err(|error| error.to_string())
    });
    assert_eq!(api.metric("redis_api_http_accept_errors_total"), Some(0.0));
    assert!(api.metric("redis_api_http_refusals_total") >= Some(1.0));
    bystander.check("too many connections for long");
}

#[track_caller]
fn check_answer_of_new(api: &Api) {
    let response = api.get("/");
    assert_eq!((response.status, response.text().as_str()), (200, VALUE));
}

#[test]
fn past_max_requests_the_others_are_refused_at_once() {
    let flags = ["--max-requests", "4", "--workers", "1"];
    let (_redis, api) = start(&[&flags[..], &["--request-timeout", "3s"]].concat());
    let mut holding: Vec<_> = (0..4).map(|_| open(&api)).collect();
    for connection in &mut holding {
        send(
            connection,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{",
        );
    }
    let mut other = open(&api);
    let refused = eventually(PATIENCE, "all are in hand", || {
        let response = other.request("GET", "/", &[], b"");
        (response.status == 503).then_some(response)
    });
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert!(refused.text().contains("too many requests"), "{refused:?}");
    let asked = Instant::now();
    let refused = other.request("POST", "/", &[], b"{\"value\":1}");
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("not-sent"), "{refused:?}");
    assert!(asked.elapsed() < REQUEST_TIMEOUT);
    assert!(api.metric("redis_api_shed_total") >= Some(2.0));
    for connection in &mut holding {
        send(connection, b"\"value\":12.5}");
        check_answer(connection);
    }
    let mut again = open(&api);
    send(&mut again, GET);
    check_answer(&mut again);
}

#[test]
fn without_file_descriptors_it_waits_and_goes_on() {
    let flags = ["--max-connections", "1000", "--workers", "1"];
    let (_redis, api) = start_with(&flags, |builder| builder.descriptors(64));
    api.wait_log("64 file descriptors", PATIENCE);
    let bystander = Bystander::start(&api, VALUE);
    let hoard: Vec<_> = (0..100).map(|_| open(&api)).collect();
    api.wait_log("can't accept connections", PATIENCE);
    pass(Duration::from_millis(500));
    drop(hoard);
    eventually(PATIENCE, "others are served again", || {
        let mut connection = Connection::open(api.addr()).map_err(|error| error.to_string())?;
        let sent: io::Result<()> = connection.send_raw(GET);
        let response = sent.and_then(|()| connection.read_response("GET"));
        response.map_err(|error| error.to_string())
    });
    eventually(PATIENCE, "it was counted", || {
        api.metric("redis_api_http_accept_errors_total") >= Some(1.0)
    });
    bystander.check("no file descriptors");
}

#[test]
fn by_default_connections_stay_below_the_file_descriptors() {
    // Long enough for all to be in the backlog before the first is refused.
    let flags = ["--workers", "1", "--request-timeout", "20s"];
    let (_redis, api) = start_with(&flags, |builder| builder.descriptors(200));
    let line = api.wait_log("200 file descriptors", PATIENCE);
    assert!(line.contains("up to 60 client connections"), "{line}");
    let bystander = Bystander::start(&api, VALUE);
    let hoard: Vec<_> = (0..250).map(|_| open(&api)).collect();
    api.wait_log("--max-connections", PATIENCE);
    // The admin port has descriptors of its own.
    assert_eq!(open_connections(&api), 60.0);
    pass(Duration::from_millis(500));
    drop(hoard);
    check_answer_of_new(&api);
    assert_eq!(api.metric("redis_api_http_accept_errors_total"), Some(0.0));
    bystander.check("more clients than file descriptors");
}

#[test]
fn an_old_connection_ends_with_an_answer() {
    let (_redis, api) = start(&["--max-connection-age", "1s"]);
    let (mut busy, mut idle) = (open(&api), open(&api));
    let since = Instant::now();
    let end = eventually(PATIENCE, "an answer that says close", || {
        let response = busy.request("GET", "/", &[], b"");
        assert_eq!(response.status, 200);
        (response.header("Connection") == Some("close")).then(Instant::now)
    });
    check_span(since, end, Duration::from_secs(1));
    assert_eq!(busy.read_to_end().expect("a clean end"), b"");
    pass(Duration::from_millis(500));
    let response = idle.request("GET", "/", &[], b"");
    assert_eq!((response.status, response.text().as_str()), (200, VALUE));
    assert_eq!(response.header("Connection"), Some("close"));
}
