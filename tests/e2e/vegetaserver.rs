//! `redis-api vegetaserver`, with a real vegeta and real targets.

mod children;
mod requests;
mod results;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, eventually, free_port, request, try_request};

/// A bot that attacks `target`.
fn bot(target: SocketAddr) -> Builder {
    Api::subcommand("vegetaserver")
        .without_admin()
        .arg(format!("--target-url=http://{target}/"))
}

fn helloworld() -> Api {
    let mut api = Api::subcommand("helloworld").start();
    api.wait_live(PATIENCE);
    api
}

/// An address on which nothing listens.
fn nobody() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

#[track_caller]
fn window(bot: &Api) -> Value {
    let response = bot.get("/");
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_slice(&response.body).expect("the window is JSON")
}

/// Waits until the window is as `is_good` wants it.
#[track_caller]
fn wait_window(bot: &mut Api, what: &str, is_good: impl Fn(&Value) -> bool) -> Value {
    eventually(PATIENCE, what, || {
        bot.check_running();
        let response = try_request(bot.addr(), "GET", "/", &[], b"").map_err(|e| e.to_string())?;
        let window: Value = serde_json::from_slice(&response.body).map_err(|e| e.to_string())?;
        match is_good(&window) {
            true => Ok(window),
            false => Err(window.to_string()),
        }
    })
}

fn number(window: &Value, member: &str) -> f64 {
    window[member].as_f64().unwrap_or(f64::NAN)
}

#[test]
fn rate_is_within_two_percent_over_ten_seconds() {
    let target = helloworld();
    let mut bot = bot(target.addr()).start();
    let window = wait_window(&mut bot, "ten seconds", |window| {
        number(window, "window_seconds") == 10.0
    });
    let achieved = number(&window, "achieved_rate");
    assert!((980.0..=1020.0).contains(&achieved), "{window}");
    assert_eq!(number(&window, "requests"), achieved * 10.0);
    assert_eq!(number(&window, "target_rate"), 1000.0);
    assert_eq!(number(&window, "success"), 1.0, "{window}");
    assert_eq!(window["status_codes"]["200"], window["requests"]);
    assert_eq!(window["errors"], Value::Array(Vec::new()));
    assert_eq!(window["workers_capped"], false);
    assert_eq!(number(&window, "restarts"), 0.0);
    assert_eq!(number(&window, "results_dropped"), 0.0);
    // `Hello World!`
    assert_eq!(number(&window["bytes_in"], "mean"), 12.0);
    for member in ["min", "50th", "90th", "95th", "99th", "max"] {
        let latency = number(&window["latencies"], member);
        assert!((1e3..2e9).contains(&latency), "{member} is {latency} ns");
    }
    // The results are read as they come.
    assert!(number(&window, "lag_seconds") < 1.0, "{window}");
    assert!(number(&window, "silent_seconds") < 1.0, "{window}");
}

/// Go leaves the loopback to itself, but not an address that only ends up there: without care the
/// bot would measure the proxy.
#[test]
fn a_proxy_in_the_environment_changes_nothing() {
    let target = helloworld();
    let mut builder = Api::subcommand("vegetaserver")
        .without_admin()
        .arg(format!(
            "--target-url=http://0.0.0.0:{}/",
            target.addr().port()
        ))
        .args(["--attack-rate=200", "--window=1s", "--timeout=500ms"]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        builder = builder.env(name, &format!("http://{}", nobody()));
    }
    let mut bot = builder.start();
    let window = wait_window(&mut bot, "answers", |window| {
        number(window, "requests") > 0.0
    });
    assert_eq!(number(&window, "success"), 1.0, "{window}");
}

#[test]
fn a_target_that_is_down_gives_a_window_of_errors() {
    let mut bot = bot(nobody())
        .args(["--attack-rate=200", "--window=2s", "--timeout=500ms"])
        .start();
    let window = wait_window(&mut bot, "a whole window", |window| {
        number(window, "window_seconds") == 2.0
    });
    assert_eq!(number(&window, "success"), 0.0);
    assert_eq!(window["status_codes"]["0"], window["requests"]);
    let refused = "connect: connection refused";
    assert_eq!(window["errors"], serde_json::json!([refused]));
    assert_eq!(window["error_counts"][refused], window["requests"]);
    let achieved = number(&window, "achieved_rate");
    assert!((190.0..=210.0).contains(&achieved), "{window}");
    assert_eq!(number(&window, "restarts"), 0.0);
}

#[test]
fn a_target_that_stalls_is_no_generator_that_stalls() {
    let mut target = helloworld();
    let mut bot = bot(target.addr())
        .args(["--attack-rate=200", "--window=2s", "--timeout=1s"])
        .start();
    wait_window(&mut bot, "answers", |window| {
        number(window, "success") == 1.0
    });
    target.process().signal(Signal::SIGSTOP);
    let window = wait_window(&mut bot, "nothing but errors", |window| {
        number(window, "success") == 0.0
    });
    let achieved = number(&window, "achieved_rate");
    assert!((190.0..=210.0).contains(&achieved), "{window}");
    assert_eq!(window["workers_capped"], false, "{window}");
    let kinds = window["errors"].as_array().expect("it is a list");
    assert!(!kinds.is_empty());
    for kind in kinds {
        let kind = kind.as_str().expect("it is a text");
        assert!(kind.starts_with("timeout"), "{window}");
    }
    // Latencies are those of the time-outs, and were counted in the seconds of their sends.
    assert!(number(&window["latencies"], "min") >= 0.99e9, "{window}");
}

#[test]
fn busy_workers_are_told() {
    let mut target = helloworld();
    let mut bot = bot(target.addr())
        .args(["--attack-rate=200", "--window=2s", "--timeout=1s"])
        .args(["--attack-workers=2", "--max-attack-workers=20"])
        .start();
    let window = wait_window(&mut bot, "answers", |window| {
        number(window, "success") == 1.0
    });
    assert_eq!(window["workers_capped"], false, "{window}");
    target.process().signal(Signal::SIGSTOP);
    // 20 workers that wait for a second each.
    let window = wait_window(&mut bot, "nothing but errors", |window| {
        number(window, "success") == 0.0
    });
    assert_eq!(window["workers_capped"], true, "{window}");
    assert!(number(&window, "achieved_rate") < 50.0, "{window}");
    assert_eq!(number(&window, "target_rate"), 200.0);
}

#[test]
fn answers_over_http() {
    let target = helloworld();
    let mut bot = bot(target.addr())
        .args(["--attack-rate=2.5", "--window=1s", "--timeout=100ms"])
        .start();
    wait_window(&mut bot, "a request", |window| {
        number(window, "requests") > 0.0
    });
    let answer = bot.get("/");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    for path in ["/", "/metrics", "/livez", "/other"] {
        let answer = bot.get(path);
        let expected = if path == "/other" { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{path}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some("*"), "{path}");
    }
    let refused = request(bot.addr(), "POST", "/", &[], b"x");
    assert_eq!(
        (refused.status, refused.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(request(bot.addr(), "HEAD", "/", &[], b"").status, 200);

    let metrics = bot.get("/metrics").text();
    for line in [
        "redis_api_attack_target_rate 2.5",
        "redis_api_attack_restarts_total 0",
        "# TYPE redis_api_attack_latency_seconds histogram",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    let counted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("redis_api_attack_requests_total{code=\"200\"} "));
    assert!(counted.is_some_and(|count| count != "0"), "{metrics}");
}

#[test]
fn a_missing_vegeta_is_an_error_that_names_the_cure() {
    for vegeta in ["/nowhere/vegeta", "vegeta-that-nobody-has", "/bin/sh"] {
        let mut bot = bot(nobody()).arg(format!("--vegeta={vegeta}")).start();
        let status = bot.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(1));
        let log = bot.wait_log("install vegeta", Duration::from_secs(1));
        for words in [vegeta, "go install", "make setup", "brew install vegeta"] {
            assert!(log.contains(words), "{words}: {log}");
        }
    }
}

#[test]
fn all_wrong_flags_are_named_at_once() {
    let mut bot = Api::subcommand("vegetaserver")
        .without_admin()
        .args(["--attack-rate=0", "--window=0s", "--header=hunter2"])
        .env("REDIS_API_TIMEOUT", "soon")
        .start();
    assert_eq!(bot.wait_exit(PATIENCE).code(), Some(2));
    let names = [
        "--target-url",
        "--attack-rate",
        "--window",
        "--header: number 1",
        "REDIS_API_TIMEOUT (environment)",
    ];
    for name in names {
        bot.wait_log(name, Duration::from_secs(1));
    }
    assert!(!bot.log().join("\n").contains("hunter2"));
}
