//! `redis-api updater` against a real API with a real Redis: it goes on whatever happens.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, Redis, eventually, pass};

const EVERY: Duration = Duration::from_millis(100);

fn serve(redis: &Redis) -> Builder {
    let address = redis.addr().to_string();
    Api::serve()
        .args(["--workers", "1", "--drain-delay", "0s"])
        .args(["--redis-addr", &address])
}

/// An updater that posts ten times a second.
fn updater(api: SocketAddr) -> Builder {
    let url = format!("http://{api}/");
    Api::subcommand("updater")
        .without_admin()
        .args(["--every", "100ms", "--api-url", &url])
}

fn posts(updater: &Api, outcome: &str) -> u64 {
    let sample = format!("redis_api_updater_posts_total{{outcome=\"{outcome}\"}}");
    updater.metric(&sample).map_or(0, |count| count as u64)
}

/// Waits until more posts had this outcome than now.
#[track_caller]
fn wait_more(updater: &mut Api, outcome: &str) {
    let before = posts(updater, outcome);
    eventually(PATIENCE, &format!("more posts are {outcome}"), || {
        updater.check_running();
        let ok = posts(updater, outcome) > before;
        ok.then_some(()).ok_or_else(|| updater.log().join("\n"))
    });
}

fn stored(redis: &Redis) -> f64 {
    let text = redis.cli(&["HGET", "currency", "current-value"]);
    text.parse().unwrap_or(f64::NAN)
}

#[test]
fn value_moves_from_where_it_is_and_a_signal_ends_it_at_once() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "100"]);
    let mut api = serve(&redis).start();
    api.wait_ready(PATIENCE);
    let mut updater = updater(api.addr()).start();
    let mut values = vec![100.0];
    eventually(PATIENCE, "ten values", || {
        let value = stored(&redis);
        if values.last() != Some(&value) {
            values.push(value);
        }
        (values.len() > 10)
            .then_some(())
            .ok_or_else(|| format!("{values:?}"))
    });
    // A look may miss some posts; each moves it by 0.4 % at most.
    let count = posts(&updater, "ok").max(10) as f64;
    for value in &values {
        assert!((value - 100.0).abs() <= 0.5 * count, "{values:?}");
        let cents = value * 100.0;
        assert!(
            (cents - cents.round()).abs() < 1e-6,
            "two decimals: {value}"
        );
    }
    // A grid of 100 ms has no room for more, whatever was late.
    let started = Instant::now();
    let before = redis.calls("hset");
    pass(5 * EVERY);
    let calls = redis.calls("hset") - before;
    let room = started.elapsed().as_millis() / EVERY.as_millis() + 2;
    assert!(u128::from(calls) <= room, "{calls} posts, room for {room}");

    let asked = Instant::now();
    assert!(updater.stop().success());
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    let line = updater.wait_log("posted=", PATIENCE);
    assert!(line.contains("failed=0"), "{line}");
}

#[test]
fn empty_api_gets_a_plausible_value() {
    let redis = Redis::start_plain();
    let mut api = serve(&redis).start();
    api.wait_ready(PATIENCE);
    let mut updater = updater(api.addr()).start();
    wait_more(&mut updater, "ok");
    let value = stored(&redis);
    assert!((10.0..=15.0).contains(&value), "{value}");
    let gauge = updater.metric("redis_api_updater_value");
    assert!(
        gauge.is_some_and(|value| (10.0..=15.0).contains(&value)),
        "{gauge:?}"
    );
}

#[test]
fn api_that_goes_and_comes_back() {
    let redis = Redis::start_plain();
    let mut api = serve(&redis).start();
    let addr = api.addr();
    let mut updater = updater(addr).start();
    wait_more(&mut updater, "ok");
    api.stop();
    wait_more(&mut updater, "unreachable");
    let _api = serve(&redis).listen_on(addr).start();
    wait_more(&mut updater, "ok");
    updater.wait_log("the API takes values again", PATIENCE);
    updater.stop();
    let line = updater.wait_log("posted=", PATIENCE);
    assert!(line.contains("unreachable="), "{line}");
}

/// It is started before the API, whose value must not be lost by that.
#[test]
fn api_that_is_not_there_yet() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1000"]);
    let mut first = serve(&redis).start();
    let addr = first.addr();
    first.stop();
    let mut updater = updater(addr).start();
    updater.wait_log("posting starts once the current value is known", PATIENCE);
    let _api = serve(&redis).listen_on(addr).start();
    wait_more(&mut updater, "ok");
    let value = stored(&redis);
    assert!((800.0..=1200.0).contains(&value), "{value}");
}

/// Only a post mends what is stored there.
#[test]
fn value_that_is_no_number_is_replaced_in_the_end() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "nan"]);
    let mut api = serve(&redis).start();
    api.wait_ready(PATIENCE);
    let updater = updater(api.addr()).start();
    eventually(2 * PATIENCE, "a number is stored", || {
        stored(&redis)
            .is_finite()
            .then_some(())
            .ok_or_else(|| updater.log().join("\n"))
    });
}

#[test]
fn wrong_token_is_corrected_and_never_shown() {
    let redis = Redis::start_plain();
    let api = serve(&redis);
    let right = api.file("token", "right-geheim\n");
    let mut api = api
        .arg("--write-token-file")
        .arg(right.display().to_string())
        .start();
    api.wait_ready(PATIENCE);
    let updater = updater(api.addr()).args(["--log-level", "debug"]);
    let file = updater.file("token", "wrong-geheim\n");
    let mut updater = updater
        .arg("--write-token-file")
        .arg(file.display().to_string())
        .start();
    wait_more(&mut updater, "not-sent");
    updater.wait_log("401 Unauthorized", PATIENCE);
    assert_eq!(posts(&updater, "ok"), 0);

    fs::write(&file, "right-geheim\n").expect("our folder is writable");
    wait_more(&mut updater, "ok");
    // The last good one stays.
    fs::write(&file, "two geheim\n").expect("our folder is writable");
    updater.wait_log("keeping the last good token", PATIENCE);
    wait_more(&mut updater, "ok");
    assert!(updater.stop().success());
    let log = updater.log().join("\n");
    assert!(!log.contains("geheim"), "{log}");
}

#[test]
fn frozen_master_leaves_values_unknown() {
    let mut redis = Redis::start_plain();
    let mut api = serve(&redis).start();
    api.wait_ready(PATIENCE);
    let mut updater = updater(api.addr()).start();
    wait_more(&mut updater, "ok");
    redis.freeze();
    wait_more(&mut updater, "unknown");
    redis.thaw();
    wait_more(&mut updater, "ok");
}

/// An API that keeps a POST waiting as long as it is told to. Ends with the test's process.
struct Stalling {
    addr: SocketAddr,
    posts: Arc<AtomicUsize>,
    stalls: Arc<AtomicBool>,
}

impl Stalling {
    fn start() -> Stalling {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let stalling = Stalling {
            addr,
            posts: Arc::default(),
            stalls: Arc::default(),
        };
        let (posts, stalls) = (Arc::clone(&stalling.posts), Arc::clone(&stalling.stalls));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One client with one connection at a time.
                let _ = answer_all(stream, &posts, &stalls);
            }
        });
        stalling
    }

    fn posts(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

fn answer_all(stream: TcpStream, posts: &AtomicUsize, stalls: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut line, mut length, mut is_post) = (String::new(), 0, false);
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            is_post |= line.starts_with("POST ");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        reader.read_exact(&mut vec![0; length])?;
        if is_post {
            posts.fetch_add(1, Ordering::SeqCst);
            let goes_on = || !stalls.load(Ordering::SeqCst);
            eventually(PATIENCE, "the stall ends", goes_on);
        }
        let body = r#"{"current":12.5}"#;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}

#[test]
fn no_burst_follows_a_stall() {
    let api = Stalling::start();
    let _updater = updater(api.addr).args(["--timeout", "20s"]).start();
    eventually(PATIENCE, "it posts", || api.posts() > 2);
    api.stalls.store(true, Ordering::SeqCst);
    pass(20 * EVERY);
    let (before, since) = (api.posts(), Instant::now());
    api.stalls.store(false, Ordering::SeqCst);
    eventually(PATIENCE, "it goes on", || api.posts() > before + 3);
    pass(5 * EVERY);
    let came = api.posts() - before;
    let room = since.elapsed().as_millis() / EVERY.as_millis() + 2;
    assert!(came as u128 <= room, "{came} posts, room for {room}");
}

#[test]
fn wrong_flags_are_named_at_once() {
    let check = |args: &[&str], expected: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_redis-api"))
            .env_clear()
            .arg("updater")
            .args(args)
            .output()
            .expect("our binary runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        for expected in expected {
            assert!(text.contains(expected), "{args:?}: {text}");
        }
        assert!(!text.contains("geheim"), "{args:?}: {text}");
    };
    check(&[], &["--api-url or API_URL is missing"]);
    check(
        &["--api-url", "localhost:8080"],
        &["--api-url", "http://HOST"],
    );
    check(
        &[
            "--api-url",
            "http://me:geheim@host/",
            "--every",
            "0s",
            "--timeout",
            "x",
        ],
        &[
            "3 flags or values are wrong",
            "--api-url",
            "--every",
            "--timeout",
        ],
    );
}

#[test]
fn token_file_that_is_no_use_at_start() {
    let mut updater = updater(SocketAddr::from(([127, 0, 0, 1], 1)))
        .args(["--write-token-file", "/nowhere/token"])
        .start();
    assert_eq!(updater.wait_exit(PATIENCE).code(), Some(1));
    updater.wait_log(
        "/nowhere/token (--write-token-file): can't be read",
        PATIENCE,
    );
}
