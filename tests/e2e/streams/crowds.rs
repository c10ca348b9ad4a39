//! Many streams, slow ones, and how they end.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{current, set, start, start_with, wait_streams};
use crate::support::events::Events;
use crate::support::{Api, PATIENCE, Redis, eventually, pass, request};

fn open_many(api: &Api, count: usize) -> Vec<Events> {
    (0..count).map(|_| Events::open(api.addr(), "/")).collect()
}

#[test]
fn past_max_streams_there_are_none() {
    let (_redis, api) = start(&["--workers", "2", "--max-streams", "5"]);
    let mut streams = open_many(&api, 5);
    for _ in 0..4 {
        let refused = Events::ask(api.addr(), "/", &[]).expect("it answers");
        assert_eq!(refused.head.status, 503);
        assert_eq!(refused.head.header("Retry-After"), Some("1"));
        assert_eq!(
            refused.head.header("Content-Type"),
            Some("application/json")
        );
    }
    let refused = request(
        api.addr(),
        "GET",
        "/",
        &[("Accept", "text/event-stream")],
        b"",
    );
    let why = "{\"error\":\"too many streams are open (--max-streams)\"}";
    assert_eq!(refused.text(), why);
    assert_eq!(api.metric("redis_api_streams_refused_total"), Some(5.0));
    assert_eq!(request(api.addr(), "GET", "/", &[], b"").status, 200);
    streams.pop();
    wait_streams(&api, 4);
    streams.extend(open_many(&api, 1));
    // A path that is not there takes no place.
    streams.pop();
    wait_streams(&api, 4);
    for _ in 0..8 {
        let missing = Events::ask(api.addr(), "/none", &[]).expect("it answers");
        assert_eq!(missing.head.status, 404);
    }
    open_many(&api, 1);

    let (_redis, api) = start(&["--max-streams", "0"]);
    let plain = request(
        api.addr(),
        "GET",
        "/",
        &[("Accept", "text/event-stream")],
        b"",
    );
    assert_eq!((plain.status, plain.text()), (200, current(0)));
}

/// Of some kernel buffers: what a reader that is slow may still get of the past.
const BUFFERS: usize = 64 << 20;

#[test]
fn a_slow_reader_gets_what_is_newest() {
    let large = |number: usize| format!("{number}{}", "x".repeat(30_000));
    let flags = [
        "--values",
        "text",
        "--read-mode",
        "tracked",
        "--workers",
        "1",
    ];
    let (redis, api) = start_with(|builder| builder.args(flags));
    let resident = || {
        api.metric("process_resident_memory_bytes")
            .map_or(0, |bytes| bytes as u64 / 1024)
    };
    let mut slow: Vec<_> = (0..20).map(|_| Events::open(api.addr(), "/")).collect();
    let mut quick = Events::open(api.addr(), "/");
    quick.next();
    let before = resident();
    let events = || api.metric("redis_api_stream_events_total");
    let (mut sent, mut alone) = (0, 0);
    // Until what is told is told to one.
    while alone < 20 {
        let before = events();
        sent += 1;
        assert!(sent * 30_000 < BUFFERS, "it sends all to everybody");
        set(&redis, "current-value", &large(sent));
        quick.until_data(&format!("{{\"current\":\"{}\"}}", large(sent)));
        let is_alone = events() == before.map(|before| before + 1.0);
        alone = if is_alone { alone + 1 } else { 0 };
    }
    let grown = resident().saturating_sub(before);
    println!("20 slow readers: {grown} KiB more, {sent} changes");
    assert!(grown < 20 * 400, "{grown} KiB");
    let last = format!("{{\"current\":\"{}\"}}", large(sent));
    for stream in &mut slow {
        let told = stream.until_data(&last).len();
        assert!(told < sent, "{told} of {sent}");
    }
    let conflated = api.metric("redis_api_stream_conflated_total");
    assert!(conflated >= Some(20.0 * 19.0), "{conflated:?}");
}

#[test]
fn a_reader_that_takes_nothing_is_cut() {
    let flags = [
        "--values",
        "text",
        "--read-mode",
        "tracked",
        "--write-timeout",
        "1s",
    ];
    let (redis, api) = start_with(|builder| builder.args(flags));
    let stuck = Events::open(api.addr(), "/");
    let mut quick = Events::open(api.addr(), "/");
    let mut number = 0;
    eventually(Duration::from_secs(60), "it is cut", || {
        number += 1;
        let text = format!("{number}{}", "x".repeat(30_000));
        set(&redis, "current-value", &text);
        quick.until_data(&format!("{{\"current\":\"{text}\"}}"));
        api.metric("redis_api_streams_cut_total") == Some(1.0)
    });
    wait_streams(&api, 1);
    let mut rest = Vec::new();
    let end = stuck.stream().read_to_end(&mut rest);
    assert!(
        end.is_err() || !rest.ends_with(b"0\r\n\r\n"),
        "it is no clean end"
    );
}

#[test]
fn at_the_drain_streams_end_one_by_one_and_say_when_to_come_again() {
    const COUNT: usize = 40;
    let flags = ["--drain-delay", "3s", "--read-mode", "tracked"];
    let (redis, mut api) = start(&flags);
    let mut streams = open_many(&api, COUNT);
    api.term();
    let since = Instant::now();
    api.wait_log("draining", PATIENCE);
    set(&redis, "current-value", "1");
    let mut ends = Vec::new();
    let mut retries = Vec::new();
    for stream in &mut streams {
        stream.until_data(&current(1));
    }
    // Who comes now is served, and told to go like the others.
    streams.extend(open_many(&api, 1));
    std::thread::scope(|scope| {
        let waits: Vec<_> = streams
            .iter_mut()
            .map(|stream| {
                scope.spawn(move || {
                    let mut retry = None;
                    while retry.is_none() {
                        retry = stream.next().retry;
                    }
                    assert_eq!(stream.next_of_any_kind().expect("a clean end"), None);
                    (retry, since.elapsed())
                })
            })
            .collect();
        for wait in waits {
            let (retry, end) = wait.join().expect("a clean end");
            retries.push(retry.expect("it says when to come again"));
            ends.push(end);
        }
    });
    let status = api.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", api.log().join("\n"));
    retries.sort_unstable();
    ends.sort_unstable();
    println!("{retries:?} {ends:?}");
    assert!(retries.iter().all(|retry| (500..=2_500).contains(retry)));
    assert!(retries[COUNT] - retries[0] > 500, "{retries:?}");
    assert!(ends[0] > Duration::from_millis(1_300), "{ends:?}");
    assert!(
        ends[COUNT] > ends[0] + Duration::from_millis(500),
        "{ends:?}"
    );
}

#[test]
fn without_a_delay_streams_end_at_once() {
    let (_redis, mut api) = start(&["--drain-delay", "0s"]);
    let mut streams = open_many(&api, 20);
    api.term();
    for stream in &mut streams {
        let last = loop {
            let event = stream.next_of_any_kind().expect("a clean end");
            if let Some(retry) = event.expect("not before it says so").retry {
                break retry;
            }
        };
        assert!((500..=2_500).contains(&last));
        assert_eq!(stream.next_of_any_kind().expect("a clean end"), None);
    }
    let status = api.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{}", api.log().join("\n"));
    assert!(!api.log().join("\n").contains("cut "));
}

#[test]
fn an_old_stream_ends_in_its_time() {
    let (_redis, api) = start(&["--max-connection-age", "2s"]);
    let mut streams = open_many(&api, 20);
    for stream in &mut streams {
        assert_eq!(stream.next_data(), current(0));
        let event = stream.next();
        assert!(event.retry.is_some(), "{event:?}");
        assert_eq!(stream.next_of_any_kind().expect("a clean end"), None);
    }
    wait_streams(&api, 0);
}

#[test]
fn thousands_come_and_go_and_leave_nothing() {
    const COUNT: usize = 10_000;
    let (redis, mut api) = start(&["--workers", "2", "--read-mode", "tracked"]);
    // As much as it needs to have served some.
    drop(open_many(&api, 500));
    wait_streams(&api, 0);
    pass(Duration::from_secs(1));
    let before = api.process().resident_kib();
    let mut most = 0;
    for round in 1..=2 {
        let mut streams = open_many(&api, COUNT);
        wait_streams(&api, COUNT);
        set(&redis, "current-value", &round.to_string());
        for stream in &mut streams {
            stream.until_data(&current(round));
        }
        most = api.process().resident_kib();
        drop(streams);
        wait_streams(&api, 0);
        eventually(PATIENCE, "no connection is left", || {
            api.metric("redis_api_http_connections") == Some(0.0)
        });
    }
    let grown = most.saturating_sub(before);
    println!(
        "{COUNT} streams: {grown} KiB, {} B each",
        grown * 1024 / COUNT as u64
    );
    assert!(grown < 8 * COUNT as u64, "{grown} KiB");
    let after = eventually(PATIENCE, "memory is given back", || {
        let after = api.process().resident_kib();
        (after < before + grown / 2 + 8 * 1024)
            .then_some(after)
            .ok_or(after)
    });
    println!("{before} KiB before, {after} after");
    assert_eq!(request(api.addr(), "GET", "/", &[], b"").status, 200);
    check_reads_stop(&redis);
}

/// Without streams nobody reads but the probe of each worker, each second.
fn check_reads_stop(redis: &Redis) {
    set(redis, "current-value", "9");
    let before = redis.calls("hget");
    for value in 0..100 {
        set(redis, "current-value", &value.to_string());
    }
    pass(Duration::from_secs(1));
    let reads = redis.calls("hget").saturating_sub(before);
    assert!(reads <= 8, "{reads} reads");
}
