//! What the bot counts from its start on, as Prometheus text.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use crate::window::{ERROR_KINDS, Generator, OTHER_ERRORS, Sample};

/// Upper bounds of the latencies told apart, in seconds: even steps on a log axis, finest where
/// answers of a healthy server lie.
const BUCKETS: [f64; 33] = [
    50e-6, 75e-6, 100e-6, 150e-6, 200e-6, 300e-6, 400e-6, 500e-6, 750e-6, 1e-3, 1.5e-3, 2e-3, 3e-3,
    4e-3, 5e-3, 7.5e-3, 10e-3, 15e-3, 20e-3, 30e-3, 40e-3, 50e-3, 75e-3, 100e-3, 150e-3, 200e-3,
    300e-3, 400e-3, 500e-3, 750e-3, 1.0, 2.0, 5.0,
];

/// Counters and gauges of the process.
#[derive(Debug)]
pub(super) struct Totals {
    registry: Registry,
    requests: IntCounterVec,
    errors: IntCounterVec,
    /// The series of `requests` and of `errors`, so that they need not be looked up by their text.
    by_code: BTreeMap<u16, IntCounter>,
    by_kind: BTreeMap<String, IntCounter>,
    latencies: Histogram,
    dropped: IntCounterVec,
    state: State,
}

/// What is set anew for each scrape.
#[derive(Debug)]
struct State {
    target_rate: Gauge,
    achieved_rate: Gauge,
    window_seconds: Gauge,
    silent_seconds: Gauge,
    lag_seconds: Gauge,
    workers_capped: IntGauge,
    restarts: IntCounter,
}

/// Why a result is not in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Late,
    Ahead,
    /// The line holds no result, or is too long.
    Malformed,
}

impl Dropped {
    fn label(self) -> &'static str {
        match self {
            Dropped::Late => "late",
            Dropped::Ahead => "ahead",
            Dropped::Malformed => "malformed",
        }
    }
}

impl Totals {
    /// # Errors
    /// A name is wrong or there twice: never, but for a bug that the tests find.
    pub fn new() -> prometheus::Result<Totals> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, label: &str| {
            registered(
                &registry,
                IntCounterVec::new(Opts::new(name, help), &[label]),
            )
        };
        let latencies = HistogramOpts::new(
            "redis_api_attack_latency_seconds",
            "From the send to the end of the response.",
        );
        let latencies = Histogram::with_opts(latencies.buckets(BUCKETS.to_vec()));
        let dropped = counters(
            "redis_api_attack_results_dropped_total",
            "Results that are not in the window.",
            "reason",
        )?;
        for reason in [Dropped::Late, Dropped::Ahead, Dropped::Malformed] {
            dropped.with_label_values(&[reason.label()]);
        }
        Ok(Totals {
            requests: counters(
                "redis_api_attack_requests_total",
                "Requests by status; 0: no response.",
                "code",
            )?,
            errors: counters(
                "redis_api_attack_errors_total",
                "Requests that failed, by kind.",
                "kind",
            )?,
            by_code: BTreeMap::new(),
            by_kind: BTreeMap::new(),
            latencies: registered(&registry, latencies)?,
            dropped,
            state: State::new(&registry)?,
            registry,
        })
    }

    pub fn count(&mut self, sample: &Sample<'_>) {
        self.latencies.observe(sample.latency_ns as f64 / 1e9);
        let requests = &self.requests;
        self.by_code
            .entry(sample.code)
            .or_insert_with(|| requests.with_label_values(&[&sample.code.to_string()]))
            .inc();
        if sample.error.is_empty() {
            return;
        }
        if let Some(counter) = self.by_kind.get(sample.error) {
            counter.inc();
            return;
        }
        let kind = match self.by_kind.len() < ERROR_KINDS {
            true => sample.error,
            false => OTHER_ERRORS,
        };
        let errors = &self.errors;
        self.by_kind
            .entry(kind.to_owned())
            .or_insert_with(|| errors.with_label_values(&[kind]))
            .inc();
    }

    pub fn drop(&self, reason: Dropped, count: u64) {
        self.dropped
            .with_label_values(&[reason.label()])
            .inc_by(count);
    }

    /// Results that are in no window, for whatever reason.
    pub fn dropped(&self) -> u64 {
        [Dropped::Late, Dropped::Ahead, Dropped::Malformed]
            .iter()
            .map(|reason| self.dropped.with_label_values(&[reason.label()]).get())
            .sum()
    }

    /// All of it in Prometheus' text format, with the gauges as they are now.
    pub fn text(&self, generator: &Generator, lag_seconds: Option<f64>) -> String {
        self.state.set(generator, lag_seconds);
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics left out");
        }
        text
    }
}

impl State {
    fn new(registry: &Registry) -> prometheus::Result<State> {
        let gauge = |name: &str, help: &str| registered(registry, Gauge::new(name, help));
        Ok(State {
            target_rate: gauge(
                "redis_api_attack_target_rate",
                "Target rate, in requests a second.",
            )?,
            achieved_rate: gauge(
                "redis_api_attack_achieved_rate",
                "Rate achieved in the window, in requests a second.",
            )?,
            window_seconds: gauge(
                "redis_api_attack_window_seconds",
                "Time covered by the window.",
            )?,
            silent_seconds: gauge(
                "redis_api_attack_silent_seconds",
                "Since the last result of vegeta; NaN before the first.",
            )?,
            lag_seconds: gauge(
                "redis_api_attack_lag_seconds",
                "From the end of the newest request to the reading of its result.",
            )?,
            workers_capped: registered(
                registry,
                IntGauge::new(
                    "redis_api_attack_workers_capped",
                    "1: all workers were busy at some time of the window.",
                ),
            )?,
            restarts: registered(
                registry,
                IntCounter::new("redis_api_attack_restarts_total", "Restarts of vegeta."),
            )?,
        })
    }

    fn set(&self, generator: &Generator, lag_seconds: Option<f64>) {
        self.target_rate.set(generator.target_rate);
        self.achieved_rate.set(generator.achieved_rate);
        self.window_seconds.set(generator.window_seconds);
        self.silent_seconds
            .set(generator.silent_seconds.unwrap_or(f64::NAN));
        self.lag_seconds.set(lag_seconds.unwrap_or(f64::NAN));
        self.workers_capped.set(generator.workers_capped.into());
        let more = generator.restarts.saturating_sub(self.restarts.get());
        self.restarts.inc_by(more);
    }
}

fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> prometheus::Result<M> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_the_text() {
        let mut totals = Totals::new().expect("the names are valid");
        for (code, latency_ns, error) in [
            (200, 60_000, ""),
            (200, 3_000_000, ""),
            (0, 2_000_000_000, "timeout: no response"),
        ] {
            totals.count(&Sample {
                sent_ns: 1,
                latency_ns,
                code,
                bytes_in: 0,
                bytes_out: 0,
                error,
            });
        }
        totals.drop(Dropped::Late, 3);
        let generator = Generator {
            target_rate: 1000.0,
            achieved_rate: 999.5,
            window_seconds: 10.0,
            workers_capped: true,
            restarts: 2,
            ..Generator::default()
        };
        let text = totals.text(&generator, Some(0.25));
        for line in [
            "redis_api_attack_requests_total{code=\"200\"} 2",
            "redis_api_attack_requests_total{code=\"0\"} 1",
            "redis_api_attack_errors_total{kind=\"timeout: no response\"} 1",
            "redis_api_attack_latency_seconds_bucket{le=\"0.00005\"} 0",
            "redis_api_attack_latency_seconds_bucket{le=\"0.000075\"} 1",
            "redis_api_attack_latency_seconds_bucket{le=\"1\"} 2",
            "redis_api_attack_latency_seconds_bucket{le=\"2\"} 3",
            "redis_api_attack_latency_seconds_count 3",
            "redis_api_attack_results_dropped_total{reason=\"late\"} 3",
            "redis_api_attack_results_dropped_total{reason=\"malformed\"} 0",
            "redis_api_attack_target_rate 1000",
            "redis_api_attack_achieved_rate 999.5",
            "redis_api_attack_silent_seconds NaN",
            "redis_api_attack_lag_seconds 0.25",
            "redis_api_attack_workers_capped 1",
            "redis_api_attack_restarts_total 2",
            "# TYPE redis_api_attack_restarts_total counter",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut totals = Totals::new().expect("the names are valid");
        for kind in 0..3 * ERROR_KINDS {
            totals.count(&Sample {
                sent_ns: 1,
                latency_ns: 1,
                code: 0,
                bytes_in: 0,
                bytes_out: 0,
                error: &format!("error {kind}"),
            });
        }
        assert_eq!(totals.by_kind.len(), ERROR_KINDS + 1);
        assert_eq!(totals.by_kind[OTHER_ERRORS].get(), 2 * ERROR_KINDS as u64);
    }
}
