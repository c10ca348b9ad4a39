//! Families of metrics, and their text.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of `families`; those without a series are left out.
pub fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        if family.get_metric().is_empty() {
            continue;
        }
        if let Err(error) = TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text)
        {
            tracing::error!(family = family.name(), %error, "metric left out");
        }
    }
    text
}

/// A family of one counter without labels.
pub(super) fn counter(name: &str, help: &str, value: f64) -> MetricFamily {
    family(
        name,
        help,
        MetricType::COUNTER,
        vec![counter_value(&[], value)],
    )
}

/// A family of one gauge without labels.
pub fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauge_value(&[], value)])
}

/// A family by its name, help and kind, with its series.
pub fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// One series of a counter.
pub(super) fn counter_value(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

/// One series of a gauge.
pub fn gauge_value(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |&(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}
