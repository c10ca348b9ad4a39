//! Tests of the tables and of their text, which a small parser of its own reads back.

use std::collections::{BTreeMap, HashSet};
use std::mem;

use super::*;

/// A scrape read back: the value of each series, by its name and labels as written.
struct Scrape {
    types: BTreeMap<String, String>,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Parses `text`, and panics at the first line that the format does not allow.
    fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape {
            types: BTreeMap::new(),
            series: BTreeMap::new(),
        };
        let mut helped = HashSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(!help.is_empty(), "{line}");
                assert!(helped.insert(name.to_owned()), "twice: {line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(
                    scrape
                        .types
                        .insert(name.to_owned(), kind.to_owned())
                        .is_none(),
                    "{line}"
                );
            } else {
                scrape.sample(line);
            }
        }
        scrape
    }

    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split_once('{').map_or(series, |(name, labels)| {
            let labels = labels.strip_suffix('}').expect(line);
            let names = parse_labels(labels);
            assert!(!names.is_empty(), "{line}");
            name
        });
        assert!(is_name(name), "{line}");
        let declared = ["", "_bucket", "_sum", "_count"].into_iter().any(|suffix| {
            let kind = name
                .strip_suffix(suffix)
                .and_then(|family| self.types.get(family));
            kind.is_some_and(|kind| suffix.is_empty() != (kind == "histogram"))
        });
        assert!(declared, "undeclared: {line}");
        let value = value.parse().expect(line);
        assert!(
            self.series.insert(series.to_owned(), value).is_none(),
            "twice: {line}"
        );
    }

    fn get(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    fn starting_with(&self, prefix: &str) -> Vec<&str> {
        let names = self.series.keys().map(String::as_str);
        names.filter(|name| name.starts_with(prefix)).collect()
    }
}

fn is_name(name: &str) -> bool {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Names and unescaped values of `a="1",b="2"`.
fn parse_labels(text: &str) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, tail) = rest.split_once("=\"").expect(text);
        assert!(is_name(name), "{text}");
        assert!(labels.iter().all(|(other, _)| other != name), "{text}");
        let mut value = String::new();
        let mut chars = tail.chars();
        loop {
            match chars.next().expect(text) {
                '"' => break,
                '\\' => value.push(match chars.next().expect(text) {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other} in {text}"),
                }),
                other => value.push(other),
            }
        }
        labels.push((name.to_owned(), value));
        rest = chars.as_str();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',').expect(text);
        }
    }
    labels
}

fn scrape(registry: &Registry) -> Scrape {
    Scrape::parse(&registry.text())
}

/// Sums, cumulative counts and `+Inf` of a histogram agree.
fn check_histogram(scrape: &Scrape, name: &str, bounds: usize, count: f64, sum: f64) {
    let prefix = format!("{name}_bucket{{le=\"");
    let mut buckets: Vec<(f64, f64)> = scrape
        .starting_with(&prefix)
        .into_iter()
        .map(|series| {
            let bound = series[prefix.len()..].strip_suffix("\"}").expect(series);
            (bound.parse().expect(series), scrape.series[series])
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(buckets.len(), bounds + 1, "{name}");
    assert!(
        buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
        "{buckets:?}"
    );
    assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name}");
    assert_eq!(scrape.get(&format!("{name}_count")), Some(count), "{name}");
    let seen = scrape.get(&format!("{name}_sum")).expect(name);
    assert!((seen - sum).abs() < 1e-9, "{name}: {seen}");
}

#[test]
fn tables_share_no_cache_line() {
    assert_eq!(mem::align_of::<Worker>(), 128);
    assert_eq!(mem::size_of::<Worker>() % 128, 0);
}

#[test]
fn requests_add_up_over_workers() {
    let registry = Registry::new(2, true);
    let [first, second] = registry.workers.as_slice() else {
        panic!("two workers")
    };
    first.observe_request(Method::Get, 200, Duration::from_micros(50));
    first.observe_request(Method::Get, 200, Duration::from_micros(51));
    second.observe_request(Method::Get, 200, Duration::from_millis(401));
    second.observe_request(Method::Post, 504, Duration::from_secs(2));
    second.observe_request(Method::Other, 405, Duration::ZERO);
    second.observe_request(Method::Options, 204, Duration::ZERO);
    second.observe_request(Method::Head, 418, Duration::ZERO);
    second.observe_request(Method::Head, u16::MAX, Duration::ZERO);

    let scrape = scrape(&registry);
    let check = |method: &str, code: &str, expected: f64| {
        let name = "redis_api_http_requests_total";
        let series = format!("{name}{{method=\"{method}\",code=\"{code}\"}}");
        assert_eq!(scrape.get(&series), Some(expected), "{series}");
    };
    check("GET", "200", 3.0);
    check("POST", "504", 1.0);
    check("other", "405", 1.0);
    check("OPTIONS", "204", 1.0);
    check("HEAD", "other", 2.0);
    assert_eq!(
        scrape.starting_with("redis_api_http_requests_total").len(),
        5
    );

    let name = "redis_api_http_request_duration_seconds";
    check_histogram(&scrape, name, 14, 8.0, 2.401_101);
    let up_to = |le: &str| scrape.get(&format!("{name}_bucket{{le=\"{le}\"}}"));
    assert_eq!(up_to("0.00005"), Some(5.0));
    assert_eq!(up_to("0.0001"), Some(6.0));
    assert_eq!(up_to("0.4"), Some(6.0));
    assert_eq!(up_to("1"), Some(7.0));
}

#[test]
fn batch_sizes_are_counted_as_they_are() {
    let registry = Registry::new(2, true);
    for (worker, sizes) in registry.workers.iter().zip([[1, 2, 3], [4096, 4097, 0]]) {
        sizes
            .into_iter()
            .for_each(|size| worker.read_batch_size.observe(size));
    }
    let scrape = scrape(&registry);
    check_histogram(&scrape, "redis_api_read_batch_size", 13, 6.0, 8199.0);
    let up_to = |le: &str| scrape.get(&format!("redis_api_read_batch_size_bucket{{le=\"{le}\"}}"));
    assert_eq!(up_to("1"), Some(2.0));
    assert_eq!(up_to("2"), Some(3.0));
    assert_eq!(up_to("4"), Some(4.0));
    assert_eq!(up_to("4096"), Some(5.0));
}

#[test]
fn series_with_known_labels_start_at_zero() {
    let scrape = scrape(&Registry::new(2, true));
    for series in [
        "redis_api_http_connections",
        "redis_api_http_connections_packed",
        "redis_api_http_connections_moved_total",
        "redis_api_http_accept_errors_total",
        "redis_api_http_accept_pauses_total",
        "redis_api_shed_total",
        "redis_api_not_initialised_total",
        "redis_api_fallback_reads_total",
        "redis_api_tracked_hits_total",
        "redis_api_tracked_misses_total",
        "redis_api_tracked_invalidations_total",
        "redis_api_tracked_entries",
        "redis_api_write_failures_total{outcome=\"unknown\"}",
        "redis_api_redis_commands_total{role=\"read\"}",
        "redis_api_redis_commands_total{role=\"write\"}",
        "redis_api_redis_connects_total{role=\"write\"}",
        "redis_api_redis_connections{role=\"read\"}",
        "redis_api_credentials_stale{role=\"write\"}",
        "redis_api_redis_errors_total{role=\"write\",kind=\"readonly\"}",
        "redis_api_http_request_duration_seconds_count",
        "redis_api_read_batch_size_bucket{le=\"+Inf\"}",
        "redis_api_replica_usable",
    ] {
        assert_eq!(scrape.get(series), Some(0.0), "{series}");
    }
    assert_eq!(
        scrape.starting_with("redis_api_redis_errors_total").len(),
        34
    );
    assert_eq!(
        scrape.starting_with("redis_api_http_requests_total").len(),
        0
    );
    assert_eq!(scrape.starting_with("redis_api_redis_cpu").len(), 0);
}

#[test]
fn roles_are_told_apart() {
    let registry = Registry::new(2, true);
    for worker in &registry.workers {
        worker.read.commands.add(5);
        worker.read.connections.add(2);
        worker.write.connections.add(1);
        worker.write.error(ErrorLabel::Readonly);
        worker.write_failed(WriteOutcome::Unknown);
    }
    // Both ask the same server: the later answer counts.
    registry.workers[0].read.cpu_micros.set(1_500_000);
    registry.workers[1].read.cpu_micros.set(1_750_000);
    registry.workers[1].read.connections.sub(2);
    // The older one counts: that worker would be the one to be refused.
    registry.workers[0].write.credentials_read.set(Some(1_700));
    registry.workers[1].write.credentials_read.set(Some(1_600));
    registry.workers[1].write.credentials_stale.set(1);

    let scrape = scrape(&registry);
    let check = |series: &str, expected: f64| {
        assert_eq!(scrape.get(series), Some(expected), "{series}");
    };
    check("redis_api_redis_commands_total{role=\"read\"}", 10.0);
    check("redis_api_redis_commands_total{role=\"write\"}", 0.0);
    check("redis_api_redis_connections{role=\"read\"}", 2.0);
    check("redis_api_redis_connections{role=\"write\"}", 2.0);
    check(
        "redis_api_redis_errors_total{role=\"write\",kind=\"readonly\"}",
        2.0,
    );
    check(
        "redis_api_redis_errors_total{role=\"read\",kind=\"readonly\"}",
        0.0,
    );
    check("redis_api_write_failures_total{outcome=\"unknown\"}", 2.0);
    check("redis_api_redis_cpu_seconds_total{role=\"read\"}", 1.75);
    let read_at = "redis_api_credentials_read_timestamp_seconds";
    check(&format!("{read_at}{{role=\"write\"}}"), 1_600.0);
    assert_eq!(scrape.get(&format!("{read_at}{{role=\"read\"}}")), None);
    check("redis_api_credentials_stale{role=\"write\"}", 1.0);
    assert_eq!(
        scrape.get("redis_api_redis_cpu_seconds_total{role=\"write\"}"),
        None
    );
}

#[test]
fn the_replica_is_as_the_worst_worker_sees_it() {
    let registry = Registry::new(2, true);
    let [first, second] = registry.workers.as_slice() else {
        panic!("two workers")
    };
    let check = |name: &str, expected: Option<f64>| {
        let seen = scrape(&registry).get(&format!("redis_api_replica_{name}"));
        assert_eq!(seen, expected, "{name}");
    };
    first.replica.usable.set(1);
    first.replica.link_up.set(Some(1));
    first.replica.last_io_seconds.set(Some(0));
    first.replica.lag_bytes.set(Some(70));
    check("usable", Some(0.0));
    check("link_up", Some(1.0));
    check("link_down_seconds", None);
    check("last_io_seconds", Some(0.0));

    second.replica.usable.set(1);
    second.replica.link_up.set(Some(0));
    second.replica.link_down_seconds.set(Some(9));
    second.replica.last_io_seconds.set(Some(4));
    second.replica.lag_bytes.set(Some(14));
    check("usable", Some(1.0));
    check("link_up", Some(0.0));
    check("link_down_seconds", Some(9.0));
    check("last_io_seconds", Some(4.0));
    check("lag_bytes", Some(70.0));

    second.replica.forget();
    check("usable", Some(0.0));
    check("link_up", Some(1.0));
    check("link_down_seconds", None);
}

#[test]
fn without_redis_there_is_no_word_of_it() {
    let scrape = scrape(&Registry::new(1, false));
    for prefix in [
        "redis_api_redis_",
        "redis_api_replica_",
        "redis_api_read_",
        "redis_api_write_",
        "redis_api_not_initialised",
    ] {
        assert_eq!(scrape.starting_with(prefix), [""; 0]);
    }
    assert_eq!(scrape.get("redis_api_workers"), Some(1.0));
    assert_eq!(
        scrape
            .starting_with("redis_api_build_info{version=\"")
            .len(),
        1
    );
}

#[test]
fn the_process_is_measured() {
    let scrape = scrape(&Registry::new(1, false));
    let get = |name: &str| scrape.get(&format!("process_{name}")).expect(name);
    assert!(get("resident_memory_bytes") > 100_000.0);
    assert!(get("open_fds") >= 3.0);
    assert!(get("open_fds") <= get("max_fds"));
    assert!(get("threads") >= 1.0);
    assert!(get("cpu_seconds_total") >= 0.0);
    // 2020-01-01: before any build of this.
    assert!(get("start_time_seconds") > 1_577_836_800.0);
}

#[test]
fn label_values_are_escaped() {
    let hostile = "a\"b\\c\nd,e=\"f\"}";
    let value = family::gauge_value(&[("x", hostile), ("y", "é")], 1.0);
    let kind = prometheus::proto::MetricType::GAUGE;
    let text = family::encode(&[family::family("hostile", "help", kind, vec![value])]);
    let scrape = Scrape::parse(&text);
    let series = scrape.starting_with("hostile{");
    let labels = series[0]
        .strip_prefix("hostile{")
        .and_then(|rest| rest.strip_suffix('}'));
    let expected = [
        ("x".to_owned(), hostile.to_owned()),
        ("y".to_owned(), "é".to_owned()),
    ];
    assert_eq!(parse_labels(labels.expect("labels")), expected);
}

#[test]
fn causes_are_told_once() {
    fn check(troubles: &[Option<&str>], expected: &[&str]) {
        let registry = Registry::new(troubles.len(), false);
        for (worker, trouble) in registry.workers.iter().zip(troubles) {
            worker.set_read_trouble(trouble.map(str::to_owned));
        }
        assert_eq!(registry.read_troubles(), expected);
    }
    check(&[None, None], &[]);
    check(&[None, Some("refused")], &["worker 1: refused"]);
    check(
        &[Some("a"), Some("b"), Some("a")],
        &["workers 0, 2: a", "worker 1: b"],
    );
}

#[test]
fn a_worker_is_in_trouble_until_it_says_otherwise() {
    let registry = Registry::new(1, true);
    assert_eq!(
        registry.read_troubles(),
        ["worker 0: no connection for reads yet"]
    );
    registry.workers[0].set_read_trouble(None);
    assert_eq!(registry.read_troubles(), [""; 0]);
}
