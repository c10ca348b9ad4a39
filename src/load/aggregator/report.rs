//! What one bot says, read and checked.
//!
//! Invariant: whatever a bot says, reports can be added up without overflow, and what is kept of
//! them is bounded.

use std::fmt;

use crate::load::latency::DecodeError;
use crate::load::window::{ERROR_KINDS, Generator, Tally, Window};

/// Longest answer of a bot, in bytes. A histogram with every bucket in use has some 40 KB.
pub const REPORT_MAX: usize = 128 * 1024;

/// More requests in a window, or a second, than any bot can send: a number above is a mistake.
const REQUESTS_MAX: u64 = 1_000_000_000;

/// Longest text of an error that is kept, in bytes.
const ERROR_TEXT_MAX: usize = 200;

/// A bot's window, and what was counted in it.
#[derive(Clone, Debug)]
pub struct Report {
    pub generator: Generator,
    pub tally: Tally,
}

/// Why an answer is no report.
#[derive(Debug)]
pub enum Rubbish {
    /// Not the JSON of a window.
    Json(serde_json::Error),
    /// Its histogram is none.
    Histogram(DecodeError),
    /// Its parts contradict each other, or can't be; says what.
    Absurd(String),
}

impl fmt::Display for Rubbish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rubbish::Json(error) => write!(f, "the answer is no window: {error}"),
            Rubbish::Histogram(error) => error.fmt(f),
            Rubbish::Absurd(what) => write!(f, "the window can't be right: {what}"),
        }
    }
}

impl std::error::Error for Rubbish {}

impl Report {
    /// Reads the JSON of a [`Window`].
    ///
    /// # Errors
    /// See [`Rubbish`].
    pub fn read(json: &[u8]) -> Result<Report, Rubbish> {
        let window: Window = serde_json::from_slice(json).map_err(Rubbish::Json)?;
        let mut tally = window.tally().map_err(Rubbish::Histogram)?;
        if let Some(what) = absurd(&window.generator, &tally) {
            return Err(Rubbish::Absurd(what));
        }
        if tally.errors.keys().any(|kind| kind.len() > ERROR_TEXT_MAX) {
            let errors = std::mem::take(&mut tally.errors);
            for (kind, count) in errors {
                *tally.errors.entry(shortened(kind)).or_default() += count;
            }
        }
        Ok(Report {
            generator: window.generator,
            tally,
        })
    }
}

/// What can't be, if anything.
fn absurd(generator: &Generator, tally: &Tally) -> Option<String> {
    let figures = [
        ("target_rate", generator.target_rate),
        ("achieved_rate", generator.achieved_rate),
        ("window_seconds", generator.window_seconds),
        ("silent_seconds", generator.silent_seconds.unwrap_or(0.0)),
    ];
    for (name, figure) in figures {
        if !(0.0..=REQUESTS_MAX as f64).contains(&figure) {
            return Some(format!("{name} is {figure}"));
        }
    }
    let requests = tally.requests;
    if requests > REQUESTS_MAX {
        return Some(format!("it has {requests} requests"));
    }
    let in_histogram = tally.latencies.count();
    if in_histogram != requests {
        return Some(format!(
            "it has {requests} requests, and {in_histogram} in its histogram"
        ));
    }
    let with_code = (tally.codes.values()).fold(0, |sum: u64, count| sum.saturating_add(*count));
    if with_code != requests {
        return Some(format!(
            "it has {requests} requests, and {with_code} in its status codes"
        ));
    }
    if let Some(code) = (tally.codes.keys()).find(|code| !matches!(code, 0 | 100..=999)) {
        return Some(format!("it has a status code {code}"));
    }
    if tally.errors.len() > ERROR_KINDS + 1 {
        return Some(format!("it has {} kinds of errors", tally.errors.len()));
    }
    let most = tally.errors.values().max().copied().unwrap_or(0);
    (most > requests).then(|| format!("it has {most} errors of {requests} requests"))
}

fn shortened(mut text: String) -> String {
    if text.len() > ERROR_TEXT_MAX {
        let fits = |at: &usize| text.is_char_boundary(*at);
        text.truncate((0..=ERROR_TEXT_MAX).rev().find(fits).unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::load::window::Sample;

    /// A window of two requests, one of them failed.
    fn window() -> Value {
        let mut tally = Tally::default();
        for (code, error) in [(200, ""), (0, "connection refused")] {
            tally.record(&Sample {
                sent_ns: 1_000_000_000,
                latency_ns: 2_000_000,
                code,
                bytes_in: 16,
                bytes_out: 0,
                error,
            });
        }
        let generator = Generator {
            target_rate: 2.0,
            achieved_rate: 2.0,
            window_seconds: 1.0,
            ..Generator::default()
        };
        serde_json::to_value(Window::new(&tally, generator)).expect("a window is JSON")
    }

    #[test]
    fn a_window_is_read() {
        let report = Report::read(window().to_string().as_bytes()).expect("it is a window");
        assert_eq!(report.tally.requests, 2);
        assert_eq!(report.tally.codes.get(&200), Some(&1));
        assert_eq!(report.tally.errors.get("connection refused"), Some(&1));
        assert_eq!(report.generator.target_rate, 2.0);
    }

    #[test]
    fn rubbish_is_refused_and_says_what_is_wrong() {
        fn check(member: &str, value: Value, words: &str) {
            let mut window = window();
            window[member] = value;
            let refused = Report::read(window.to_string().as_bytes()).expect_err(member);
            assert!(refused.to_string().contains(words), "{member}: {refused}");
        }
        check("requests", json!(3), "3 requests, and 2 in its histogram");
        check("requests", json!(-1), "no window");
        check("histogram", json!("AAAA"), "no histogram");
        check(
            "status_codes",
            json!({"200": 3}),
            "and 3 in its status codes",
        );
        check("status_codes", json!({"200": 1, "7": 1}), "status code 7");
        check("target_rate", json!(-1.0), "target_rate is -1");
        check("achieved_rate", json!(1e300), "achieved_rate is");
        check("achieved_rate", json!(null), "no window");
        check("window_seconds", json!(-0.5), "window_seconds is -0.5");
        check("silent_seconds", json!(-1), "silent_seconds is -1");
        check(
            "error_counts",
            json!({"refused": 3}),
            "3 errors of 2 requests",
        );
        let kinds: serde_json::Map<_, _> = (0..=21)
            .map(|kind| (format!("error {kind}"), json!(1)))
            .collect();
        check("error_counts", Value::Object(kinds), "22 kinds of errors");
        for text in ["", "null", "[]", "{}", "<html>"] {
            assert!(Report::read(text.as_bytes()).is_err(), "{text}");
        }
        let overflowing = window()
            .to_string()
            .replace("\"target_rate\":2.0", "\"target_rate\":1e999");
        assert!(Report::read(overflowing.as_bytes()).is_err());
    }

    #[test]
    fn long_errors_are_shortened() {
        let mut window = window();
        window["error_counts"] = json!({ "é".repeat(1_000): 1 });
        let report = Report::read(window.to_string().as_bytes()).expect("it is a window");
        let expected = format!("{}…", "é".repeat(100));
        assert_eq!(report.tally.errors.keys().collect::<Vec<_>>(), [&expected]);
    }
}
