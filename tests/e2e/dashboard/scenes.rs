//! Made-up boards: what a rig may come to, plausible enough to be looked at.

use redis_api_rig::board::{Board, Bot, BotState, Current, Pod, Point, Summary};
use redis_api_rig::window::{Generator, Sample, Tally, Window};

/// The first second of all scenes, in ms since 1970: 23 November 2026, 9:30.
pub const START_MS: u64 = 1_795_426_200_000;

/// Seconds in a window.
const WINDOW_S: u64 = 10;

/// What happened to the requests of a window.
#[derive(Clone, Debug)]
pub struct Load {
    pub target: f64,
    pub achieved: f64,
    /// Slower or faster than usual.
    pub slowness: f64,
    /// Errors with their status and their count.
    pub errors: Vec<(&'static str, u16, u64)>,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            target: 1_000.0,
            achieved: 1_000.0,
            slowness: 1.0,
            errors: Vec::new(),
        }
    }
}

/// One bot, three pods, all well; `second` counts from the scene's start.
pub fn board(second: u64, load: &Load) -> Board {
    Board {
        at_ms: START_MS + second * 1_000,
        summary: Summary {
            window: window(second, load),
            bots: 1,
            bots_left_out: 0,
            generator_limits: Vec::new(),
        },
        bots: vec![bot(0, BotState::Alive, load.target, load.achieved)],
        pods: Some(vec![
            pod(0, load.achieved * 0.335),
            pod(1, load.achieved * 0.331),
            pod(2, load.achieved * 0.334),
        ]),
        current: Some(Current {
            value: Some(value(second as i64).into()),
            since_ms: Some(START_MS + second * 1_000 - 400),
            trouble: None,
        }),
        stream: None,
        troubles: Vec::new(),
    }
}

/// A walk that is the same each time.
pub fn value(second: i64) -> f64 {
    let at = second as f64;
    let walk = 104.0 + 3.0 * (at / 47.0).sin() + 1.3 * (at / 11.0).cos() + 0.4 * (at * 1.7).sin();
    (walk * 100.0).round() / 100.0
}

fn window(second: u64, load: &Load) -> Window {
    let requests = (load.achieved * WINDOW_S as f64) as u64;
    let mut tally = Tally::default();
    let mut failures = load
        .errors
        .iter()
        .flat_map(|(error, code, count)| (0..*count).map(move |_| (*error, *code)));
    for n in 0..requests.max(1) {
        let (error, code) = failures.next().unwrap_or(("", 200));
        tally.record(&Sample {
            sent_ns: (START_MS + second * 1_000) * 1_000_000 + n,
            latency_ns: (latency_ns(second, n) * load.slowness) as u64,
            code,
            bytes_in: 16,
            bytes_out: 0,
            error,
        });
    }
    Window::new(
        &tally,
        Generator {
            target_rate: load.target,
            achieved_rate: load.achieved,
            window_seconds: WINDOW_S as f64,
            silent_seconds: Some(0.2),
            ..Generator::default()
        },
    )
}

/// Few are slow, and some much slower: the shape of a service's latency.
fn latency_ns(second: u64, n: u64) -> f64 {
    // Far apart for neighbours, and spread evenly over 0 to 1.
    let spread = ((second * 7_919 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64;
    let share = spread / (1u64 << 24) as f64;
    let wave = 1.0 + 0.12 * (second as f64 / 19.0).sin();
    230_000.0 * wave + 90_000.0 / (1.0005 - share).powf(0.72)
}

pub fn bot(n: usize, state: BotState, target_rate: f64, achieved_rate: f64) -> Bot {
    let alive = state == BotState::Alive;
    Bot {
        address: format!("10.0.{}.{}:8080", n / 200, n % 200 + 10),
        state,
        trouble: match state {
            BotState::Alive => None,
            BotState::Late => Some("no answer within 200 ms".into()),
            BotState::Dead => Some("connection refused".into()),
        },
        target_rate: if alive { target_rate } else { 0.0 },
        achieved_rate: if alive { achieved_rate } else { 0.0 },
        restarts: 0,
        workers_capped: false,
        silent_seconds: alive.then_some(0.2),
    }
}

pub fn pod(n: usize, requests_per_second: f64) -> Pod {
    let unlike = 1.0 + 0.03 * ((n * 5 % 7) as f64 - 3.0);
    let api_cpu_us = 31.0 * unlike;
    let redis_cpu_us = 9.4 / unlike;
    Pod {
        address: format!("10.1.0.{}:9090", n + 21),
        trouble: None,
        requests_per_second,
        api_cpu_us: Some(api_cpu_us),
        redis_cpu_us: Some(redis_cpu_us),
        api_cores: requests_per_second * api_cpu_us / 1e6,
        redis_cores: Some(requests_per_second * redis_cpu_us / 1e6),
        connections: 21 + n as u64 % 3,
        usable: true,
        memory_bytes: 7_400_000 + 131_072 * n as u64,
    }
}

/// Twelve pods of which one gets too much, one nothing, one can't be read; 24 bots in all states; a
/// generator that was the limit; errors that no page may believe.
pub fn troubled(second: u64) -> Board {
    let load = Load {
        target: 24_000.0,
        achieved: 19_400.0,
        slowness: 9.0,
        errors: vec![
            ("503 Service Unavailable", 503, 4_100),
            (HOSTILE, 0, 370),
            (TIMED_OUT, 0, 812),
            (RESET, 0, 95),
            ("404 Not Found", 404, 12),
        ],
    };
    let mut board = board(second, &load);
    board.bots = (0..24)
        .map(|n| match n {
            5 | 17 => bot(n, BotState::Late, 0.0, 0.0),
            9 => bot(n, BotState::Dead, 0.0, 0.0),
            _ => bot(n, BotState::Alive, 1_000.0, 924.0),
        })
        .collect();
    board.bots[3].restarts = 2;
    board.bots[4].workers_capped = true;
    board.summary.bots = 21;
    board.summary.bots_left_out = 3;
    board.summary.generator_limits = vec![
        "19,400 of 24,000 requests/s were sent (81 %)".into(),
        "10.0.0.14:8080: all 4,096 workers were busy".into(),
    ];
    let mut pods: Vec<Pod> = (0..12).map(|n| pod(n, 1_500.0 + 20.0 * n as f64)).collect();
    pods[2] = pod(2, 5_240.0);
    pods[7] = pod(7, 0.0);
    (pods[7].api_cpu_us, pods[7].redis_cpu_us, pods[7].usable) = (None, None, false);
    pods[10].trouble = Some("no answer within 500 ms".into());
    board.pods = Some(pods);
    board
}

/// An error text that is a script to whoever takes it for HTML.
pub const HOSTILE: &str = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>";

const TIMED_OUT: &str = "Get \"http://redis-api:8080/\": context deadline exceeded \
                         (Client.Timeout exceeded while awaiting headers)";
const RESET: &str = "Get \"http://redis-api:8080/\": read tcp: connection reset by peer";

/// Five minutes before second 0 for the charts: calm, then more load, a gap, errors.
pub fn past() -> impl Iterator<Item = Point> {
    (1..300u64).rev().filter_map(|age| {
        let second = 300 - age;
        let step = if age > 190 { 500.0 } else { 1_000.0 };
        let noise = 1.0 - 0.004 * ((second * 13 % 7) as f64);
        let load = Load {
            target: step,
            achieved: step * noise,
            slowness: if (60..75).contains(&age) { 6.0 } else { 1.0 },
            errors: match age {
                64..70 => vec![
                    ("503 Service Unavailable", 503, 90),
                    ("connection reset by peer", 0, 9),
                ],
                60..75 => vec![("503 Service Unavailable", 503, 40 + 3 * age)],
                _ => Vec::new(),
            },
        };
        // The aggregator was away.
        let missing = (140..150).contains(&age);
        let mut past = board(second, &load);
        past.at_ms = START_MS - age * 1_000;
        (!missing).then(|| Point {
            generator_limited: (100..112).contains(&age),
            value: Some(value(-(age as i64))),
            ..Point::of(&past)
        })
    })
}
