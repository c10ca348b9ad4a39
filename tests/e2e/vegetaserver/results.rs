//! The window beside the report that vegeta itself makes of the same results, and the speed of
//! reading them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use redis_api_rig::bot::{Recorder, Settings, read};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::net::unix::pipe;

/// A real stream: 18 answers of 20 are good, one is a 503, one finds nobody.
const RECORDED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/vegeta-results.json"
);

const SECOND_NS: u64 = 1_000_000_000;

fn report(file: &Path) -> Value {
    let output = Command::new("vegeta")
        .args(["report", "-type", "json"])
        .arg(file)
        .output()
        .expect("a vegeta: run `make setup`");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

fn nanoseconds(report: &Value, member: &str) -> u64 {
    let text = report[member].as_str().expect("it is a text");
    let time = OffsetDateTime::parse(text, &Rfc3339).expect("it is a time");
    time.unix_timestamp_nanos()
        .try_into()
        .expect("it is after 1970")
}

/// A recorder whose window holds all that was sent from `earliest` to `latest`, and the time to ask
/// it at.
fn recorder(earliest: u64, latest: u64) -> (Mutex<Recorder>, u64) {
    let settings = Settings {
        target_rate: 1000.0,
        max_workers: 4096,
        timeout: Duration::from_secs(2),
        window_seconds: 60,
    };
    let began = earliest / SECOND_NS * SECOND_NS;
    let recorder = Recorder::new(settings, began).expect("the names are valid");
    (Mutex::new(recorder), latest + 4 * SECOND_NS)
}

/// The window of all results in `file`, read through an OS pipe as those of vegeta.
fn window(file: &Path, report: &Value) -> Value {
    let (recorder, now) = recorder(
        nanoseconds(report, "earliest"),
        nanoseconds(report, "latest"),
    );
    pump(fs::read(file).expect("it is readable"), 1, &recorder, now);
    let answer = recorder.lock().expect("nobody panics").answer(now);
    serde_json::to_value(answer).expect("it is JSON")
}

/// Reads `stream`, `times` one after another, through a pipe.
fn pump(stream: Vec<u8>, times: usize, recorder: &Mutex<Recorder>, now: u64) {
    let (output, mut input) = std::io::pipe().expect("there are descriptors");
    let writer = thread::spawn(move || {
        for _ in 0..times {
            input.write_all(&stream).expect("it is read");
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let output = pipe::Receiver::from_owned_fd(output.into()).expect("it is a pipe");
        read(output, recorder, || now).await.expect("it ends well");
    });
    writer.join().expect("it only writes");
}

#[track_caller]
fn check_against_report(file: &Path, percentiles: &[&str]) {
    let report = report(file);
    let window = window(file, &report);
    for member in ["requests", "status_codes", "duration", "wait"] {
        assert_eq!(window[member], report[member].clone(), "{member}");
    }
    for member in ["min", "mean", "max", "total"] {
        let (ours, theirs) = (&window["latencies"][member], &report["latencies"][member]);
        assert_eq!(ours, theirs, "latencies {member}");
    }
    for member in ["earliest", "latest", "end"] {
        let (ours, theirs) = (nanoseconds(&window, member), nanoseconds(&report, member));
        assert_eq!(ours, theirs, "{member}");
    }
    let close = |ours: &Value, theirs: &Value, share: f64, what: &str| {
        let (ours, theirs) = (ours.as_f64(), theirs.as_f64());
        let (ours, theirs) = (ours.expect("a number"), theirs.expect("a number"));
        let off = (ours - theirs).abs();
        assert!(off <= share * theirs, "{what}: {ours}, vegeta has {theirs}");
    };
    for member in ["rate", "throughput", "success"] {
        close(&window[member], &report[member], 1e-9, member);
    }
    for bytes in ["bytes_in", "bytes_out"] {
        for member in ["total", "mean"] {
            let (ours, theirs) = (&window[bytes][member], &report[bytes][member]);
            close(ours, theirs, 1e-9, bytes);
        }
    }
    for member in percentiles {
        let (ours, theirs) = (&window["latencies"][member], &report["latencies"][member]);
        close(ours, theirs, 0.01, member);
    }
}

#[test]
fn window_of_a_recorded_stream_equals_vegetas_report() {
    // 1,000 results: too few for vegeta's estimate of the 99th.
    check_against_report(Path::new(RECORDED), &["50th", "90th", "95th"]);
    let report = report(Path::new(RECORDED));
    let window = window(Path::new(RECORDED), &report);
    // Counted in the file by `grep -c`.
    let expected = serde_json::json!({
        "503 Service Unavailable": 50,
        "connect: connection refused": 50,
    });
    assert_eq!(window["error_counts"], expected);
    assert_eq!(window["results_dropped"], 0);
}

/// 50,000 results whose latencies lie on one smooth curve from 10 µs to 5 ms: the same at any
/// percentile, however it is estimated.
#[test]
fn percentiles_equal_those_of_vegetas_report() {
    const RESULTS: u64 = 50_000;
    let mut lines = String::new();
    for seq in 0..RESULTS {
        // Each rank once, in no order: the factor is a prime.
        let rank = seq * 7_919 % RESULTS;
        let quantile = (rank as f64 + 0.5) / RESULTS as f64;
        let latency = (200_000.0 * (quantile / (1.0 - quantile)).powf(0.3)) as u64;
        let (second, fraction) = (seq / 5_000, seq % 5_000 * 200_000);
        writeln!(
            lines,
            "{{\"attack\":\"\",\"seq\":{seq},\"code\":200,\
             \"timestamp\":\"2026-11-23T10:00:{second:02}.{fraction:09}Z\",\"latency\":{latency},\
             \"bytes_out\":0,\"bytes_in\":16,\"error\":\"\",\"body\":null,\"method\":\"GET\",\
             \"url\":\"http://127.0.0.1/\",\"headers\":null}}"
        )
        .expect("a text can be written to");
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("results.json");
    fs::write(&file, lines).expect("it is writable");
    check_against_report(&file, &["50th", "90th", "95th", "99th"]);
}

/// How fast that goes is for `cargo bench --bench results` to say.
#[test]
fn a_stream_of_many_results_is_read_whole() {
    const TIMES: usize = 40;
    let report = report(Path::new(RECORDED));
    let (recorder, now) = recorder(
        nanoseconds(&report, "earliest"),
        nanoseconds(&report, "latest"),
    );
    let stream = fs::read(RECORDED).expect("it is readable");
    pump(stream, TIMES, &recorder, now);
    let answer = recorder.lock().expect("nobody panics").answer(now);
    let window = serde_json::to_value(answer).expect("it is JSON");
    assert_eq!(window["requests"], 1_000 * TIMES as u64);
    assert_eq!(window["status_codes"]["503"], 50 * TIMES as u64);
    assert_eq!(window["results_dropped"], 0);
}
