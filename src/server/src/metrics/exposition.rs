//! From the workers' tables to the families of Prometheus.
//!
//! Families are made afresh at each scrape. The label values of every family but the requests are
//! few and known, so their series are all there from the start, with 0: a counter that appears with
//! its first event hides that event from `rate()`.

use prometheus::proto::{Bucket, Histogram as HistogramValue, Metric, MetricFamily, MetricType};

use super::family::{counter, counter_value, family, gauge, gauge_value};
use super::histogram::Snapshot;
use super::{CODES, Cell, ErrorLabel, Method, Reading, Registry, Role, Worker, WriteOutcome};
use super::{Histogram, process_families};

const NANOS_PER_SECOND: f64 = 1e9;
const MICROS_PER_SECOND: f64 = 1e6;

/// Every family of the process.
pub(super) fn families(registry: &Registry) -> Vec<MetricFamily> {
    let mut families = vec![build_info(), workers(registry)];
    families.extend(http(registry));
    if registry.redis {
        families.extend(redis(registry));
        families.extend(tracked(registry));
        families.extend(streams(registry));
        families.extend(replica(registry));
    }
    families.extend(process_families());
    families
}

fn build_info() -> MetricFamily {
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
        ("arch", std::env::consts::ARCH),
    ];
    let help = "Build information; always 1.";
    family(
        "redis_api_build_info",
        help,
        MetricType::GAUGE,
        vec![gauge_value(&labels, 1.0)],
    )
}

fn workers(registry: &Registry) -> MetricFamily {
    gauge(
        "redis_api_workers",
        "Worker threads.",
        registry.workers.len() as f64,
    )
}

fn http(registry: &Registry) -> Vec<MetricFamily> {
    let sum = |cell: fn(&Worker) -> &Cell| sum(registry, cell) as f64;
    vec![
        requests(registry),
        histogram(
            "redis_api_http_request_duration_seconds",
            "Time from the end of a request's headers to its response.",
            NANOS_PER_SECOND,
            registry.workers.iter().map(|worker| &worker.durations_ns),
        ),
        gauge(
            "redis_api_http_connections",
            "Client connections that are open.",
            sum(|worker| &worker.http_connections),
        ),
        gauge(
            "redis_api_http_connections_packed",
            "1 while one worker has all client connections (--wake-interval).",
            sum(|worker| &worker.packed),
        ),
        counter(
            "redis_api_http_connections_moved_total",
            "Client connections that one worker has given to another (--wake-interval).",
            sum(|worker| &worker.http_connections_moved),
        ),
        counter(
            "redis_api_http_accept_errors_total",
            "Client connections that could not be accepted.",
            registry.acceptor.errors.get() as f64,
        ),
        counter(
            "redis_api_http_accept_pauses_total",
            "Pauses in accepting because the limit of open connections was reached.",
            registry.acceptor.pauses.get() as f64,
        ),
        counter(
            "redis_api_http_refusals_total",
            "Times that the port was closed for a while, as clients had waited too long for one of \
             the open connections to end.",
            registry.acceptor.refusals.get() as f64,
        ),
        counter(
            "redis_api_shed_total",
            "Requests refused because of too much work.",
            sum(|worker| &worker.shed),
        ),
        counter(
            "redis_api_wake_sleeps_total",
            "Times that a worker slept before a look at its sockets (--wake-interval).",
            sum(|worker| &worker.wake_sleeps),
        ),
    ]
}

/// Only the pairs seen: the others are many, and most can't occur.
fn requests(registry: &Registry) -> MetricFamily {
    let codes: Vec<String> = CODES.iter().map(u16::to_string).collect();
    let codes = codes.iter().map(String::as_str).chain(["other"]);
    let mut metrics = Vec::new();
    for (row, method) in Method::ALL.into_iter().enumerate() {
        for (slot, code) in codes.clone().enumerate() {
            let cell = |worker: &Worker| {
                worker
                    .requests
                    .get(row)
                    .and_then(|row| row.get(slot))
                    .map_or(0, Cell::get)
            };
            let count = total(registry.workers.iter().map(|worker| cell(worker)));
            if count > 0 {
                let labels = [("method", method.label()), ("code", code)];
                metrics.push(counter_value(&labels, count as f64));
            }
        }
    }
    let help = "Requests answered.";
    family(
        "redis_api_http_requests_total",
        help,
        MetricType::COUNTER,
        metrics,
    )
}

fn tracked(registry: &Registry) -> Vec<MetricFamily> {
    vec![
        counter(
            "redis_api_tracked_hits_total",
            "Reads in tracked mode that were answered from memory.",
            sum(registry, |worker| &worker.tracked_hits) as f64,
        ),
        counter(
            "redis_api_tracked_misses_total",
            "Reads in tracked mode that were sent to Redis.",
            sum(registry, |worker| &worker.tracked_misses) as f64,
        ),
        counter(
            "redis_api_tracked_invalidations_total",
            "Messages from Redis that the hash has changed.",
            sum(registry, |worker| &worker.tracked_invalidations) as f64,
        ),
        gauge(
            "redis_api_tracked_entries",
            "Fields in memory in tracked mode, those that await replacement included.",
            sum(registry, |worker| &worker.tracked_entries) as f64,
        ),
    ]
}

fn streams(registry: &Registry) -> Vec<MetricFamily> {
    let sum = |cell: fn(&Worker) -> &Cell| sum(registry, cell) as f64;
    vec![
        gauge(
            "redis_api_streams",
            "Streams of events that are open.",
            sum(|worker| &worker.streams),
        ),
        counter(
            "redis_api_stream_events_total",
            "Events sent on streams; heartbeats do not count.",
            sum(|worker| &worker.stream_events),
        ),
        counter(
            "redis_api_stream_conflated_total",
            "Values that a stream skipped because a newer one came before it could be sent.",
            sum(|worker| &worker.stream_conflated),
        ),
        counter(
            "redis_api_streams_refused_total",
            "Streams refused because of too many (--max-streams).",
            sum(|worker| &worker.streams_refused),
        ),
        counter(
            "redis_api_streams_cut_total",
            "Streams ended because the client took nothing for too long (--write-timeout).",
            sum(|worker| &worker.streams_cut),
        ),
    ]
}

fn redis(registry: &Registry) -> Vec<MetricFamily> {
    vec![
        counter(
            "redis_api_not_initialised_total",
            "Reads of the main value that found nothing stored.",
            sum(registry, |worker| &worker.not_initialised) as f64,
        ),
        counter(
            "redis_api_fallback_reads_total",
            "Reads that went to the master because the replica was not usable.",
            sum(registry, |worker| &worker.fallback_reads) as f64,
        ),
        write_failures(registry),
        by_role(
            registry,
            "redis_api_redis_commands_total",
            "Commands sent to Redis.",
            MetricType::COUNTER,
            |role| &role.commands,
        ),
        errors(registry),
        by_role(
            registry,
            "redis_api_redis_connects_total",
            "Attempts to connect to Redis.",
            MetricType::COUNTER,
            |role| &role.connects,
        ),
        by_role(
            registry,
            "redis_api_redis_connections",
            "Connections that are logged in to Redis.",
            MetricType::GAUGE,
            |role| &role.connections,
        ),
        credentials_read(registry),
        by_role(
            registry,
            "redis_api_credentials_stale",
            "Workers that use the last good password or certificate files because newer ones are \
             unusable.",
            MetricType::GAUGE,
            |role| &role.credentials_stale,
        ),
        redis_cpu(registry),
        histogram(
            "redis_api_read_batch_size",
            "Commands per write to the server for reads.",
            1.0,
            registry
                .workers
                .iter()
                .map(|worker| &worker.read_batch_size),
        ),
    ]
}

fn write_failures(registry: &Registry) -> MetricFamily {
    let metric = |(slot, outcome): (usize, WriteOutcome)| {
        let cells = registry
            .workers
            .iter()
            .filter_map(|worker| worker.write_failures.get(slot));
        let count = total(cells.map(Cell::get));
        counter_value(&[("outcome", outcome.label())], count as f64)
    };
    let metrics = WriteOutcome::ALL
        .into_iter()
        .enumerate()
        .map(metric)
        .collect();
    let help = "Failed writes, by outcome.";
    family(
        "redis_api_write_failures_total",
        help,
        MetricType::COUNTER,
        metrics,
    )
}

fn errors(registry: &Registry) -> MetricFamily {
    let mut metrics = Vec::new();
    for (role, of) in ROLES {
        for kind in ErrorLabel::ALL {
            let count = total(
                registry
                    .workers
                    .iter()
                    .map(|worker| of(worker).errors(kind)),
            );
            metrics.push(counter_value(
                &[("role", role), ("kind", kind.label())],
                count as f64,
            ));
        }
    }
    let help = "Error replies, and failures of connections, by kind.";
    family(
        "redis_api_redis_errors_total",
        help,
        MetricType::COUNTER,
        metrics,
    )
}

/// A point in time rather than an age: it needs no clock here, and `time()` minus it is the age.
fn credentials_read(registry: &Registry) -> MetricFamily {
    let metric = |(role, of): (&str, RoleIn)| {
        let times = registry
            .workers
            .iter()
            .filter_map(|worker| of(worker).credentials_read.get());
        Some(gauge_value(&[("role", role)], times.min()? as f64))
    };
    family(
        "redis_api_credentials_read_timestamp_seconds",
        "When the oldest password, CA or certificate file in use was last read, as Unix time.",
        MetricType::GAUGE,
        ROLES.into_iter().filter_map(metric).collect(),
    )
}

/// All workers ask the same server, so the latest answer counts, not the sum. There is no series
/// before the first answer: a counter that springs from 0 to the server's age would look like load.
fn redis_cpu(registry: &Registry) -> MetricFamily {
    let metric = |(role, of): (&str, RoleIn)| {
        let micros = registry
            .workers
            .iter()
            .map(|worker| of(worker).cpu_micros.get())
            .max();
        let micros = micros.filter(|&micros| micros > 0)?;
        Some(counter_value(
            &[("role", role)],
            micros as f64 / MICROS_PER_SECOND,
        ))
    };
    let metrics = ROLES.into_iter().filter_map(metric).collect();
    let help = "CPU time used by the Redis server, as it reports it.";
    family(
        "redis_api_redis_cpu_seconds_total",
        help,
        MetricType::COUNTER,
        metrics,
    )
}

/// The worst of what the workers see: each probes through its own connection.
fn replica(registry: &Registry) -> Vec<MetricFamily> {
    let known = |reading: fn(&Worker) -> &Reading| {
        registry
            .workers
            .iter()
            .filter_map(move |worker| reading(worker).get())
    };
    let usable = registry
        .workers
        .iter()
        .map(|worker| worker.replica.usable.get())
        .min();
    [
        (
            "redis_api_replica_usable",
            "1 while every worker may use the replica's answers.",
            usable,
        ),
        (
            "redis_api_replica_link_up",
            "1 while the replica's link to its master is up.",
            known(|worker| &worker.replica.link_up).min(),
        ),
        (
            "redis_api_replica_link_down_seconds",
            "Time since the replica's link to its master went down.",
            known(|worker| &worker.replica.link_down_seconds).max(),
        ),
        (
            "redis_api_replica_last_io_seconds",
            "Time since the replica last heard from its master.",
            known(|worker| &worker.replica.last_io_seconds).max(),
        ),
        (
            "redis_api_replica_lag_bytes",
            "Bytes of the master's stream that the replica has yet to process.",
            known(|worker| &worker.replica.lag_bytes).max(),
        ),
    ]
    .into_iter()
    .filter_map(|(name, help, value)| Some(gauge(name, help, value? as f64)))
    .collect()
}

/// Finds a role's counters in a worker's table.
type RoleIn = fn(&Worker) -> &Role;
const ROLES: [(&str, RoleIn); 2] = [
    ("read", |worker| &worker.read),
    ("write", |worker| &worker.write),
];

fn by_role(
    registry: &Registry,
    name: &str,
    help: &str,
    kind: MetricType,
    cell: fn(&Role) -> &Cell,
) -> MetricFamily {
    let metric = |(role, of): (&str, RoleIn)| {
        let value = total(registry.workers.iter().map(|worker| cell(of(worker)).get()));
        match kind {
            MetricType::GAUGE => gauge_value(&[("role", role)], value as f64),
            _ => counter_value(&[("role", role)], value as f64),
        }
    };
    family(name, help, kind, ROLES.into_iter().map(metric).collect())
}

fn sum(registry: &Registry, cell: fn(&Worker) -> &Cell) -> u64 {
    total(registry.workers.iter().map(|worker| cell(worker).get()))
}

/// Wraps as the cells do: a sum must not fail on what a cell may hold.
fn total(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::wrapping_add)
}

/// The histogram of all workers; `scale` units of its values make one unit of the text.
fn histogram<'a, const N: usize>(
    name: &str,
    help: &str,
    scale: f64,
    parts: impl Iterator<Item = &'a Histogram<N>>,
) -> MetricFamily {
    let merged = parts.map(Histogram::snapshot).reduce(Snapshot::merge);
    let metric = |snapshot: Snapshot<N>| {
        let mut total = 0u64;
        let mut buckets = Vec::with_capacity(N);
        for (&bound, count) in snapshot.bounds.iter().zip(snapshot.buckets) {
            total = count.wrapping_add(total);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound as f64 / scale);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        // The encoder adds the bucket `+Inf` from the count.
        let mut value = HistogramValue::default();
        value.set_sample_count(total.wrapping_add(snapshot.above));
        value.set_sample_sum(snapshot.sum as f64 / scale);
        value.set_bucket(buckets);
        let mut metric = Metric::default();
        metric.set_histogram(value);
        metric
    };
    family(
        name,
        help,
        MetricType::HISTOGRAM,
        merged.map(metric).into_iter().collect(),
    )
}
