//! `redis-api aggregator`: who it finds, whom it leaves out, and what it says.

mod background;
mod bots;
mod dns;
mod events;
mod left_out;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use redis_api_rig::window::Generator;
use serde_json::{Value, json};

use self::bots::{Act, Bots, ip, window};
use self::dns::{Dns, NAME, Records};
use self::events::Events;
use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, Redis, eventually, free_port, request};

fn aggregator() -> Builder {
    Api::subcommand("aggregator").without_admin()
}

/// One that finds its bots by DNS.
fn by_name(dns: &Dns, bots: &Bots) -> Builder {
    aggregator()
        .args(["--vegeta-dns", &format!("{NAME}:{}", bots.port())])
        .args(["--dns-server", &dns.addr().to_string()])
}

fn start(builder: Builder) -> Api {
    let mut api = builder.start();
    api.wait_live(PATIENCE);
    api
}

/// Waits for a board that fits.
#[track_caller]
fn wait_board(api: &Api, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let mut events = Events::open(api.addr());
    eventually(PATIENCE, what, || {
        let board = events.next();
        match fits(&board) {
            true => Ok(board),
            false => Err(format!("{:.2000}", board.to_string())),
        }
    })
}

fn get(api: &Api, path: &str) -> Value {
    let response = api.get(path);
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    serde_json::from_slice(&response.body).expect("it is JSON")
}

/// Waits for an answer that fits.
#[track_caller]
fn wait_answer(api: &Api, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(PATIENCE, path, || {
        let response = api.get(path);
        let answer: Value = serde_json::from_slice(&response.body).expect("it is JSON");
        match response.status == 200 && fits(&answer) {
            true => Ok(answer),
            false => Err(format!("{} {:.500}", response.status, answer.to_string())),
        }
    })
}

/// `address state` of each bot.
fn states(board: &Value) -> Vec<String> {
    let bots = board["bots"].as_array().expect("bots are a list");
    bots.iter()
        .map(|bot| {
            format!(
                "{} {}",
                bot["address"].as_str().unwrap(),
                bot["state"].as_str().unwrap()
            )
        })
        .collect()
}

fn alive(board: &Value) -> usize {
    states(board)
        .iter()
        .filter(|state| state.ends_with(" alive"))
        .count()
}

fn list(bots: &Bots, numbers: &[u16]) -> String {
    numbers
        .iter()
        .map(|number| bots.address(*number))
        .collect::<Vec<_>>()
        .join(",")
}

#[test]
fn summary_is_what_the_bots_said() {
    let bots = Bots::start();
    // 1,000 requests each: 990 of 1 ms; and 10 of 100 ms, or 10 failed ones of 2 ms.
    bots.tell(
        1,
        Act::Answer(window(100.0, &[(990, 1, 200), (10, 100, 200)])),
    );
    bots.tell(
        2,
        Act::Answer(window(100.0, &[(990, 1, 200), (10, 2, 503)])),
    );
    // 500 requests, and half of what it was to send.
    bots.tell(3, Act::Answer(window(100.0, &[(490, 1, 200), (10, 3, 0)])));
    let api = start(aggregator().args(["--vegeta-servers", &list(&bots, &[3, 1, 2])]));
    // One who has to wait for a core is late for a round, as he should be.
    let summary = wait_answer(&api, "/summary", |summary| summary["bots"] == 3);
    assert_eq!(summary["bots_left_out"], 0);
    assert_eq!(summary["requests"], 2_500);
    assert_eq!(summary["target_rate"], 300.0);
    assert_eq!(summary["achieved_rate"], 250.0);
    assert_eq!(
        summary["status_codes"],
        json!({"0": 10, "200": 2_480, "503": 10})
    );
    assert_eq!(summary["success"], 0.992);
    let errors = json!({"connection refused": 10, "server error": 10});
    assert_eq!(summary["error_counts"], errors);
    assert_eq!(summary["bytes_in"], json!({"total": 40_000, "mean": 16.0}));
    // 2,470 requests of 1 ms, then 10 of 2 ms, 10 of 3 ms, 10 of 100 ms: 99 % are up to number
    // 2,475, 99.9 % up to 2,498.
    let latencies = &summary["latencies"];
    assert_eq!(latencies["total"], 3_520_000_000u64);
    assert_eq!(latencies["mean"], 1_408_000);
    assert_eq!(latencies["max"], 100_000_000);
    assert_eq!(latencies["min"], 1_000_000);
    for (quantile, ns) in [("50th", 1e6), ("95th", 1e6), ("99th", 2e6), ("99.9th", 1e8)] {
        let shown = latencies[quantile].as_f64().expect("a number");
        assert!((shown / ns - 1.0).abs() < 0.001, "{quantile}: {shown}");
    }
    let limits = summary["generator_limits"].as_array().expect("a list");
    assert_eq!(limits.len(), 1, "{limits:?}");
    assert!(
        limits[0]
            .as_str()
            .unwrap()
            .starts_with("250 of 300 requests a second")
    );

    let windows = wait_answer(&api, "/", |windows| windows[2].is_object());
    let requests: Vec<_> = windows
        .as_array()
        .unwrap()
        .iter()
        .map(|w| &w["requests"])
        .collect();
    assert_eq!(requests, [&json!(1_000), &json!(1_000), &json!(500)]);
    let expected: Vec<String> = [1, 2, 3]
        .map(|n| format!("{} alive", bots.address(n)))
        .into();
    wait_board(&api, "all are alive", |board| states(board) == expected);
}

#[test]
fn one_event_a_second_and_a_history_that_grows() {
    let bots = Bots::start();
    bots.tell(1, Act::Answer(window(10.0, &[(100, 1, 200)])));
    let api = start(aggregator().args(["--vegeta-servers", &list(&bots, &[1])]));
    let mut events = Events::open(api.addr());
    let at = |board: &Value| board["at_ms"].as_u64().expect("a time");
    let first = events.next();
    let started = Instant::now();
    let times: Vec<u64> = (0..5).map(|_| at(&events.next())).collect();
    let took = started.elapsed().as_secs_f64();
    assert!((4.0..6.0).contains(&took), "five events took {took} s");
    let span = times[4] - at(&first);
    assert!((4_500..5_500).contains(&span), "{span} ms for five events");

    let history = get(&api, "/history");
    let points = history.as_array().expect("a list");
    let known: Vec<u64> = points.iter().map(at).collect();
    for time in &times {
        assert!(known.contains(time), "{time} is not in {known:?}");
    }
    assert!(known.is_sorted());
    let last = points.last().expect("it is not empty");
    assert_eq!(last["achieved_rate"], 10.0);
    assert_eq!(last["status_codes"], json!({"200": 100}));
    assert_eq!(last["bots_alive"], 1);
}

#[test]
fn every_answer_may_be_read_by_any_page() {
    let bots = Bots::start();
    let api = start(aggregator().args(["--vegeta-servers", &list(&bots, &[1])]));
    wait_board(&api, "the first board", |_| true);
    for (method, path, status, content_type) in [
        ("GET", "/", 200, "application/json"),
        ("GET", "/summary", 200, "application/json"),
        ("GET", "/history?x=1", 200, "application/json"),
        (
            "GET",
            "/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("GET", "/livez", 200, "application/json"),
        ("GET", "/no/such/page", 404, "application/json"),
        ("HEAD", "/summary", 200, "application/json"),
        ("HEAD", "/events", 200, "text/event-stream"),
        ("POST", "/", 405, "application/json"),
        ("DELETE", "/no/such/page", 405, "application/json"),
    ] {
        let response = request(api.addr(), method, path, &[], b"");
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(
            response.header("content-type"),
            Some(content_type),
            "{path}"
        );
        assert_eq!(
            response.header("access-control-allow-origin"),
            Some("*"),
            "{path}"
        );
        let allow = (status == 405).then_some("GET, HEAD");
        assert_eq!(response.header("allow"), allow, "{method} {path}");
        if status == 200 {
            assert_eq!(response.header("cache-control"), Some("no-store"), "{path}");
        }
    }
}

#[test]
fn all_800_addresses_of_a_name_are_bots() {
    let bots = Bots::start();
    for number in 1..=800 {
        bots.tell(
            number,
            Act::Answer(window(10.0, &[(99, 1, 200), (1, 50, 200)])),
        );
    }
    let dns = Dns::start(Records::Of((1..=800).map(ip).collect()));
    let api = start(by_name(&dns, &bots));
    let board = wait_board(&api, "800 bots", |board| alive(board) == 800);
    assert!(dns.over_tcp() > 0, "800 addresses fit no datagram");
    assert_eq!(board["summary"]["requests"], 80_000);
    assert_eq!(board["summary"]["target_rate"], 8_000.0);
    assert_eq!(board["summary"]["generator_limits"], json!([]));
    assert_eq!(board["troubles"], json!([]));
    wait_answer(&api, "/", |windows| {
        windows.as_array().map(Vec::len) == Some(800)
    });

    // One who takes nothing of its stream holds nobody up.
    let _stalled = Events::open(api.addr());
    let mut events = Events::open(api.addr());
    for _ in 0..5 {
        assert!(alive(&events.next()) > 0);
    }
}

#[test]
fn a_name_that_blinks_is_no_dead_bot() {
    let bots = Bots::start();
    for number in [1, 2] {
        bots.tell(number, Act::Answer(window(10.0, &[(100, 1, 200)])));
    }
    let both = vec![ip(1), ip(2)];
    let dns = Dns::start(Records::Of(both.clone()));
    let api = start(by_name(&dns, &bots));
    wait_board(&api, "two bots", |board| alive(board) == 2);

    let mut events = Events::open(api.addr());
    for (records, trouble) in [
        (Records::Of(vec![ip(2)]), None),
        (Records::NoName, Some("has no address")),
        (Records::Failure, Some("can't be looked up")),
        (Records::Silence, Some("timed out")),
        (Records::Of(both), None),
    ] {
        let told = format!("{records:?}");
        dns.say(records);
        let asked = dns.asked();
        eventually(PATIENCE, "it is asked again", || dns.asked() > asked + 1);
        eventually(PATIENCE, &told, || {
            let board = events.next();
            let states = states(&board);
            let dead = states.iter().any(|state| state.ends_with(" dead"));
            assert!(states.len() == 2 && !dead, "{told}: {board}");
            let shown = board["troubles"].to_string();
            match trouble {
                Some(words) => shown.contains(words),
                None => shown == "[]",
            }
        });
    }

    // Scaled down: it left, and doesn't answer.
    dns.say(Records::Of(vec![ip(2)]));
    bots.tell(1, Act::HangUp);
    let dead = [
        format!("{} dead", bots.address(1)),
        format!("{} alive", bots.address(2)),
    ];
    wait_board(&api, "it is dead at first", |board| states(board) == dead);
    wait_board(&api, "it is forgotten", |board| states(board) == dead[1..]);
}

#[test]
fn a_generator_that_falls_short_is_told_of_but_not_while_it_starts() {
    let bots = Bots::start();
    let generator = |window_seconds, achieved_rate, silent_seconds| Generator {
        target_rate: 100.0,
        achieved_rate,
        window_seconds,
        silent_seconds,
        ..Generator::default()
    };
    bots.tell(1, Act::Answer(bots::json(generator(0.0, 0.0, None), &[])));
    let api = start(aggregator().args(["--vegeta-servers", &list(&bots, &[1])]));
    let board = wait_board(&api, "a bot", |board| alive(board) == 1);
    assert_eq!(board["summary"]["generator_limits"], json!([]));

    let frozen = generator(10.0, 40.0, Some(6.0));
    bots.tell(1, Act::Answer(bots::json(frozen, &[(400, 1, 200)])));
    let board = wait_board(&api, "it is told", |board| {
        board["summary"]["generator_limits"] != json!([])
    });
    let limits = board["summary"]["generator_limits"].to_string();
    assert!(limits.contains("40 of 100 requests a second"), "{limits}");
    assert!(limits.contains("1 bot: vegeta has been silent"), "{limits}");
    let limited = "redis_api_aggregator_generator_limited";
    eventually(PATIENCE, limited, || api.metric(limited) == Some(1.0));
}

#[test]
fn pods_and_the_value_are_those_of_the_api() {
    let redis = Redis::start_plain();
    let mut serve = Api::serve()
        .args([
            "--redis-addr",
            &redis.addr().to_string(),
            "--drain-delay=0s",
        ])
        .start();
    serve.wait_ready(PATIENCE);
    let api = start(
        aggregator()
            .args(["--vegeta-servers", "127.0.0.1:9"])
            .args(["--api-url", &format!("http://{}/", serve.addr())])
            .args(["--api-admin-dns", &serve.admin().to_string()]),
    );
    wait_board(&api, "nothing is stored", |board| {
        board["current"]["trouble"] == "Not initialised" && board["current"]["value"].is_null()
    });
    assert_eq!(serve.post("/", r#"{"value":12.5}"#).status, 200);
    wait_board(&api, "the value", |board| {
        board["current"]["value"] == 12.5 && board["current"]["trouble"].is_null()
    });

    let mut connection = crate::support::Connection::open(serve.addr()).expect("it listens");
    let mut events = Events::open(api.addr());
    let mut board = Value::Null;
    // 500 requests a second, more or less; and what the aggregator itself asks.
    for _ in 0..4 {
        for _ in 0..500 {
            assert_eq!(connection.request("GET", "/", &[], b"").status, 200);
        }
        board = events.next();
    }
    let pod = &board["pods"][0];
    assert_eq!(pod["address"], json!(serve.admin().to_string()));
    assert_eq!(pod["trouble"], Value::Null, "{pod}");
    let figure = |name: &str| {
        pod[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} of {pod}"))
    };
    assert!(
        (100.0..5_000.0).contains(&figure("requests_per_second")),
        "{pod}"
    );
    for (name, most) in [
        ("api_cpu_us", 20_000.0),
        ("redis_cpu_us", 20_000.0),
        ("api_cores", 2.0),
    ] {
        assert!(figure(name) > 0.0 && figure(name) < most, "{name} of {pod}");
    }
    assert!(
        figure("connections") >= 1.0 && figure("memory_bytes") > 1e6,
        "{pod}"
    );
    assert_eq!(pod["usable"], true);
    let up = format!("redis_api_aggregator_pod_up{{pod=\"{}\"}}", serve.admin());
    assert_eq!(api.metric(&up), Some(1.0));

    drop(connection);
    serve.stop();
    let board = wait_board(&api, "the API is down", |board| {
        !board["pods"][0]["trouble"].is_null() && !board["current"]["trouble"].is_null()
    });
    assert_eq!(board["current"]["value"], 12.5, "the last one seen");
    assert_eq!(board["pods"][0]["requests_per_second"], 0.0);
    let known = "redis_api_aggregator_value_known";
    assert_eq!(api.metric(known), Some(0.0));
}

#[test]
fn an_ipv6_address_is_an_address() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        // There is no IPv6 on this machine, which is no fault of the aggregator's.
        return;
    };
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let mut bot = Api::subcommand("helloworld")
        .listen_on(format!("[::1]:{port}").parse().expect("an address"))
        .start();
    bot.wait_live(PATIENCE);
    let dns = Dns::start(Records::Of(vec![IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]));
    let api = start(
        aggregator()
            .args(["--vegeta-dns", &format!("{NAME}:{port}")])
            .args(["--dns-server", &dns.addr().to_string()]),
    );
    // It answers, but is no bot.
    let board = wait_board(&api, "a bot", |board| {
        board["bots"][0]["trouble"] != Value::Null
    });
    assert_eq!(board["bots"][0]["address"], json!(format!("[::1]:{port}")));
    let trouble = board["bots"][0]["trouble"].to_string();
    assert!(trouble.contains("not a window"), "{trouble}");
}

/// A dual-stack Service names each pod twice. Asked by both, a bot would count twice.
#[test]
fn a_bot_with_addresses_of_both_families_is_one_bot() {
    let bots = Bots::start();
    for number in [1, 2] {
        bots.tell(number, Act::Answer(window(10.0, &[(100, 1, 200)])));
    }
    let local = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]);
    let all = vec![ip(1), ip(2), local];
    let dns = Dns::start(Records::Of(all.clone()));
    let api = start(by_name(&dns, &bots));
    let board = wait_board(&api, "two bots", |board| alive(board) == 2);
    assert_eq!(states(&board).len(), 2, "{board}");

    // One that was named by its other address for a moment would stay as long as it answers.
    dns.say(Records::OfWithoutV4(all));
    let board = wait_board(&api, "a failure is told", |board| {
        board["troubles"].to_string().contains("can't be looked up")
    });
    assert_eq!(states(&board).len(), 2, "{board}");
}

#[test]
fn it_ends_when_it_is_told_to_and_streams_end_with_it() {
    let bots = Bots::start();
    let mut api = start(aggregator().args(["--vegeta-servers", &list(&bots, &[1])]));
    let _open = Events::open(api.addr());
    let status = api.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn wrong_flags_are_all_named() {
    let mut api = aggregator()
        .args([
            "--vegeta-servers=bot",
            "--vegeta-dns=bots",
            "--api-url=ftp://x",
            "--dns-server=x",
        ])
        .start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(2));
    for flag in [
        "--vegeta-servers",
        "--vegeta-dns",
        "--api-url",
        "--dns-server",
    ] {
        api.wait_log(flag, PATIENCE);
    }
    let mut api = aggregator().start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(2));
    api.wait_log("VEGETA_DNS", PATIENCE);
}
