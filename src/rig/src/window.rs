//! What was measured over some seconds: counted as a [`Tally`], shown as a [`Window`].
//!
//! A `Window` has the members of `vegeta report -type json`, and some more. Everything in it that
//! can be added up can be had back as a `Tally`, so that the windows of many bots merge into one
//! as exactly as if one bot had sent all requests.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::latency::{DecodeError, Latencies};

/// Kinds of errors that are told apart; the rest counts as [`OTHER_ERRORS`].
pub const ERROR_KINDS: usize = 20;

/// The kind of all errors beyond [`ERROR_KINDS`].
pub const OTHER_ERRORS: &str = "other errors";

/// One request, as vegeta saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// When it was sent, in ns since 1970.
    pub sent_ns: u64,
    /// From the send to the end of the response, in ns.
    pub latency_ns: u64,
    /// The status; 0: no response.
    pub code: u16,
    /// Of the response's body, as far as vegeta keeps it.
    pub bytes_in: u64,
    /// Of the request's body.
    pub bytes_out: u64,
    /// Normalised: no addresses, no ports. Empty: fine.
    pub error: &'a str,
}

/// Counts of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// All latencies, to three digits.
    pub latencies: Latencies,
    /// How many were sent.
    pub requests: u64,
    /// The sum of all latencies, exact as long as it fits.
    pub latency_total_ns: u64,
    /// The shortest latency; 0 if there was none.
    pub latency_min_ns: u64,
    /// The longest latency; 0 if there was none.
    pub latency_max_ns: u64,
    /// Bytes of all responses' bodies.
    pub bytes_in: u64,
    /// Bytes of all requests' bodies.
    pub bytes_out: u64,
    /// How many of each status; 0: no response.
    pub codes: BTreeMap<u16, u64>,
    /// How many of each kind: [`ERROR_KINDS`] and [`OTHER_ERRORS`] at most.
    pub errors: BTreeMap<String, u64>,
    /// The first send, in ns since 1970; 0 if there was none, as for the next two.
    pub earliest_ns: u64,
    /// The last send.
    pub latest_ns: u64,
    /// The last end of a response.
    pub end_ns: u64,
}

impl Tally {
    /// Counts one request.
    pub fn record(&mut self, sample: &Sample<'_>) {
        self.latencies.record(sample.latency_ns);
        self.span(
            sample.latency_ns,
            sample.latency_ns,
            sample.sent_ns,
            sample.sent_ns,
            sample.sent_ns.saturating_add(sample.latency_ns),
        );
        self.requests += 1;
        self.latency_total_ns = self.latency_total_ns.saturating_add(sample.latency_ns);
        self.bytes_in = self.bytes_in.saturating_add(sample.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(sample.bytes_out);
        *self.codes.entry(sample.code).or_default() += 1;
        if !sample.error.is_empty() {
            self.count_error(sample.error, 1);
        }
    }

    /// Counts all that `other` has counted.
    pub fn add(&mut self, other: &Tally) {
        self.add_moved(other, 0);
    }

    /// Counts all that `other` has counted by a clock that is so many ns behind.
    pub fn add_moved(&mut self, other: &Tally, behind_ns: i64) {
        if other.requests == 0 {
            return;
        }
        self.latencies.add(&other.latencies);
        self.span(
            other.latency_min_ns,
            other.latency_max_ns,
            other.earliest_ns.saturating_add_signed(behind_ns),
            other.latest_ns.saturating_add_signed(behind_ns),
            other.end_ns.saturating_add_signed(behind_ns),
        );
        self.requests = self.requests.saturating_add(other.requests);
        self.latency_total_ns = self.latency_total_ns.saturating_add(other.latency_total_ns);
        self.bytes_in = self.bytes_in.saturating_add(other.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(other.bytes_out);
        for (code, count) in &other.codes {
            *self.codes.entry(*code).or_default() += count;
        }
        for (kind, count) in &other.errors {
            self.count_error(kind, *count);
        }
    }

    /// Requests with a status from 200 to 399, which vegeta calls a success.
    pub fn successes(&self) -> u64 {
        self.codes.range(200..400).map(|(_, count)| count).sum()
    }

    /// Widens the extremes. Called before `requests` is counted up.
    fn span(&mut self, min: u64, max: u64, earliest: u64, latest: u64, end: u64) {
        if self.requests == 0 {
            (self.latency_min_ns, self.earliest_ns) = (min, earliest);
        }
        self.latency_min_ns = self.latency_min_ns.min(min);
        self.latency_max_ns = self.latency_max_ns.max(max);
        self.earliest_ns = self.earliest_ns.min(earliest);
        self.latest_ns = self.latest_ns.max(latest);
        self.end_ns = self.end_ns.max(end);
    }

    fn count_error(&mut self, kind: &str, count: u64) {
        if let Some(counted) = self.errors.get_mut(kind) {
            *counted += count;
            return;
        }
        let kind = match self.errors.len() < ERROR_KINDS {
            true => kind,
            false => OTHER_ERRORS,
        };
        *self.errors.entry(kind.to_owned()).or_default() += count;
    }
}

/// What a generator knows beside what it counted. Bots of other versions may leave out all but the
/// target rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// Requests a second that were to be sent.
    pub target_rate: f64,
    /// Requests a second that were sent, over the window's wall time.
    #[serde(default, deserialize_with = "or_default")]
    pub achieved_rate: f64,
    /// Requests a second that were missing in the seconds in which they were due, made up for later
    /// or not. One in each second is let pass: it may be due where two seconds meet.
    #[serde(default, deserialize_with = "or_default")]
    pub behind_rate: f64,
    /// The wall time that the window covers, in seconds; less than asked for just after a start.
    #[serde(default, deserialize_with = "or_default")]
    pub window_seconds: f64,
    /// When the window ends, in ms since 1970 by the clock of this generator: what was sent then or
    /// later is not in it. 0: not told.
    #[serde(default, deserialize_with = "or_default")]
    pub window_end_ms: u64,
    /// All workers were busy at some time: latencies leave out the time spent waiting for one.
    #[serde(default, deserialize_with = "or_default")]
    pub workers_capped: bool,
    /// Restarts of vegeta.
    #[serde(default, deserialize_with = "or_default")]
    pub restarts: u64,
    /// Since the last result of vegeta, in seconds; `null` before the first.
    #[serde(default)]
    pub silent_seconds: Option<f64>,
}

/// A window as it is shown. Times are ns, but for those in RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// From the histogram, but for the exact sum and extremes.
    pub latencies: Percentiles,
    /// Of the responses' bodies.
    pub bytes_in: Bytes,
    /// Of the requests' bodies.
    pub bytes_out: Bytes,
    /// The first send; 1970 if there was none, as for the next two.
    #[serde(with = "time::serde::rfc3339")]
    pub earliest: OffsetDateTime,
    /// The last send.
    #[serde(with = "time::serde::rfc3339")]
    pub latest: OffsetDateTime,
    /// The last end of a response.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
    /// From the first send to the last. Of many bots: each one's sends as they lie in its window,
    /// so that clocks that differ don't matter.
    pub duration: u64,
    /// From the last send to the last end.
    pub wait: u64,
    /// How many were sent.
    pub requests: u64,
    /// `requests` by `duration`, as vegeta has it: too high by n/(n−1). See `achieved_rate`.
    pub rate: f64,
    /// Successes a second.
    pub throughput: f64,
    /// The share of successes, 0 to 1.
    pub success: f64,
    /// How many of each status; `"0"`: no response.
    #[serde(deserialize_with = "codes")]
    pub status_codes: BTreeMap<u16, u64>,
    /// The kinds of errors, as vegeta lists its texts.
    pub errors: Vec<String>,
    /// How many of each kind.
    #[serde(default, deserialize_with = "or_default")]
    pub error_counts: BTreeMap<String, u64>,
    /// What vegeta's report lacks; members of the same object.
    #[serde(flatten)]
    pub generator: Generator,
    /// HdrHistogram V2, deflated, base64, in ns.
    pub histogram: String,
}

/// Latencies in ns, as vegeta names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The sum of all.
    pub total: u64,
    /// `total` by the number of requests.
    pub mean: u64,
    /// The median.
    #[serde(rename = "50th")]
    pub p50: u64,
    /// What 90 of 100 did not exceed.
    #[serde(rename = "90th")]
    pub p90: u64,
    /// What 95 of 100 did not exceed.
    #[serde(rename = "95th")]
    pub p95: u64,
    /// What 99 of 100 did not exceed.
    #[serde(rename = "99th")]
    pub p99: u64,
    /// What 999 of 1,000 did not exceed.
    #[serde(rename = "99.9th", default)]
    pub p999: u64,
    /// The longest.
    pub max: u64,
    /// The shortest.
    pub min: u64,
}

/// Bytes of bodies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// Of all requests.
    pub total: u64,
    /// Of one request.
    pub mean: f64,
}

impl Window {
    /// What was counted, for others to read.
    pub fn new(tally: &Tally, generator: Generator) -> Window {
        let requests = tally.requests;
        let mean = |total: u64| share(total, requests);
        let duration = tally.latest_ns.saturating_sub(tally.earliest_ns);
        let wait = tally.end_ns.saturating_sub(tally.latest_ns);
        let per_second = |count: u64, ns: u64| match Duration::from_nanos(ns).as_secs_f64() {
            0.0 => count as f64,
            seconds => count as f64 / seconds,
        };
        // A bucket's upper end may lie above the largest latency in it.
        let at = |quantile| tally.latencies.at(quantile).min(tally.latency_max_ns);
        Window {
            latencies: Percentiles {
                total: tally.latency_total_ns,
                mean: tally.latency_total_ns.checked_div(requests).unwrap_or(0),
                p50: at(0.5),
                p90: at(0.9),
                p95: at(0.95),
                p99: at(0.99),
                p999: at(0.999),
                max: tally.latency_max_ns,
                min: tally.latency_min_ns,
            },
            bytes_in: Bytes {
                total: tally.bytes_in,
                mean: mean(tally.bytes_in),
            },
            bytes_out: Bytes {
                total: tally.bytes_out,
                mean: mean(tally.bytes_out),
            },
            earliest: moment(tally.earliest_ns),
            latest: moment(tally.latest_ns),
            end: moment(tally.end_ns),
            duration,
            wait,
            requests,
            rate: per_second(requests, duration),
            throughput: per_second(tally.successes(), duration.saturating_add(wait)),
            success: share(tally.successes(), requests),
            status_codes: tally.codes.clone(),
            errors: tally.errors.keys().cloned().collect(),
            error_counts: tally.errors.clone(),
            generator,
            histogram: tally.latencies.encode(),
        }
    }

    /// What was counted, to be added to others.
    ///
    /// # Errors
    /// The histogram can't be decoded.
    pub fn tally(&self) -> Result<Tally, DecodeError> {
        let ns = |at: OffsetDateTime| u64::try_from(at.unix_timestamp_nanos()).unwrap_or(0);
        Ok(Tally {
            latencies: Latencies::decode(&self.histogram)?,
            requests: self.requests,
            latency_total_ns: self.latencies.total,
            latency_min_ns: self.latencies.min,
            latency_max_ns: self.latencies.max,
            bytes_in: self.bytes_in.total,
            bytes_out: self.bytes_out.total,
            codes: self.status_codes.clone(),
            errors: self.error_counts.clone(),
            earliest_ns: ns(self.earliest),
            latest_ns: ns(self.latest),
            end_ns: ns(self.end),
        })
    }
}

/// A member that is `null` counts as one that is missing: JSON has no other way to write a float
/// that is not a number.
fn or_default<'de, D, T>(member: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(member)?.unwrap_or_default())
}

/// The keys of JSON are texts. serde makes numbers of them, but not in a window that is flattened
/// into something else.
fn codes<'de, D: Deserializer<'de>>(codes: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    let texts = BTreeMap::<String, u64>::deserialize(codes)?;
    let number = |(code, count): (String, u64)| Some((code.parse().ok()?, count));
    let codes: Option<_> = texts.into_iter().map(number).collect();
    codes.ok_or_else(|| de::Error::custom("a status code is not a number"))
}

/// `part` by `whole`; 0 of nothing.
fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

fn moment(ns: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(ns.into()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A time of vegeta's (RFC 3339), in ns since 1970.
pub fn parse_time(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    at.unix_timestamp_nanos().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sent_ns: u64, latency_ns: u64, code: u16, error: &str) -> Sample<'_> {
        Sample {
            sent_ns,
            latency_ns,
            code,
            bytes_in: 16,
            bytes_out: 0,
            error,
        }
    }

    #[test]
    fn window_has_the_members_of_vegetas_report() {
        let mut tally = Tally::default();
        tally.record(&sample(1_000_000_000, 2_000_000, 200, ""));
        tally.record(&sample(2_000_000_000, 4_000_000, 0, "refused"));
        let window = Window::new(&tally, Generator::default());
        let json = serde_json::to_value(&window).expect("it is JSON");
        for member in [
            "latencies",
            "bytes_in",
            "bytes_out",
            "earliest",
            "latest",
            "end",
            "duration",
            "wait",
            "requests",
            "rate",
            "throughput",
            "success",
            "status_codes",
            "errors",
            "target_rate",
            "workers_capped",
            "restarts",
            "histogram",
        ] {
            assert!(json.get(member).is_some(), "{member}");
        }
        assert_eq!(json["latencies"]["mean"], 3_000_000);
        assert_eq!(json["latencies"]["99th"], 4_000_000);
        assert_eq!(json["status_codes"]["0"], 1);
        assert_eq!(json["success"], 0.5);
        assert_eq!(json["earliest"], "1970-01-01T00:00:01Z");
        assert_eq!(json["duration"], 1_000_000_000);
        assert_eq!(json["wait"], 4_000_000);
        assert_eq!(json["rate"], 2.0);
    }

    #[test]
    fn window_gives_back_what_was_counted() {
        let mut tally = Tally::default();
        tally.record(&sample(1_000_000_000, 2_000_000, 200, ""));
        tally.record(&sample(
            2_000_000_000,
            4_000_000,
            503,
            "503 Service Unavailable",
        ));
        let window = Window::new(&tally, Generator::default());
        let text = serde_json::to_string(&window).expect("it is JSON");
        let read: Window = serde_json::from_str(&text).expect("it is a window");
        assert_eq!(read, window);
        assert_eq!(read.tally(), Ok(tally));
    }

    #[test]
    fn a_status_from_200_to_399_is_a_success() {
        let mut tally = Tally::default();
        for code in [0, 199, 200, 200, 399, 400, 503] {
            tally.record(&sample(1, 1, code, ""));
        }
        assert_eq!(tally.successes(), 3);
    }

    #[test]
    fn two_tallies_are_added_up() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        one.record(&sample(5_000, 2_000_000, 200, ""));
        one.record(&sample(6_000, 4_000_000, 0, "refused"));
        other.record(&sample(4_000, 1_000_000, 200, ""));
        other.record(&sample(4_500, 3_000_000, 0, "refused"));
        other.record(&sample(4_600, 3_000_000, 503, "unavailable"));
        one.add(&Tally::default());
        one.add(&other);
        assert_eq!(one.requests, 5);
        assert_eq!(
            (one.latency_min_ns, one.latency_max_ns),
            (1_000_000, 4_000_000)
        );
        assert_eq!((one.earliest_ns, one.latest_ns), (4_000, 6_000));
        assert_eq!((one.end_ns, one.latency_total_ns), (4_006_000, 13_000_000));
        assert_eq!((one.bytes_in, one.bytes_out), (80, 0));
        assert_eq!(one.codes, BTreeMap::from([(0, 2), (200, 2), (503, 1)]));
        let errors = [("refused", 2), ("unavailable", 1)];
        let errors = errors.map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!(one.errors, BTreeMap::from(errors));
        assert_eq!(one.latencies.count(), 5);
    }

    #[test]
    fn times_are_read_as_vegeta_writes_them() {
        let check = |text, expected| assert_eq!(parse_time(text), expected, "{text}");
        check("1970-01-01T00:00:01Z", Some(1_000_000_000));
        check("1970-01-01T01:00:00.000000007+01:00", Some(7));
        check("1969-12-31T23:59:59Z", None);
        check("yesterday", None);
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut tally = Tally::default();
        for kind in 0..3 * ERROR_KINDS {
            tally.record(&sample(1, 1, 0, &format!("error {kind}")));
        }
        assert_eq!(tally.errors.len(), ERROR_KINDS + 1);
        assert_eq!(tally.errors[OTHER_ERRORS], 2 * ERROR_KINDS as u64);
    }
}
