//! The rules for clients: who may write, which fields there are, which web pages may read.

mod origins;
mod room;

use std::collections::HashSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::files::replace;
use crate::support::{
    Api, Connection, PATIENCE, Redis, Response, eventually, on_one_master, pass, request,
};

const VALUE: &[u8] = b"{\"value\":1}";

/// What no output may hold.
const SECRET: &str = "hunter2";

/// For tests that no slow machine may turn into one of deadlines.
const UNHURRIED: &str = "--request-timeout=10s";

/// The same with a token for writes, and the file of it.
fn with_token(redis: &Redis, token: &str) -> (Api, std::path::PathBuf) {
    let mut file = None;
    let api = on_one_master(redis, |builder| {
        let path = file.insert(builder.file("token", &format!("{token}\n")));
        let flag = format!("--write-token-file={}", path.display());
        builder.arg(flag).args(["--workers=2", UNHURRIED])
    });
    (api, file.expect("it was made"))
}

/// Puts another text in a file's place, as a whole.
#[track_caller]
fn check(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
}

/// A write that was refused before anything of it was sent.
#[track_caller]
fn check_refused(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    let json: serde_json::Value = serde_json::from_slice(&response.body).expect("it is JSON");
    assert_eq!(json["outcome"], "not-sent", "{response:?}");
    assert!(json["error"].is_string(), "{response:?}");
    let media = response.header("Content-Type");
    assert_eq!(media, Some("application/json"), "{response:?}");
}

#[test]
fn a_read_only_api_takes_no_post() {
    const METHODS: &str = "GET, HEAD, OPTIONS";
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder.arg("--read-only"));
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let call = |method: &str, path: &str, body| request(api.addr(), method, path, &[], body);
    for path in ["/", "/EUR"] {
        for body in [VALUE, b"", b"no JSON"] {
            let response = call("POST", path, body);
            check_refused(&response, 405);
            assert_eq!(response.header("Allow"), Some(METHODS));
        }
        let response = call("PUT", path, b"");
        assert_eq!(response.status, 405);
        assert_eq!(response.header("Allow"), Some(METHODS));
        let response = call("OPTIONS", path, b"");
        assert_eq!(response.status, 204);
        let allowed = response.header("Access-Control-Allow-Methods");
        assert_eq!(
            (allowed, response.header("Allow")),
            (Some(METHODS), Some(METHODS))
        );
    }
    check(
        &call("POST", "/a/b", VALUE),
        404,
        r#"{"error":"Not found"}"#,
    );
    check(&call("GET", "/", b""), 200, r#"{"current":12.5}"#);
    assert_eq!(call("HEAD", "/", b"").status, 200);
    assert_eq!(redis.calls("hset"), 1);
    let sample = "redis_api_write_failures_total{outcome=\"not-sent\"}";
    assert_eq!(api.metric(sample), Some(6.0));
}

#[test]
fn a_refused_body_is_never_read_as_a_request() {
    let redis = Redis::start_plain();
    let (api, _) = with_token(&redis, SECRET);
    let read_only = on_one_master(&redis, |builder| builder.arg("--read-only"));
    for (addr, status) in [(api.addr(), 401), (read_only.addr(), 405)] {
        for padding in [0, 3000, 300_000] {
            let inner = "POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n";
            let body = format!("{inner}{{\"value\":1}}{}", " ".repeat(padding));
            let mut connection = Connection::open(addr).expect("it listens");
            // The server may close before it has taken all of it.
            let _ = connection.send("POST", "/", &[], body.as_bytes());
            let _ = connection.send("GET", "/", &[("Connection", "close")], b"");
            let response = connection.read_response("POST").expect("it is answered");
            check_refused(&response, status);
            if let Ok(response) = connection.read_response("GET") {
                check(&response, 200, r#"{"error":"Not initialised"}"#);
            }
        }
    }
    assert_eq!(redis.calls("hset"), 0);
}

#[test]
fn a_write_needs_the_token() {
    let redis = Redis::start_plain();
    let (api, _) = with_token(&redis, SECRET);
    let post = |headers: &[(&str, &str)]| request(api.addr(), "POST", "/", headers, VALUE);
    for good in [
        "Bearer hunter2",
        "bearer hunter2",
        "BEARER hunter2",
        "bEARER   hunter2 ",
    ] {
        check(&post(&[("Authorization", good)]), 200, r#"{"current":1}"#);
        check(&post(&[("AUTHORIZATION", good)]), 200, r#"{"current":1}"#);
    }
    let written = redis.calls("hset");
    for bad in [
        "",
        "hunter2",
        "Bearer",
        "Bearer ",
        "Bearerhunter2",
        "Bearer hunter",
        "Bearer hunter22",
        "Bearer Hunter2",
        "Bearer \"hunter2\"",
        "Bearer hunter2,",
        "Bearer hunter2 hunter2",
        "Bearer hunter2, Bearer hunter2",
        "Basic hunter2",
        "Token hunter2",
        "Basic aHVudGVyMjpodW50ZXIy",
    ] {
        check_challenged(&post(&[("Authorization", bad)]));
    }
    let good = ("Authorization", "Bearer hunter2");
    check_challenged(&post(&[]));
    check_challenged(&post(&[good, good]));
    check_challenged(&post(&[good, ("Authorization", "Bearer x")]));
    check_challenged(&post(&[("Proxy-Authorization", "Bearer hunter2")]));
    let query = request(api.addr(), "POST", "/?token=hunter2", &[], VALUE);
    check_challenged(&query);
    assert_eq!(redis.calls("hset"), written);

    // Told before the body comes, of which none is waited for.
    let mut connection = Connection::open(api.addr()).expect("it listens");
    let huge = [("Content-Length", "1000000000")];
    check_challenged(&connection.request("POST", "/", &huge, b""));
    assert_eq!(connection.read_to_end().expect("it is closed"), b"");

    // Who only reads needs none, right or wrong.
    for headers in [&[][..], &[("Authorization", "Bearer x")], &[good, good]] {
        let response = request(api.addr(), "GET", "/", headers, b"");
        check(&response, 200, r#"{"current":1}"#);
    }
    let preflight = request(api.addr(), "OPTIONS", "/", &[], b"");
    let allowed = preflight.header("Access-Control-Allow-Headers");
    assert_eq!(allowed, Some("Content-Type, Authorization, Last-Event-ID"));

    fn check_challenged(response: &Response) {
        check_refused(response, 401);
        assert_eq!(response.header("WWW-Authenticate"), Some("Bearer"));
        let cors = response.header("Access-Control-Allow-Origin");
        assert_eq!(cors, Some("*"));
        assert!(!format!("{response:?}").contains(SECRET));
    }
}

/// One write during a rotation: with the new token or the old one, and how it went.
struct Write {
    new: bool,
    began: Instant,
    ended: Instant,
    status: u16,
}

#[test]
fn a_new_token_is_taken_by_all_workers_at_once() {
    const MORE: usize = 200;
    let redis = Redis::start_plain();
    let (api, file) = with_token(&redis, "old-token");
    let addr = api.addr();
    let (writes, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let writes = || writes.lock().expect("no thread panics with it");
    thread::scope(|scope| {
        for thread in 0..4 {
            let (writes, over) = (&writes, &over);
            scope.spawn(move || {
                for number in thread.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let new = number % 2 == 0;
                    let token = if new {
                        "Bearer new-token"
                    } else {
                        "Bearer old-token"
                    };
                    let began = Instant::now();
                    // A connection each: the workers get them by turns.
                    let headers = [("Authorization", token)];
                    let status = request(addr, "POST", "/", &headers, VALUE).status;
                    let ended = Instant::now();
                    writes().push(Write {
                        new,
                        began,
                        ended,
                        status,
                    });
                }
            });
        }
        let _end = EndOnDrop(&over);
        eventually(PATIENCE, "writes on both workers", || writes().len() > 40);
        replace(&file, "new-token\n");
        let accepted = |write: &Write| write.new && write.status == 200;
        eventually(PATIENCE, "the new token", || writes().iter().any(accepted));
        let before = writes().len();
        eventually(PATIENCE, "more", || writes().len() > before + MORE);
    });
    let writes = writes();
    let accepted = writes
        .iter()
        .filter(|write| write.new && write.status == 200);
    let since = accepted.map(|write| write.ended).min().expect("some were");
    let (mut before, mut after) = (0, 0);
    for Write {
        new,
        began,
        ended,
        status,
    } in writes.iter()
    {
        if *began > since {
            assert_eq!(*status, if *new { 200 } else { 401 }, "new: {new}");
            after += 1;
        } else if *ended < since {
            assert!(!new || *status == 401, "new: {new}, {status}");
            before += 1;
        }
    }
    assert!(before > 40 && after >= MORE / 2, "{before} {after}");
    api.wait_log("new token loaded", PATIENCE);
}

/// Ends the threads of a scope also when the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_token_file_that_turns_bad_keeps_the_last_good_token() {
    let redis = Redis::start_plain();
    let (api, file) = with_token(&redis, SECRET);
    let post = |token: &str| {
        let bearer = format!("Bearer {token}");
        request(
            api.addr(),
            "POST",
            "/",
            &[("Authorization", &bearer)],
            VALUE,
        )
        .status
    };
    let warnings = || {
        let log = api.log();
        let about = |line: &&String| line.contains("keeping the last good token");
        log.iter().filter(about).count()
    };
    assert_eq!(post(SECRET), 200);
    replace(&file, "");
    api.wait_log("is empty", PATIENCE);
    assert_eq!((post(SECRET), post("")), (200, 401));
    // Still bad, in another way: not said again.
    fs::remove_file(&file).expect("it is there");
    pass(Duration::from_millis(1500));
    assert_eq!(post(SECRET), 200);
    replace(&file, "hunter2-b");
    eventually(PATIENCE, "the next good token", || post("hunter2-b") == 200);
    assert_eq!((post(SECRET), warnings()), (401, 1));
    fs::remove_file(&file).expect("it is there");
    let line = api.wait_log("can't be read", PATIENCE);
    assert!(line.contains(&file.display().to_string()), "{line}");
    assert_eq!((post("hunter2-b"), warnings()), (200, 2));
}

#[test]
fn a_token_file_that_is_no_use_at_start_is_an_error() {
    let redis = Redis::start_plain();
    for text in [None, Some(""), Some("\n"), Some("hunter2 hunter2\n")] {
        let builder = Api::serve().read_from(&redis).write_to(&redis);
        let path = builder.file("token", text.unwrap_or_default());
        if text.is_none() {
            fs::remove_file(&path).expect("it is there");
        }
        let flag = format!("--write-token-file={}", path.display());
        let mut api = builder.arg(flag).start();
        assert_eq!(api.wait_exit(PATIENCE).code(), Some(1), "{text:?}");
        let line = api.wait_log("--write-token-file", PATIENCE);
        assert!(line.contains(&path.display().to_string()), "{line}");
        assert!(!api.log().concat().contains(SECRET));
    }
}

#[test]
fn the_token_is_in_no_output() {
    let redis = Redis::start_plain();
    let (mut api, file) = with_token(&redis, SECRET);
    let mut seen = Vec::new();
    for token in [
        "Bearer hunter2",
        "Bearer hunter2x",
        "Basic hunter2",
        "hunter2",
    ] {
        let headers = [("Authorization", token)];
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            for path in ["/", "/EUR", "/a/b", "/?fields=,"] {
                for body in [VALUE, b"no JSON"] {
                    seen.push(request(api.addr(), method, path, &headers, body));
                }
            }
        }
    }
    for path in ["/metrics", "/readyz", "/livez", "/"] {
        seen.push(request(api.admin(), "GET", path, &[], b""));
    }
    let statuses: HashSet<u16> = seen.iter().map(|response| response.status).collect();
    assert!(
        [200, 204, 400, 401, 404, 405]
            .iter()
            .all(|status| statuses.contains(status))
    );
    replace(&file, "hunter2-b");
    api.wait_log("new token loaded", PATIENCE);
    replace(&file, "hunter2 hunter2");
    api.wait_log("keeping the last good token", PATIENCE);
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert!(api.stop().success());
    let output = format!("{seen:?} {}", api.log().join("\n"));
    assert!(!output.contains(SECRET), "{output}");
}

#[test]
fn only_listed_fields_are_there() {
    const GONE: &str = r#"{"error":"Not found"}"#;
    let redis = Redis::start_plain();
    redis.cli(&[
        "HSET",
        "currency",
        "current-value",
        "1",
        "EUR",
        "2",
        "USD",
        "3",
        "GBP",
        "4",
    ]);
    let before = redis.calls("hset");
    let api = on_one_master(&redis, |builder| builder.args(["--fields", "USD,EUR"]));
    let post = String::from_utf8_lossy(VALUE);
    check(&api.get("/EUR"), 200, r#"{"current":2}"#);
    check(&api.get("/?fields=USD,EUR"), 200, r#"{"USD":3,"EUR":2}"#);
    check(&api.post("/EUR", &post), 200, r#"{"current":1}"#);
    let commands = redis.calls("hget") + redis.calls("hmget");
    for path in [
        "/",
        "/current-value",
        "/GBP",
        "/missing",
        "/eur",
        "/EUR,USD",
    ] {
        for method in ["GET", "POST", "PUT", "OPTIONS"] {
            check(&request(api.addr(), method, path, &[], VALUE), 404, GONE);
        }
        assert_eq!(request(api.addr(), "HEAD", path, &[], b"").status, 404);
    }
    for path in [
        "/?",
        "/?x",
        "/?fields=EUR,GBP",
        "/?fields=GBP",
        "/?fields=current-value",
    ] {
        check(&api.get(path), 404, GONE);
    }
    assert_eq!(api.get("/?fields=EUR,a/b").status, 400);
    assert_eq!(redis.calls("hget") + redis.calls("hmget"), commands);
    assert_eq!(redis.calls("hset"), before + 1);

    let api = on_one_master(&redis, |builder| {
        builder.args(["--fields=EUR", "--fields=current-value"])
    });
    check(&api.get("/"), 200, r#"{"current":1}"#);
    check(&api.get("/current-value"), 200, r#"{"current":1}"#);
    check(&api.get("/USD"), 404, GONE);
}

#[test]
fn open_writes_are_warned_about_at_start() {
    let redis = Redis::start_plain();
    let any = |port| std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
    let builder = Api::serve().read_from(&redis).write_to(&redis);
    let mut open = builder.listen_on(any(crate::support::free_port())).start();
    let line = open.wait_log("can write", PATIENCE);
    assert!(line.contains("WARN"), "{line}");
    let mut closed = on_one_master(&redis, |builder| builder);
    closed.process().signal(Signal::SIGTERM);
    closed.wait_exit(PATIENCE);
    assert!(!closed.log().concat().contains("can write"));
    open.stop();
}
