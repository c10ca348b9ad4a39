//! The board as Prometheus text.
//!
//! What comes from the merged window are gauges, not counters: they are about the last seconds, and
//! fall. Labels are bounded: states, percentiles, status codes, at most 21 kinds of errors, and the
//! pods that are there now.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::board::{Board, BotState, Pod};
use redis_api_server::exposition::{encode, family, gauge, gauge_value, process_families};

const NANOS_PER_SECOND: f64 = 1e9;
const MICROS_PER_SECOND: f64 = 1e6;

/// Of the board, if there is one yet, and of this process.
pub(super) fn text(board: Option<&Board>) -> String {
    let mut families = Vec::new();
    if let Some(board) = board {
        families.extend(of_bots(board));
        families.extend(of_window(board));
        families.extend(board.pods.iter().flat_map(|pods| of_pods(pods)));
        let fine = (board.current.as_ref()).map(|current| current.trouble.is_none());
        families.extend(fine.map(|fine| {
            gauge(
                "redis_api_aggregator_value_known",
                "1 while the API returns a value.",
                f64::from(fine),
            )
        }));
    }
    families.extend(process_families());
    encode(&families)
}

fn of_bots(board: &Board) -> Vec<MetricFamily> {
    let states = [
        ("alive", BotState::Alive),
        ("late", BotState::Late),
        ("dead", BotState::Dead),
    ];
    let count = |state| board.bots.iter().filter(|bot| bot.state == state).count();
    let generator = &board.summary.window.generator;
    vec![
        gauges(
            "redis_api_aggregator_bots",
            "Load bots by how they answered last.",
            states.map(|(label, state)| gauge_value(&[("state", label)], count(state) as f64)),
        ),
        gauge(
            "redis_api_aggregator_target_rate",
            "Target rate of all bots together, in requests a second.",
            generator.target_rate,
        ),
        gauge(
            "redis_api_aggregator_achieved_rate",
            "Achieved rate of all bots together, in requests a second.",
            generator.achieved_rate,
        ),
        gauge(
            "redis_api_aggregator_generator_limited",
            "1 while the generator itself was the limit, so that latencies are too low.",
            f64::from(!board.summary.generator_limits.is_empty()),
        ),
        gauge(
            "redis_api_aggregator_vegeta_restarts",
            "Restarts of vegeta, of all bots together.",
            generator.restarts as f64,
        ),
        gauge(
            "redis_api_aggregator_troubles",
            "What is wrong with the names that bots and pods are found by.",
            board.troubles.len() as f64,
        ),
    ]
}

fn of_window(board: &Board) -> Vec<MetricFamily> {
    let window = &board.summary.window;
    let latencies = &window.latencies;
    // Not `quantile`: that label belongs to summaries, whose sums and counts only grow.
    let percentiles = [
        ("50", latencies.p50),
        ("90", latencies.p90),
        ("95", latencies.p95),
        ("99", latencies.p99),
        ("99.9", latencies.p999),
        ("100", latencies.max),
    ];
    let codes = window
        .status_codes
        .iter()
        .map(|(code, count)| gauge_value(&[("code", code.to_string().as_str())], *count as f64));
    let errors = (window.error_counts.iter())
        .map(|(kind, count)| gauge_value(&[("kind", kind.as_str())], *count as f64));
    vec![
        gauge(
            "redis_api_aggregator_window_seconds",
            "Time covered by the merged window.",
            window.generator.window_seconds,
        ),
        gauges(
            "redis_api_aggregator_window_requests",
            "Requests of the merged window by status; 0: no response.",
            codes,
        ),
        gauges(
            "redis_api_aggregator_window_errors",
            "Errors of the merged window by kind.",
            errors,
        ),
        gauges(
            "redis_api_aggregator_latency_seconds",
            "Latencies of the merged window; percentile 100 is the longest.",
            percentiles.map(|(percentile, ns)| {
                gauge_value(&[("percentile", percentile)], ns as f64 / NANOS_PER_SECOND)
            }),
        ),
    ]
}

fn of_pods(pods: &[Pod]) -> Vec<MetricFamily> {
    let of_each = |name: &str, help: &str, value: fn(&Pod) -> f64| {
        let metrics =
            (pods.iter()).map(|pod| gauge_value(&[("pod", pod.address.as_str())], value(pod)));
        gauges(name, help, metrics)
    };
    let by_part =
        |name: &str, help: &str, api: fn(&Pod) -> Option<f64>, redis: fn(&Pod) -> Option<f64>| {
            let metrics = pods.iter().flat_map(|pod| {
                [("api", api(pod)), ("redis", redis(pod))].map(|(part, value)| {
                    let labels = [("pod", pod.address.as_str()), ("part", part)];
                    Some(gauge_value(&labels, value?))
                })
            });
            gauges(name, help, metrics.flatten())
        };
    vec![
        of_each(
            "redis_api_aggregator_pod_up",
            "1 while this pod of the API can be scraped.",
            |pod| f64::from(pod.trouble.is_none()),
        ),
        of_each(
            "redis_api_aggregator_pod_requests_per_second",
            "Requests a second that this pod has answered over the last seconds.",
            |pod| pod.requests_per_second,
        ),
        by_part(
            "redis_api_aggregator_pod_cores",
            "Cores used by this pod: by the API, and by the Redis it reads from.",
            |pod| pod.trouble.is_none().then_some(pod.api_cores),
            |pod| pod.redis_cores,
        ),
        by_part(
            "redis_api_aggregator_pod_cpu_seconds_per_request",
            "CPU time per request of this pod: by the API, and by the Redis it reads from.",
            |pod| Some(pod.api_cpu_us? / MICROS_PER_SECOND),
            |pod| Some(pod.redis_cpu_us? / MICROS_PER_SECOND),
        ),
    ]
}

fn gauges(name: &str, help: &str, metrics: impl IntoIterator<Item = Metric>) -> MetricFamily {
    let metrics = metrics.into_iter().collect();
    family(name, help, MetricType::GAUGE, metrics)
}
