//! What it costs the bot to read vegeta's results: its real code path, from bytes to the tallies of
//! the window, with a recorded stream. The inverse of the time per element is what one core reads
//! in a second.
//!
//! `cargo bench --bench results`, and `-- --quick` for a first look.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redis_api_rig::bot::{Recorder, Settings, read};
use redis_api_rig::window::parse_time;

const RECORDED: &[u8] = include_bytes!("../tests/data/vegeta-results.json");

/// Lines of it.
const RESULTS: u64 = 1_000;

/// The second in which the first was sent, and a time at which all are in the window.
const BEGAN: &str = "2026-11-23T09:56:07Z";
const NOW: &str = "2026-11-23T09:56:14Z";

fn time(text: &str) -> u64 {
    parse_time(text).expect("it is a time")
}

fn recorder() -> Mutex<Recorder> {
    let settings = Settings {
        target_rate: 500.0,
        max_workers: 4096,
        timeout: Duration::from_secs(2),
        window_seconds: 10,
    };
    Mutex::new(Recorder::new(settings, time(BEGAN)).expect("the names are valid"))
}

fn results(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime can be made");
    let now = time(NOW);
    let recorder = recorder();
    let read_all = || {
        let outcome = runtime.block_on(read(black_box(RECORDED), &recorder, || now));
        outcome.expect("it is in memory");
    };

    read_all();
    let window = recorder.lock().expect("nobody panics").answer(now).window;
    assert_eq!(window.requests, RESULTS);
    assert_eq!(window.status_codes[&200], 900);
    assert_eq!(window.errors.len(), 2);

    let mut group = criterion.benchmark_group("results");
    group.throughput(Throughput::Elements(RESULTS));
    group.bench_function("read and record", |bencher| bencher.iter(read_all));
    group.finish();
    criterion.bench_function("window of ten seconds as JSON", |bencher| {
        bencher.iter(|| {
            let answer = recorder.lock().expect("nobody panics").answer(now);
            black_box(serde_json::to_string(&answer).expect("it is JSON"))
        });
    });
}

criterion_group!(benches, results);
criterion_main!(benches);
