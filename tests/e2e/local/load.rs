//! The rig under load: what comes out of it, against a real vegeta.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Rig, START_PATIENCE};
use crate::support::{Api, PATIENCE, eventually};

/// The bot's window, its delay, and a loaded machine.
const WINDOW_PATIENCE: Duration = Duration::from_secs(60);

impl Rig {
    /// The aggregator's merged window, once it is whole and has nothing of the start in it.
    #[track_caller]
    fn summary(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(WINDOW_PATIENCE, "the summary is as wanted", || {
            let response = self.page("/summary");
            let summary: Value = serde_json::from_slice(&response.body)
                .map_err(|error| format!("{error}: {}", response.text()))?;
            match is_wanted(&summary) {
                true => Ok(summary),
                false => Err(response.text()),
            }
        })
    }
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(f64::NAN)
}

#[test]
fn rig_is_up_within_a_minute_and_holds_a_thousand_a_second() {
    let started = Instant::now();
    let rig = Rig::start(Api::subcommand("local"));
    let took = started.elapsed();
    assert!(took < START_PATIENCE, "{took:?}");
    let summary = rig.summary(|summary| {
        let achieved = number(summary, "achieved_rate");
        number(summary, "window_seconds") >= 9.0 && (980.0..=1_020.0).contains(&achieved)
    });
    assert_eq!(number(&summary, "target_rate"), 1_000.0);
    assert_eq!(number(&summary, "success"), 1.0, "{summary}");
    assert_eq!(number(&summary, "bots"), 1.0);

    // The same figures on the lines, and what they cost.
    let line = rig.api.wait_log("success_percent=100.00", PATIENCE);
    assert!(line.starts_with("load target=1000 achieved="), "{line}");
    assert!(
        line.contains(" p50_ms=") && line.contains(" p99_ms="),
        "{line}"
    );
    for name in ["api", "replica"] {
        let line = eventually(PATIENCE, "CPU per request is told", || {
            let start = format!("process name={name} ");
            let log = rig.api.log();
            let mut lines = log.iter().rev();
            lines
                .find(|line| line.starts_with(&start) && line.contains("cpu_us_per_request="))
                .cloned()
        });
        let us = line
            .split_once("cpu_us_per_request=")
            .expect("it is there")
            .1;
        let us: f64 = us.parse().expect("it is a number");
        // A debug build on a loaded machine; none takes a millisecond for one, nor nothing.
        assert!((1.0..1_000.0).contains(&us), "{line}");
    }
    for name in ["vegeta-attack", "vegeta-encode"] {
        rig.api.wait_log(&format!("process name={name} "), PATIENCE);
    }
}

#[test]
fn rate_is_as_asked_for() {
    let rig = Rig::start(Api::subcommand("local").args(["--rate", "70"]));
    let summary = rig.summary(|summary| (68.0..=72.0).contains(&number(summary, "achieved_rate")));
    assert_eq!(number(&summary, "target_rate"), 70.0);
}
