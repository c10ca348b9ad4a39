//! Who is left out of the merged window, and why.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn who_is_late_or_dead_is_left_out_and_shown() {
    let bots = Bots::start();
    let good = window(10.0, &[(100, 1, 200)]);
    let mut contradicting: Value = serde_json::from_slice(&good).expect("it is JSON");
    contradicting["requests"] = json!(101);
    bots.tell(1, Act::Answer(good.clone()));
    bots.tell(2, Act::AnswerAfter(Duration::from_secs(1), good.clone()));
    bots.tell(3, Act::Status(503));
    bots.tell(4, Act::Answer("<html>".into()));
    bots.tell(5, Act::Answer(contradicting.to_string().into()));
    bots.tell(6, Act::Answer(" ".repeat(1 << 20).into()));
    bots.tell(7, Act::HangUp);
    bots.tell(8, Act::Answer(good));
    let nobody = format!("127.0.0.1:{}", free_port());
    let all = list(&bots, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let api = start(aggregator().args(["--vegeta-servers", &format!("{all},http://{nobody}/")]));
    wait_board(&api, "two bots", |board| alive(board) == 2);

    let mut events = Events::open(api.addr());
    let before = events.next()["at_ms"].as_u64().expect("a time");
    let last = (0..3).map(|_| events.next()).last().expect("three events");
    let took = last["at_ms"].as_u64().expect("a time") - before;
    assert!(
        (2_500..3_500).contains(&took),
        "three rounds took {took} ms"
    );
    let board = wait_board(&api, "two bots", |board| alive(board) == 2);
    assert_eq!(board["summary"]["bots"], 2);
    assert_eq!(board["summary"]["bots_left_out"], 7);
    assert_eq!(board["summary"]["requests"], 200);
    let expected = [
        (nobody, "dead", "refused"),
        (bots.address(1), "alive", ""),
        (bots.address(2), "late", "no answer within 200ms"),
        (bots.address(3), "dead", "status 503"),
        (bots.address(4), "dead", "not a window"),
        (
            bots.address(5),
            "dead",
            "101 requests, and 100 in its histogram",
        ),
        (bots.address(6), "dead", "longer than 131072 bytes"),
        (bots.address(7), "dead", "connection"),
        (bots.address(8), "alive", ""),
    ];
    let shown = board["bots"].as_array().expect("a list");
    assert_eq!(shown.len(), expected.len());
    for (bot, (address, state, trouble)) in shown.iter().zip(expected) {
        assert_eq!(bot["address"], json!(address));
        assert_eq!(bot["state"], json!(state), "{bot}");
        match bot["trouble"].as_str() {
            Some(text) => assert!(text.contains(trouble) && !trouble.is_empty(), "{bot}"),
            None => assert_eq!(trouble, "", "{bot}"),
        }
    }
    let summary = wait_answer(&api, "/summary", |summary| summary["bots_left_out"] == 7);
    let left_out = summary["left_out"].as_array().expect("a list");
    let addresses: Vec<&Value> = left_out.iter().map(|bot| &bot["address"]).collect();
    let dead_or_late = shown.iter().filter(|bot| bot["state"] != "alive");
    let expected: Vec<&Value> = dead_or_late.map(|bot| &bot["address"]).collect();
    assert_eq!(addresses, expected);
    let mut told = 0;
    for bot in shown.iter().filter(|bot| bot["trouble"].is_string()) {
        let trouble = bot["trouble"].as_str().expect("a text");
        let named = format!("{}: {trouble}", bot["address"].as_str().expect("a text"));
        let lines = api.log().into_iter().filter(|line| line.contains(&named));
        let times = lines.count();
        assert!(times <= 1, "{named}: once, not each second");
        told += times;
    }
    // Those that are left out in one round beyond these are only counted.
    assert!(told >= 5, "{told}");
    for (sample, value) in [
        ("redis_api_aggregator_bots{state=\"dead\"}", 6.0),
        ("redis_api_aggregator_bots{state=\"late\"}", 1.0),
        ("redis_api_aggregator_window_requests{code=\"200\"}", 200.0),
    ] {
        eventually(PATIENCE, sample, || api.metric(sample) == Some(value));
    }
    let median = api.metric("redis_api_aggregator_latency_seconds{percentile=\"50\"}");
    assert!(median.is_some_and(|seconds| seconds > 0.0), "{median:?}");
}

/// In a roll-out, bots of an older and of a newer version answer side by side.
#[test]
fn windows_of_other_versions_are_merged() {
    let bots = Bots::start();
    let ours = window(10.0, &[(95, 1, 200), (5, 2, 503)]);
    let mut older: Value = serde_json::from_slice(&ours).expect("it is JSON");
    older.as_object_mut().expect("an object").retain(|name, _| {
        // The members of vegeta's report, and what the first version had beside them.
        let known = "latencies bytes_in bytes_out earliest latest end duration wait requests rate \
                     throughput success status_codes errors target_rate workers_capped restarts \
                     histogram";
        known.split_whitespace().any(|known| known == name)
    });
    // An even pace: the last of 100 requests in 10 s leaves 9.9 s after the first.
    for member in ["latest", "end"] {
        older[member] = json!("2023-11-14T22:13:29.9Z");
    }
    older["duration"] = json!(9_900_000_000u64);
    let mut newer: Value = serde_json::from_slice(&ours).expect("it is JSON");
    newer["a_member_of_the_future"] = json!({"a": [1]});
    bots.tell(1, Act::Answer(older.to_string().into()));
    bots.tell(2, Act::Answer(newer.to_string().into()));
    bots.tell(3, Act::Answer(ours));
    let api = start(aggregator().args(["--vegeta-servers", &list(&bots, &[1, 2, 3])]));
    let summary = wait_answer(&api, "/summary", |summary| summary["bots"] == 3);
    assert_eq!(summary["bots_left_out"], 0);
    assert_eq!(summary["left_out"], json!([]));
    assert_eq!(summary["requests"], 300);
    let achieved = summary["achieved_rate"].as_f64().expect("a number");
    assert!((achieved - 30.0).abs() < 1e-9, "{achieved}");
    assert_eq!(summary["error_counts"], json!({"server error": 15}));
    assert_eq!(summary["generator_limits"], json!([]));
}
