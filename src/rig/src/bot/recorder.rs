//! From lines of results to the window that is served. Takes the time from its caller; no I/O.
//!
//! How it is known that vegeta's workers were the limit, since vegeta does not tell: a worker is
//! busy from the send of a request to its end, and both are in the result. So the requests in
//! flight, which are the busy workers, are counted every 10 ms from the results themselves; when
//! they come to 99 % of `--max-attack-workers` there was none left to wait for the next request,
//! which was then sent too late, with a latency that leaves out its wait. (Not 100 %: a worker
//! that hands in its result is not in flight.)

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::kind::kind;
use super::lines;
use super::result;
use super::seconds::{Place, Seconds};
use super::totals::{Dropped, Totals};
use crate::window::{Generator, Sample, Window};

/// How long a result may take from vegeta's clock through two processes and two pipes. What is
/// later is lost for the newest second of the window, and in for all others.
const PIPE_DELAY: Duration = Duration::from_millis(250);

/// What is asked of vegeta.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Requests a second.
    pub target_rate: f64,
    /// Workers of vegeta at most.
    pub max_workers: u64,
    /// For one request.
    pub timeout: Duration,
    /// Of the window, in seconds.
    pub window_seconds: u64,
}

/// What is known of the attack. Times are ns since 1970, by a clock that only counts on.
#[derive(Debug)]
pub struct Recorder {
    settings: Settings,
    seconds: Seconds,
    totals: Totals,
    restarts: u64,
    /// How far the stamps of the results are ahead of the time that this is told.
    ahead_ns: i64,
    last_result_ns: Option<u64>,
    lag_ns: Option<u64>,
}

/// What `GET /` gives.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The window; its members are members of the same object.
    #[serde(flatten)]
    pub window: Window,
    /// From the end of the newest request to the reading of its result. When it grows, vegeta
    /// waits for us, and the attack is not what was asked for.
    pub lag_seconds: Option<f64>,
    /// Results that came too late for their second, or could not be read, since the start.
    pub results_dropped: u64,
}

impl Recorder {
    /// For an attack that begins at `now_ns`.
    ///
    /// # Errors
    /// A metric's name is wrong: a bug.
    pub fn new(settings: Settings, now_ns: u64) -> prometheus::Result<Recorder> {
        let settle = settings.timeout.saturating_add(PIPE_DELAY);
        Ok(Recorder {
            settings,
            seconds: Seconds::new(settings.window_seconds, settle, now_ns),
            totals: Totals::new()?,
            restarts: 0,
            ahead_ns: 0,
            last_result_ns: None,
            lag_ns: None,
        })
    }

    /// From now on, the results are stamped by a clock that is so many ns ahead of `now_ns`.
    pub fn stamped_ahead(&mut self, ahead_ns: i64) {
        self.ahead_ns = ahead_ns;
    }

    /// Counts the results in whole lines that were read at `now_ns`.
    pub fn record(&mut self, whole_lines: &[u8], now_ns: u64) {
        let mut newest_end = 0;
        let mut malformed = 0;
        for line in lines::each(whole_lines) {
            let Some(outcome) = result::parse(line) else {
                malformed += 1;
                continue;
            };
            let kind = match outcome.error.is_empty() {
                true => Default::default(),
                false => kind(&outcome.error),
            };
            let sample = Sample {
                sent_ns: outcome
                    .sent_ns
                    .saturating_add_signed(self.ahead_ns.saturating_neg()),
                latency_ns: outcome.latency_ns,
                code: outcome.code,
                bytes_in: outcome.bytes_in,
                bytes_out: outcome.bytes_out,
                error: &kind,
            };
            self.totals.count(&sample);
            match self.seconds.record(&sample, now_ns) {
                Place::Counted => {}
                Place::Late => self.totals.drop(Dropped::Late, 1),
                Place::Ahead => self.totals.drop(Dropped::Ahead, 1),
            }
            newest_end = newest_end.max(sample.sent_ns.saturating_add(sample.latency_ns));
        }
        if malformed > 0 {
            self.unreadable(malformed);
        }
        if newest_end > 0 {
            self.last_result_ns = Some(now_ns);
            self.lag_ns = Some(now_ns.saturating_sub(newest_end));
        }
    }

    /// Counts lines that hold no result.
    pub fn unreadable(&mut self, lines: u64) {
        self.totals.drop(Dropped::Malformed, lines);
    }

    /// Counts a new start of vegeta.
    pub fn restarted(&mut self) {
        self.restarts += 1;
    }

    /// From the end of the newest request to the reading of its result.
    pub fn lag(&self) -> Option<Duration> {
        self.lag_ns.map(Duration::from_nanos)
    }

    /// The window as of `now_ns`.
    pub fn answer(&self, now_ns: u64) -> Answer {
        let (tally, span) = self.seconds.window(now_ns);
        let generator = self.generator(tally.requests, &span, now_ns);
        Answer {
            window: Window::new(&tally, generator),
            lag_seconds: self.lag().map(|lag| lag.as_secs_f64()),
            results_dropped: self.totals.dropped(),
        }
    }

    /// Everything since the start, in Prometheus' text format.
    pub fn metrics(&self, now_ns: u64) -> String {
        let (tally, span) = self.seconds.window(now_ns);
        let generator = self.generator(tally.requests, &span, now_ns);
        let lag = self.lag().map(|lag| lag.as_secs_f64());
        self.totals.text(&generator, lag)
    }

    fn generator(&self, requests: u64, span: &Range<u64>, now_ns: u64) -> Generator {
        let a_second = |amount: f64| match span.end - span.start {
            0 => 0.0,
            seconds => amount / seconds as f64,
        };
        let target_rate = self.settings.target_rate;
        let max = self.settings.max_workers;
        let busy = self.seconds.most_in_flight(now_ns);
        let silent = |last| Duration::from_nanos(now_ns.saturating_sub(last)).as_secs_f64();
        Generator {
            target_rate,
            achieved_rate: a_second(requests as f64),
            behind_rate: a_second(self.seconds.behind(now_ns, target_rate)),
            window_seconds: (span.end - span.start) as f64,
            window_end_ms: span.end.saturating_mul(1_000),
            workers_capped: busy >= max - max / 100,
            restarts: self.restarts,
            silent_seconds: self.last_result_ns.map(silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::parse_time;

    const MS: u64 = 1_000_000;

    fn recorder(max_workers: u64) -> (Recorder, u64) {
        let now = parse_time("2026-11-23T10:00:00Z").expect("it is a time");
        let settings = Settings {
            target_rate: 3.0,
            max_workers,
            timeout: Duration::from_secs(2),
            window_seconds: 2,
        };
        (Recorder::new(settings, now).expect("names are valid"), now)
    }

    fn line(second: &str, code: u16, latency_ns: u64, error: &str) -> String {
        format!(
            "{{\"attack\":\"a\",\"seq\":0,\"code\":{code},\"timestamp\":\"2026-11-23T10:00:{second}Z\",\
             \"latency\":{latency_ns},\"bytes_out\":1,\"bytes_in\":2,\"error\":\"{error}\",\
             \"body\":null,\"method\":\"GET\",\"url\":\"http://a/\",\"headers\":null}}\n"
        )
    }

    #[test]
    fn window_and_generator() {
        let (mut recorder, start) = recorder(4);
        let refused = "dial tcp 0.0.0.0:0-\\u003e127.0.0.1:1: connect: connection refused";
        let text = [
            line("00.1", 200, 2 * MS, ""),
            line("00.2", 200, 4 * MS, ""),
            line("01.5", 0, MS, refused),
            "{\"code\":\n".to_owned(),
        ]
        .concat();
        recorder.record(text.as_bytes(), start + 1_521 * MS);
        assert_eq!(recorder.lag(), Some(Duration::from_millis(20)));

        let answer = recorder.answer(start + 4_250 * MS);
        let window = &answer.window;
        assert_eq!((window.requests, answer.results_dropped), (3, 1));
        assert_eq!(window.error_counts["connect: connection refused"], 1);
        assert_eq!(window.status_codes[&200], 2);
        assert_eq!((window.bytes_in.total, window.bytes_out.total), (6, 3));
        assert_eq!(window.latencies.max, 4 * MS);
        let expected = Generator {
            target_rate: 3.0,
            achieved_rate: 1.5,
            // One in the second second of the two, where two of three at least should be.
            behind_rate: 0.5,
            window_seconds: 2.0,
            window_end_ms: start / MS + 2_000,
            workers_capped: false,
            restarts: 0,
            silent_seconds: Some(2.729),
        };
        assert_eq!(window.generator, expected);

        // Frozen or dead: it empties, and the silence grows.
        recorder.restarted();
        let window = recorder.answer(start + 9_521 * MS).window;
        assert_eq!((window.requests, window.generator.achieved_rate), (0, 0.0));
        assert_eq!(window.generator.silent_seconds, Some(8.0));
        assert_eq!(window.generator.restarts, 1);
    }

    #[test]
    fn stamps_of_a_clock_that_was_set_are_as_good() {
        const DAY_NS: i64 = 24 * 3_600_000_000_000;
        for (days, second) in [(1, "00.1"), (-1, "00.2")] {
            let (mut recorder, start) = recorder(4);
            recorder.stamped_ahead(days * DAY_NS);
            let day = format!("11-{}T", 23 + days);
            let text = line(second, 200, MS, "").replace("11-23T", &day);
            recorder.record(text.as_bytes(), start + 202 * MS);
            let answer = recorder.answer(start + 4_250 * MS);
            assert_eq!(answer.window.requests, 1, "{text}");
            assert_eq!(answer.results_dropped, 0, "{text}");
        }
    }

    #[test]
    fn before_the_first_second_there_is_nothing() {
        let (recorder, start) = recorder(4);
        let window = recorder.answer(start + 10 * MS).window;
        assert_eq!((window.requests, window.generator.window_seconds), (0, 0.0));
        assert_eq!(window.generator.achieved_rate, 0.0);
        assert_eq!(window.generator.silent_seconds, None);
        // No number in it may be one that JSON can't hold.
        assert!(
            serde_json::to_string(&recorder.answer(start)).is_ok_and(|json| !json.contains("NaN"))
        );
    }

    #[test]
    fn workers_are_capped_when_all_are_busy() {
        let check = |max_workers, expected| {
            let (mut recorder, start) = recorder(max_workers);
            let text = ["00.100", "00.101", "00.102"].map(|at| line(at, 200, 50 * MS, ""));
            recorder.record(text.concat().as_bytes(), start + 200 * MS);
            let window = recorder.answer(start + 3_250 * MS).window;
            assert_eq!(
                window.generator.workers_capped, expected,
                "of {max_workers}"
            );
        };
        check(4, false);
        check(3, true);
        check(1, true);
    }

    #[test]
    fn answer_is_one_flat_object() {
        let (mut recorder, start) = recorder(4);
        recorder.record(line("00.1", 200, MS, "").as_bytes(), start + 102 * MS);
        let json = serde_json::to_value(recorder.answer(start + 4_250 * MS)).expect("it is JSON");
        assert_eq!(json["requests"], 1);
        assert_eq!(json["target_rate"], 3.0);
        assert_eq!(json["status_codes"]["200"], 1);
        assert_eq!(json["lag_seconds"], 0.001);
        assert_eq!(json["results_dropped"], 0);
    }
}
