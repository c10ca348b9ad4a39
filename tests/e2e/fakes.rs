//! A server that breaks the rules of the protocol, at every point where one can.
//!
//! The fake's values differ from field to field, so that a reply which reached another request than
//! its own would show. After each fault the service must be whole again.

mod hello;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::api::Builder;
use crate::support::fake::{bulk, stored};
use crate::support::{Act, Api, Fake, Load, PATIENCE, eventually, request, try_request};

/// Memory may grow by this much, whatever a server announces.
const GROWTH_KIB: u64 = 20 * 1024;

/// An API with one worker, so that all reads share one connection.
fn api(fake: &Fake) -> Builder {
    let addr = fake.addr().to_string();
    Api::serve().args(["--workers", "1", "--redis-addr", &addr])
}

fn ready(builder: Builder) -> Api {
    let mut api = builder.start();
    api.wait_ready(PATIENCE);
    api
}

/// Waits until reads are answered again, each by its own value.
#[track_caller]
fn wait_whole(api: &Api) {
    for number in 1..10 {
        let field = format!("f{number:02}");
        eventually(PATIENCE, "reads are answered again", || {
            let response = api.get(&format!("/{field}"));
            match response.status {
                200 => {
                    let expected = format!("{{\"current\":{}}}", stored(&field));
                    assert_eq!(response.text(), expected);
                    Ok(())
                }
                502..=504 => Err(response.text()),
                _ => panic!("{} {}", response.status, response.text()),
            }
        });
    }
}

/// `f01` is answered by the fault: with `status`, and with these words in the log or, where the
/// connection is none the worse for it, in the body.
#[track_caller]
fn check(mode: &str, faults: Vec<(Act, u16, &'static str)>) {
    let fake = Fake::start();
    let mut api = ready(api(&fake).args(["--read-mode", mode]));
    for (act, status, words) in faults {
        let what = format!("{mode}: {act:?}");
        let before = api.process().resident_kib();
        let lines = api.log().len();
        fake.once("HGET", Some("f01"), act);
        let response = api.get("/f01");
        assert_eq!(response.status, status, "{what}: {}", response.text());
        eventually(PATIENCE, &format!("{what}: {words:?} is said"), || {
            let logged = api.log()[lines..].iter().any(|line| line.contains(words));
            logged || response.text().contains(words)
        });
        wait_whole(&api);
        assert!(
            api.process().resident_kib() <= before + GROWTH_KIB,
            "{what}"
        );
    }
}

fn faults() -> Vec<(Act, u16, &'static str)> {
    let half = b"$4\r\n10".to_vec();
    let with = |more: &[u8]| [&bulk("1000"), more].concat();
    let send = |bytes: &[u8]| Act::Send(bytes.to_vec());
    let malformed = "malformed reply";
    let unasked = "unsolicited reply from the server";
    vec![
        (Act::Silence(half.clone()), 504, "no reply for"),
        (Act::Silence(Vec::new()), 504, "no reply for"),
        (Act::Close(half), 503, "the server closed the connection"),
        (
            Act::Close(Vec::new()),
            503,
            "the server closed the connection",
        ),
        (Act::Send(with(b"+OK\r\n")), 200, unasked),
        (Act::Send(with(&bulk("2000"))), 200, unasked),
        (
            Act::Send(with(b"-ERR idle\r\n")),
            200,
            "unsolicited error from the server: ERR idle",
        ),
        (
            Act::Send([b">2\r\n+x\r\n+y\r\n", &*bulk("1000")].concat()),
            200,
            "1000",
        ),
        (Act::Send(with(b">1\r\n+x\r\n")), 200, "1000"),
        (send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 503, malformed),
        (send(b"\x15\x03\x03\0\x02\x02\x50"), 503, malformed),
        (send(b"$99999999999\r\n"), 503, malformed),
        (send(b"$-7\r\n"), 503, malformed),
        (send(b"$18446744073709551615\r\n"), 503, malformed),
        (send(b"*1000000000\r\n"), 503, malformed),
        (send(b"%1000000000\r\n"), 503, malformed),
        (Act::Send(b"*1\r\n".repeat(100_000)), 503, malformed),
        (send(b"$4\r\n1000xx"), 503, malformed),
        (
            send(b"*1\r\n$4\r\n1000\r\n"),
            502,
            "the reply to HGET is not text",
        ),
        (send(b":1000\r\n"), 502, "the reply to HGET is not text"),
        (send(b"-ERR whatever\r\n"), 502, "ERR whatever"),
        (
            send(b"-MOVED 42 127.0.0.1:7001\r\n"),
            502,
            "cluster mode, which is not supported",
        ),
        (send(b"-BUSY a script\r\n"), 503, "BUSY a script"),
        (send(b"-NOAUTH log in\r\n"), 502, "NOAUTH log in"),
        (send(b"-LOADING wait\r\n"), 503, "LOADING wait"),
        (send(b"$3\r\nnan\r\n"), 502, "not a JSON number"),
    ]
}

#[test]
fn faulty_replies_in_batch_mode() {
    check("batch", faults());
}

#[test]
fn faulty_replies_in_direct_mode() {
    check("direct", faults());
}

#[test]
fn late_reply_reaches_nobody() {
    let fake = Fake::start();
    for mode in ["batch", "direct"] {
        // The stall rule has another second for the machine to be slow in.
        let api = ready(api(&fake).args(["--read-mode", mode, "--request-timeout", "1s"]));
        fake.once("HGET", Some("f01"), Act::Hold(bulk("1000")));
        assert_eq!(api.get("/f01").status, 504);
        let (addr, before) = (api.addr(), fake.seen("HGET"));
        let next = ["/f02", "/f03", "/f02", "/f01"]
            .map(|path| thread::spawn(move || request(addr, "GET", path, &[], b"")));
        // All of them, and INFO each second, wait behind the late one.
        eventually(PATIENCE, "they are sent", || {
            fake.seen("HGET") >= before + 3
        });
        fake.release();
        let answers = next.map(|answer| answer.join().expect("it is answered").text());
        let expected = ["2000", "3000", "2000", "1000"].map(|n| format!("{{\"current\":{n}}}"));
        assert_eq!(answers, expected);
        let log = api.log().join("\n");
        assert!(
            !log.contains("no reply for"),
            "the connection was to last: {log}"
        );
    }
}

/// Once a reply has come that can't be the command's, no later one can be told to be its command's.
#[test]
fn stray_reply_between_two_commands_reaches_nobody() {
    let fake = Fake::start();
    let api = ready(api(&fake).args(["--request-timeout", "1s"]));
    let addr = api.addr();
    fake.once(
        "HGET",
        Some("f01"),
        Act::Hold([&*bulk("1000"), b"+OK\r\n"].concat()),
    );
    let get = |path: &'static str| thread::spawn(move || request(addr, "GET", path, &[], b""));
    let mut answers = Vec::new();
    for path in ["/f01", "/f02", "/f03", "/f04"] {
        answers.push(get(path));
        eventually(PATIENCE, "it is sent", || {
            fake.seen("HGET") == answers.len()
        });
    }
    fake.release();
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.join().expect("it is answered"))
        .collect();
    assert_eq!(answers[0].text(), "{\"current\":1000}");
    for (answer, number) in answers[1..].iter().zip(2..) {
        let own = format!("{{\"current\":{number}000}}");
        let fits = match answer.status {
            200 => answer.text() == own,
            status => matches!(status, 502 | 503),
        };
        assert!(fits, "f0{number}: {} {}", answer.status, answer.text());
    }
    wait_whole(&api);
}

#[test]
fn error_before_any_command_is_the_reason() {
    let fake = Fake::start();
    fake.welcome(b"-ERR max number of clients reached\r\n");
    let mut api = api(&fake).start();
    let words = "max number of clients reached";
    eventually(PATIENCE, "/readyz has the server's words", || {
        let ready = try_request(api.admin(), "GET", "/readyz", &[], b"");
        ready.is_ok_and(|ready| ready.status == 503 && ready.text().contains(words))
    });
    assert!(api.get("/").text().contains(words));
    let post = api.post("/", "{\"value\":1}");
    assert_eq!(post.status, 503);
    assert!(
        post.text().contains(words) && post.text().contains("not-sent"),
        "{}",
        post.text()
    );
    assert!(
        api.wait_log(words, PATIENCE)
            .contains("raise the server's maxclients")
    );
    fake.welcome(b"");
    api.wait_ready(PATIENCE);
    wait_whole(&api);
}

/// What comes with the greeting can end the connection in the same moment.
#[test]
fn connection_that_ends_with_its_greeting_is_counted_once() {
    let fake = Fake::start();
    fake.script(|command| match command.first().map(String::as_str) {
        Some("HELLO") => Act::Send(b"%1\r\n+proto\r\n:3\r\n+stray\r\n".to_vec()),
        _ => Act::Behave,
    });
    let mut api = api(&fake).start();
    api.wait_log("unsolicited reply from the server", PATIENCE);
    fake.script(|_| Act::Behave);
    api.wait_ready(PATIENCE);
    wait_writable(&api);
    for role in ["read", "write"] {
        let sample = format!("redis_api_redis_connections{{role=\"{role}\"}}");
        assert_eq!(api.metric(&sample), Some(1.0), "{role}");
    }
}

/// What proxies that end TLS say to one who speaks in plaintext.
#[test]
fn tls_alert_at_login_is_told_from_garbage() {
    let fake = Fake::start();
    fake.welcome(b"\x15\x03\x03\0\x02\x02\x46");
    let api = api(&fake).start();
    let line = api.wait_log("malformed reply", PATIENCE);
    assert!(
        line.contains("speaks only TLS on this port; give rediss://"),
        "{line}"
    );
}

#[test]
fn server_that_never_answers_hello() {
    let fake = Fake::start();
    fake.script(|_| Act::Silence(Vec::new()));
    let mut api = api(&fake).args(["--connect-timeout", "300ms"]).start();
    let words = "login was not answered in time";
    for role in ["read", "write"] {
        let line = api.wait_log(&format!("{role} {}: {words}", fake.addr()), PATIENCE);
        assert!(line.contains("next attempt in"), "{line}");
    }
    let ready = request(api.admin(), "GET", "/readyz", &[], b"");
    assert!(
        ready.status == 503 && ready.text().contains(words),
        "{}",
        ready.text()
    );
    assert_eq!(api.get("/").status, 503);
    fake.script(|_| Act::Behave);
    api.wait_ready(PATIENCE);
    wait_whole(&api);
}

/// Commands pile up in front of a server that reads nothing; they are bounded, and so is the time
/// they wait.
#[test]
fn server_that_stops_reading() {
    let fake = Fake::start();
    let mut api = ready(api(&fake).args(["--read-mode", "direct"]));
    let load = Load::start(api.addr());
    load.wait_good(Instant::now(), PATIENCE);
    let before = api.process().resident_kib();

    fake.script(|command| match command.first().map(String::as_str) {
        Some("HGET" | "HMGET") => Act::Deaf,
        _ => Act::Behave,
    });
    // 7 KiB each, far more together than the sockets between the two hold.
    let names: Vec<String> = (0..120).map(|n| format!("{}{n}", "x".repeat(60))).collect();
    let (path, addr) = (format!("/?fields={}", names.join(",")), api.addr());
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                (0..5).all(|_| {
                    let response = request(addr, "GET", &path, &[], b"");
                    matches!(response.status, 503 | 504)
                })
            })
        })
        .collect();
    for client in clients {
        assert!(client.join().expect("every request is answered"));
    }
    api.wait_log("no reply for", PATIENCE);
    assert!(load.tally().bad() > 0);
    assert!(api.process().resident_kib() <= before + GROWTH_KIB);

    fake.script(|_| Act::Behave);
    fake.release();
    load.wait_good(Instant::now(), PATIENCE);
    load.finish();
    api.check_running();
}

#[test]
fn connections_that_end_under_load() {
    let fake = Fake::start();
    for mode in ["batch", "direct"] {
        let api = ready(api(&fake).args(["--read-mode", mode]));
        let load = Load::start(api.addr());
        for _ in 0..10 {
            load.wait_good(Instant::now(), PATIENCE);
            fake.hang_up();
        }
        let took = load.wait_good(Instant::now(), PATIENCE);
        assert!(took < Duration::from_secs(3), "{mode}: {took:?}");
        load.finish();
    }
}

#[test]
fn write_refused_by_a_replica_is_sent_once_more() {
    let fake = Fake::start();
    let api = ready(api(&fake));
    wait_writable(&api);
    let accepted = fake.accepted();
    let read_only =
        || Act::Send(b"-READONLY You can't write against a read only replica.\r\n".into());
    fake.once("HSET", None, read_only());
    let post = api.post("/f01", "{\"value\":7}");
    assert_eq!(
        (post.status, post.text().as_str()),
        (200, "{\"current\":7}")
    );
    assert_eq!(
        fake.accepted(),
        accepted + 1,
        "the second time on a new connection"
    );

    fake.script(move |command| match command.first().map(String::as_str) {
        Some("HSET") => read_only(),
        _ => Act::Behave,
    });
    let post = api.post("/f01", "{\"value\":8}");
    assert_eq!(post.status, 503, "{}", post.text());
    assert!(
        post.text().contains("\"outcome\":\"refused\""),
        "{}",
        post.text()
    );
    fake.script(|_| Act::Behave);
    wait_writable(&api);
}

#[test]
fn server_is_asked_how_it_is_however_many_commands_wait() {
    let fake = Fake::start();
    let flags = ["--max-in-flight", "1", "--request-timeout", "20s"];
    let api = ready(api(&fake).args(flags));
    let asked = Arc::new(AtomicUsize::new(0));
    let (seen, mut held) = (Arc::clone(&asked), false);
    fake.script(move |command| match command.first().map(String::as_str) {
        Some("HGET") if !held && command[2] == "f01" => {
            held = true;
            Act::Hold(bulk("1000"))
        }
        Some("INFO") => {
            seen.fetch_add(held.into(), Ordering::Relaxed);
            Act::Behave
        }
        _ => Act::Behave,
    });
    let addr = api.addr();
    let first = thread::spawn(move || {
        // Refused while the questions of the last second are the window's one command.
        eventually(PATIENCE, "it is let in", || {
            let response = request(addr, "GET", "/f01", &[], b"");
            (response.status != 503).then(|| response.text())
        })
    });
    eventually(PATIENCE, "it is asked", || {
        asked.load(Ordering::Relaxed) > 0
    });
    assert_eq!(api.get("/f02").status, 503, "the window is full");
    fake.release();
    let first = first.join().expect("it is answered");
    assert_eq!(first, "{\"current\":1000}");
}

/// All connections are to the old master, and the first refusal tells of one only.
#[test]
fn write_refused_on_every_old_connection_is_sent_on_a_new_one() {
    const LINKS: usize = 3;
    let fake = Fake::start();
    let links = LINKS.to_string();
    let api = ready(api(&fake).args(["--write-connections", &links]));
    eventually(PATIENCE, "all are connected", || {
        api.metric("redis_api_redis_connections{role=\"write\"}") == Some(LINKS as f64)
    });
    let mut refusals = 0;
    fake.script(move |command| match command.first().map(String::as_str) {
        Some("HSET") if refusals < LINKS => {
            refusals += 1;
            Act::Send(b"-READONLY You can't write against a read only replica.\r\n".into())
        }
        _ => Act::Behave,
    });
    let post = api.post("/f01", "{\"value\":7}");
    assert_eq!(post.text(), "{\"current\":7}");
    assert_eq!(fake.seen("HSET"), LINKS + 1);
}

/// A failover with many writes under way: each was refused, and none of them is in doubt.
#[test]
fn many_writes_refused_by_a_replica_are_all_sent_once_more() {
    // Far more replies than are read at once.
    const WRITES: usize = 200;
    let fake = Fake::start();
    let api = ready(api(&fake).args(["--request-timeout", "20s"]));
    wait_writable(&api);
    let read_only = b"-READONLY You can't write against a read only replica.\r\n";
    let before = fake.seen("HSET");
    let mut refused = 0;
    fake.script(move |command| match command.first().map(String::as_str) {
        Some("HSET") if refused < WRITES => {
            refused += 1;
            Act::Hold(read_only.to_vec())
        }
        _ => Act::Behave,
    });
    let addr = api.addr();
    let post = move || request(addr, "POST", "/f01", &[], b"{\"value\":7}").text();
    let posts: Vec<_> = (0..WRITES).map(|_| thread::spawn(post)).collect();
    eventually(PATIENCE, "all are sent", || {
        fake.seen("HSET") == before + WRITES
    });
    fake.release();
    for post in posts {
        let answer = post.join().expect("it is answered");
        assert_eq!(answer, "{\"current\":7}");
    }
    assert_eq!(fake.seen("HSET"), before + 2 * WRITES, "sent twice");
}

#[test]
fn writes_say_what_became_of_them() {
    let fake = Fake::start();
    let api = ready(api(&fake));
    let check = |act: Act, status: u16, outcome: &str| {
        wait_writable(&api);
        let what = format!("{act:?}");
        let sent = Arc::new(AtomicUsize::new(0));
        let (seen, mut act) = (Arc::clone(&sent), Some(act));
        fake.script(move |command| {
            let is_it = command.last().is_some_and(|word| word == "7");
            seen.fetch_add(is_it.into(), Ordering::Relaxed);
            act.take_if(|_| is_it).unwrap_or(Act::Behave)
        });
        let post = api.post("/f01", "{\"value\":7}");
        assert_eq!(post.status, status, "{what}: {}", post.text());
        let outcome = format!("\"outcome\":\"{outcome}\"}}");
        assert!(post.text().ends_with(&outcome), "{what}: {}", post.text());
        wait_writable(&api);
        assert_eq!(sent.load(Ordering::Relaxed), 1, "{what}: sent once only");
    };
    check(Act::Silence(Vec::new()), 504, "unknown");
    check(Act::Close(Vec::new()), 503, "unknown");
    check(Act::Close(b":".to_vec()), 503, "unknown");
    check(Act::Send(b"$4\r\n1000\r\n".to_vec()), 502, "unknown");
    check(Act::Send(b"garbage\r\n".to_vec()), 503, "unknown");
    check(
        Act::Send(b"-OOM over maxmemory\r\n".to_vec()),
        503,
        "refused",
    );
    check(
        Act::Send(b"-MOVED 42 127.0.0.1:7001\r\n".to_vec()),
        502,
        "refused",
    );
    check(
        Act::Send(b"-NOREPLICAS too few\r\n".to_vec()),
        502,
        "refused",
    );
}

/// Waits until a write succeeds.
#[track_caller]
fn wait_writable(api: &Api) {
    eventually(PATIENCE, "a write succeeds", || {
        let post = api.post("/f09", "{\"value\":1}");
        (post.status == 200)
            .then_some(())
            .ok_or_else(|| post.text())
    });
}
