//! What one bot says, read and checked.
//!
//! Bots of older and newer versions run side by side in a roll-out: whatever has the members of
//! vegeta's report, a target rate and a histogram is read. What else a bot leaves out follows from
//! those ([`fill_in`]), or counts as unknown.
//!
//! Invariant: whatever a bot says, reports can be added up without overflow, and what is kept of
//! them is bounded.

use std::collections::BTreeMap;
use std::fmt;

use crate::latency::DecodeError;
use crate::window::{ERROR_KINDS, Generator, OTHER_ERRORS, Tally, Window};

/// Longest answer of a bot, in bytes. A histogram with every bucket in use has some 40 KB.
pub const REPORT_MAX: usize = 128 * 1024;

/// More requests in a window, or a second, than any bot can send: a number above is a mistake.
const REQUESTS_MAX: u64 = 1_000_000_000;

/// The largest that three digits make. vegeta counts those below 100 too, if a target sends them.
const STATUS_MAX: u16 = 999;

/// More than any latency, in ns: an hour, where vegeta gives up after a minute at most.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

/// Longest text of an error that is kept, in bytes.
const ERROR_TEXT_MAX: usize = 200;

/// A bot's window, and what was counted in it.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the bot says of its generator; complete, whatever its version.
    pub generator: Generator,
    /// What it counted.
    pub tally: Tally,
}

/// Why a bot's answer can't be merged.
#[derive(Debug)]
pub enum ReportError {
    /// Not the JSON of a window.
    Json(serde_json::Error),
    /// Its histogram can't be decoded.
    Histogram(DecodeError),
    /// Its parts contradict each other, or can't be; says what.
    Contradictory(String),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportError::Json(error) => write!(f, "the answer is not a window: {error}"),
            ReportError::Histogram(error) => error.fmt(f),
            ReportError::Contradictory(what) => write!(f, "the window contradicts itself: {what}"),
        }
    }
}

impl std::error::Error for ReportError {}

impl Report {
    /// Reads the JSON of a [`Window`].
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn read(json: &[u8]) -> Result<Report, ReportError> {
        let mut window: Window = serde_json::from_slice(json).map_err(ReportError::Json)?;
        fill_in(&mut window);
        let mut tally = window.tally().map_err(ReportError::Histogram)?;
        if let Some(what) = contradiction(&window.generator, &tally) {
            return Err(ReportError::Contradictory(what));
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

/// Works out what a bot of another version does not tell from what each one does. A time or a rate
/// of 0 beside requests can't be true: it was not told.
fn fill_in(window: &mut Window) {
    let requests = window.requests;
    if requests > 0 {
        let generator = &mut window.generator;
        if generator.window_seconds == 0.0 {
            generator.window_seconds = seconds_of(window.duration, requests);
        }
        if generator.achieved_rate == 0.0 {
            generator.achieved_rate = requests as f64 / generator.window_seconds;
        }
    }
    if window.error_counts.is_empty() {
        window.error_counts = error_counts(&window.errors, &window.status_codes);
    }
}

/// The time that requests take at an even pace: the last one's share comes after its send.
fn seconds_of(first_to_last_ns: u64, requests: u64) -> f64 {
    match (first_to_last_ns, requests) {
        (0, _) | (_, 0 | 1) => 1.0,
        (ns, requests) => ns as f64 / 1e9 * requests as f64 / (requests - 1) as f64,
    }
}

/// How many errors of each kind there were: those that begin with their status by its count, a
/// single other kind by what is left. Several other kinds can't be told apart.
fn error_counts(kinds: &[String], codes: &BTreeMap<u16, u64>) -> BTreeMap<String, u64> {
    let is_failure = |code: &u16| !(200..400).contains(code);
    let failures = codes.iter().filter(|(code, _)| is_failure(code));
    let mut left = failures.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
    let mut counts = BTreeMap::new();
    let mut others = Vec::new();
    for kind in kinds {
        let code = kind.split(' ').next().and_then(|word| word.parse().ok());
        match code.filter(is_failure).and_then(|code| codes.get(&code)) {
            Some(count) => {
                counts.insert(kind.clone(), *count);
                left = left.saturating_sub(*count);
            }
            None => others.push(kind),
        }
    }
    if left > 0 {
        let kind = match others.as_slice() {
            [kind] => kind.as_str(),
            _ => OTHER_ERRORS,
        };
        counts.insert(kind.to_owned(), left);
    }
    counts
}

/// What can't be, if anything.
fn contradiction(generator: &Generator, tally: &Tally) -> Option<String> {
    let figures = [
        ("target_rate", generator.target_rate),
        ("achieved_rate", generator.achieved_rate),
        ("behind_rate", generator.behind_rate),
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
    if let Some(code) = (tally.codes.keys()).find(|code| **code > STATUS_MAX) {
        return Some(format!("it has a status code {code}"));
    }
    if let Some(what) =
        contradiction_latencies(tally).or_else(|| contradiction_times(generator, tally))
    {
        return Some(what);
    }
    if tally.errors.len() > ERROR_KINDS + 1 {
        return Some(format!("it has {} kinds of errors", tally.errors.len()));
    }
    let most = tally.errors.values().max().copied().unwrap_or(0);
    (most > requests).then(|| format!("it has {most} errors of {requests} requests"))
}

/// The same of the latencies beside the histogram: one bot's would be the extremes of all.
fn contradiction_latencies(tally: &Tally) -> Option<String> {
    let (min, max) = (tally.latency_min_ns, tally.latency_max_ns);
    let (requests, total) = (tally.requests, tally.latency_total_ns);
    if requests == 0 {
        return None;
    }
    if min > max || max > LATENCY_MAX_NS {
        return Some(format!("it has latencies from {min} ns to {max} ns"));
    }
    let in_histogram = tally.latencies.at(1.0);
    if tally.latencies.bucket_end(max) != in_histogram {
        return Some(format!(
            "it has latencies up to {max} ns, and up to {in_histogram} ns in its histogram"
        ));
    }
    let possible = min.saturating_mul(requests)..=max.saturating_mul(requests);
    (!possible.contains(&total)).then(|| {
        format!("it has {total} ns in total of {requests} latencies from {min} ns to {max} ns")
    })
}

/// The same of its times: rates of the merged window are over the time that it spans.
fn contradiction_times(generator: &Generator, tally: &Tally) -> Option<String> {
    let in_order = tally.earliest_ns <= tally.latest_ns && tally.latest_ns <= tally.end_ns;
    if !in_order {
        return Some("its earliest, latest and end are not in this order".to_owned());
    }
    let span_seconds = (tally.latest_ns - tally.earliest_ns) as f64 / 1e9;
    if span_seconds > generator.window_seconds + 1.0 {
        let window_seconds = generator.window_seconds;
        return Some(format!(
            "its requests span {span_seconds} s, and it {window_seconds} s"
        ));
    }
    // The times of the merged window are counted from this end.
    let end_ns = i128::from(generator.window_end_ms) * 1_000_000;
    let from_end = |ns: u64| (end_ns - i128::from(ns)) as f64 / 1e9;
    let is_told = generator.window_end_ms > 0 && tally.requests > 0;
    let is_within = from_end(tally.latest_ns) > 0.0
        && from_end(tally.earliest_ns) <= generator.window_seconds + 1.0;
    (is_told && !is_within).then(|| "its requests are not within its window_end_ms".to_owned())
}

/// A text of at most [`ERROR_TEXT_MAX`] bytes, and an ellipsis where it was longer.
pub(super) fn shortened(mut text: String) -> String {
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
    use crate::window::Sample;

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
        check("requests", json!(-1), "not a window");
        check("histogram", json!("AAAA"), "histogram can't be decoded");
        check(
            "status_codes",
            json!({"200": 3}),
            "and 3 in its status codes",
        );
        check(
            "status_codes",
            json!({"200": 1, "1000": 1}),
            "status code 1000",
        );
        check("target_rate", json!(-1.0), "target_rate is -1");
        check("achieved_rate", json!(1e300), "achieved_rate is");
        check("achieved_rate", json!("fast"), "not a window");
        check("target_rate", json!(null), "not a window");
        check("behind_rate", json!(-1.0), "behind_rate is -1");
        check("window_seconds", json!(-0.5), "window_seconds is -0.5");
        check("silent_seconds", json!(-1), "silent_seconds is -1");
        check("earliest", json!("2026-01-01T00:00:00Z"), "in this order");
        check("end", json!("1970-01-01T00:00:00Z"), "in this order");
        check(
            "error_counts",
            json!({"refused": 3}),
            "3 errors of 2 requests",
        );
        for (member, value, words) in [
            ("max", u64::MAX, "latencies from"),
            ("max", 1_999_999, "latencies from"),
            ("max", 60_000_000_000, "latencies up to"),
            ("max", 2_010_000, "latencies up to"),
            ("min", 2_000_001, "latencies from"),
            ("total", u64::MAX, "in total"),
            ("total", 3_999_999, "in total"),
        ] {
            let mut latencies = window()["latencies"].clone();
            latencies[member] = json!(value);
            check("latencies", latencies, words);
        }
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

    /// The window without these members.
    fn without(members: &[&str]) -> Value {
        let mut window = window();
        let object = window.as_object_mut().expect("it is an object");
        object.retain(|member, _| !members.contains(&member.as_str()));
        window
    }

    #[test]
    fn members_that_another_version_lacks_follow_from_the_others() {
        let mut window = without(&[
            "achieved_rate",
            "behind_rate",
            "error_counts",
            "restarts",
            "silent_seconds",
            "window_end_ms",
            "window_seconds",
            "workers_capped",
        ]);
        // Two requests, half a second apart.
        for member in ["latest", "end"] {
            window[member] = json!("1970-01-01T00:00:01.5Z");
        }
        window["duration"] = json!(500_000_000);
        window["a_member_of_the_future"] = json!([1, 2]);
        let report = Report::read(window.to_string().as_bytes()).expect("it is a window");
        let expected = Generator {
            target_rate: 2.0,
            achieved_rate: 2.0,
            window_seconds: 1.0,
            ..Generator::default()
        };
        assert_eq!(report.generator, expected);
        let errors = BTreeMap::from([("connection refused".to_owned(), 1)]);
        assert_eq!(report.tally.errors, errors);
    }

    #[test]
    fn null_is_not_told() {
        for member in ["achieved_rate", "window_seconds", "silent_seconds"] {
            let mut window = window();
            window[member] = json!(null);
            let report = Report::read(window.to_string().as_bytes());
            let report = report.expect(member);
            assert_eq!(report.generator.achieved_rate, 2.0, "{member}");
        }
    }

    #[test]
    fn members_that_every_version_has_are_needed() {
        for member in [
            "latencies",
            "bytes_in",
            "earliest",
            "end",
            "requests",
            "status_codes",
            "target_rate",
            "histogram",
        ] {
            let window = without(&[member]);
            let refused = Report::read(window.to_string().as_bytes()).expect_err(member);
            assert!(refused.to_string().contains(member), "{refused}");
        }
    }

    #[test]
    fn errors_without_counts_are_counted_by_their_status() {
        let check = |kinds: &[&str], expected: &[(&str, u64)]| {
            let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
            let codes = BTreeMap::from([(0, 7), (200, 90), (302, 1), (404, 2), (503, 5)]);
            let counts = error_counts(&kinds, &codes);
            let counts: Vec<(&str, u64)> = counts.iter().map(|(k, n)| (k.as_str(), *n)).collect();
            assert_eq!(counts, expected);
        };
        check(
            &["404 Not Found", "503 Service Unavailable", "timeout"],
            &[
                ("404 Not Found", 2),
                ("503 Service Unavailable", 5),
                ("timeout", 7),
            ],
        );
        check(
            &["timeout", "connection refused", "404 Not Found"],
            &[("404 Not Found", 2), (OTHER_ERRORS, 12)],
        );
        check(&[], &[(OTHER_ERRORS, 14)]);
    }

    #[test]
    fn a_window_spans_no_more_than_it_covers() {
        let check = |seconds: f64, expected: bool| {
            let mut window = window();
            // The first of the two was sent at 1 s.
            for member in ["latest", "end"] {
                window[member] = json!("1970-01-01T00:00:11Z");
            }
            window["window_seconds"] = json!(seconds);
            let read = Report::read(window.to_string().as_bytes());
            assert_eq!(read.is_ok(), expected, "{read:?}");
        };
        check(10.0, true);
        check(8.0, false);
    }

    #[test]
    fn a_window_ends_after_its_last_request() {
        let check = |end_ms: u64, expected: bool| {
            let mut window = window();
            // Both requests were sent at 1 s, and it covers a second.
            window["window_end_ms"] = json!(end_ms);
            let read = Report::read(window.to_string().as_bytes());
            assert_eq!(read.is_ok(), expected, "{end_ms}: {read:?}");
        };
        // Not told, as by a bot of an earlier version.
        check(0, true);
        check(1_000, false);
        check(1_001, true);
        check(2_000, true);
        check(3_000, true);
        check(3_001, false);
        check(u64::MAX, false);
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
