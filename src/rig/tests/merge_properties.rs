//! Merging: the windows of many bots are the window of one bot that sent all their requests.
//!
//! `PROPTEST_CASES` raises the number of cases.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

use proptest::collection::vec;
use proptest::prelude::*;
use redis_api_rig::aggregator::{Merge, Report, Trend};
use redis_api_rig::board::Summary;
use redis_api_rig::window::{Generator, Sample, Tally, Window};
use time::Duration;

/// One request, and the bot that sent it.
#[derive(Clone, Debug)]
struct Request {
    bot: usize,
    sent_ns: u64,
    latency_ns: u64,
    code: u16,
    bytes_in: u64,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let latency = prop_oneof![
        6 => 50_000..5_000_000u64,
        2 => 5_000_000..2_000_000_000u64,
        1 => 0..u64::from(u32::MAX) * 100,
    ];
    let code = prop_oneof![6 => Just(200u16), 1 => Just(0), 1 => 100..600u16];
    // About as many nanoseconds as there are since 1970, to the nanosecond.
    let sent = 1_700_000_000_000_000_000..1_700_000_010_000_000_000u64;
    let request = (0..8usize, sent, latency, code, 0..10_000u64).prop_map(
        |(bot, sent_ns, latency_ns, code, bytes_in)| Request {
            bot,
            sent_ns,
            latency_ns,
            code,
            bytes_in,
        },
    );
    vec(request, 0..300)
}

/// Few kinds, as a bot's are.
fn error(code: u16) -> &'static str {
    match code {
        0 => "connection refused",
        200..=399 => "",
        500 => "500 Internal Server Error",
        _ => "another error",
    }
}

fn tally<'a>(requests: impl Iterator<Item = &'a Request>) -> Tally {
    let mut tally = Tally::default();
    for request in requests {
        tally.record(&Sample {
            sent_ns: request.sent_ns,
            latency_ns: request.latency_ns,
            code: request.code,
            bytes_in: request.bytes_in,
            bytes_out: 1,
            error: error(request.code),
        });
    }
    tally
}

/// Of a bot whose window covers all requests.
fn generator() -> Generator {
    Generator {
        // A power of two, so that rates add up exactly.
        window_seconds: 16.0,
        window_end_ms: 1_700_000_010_000,
        ..Generator::default()
    }
}

/// As it goes over the network.
fn over_json(tally: &Tally) -> Report {
    report(tally, generator())
}

fn report(tally: &Tally, generator: Generator) -> Report {
    let window = Window::new(tally, generator);
    let json = serde_json::to_vec(&window).expect("a window is JSON");
    Report::read(&json).expect("a bot's window is a report")
}

fn merged(reports: &[Report]) -> Summary {
    let mut merge = Merge::default();
    for report in reports {
        merge.add(report, Trend::default());
    }
    merge.summary(0)
}

proptest! {
    /// However requests are spread over bots (some have none), and in whatever order these are
    /// merged.
    #[test]
    fn merged_is_recorded_in_one(requests in requests(), first in 0..8usize) {
        let report = |bot: usize| {
            over_json(&tally(requests.iter().filter(|request| request.bot == bot)))
        };
        let reports: Vec<Report> = (0..8).map(|at| report((first + at) % 8)).collect();
        let summary = merged(&reports);
        prop_assert_eq!(summary.bots, 8);
        let one = tally(requests.iter());
        // The bots say nothing of their rates, which are those of their windows then.
        let expected = Generator {
            achieved_rate: one.requests as f64 / generator().window_seconds,
            ..generator()
        };
        prop_assert_eq!(&summary.window, &Window::new(&one, expected));
        // Nothing is lost on the way to the next aggregator either.
        prop_assert_eq!(summary.window.tally(), Ok(one));
    }

    /// Whatever the clocks of the bots say: only the times are those of one of them.
    #[test]
    fn clocks_that_differ_change_no_figure(
        requests in requests(),
        ahead_ms in vec(-100_000_000..100_000_000i64, 8),
    ) {
        let skewed = |bot: usize| {
            let mut own: Vec<Request> = requests.clone();
            own.retain(|request| request.bot == bot);
            let ahead_ms = ahead_ms[bot];
            for request in &mut own {
                request.sent_ns = request.sent_ns.saturating_add_signed(ahead_ms * 1_000_000);
            }
            let mut generator = generator();
            generator.window_end_ms = generator.window_end_ms.saturating_add_signed(ahead_ms);
            report(&tally(own.iter()), generator)
        };
        let merged = merged(&(0..8).map(skewed).collect::<Vec<_>>()).window;
        let one = Window::new(&tally(requests.iter()), generator());
        let first = requests.iter().map(|request| request.bot).min().unwrap_or(0);
        let ahead = Duration::milliseconds(ahead_ms[first]);
        if one.requests > 0 {
            prop_assert_eq!(merged.earliest, one.earliest + ahead);
        }
        let expected = Window {
            earliest: merged.earliest,
            latest: merged.latest,
            end: merged.end,
            generator: merged.generator.clone(),
            ..one
        };
        prop_assert_eq!(merged, expected);
    }

    /// Against sorting: the merged percentile is that of all latencies, to three digits.
    #[test]
    fn percentiles_are_those_of_all_latencies(mut requests in requests()) {
        requests.retain(|request| (1_000..60_000_000_000).contains(&request.latency_ns));
        prop_assume!(!requests.is_empty());
        let of_bot = |bot: usize| over_json(&tally(requests.iter().filter(|r| r.bot == bot)));
        let summary = merged(&(0..8).map(of_bot).collect::<Vec<_>>());
        let mut latencies: Vec<u64> = requests.iter().map(|request| request.latency_ns).collect();
        latencies.sort_unstable();
        let shown = &summary.window.latencies;
        for (per_mille, shown) in [
            (500, shown.p50),
            (900, shown.p90),
            (950, shown.p95),
            (990, shown.p99),
            (999, shown.p999),
        ] {
            // The smallest that at least so many do not exceed.
            let rank = (latencies.len() * per_mille).div_ceil(1_000);
            let exact = latencies[rank - 1];
            // A bucket is a thousandth of its value, or 512 ns.
            let width = (exact / 1_000).max(512);
            prop_assert!(shown.abs_diff(exact) <= width, "{per_mille}: {shown}, not {exact}");
        }
    }
}

/// Two bots, as they are met: one beside the API with 9,900 requests of 1 ms, one that reaches a
/// sick pod with 100 requests of 1 s.
///
/// Of all 10,000 requests 99 % took 1 ms: number 9,900 of them in order is the last fast one. The
/// average of the bots' own 99th percentiles, 1 ms and 1 s, is 500.5 ms: 500 times too much. And
/// their maximum, 1 s, is what one request in a hundred took, not the 99th percentile.
#[test]
fn averaged_percentiles_are_plainly_wrong_and_merged_ones_right() {
    let of = |count: u64, latency_ns: u64| {
        let requests: Vec<Request> = (0..count)
            .map(|at| Request {
                bot: 0,
                sent_ns: 1_700_000_000_000_000_000 + at,
                latency_ns,
                code: 200,
                bytes_in: 16,
            })
            .collect();
        over_json(&tally(requests.iter()))
    };
    let bots = [of(9_900, 1_000_000), of(100, 1_000_000_000)];
    let p99 = |summary: &Summary| summary.window.latencies.p99 as f64;
    let own = bots
        .each_ref()
        .map(|bot| p99(&merged(std::slice::from_ref(bot))));
    let near = |shown: f64, expected: f64| (shown / expected - 1.0).abs() < 0.001;
    assert!(near(own[0], 1e6) && near(own[1], 1e9), "{own:?}");
    assert!(
        near(f64::midpoint(own[0], own[1]), 500.5e6),
        "the average is what it is"
    );

    let both = merged(&bots);
    assert!(near(p99(&both), 1e6), "{}", p99(&both));
    assert!(near(both.window.latencies.p999 as f64, 1e9));
    assert_eq!(both.window.latencies.max, 1_000_000_000);
    assert_eq!(both.window.requests, 10_000);

    // It errs to the other side just as well: 200 of 10,000 requests of one bot take 1 s, and none
    // of another's 100. Of all 10,100, number 9,999 in order is a slow one: 1 s, not half of it.
    let mut sick = of(9_800, 1_000_000);
    sick.tally.add(&of(200, 1_000_000_000).tally);
    let bots = [sick, of(100, 1_000_000)];
    let own = bots
        .each_ref()
        .map(|bot| p99(&merged(std::slice::from_ref(bot))));
    assert!(near(own[0], 1e9) && near(own[1], 1e6), "{own:?}");
    let both = merged(&bots);
    assert!(near(p99(&both), 1e9), "{}", p99(&both));
}
