//! The options of `serve`, `check` and `helloworld`.

use std::num::NonZeroUsize;
use std::time::Duration;

use redis_api_server::check::Format;
use redis_api_server::worker::{self, ApiOptions, ClientLimits, Port};
use redis_api_server::{
    Endpoint, ReadMode, ReadOptions, ReadRole, SetOptions, TrackedOptions, WriteOptions,
};

use super::common::{choice, listen, listen_apart, workers};
use super::values::Values;
use super::{access, caching, data, degraded, parsers, redis, streams};

/// Options of `serve`.
#[derive(Clone, Debug)]
pub struct Serve {
    pub process: worker::Options,
    pub api: ApiOptions,
}

pub(super) fn serve(values: &mut Values<'_>) -> Option<Serve> {
    let listen = listen(values, "listen");
    let admin_listen = listen_apart(values, "admin-listen", &[("listen", listen)]);
    let (read, write) = endpoints(values);
    let reads = reads(values);
    let guard = access::access(values, listen.map(|port| port.address));
    let caching = caching::caching(values);
    let max_streams = streams::max_streams(values);
    let request_timeout = values.parsed("request-timeout", parsers::positive_duration);
    let max_body = values.parsed("max-body", parsers::size);
    let redis_wait = values.parsed("redis-wait", parsers::duration_or_unlimited);
    let limits = limits(values, request_timeout);
    let read = set(values, "read-connections", read, limits);
    let write = set(values, "write-connections", write, limits);
    let fallback = degraded::fallback(values, write.as_ref());
    let (replicas, write) = degraded::write_wait(values, write);
    let process = process(values, listen, request_timeout);
    let (admin_listen, read, write, reads) = (admin_listen?, read?, write?, reads?);
    Some(Serve {
        process: worker::Options {
            admin_listen: Some(admin_listen),
            redis_wait: redis_wait?,
            redis_connections: read.connections + write.connections,
            ..process?
        },
        api: ApiOptions {
            read,
            write,
            writes: WriteOptions {
                hash: reads.hash.clone(),
                replicas: replicas?,
            },
            reads,
            fallback: fallback?,
            max_body: max_body?,
            caching,
            guard: guard?,
            max_streams: max_streams?,
        },
    })
}

/// Where to read and where to write.
fn endpoints(values: &mut Values<'_>) -> (Option<Endpoint>, Option<Endpoint>) {
    let both = redis::level(values, "redis");
    let read = redis::level(values, "read-redis");
    let write = redis::level(values, "write-redis");
    let read = redis::endpoint(values, &read, &both);
    let write = redis::endpoint(values, &write, &both);
    if let (Some(read), Some(write)) = (&read, &write) {
        redis::warn_of_idle_tls(values, &both, read.tls.is_some() || write.tls.is_some());
    }
    (read, write)
}

fn reads(values: &mut Values<'_>) -> Option<ReadOptions> {
    let data = data::data(values);
    let modes = [
        ("batch", ReadMode::Batch),
        ("direct", ReadMode::Direct),
        ("tracked", ReadMode::Tracked),
    ];
    let mode = choice(values, "read-mode", &modes);
    let roles = [("any", ReadRole::Any), ("replica", ReadRole::Replica)];
    let role = choice(values, "read-role", &roles);
    let max_stale = degraded::max_stale(values);
    let max_bytes = values.parsed("tracked-max-bytes", parsers::memory);
    let max_age = values.parsed("tracked-max-age", parsers::duration_or_unlimited);
    let (hash, kind) = data?;
    Some(ReadOptions {
        hash,
        values: kind,
        mode: mode?,
        role: role?,
        max_stale: max_stale?,
        tracked: TrackedOptions {
            max_bytes: max_bytes?,
            max_age: max_age?,
        },
    })
}

pub(super) fn check(values: &mut Values<'_>) -> Option<(Serve, Format)> {
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let format = choice(values, "format", &formats);
    let serve = serve(values);
    Some((serve?, format?))
}

pub(super) fn hello_world(values: &mut Values<'_>) -> Option<worker::Options> {
    let listen = listen(values, "listen");
    let admin_listen = listen_apart(values, "admin-listen", &[("listen", listen)]);
    let process = process(values, listen, Some(worker::HELLO_TIMEOUT));
    Some(worker::Options {
        admin_listen,
        ..process?
    })
}

/// What the subcommands that serve have in common. No admin port, no Redis.
fn process(
    values: &mut Values<'_>,
    listen: Option<Port>,
    request_timeout: Option<Duration>,
) -> Option<worker::Options> {
    let workers = workers(values);
    let pin = values.boolean("pin").unwrap_or(false);
    let wake_interval = values.parsed("wake-interval", parsers::wake_interval);
    let clients = clients(values);
    let drain_delay = values.parsed("drain-delay", parsers::duration);
    let drain_timeout = values.parsed("drain-timeout", parsers::duration);
    let drain_unready = values.boolean("drain-unready").unwrap_or(false);
    Some(worker::Options {
        listen: listen?,
        admin_listen: None,
        workers,
        pin,
        wake_interval: wake_interval?,
        request_timeout: request_timeout?,
        clients: clients?,
        drain_unready,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
        redis_wait: None,
        redis_connections: 0,
    })
}

fn clients(values: &mut Values<'_>) -> Option<ClientLimits> {
    let mut limit = |flag| values.parsed(flag, parsers::duration_or_unlimited);
    let header_timeout = limit("header-timeout");
    let idle_timeout = limit("idle-timeout");
    let write_timeout = limit("write-timeout");
    let max_connection_age = limit("max-connection-age");
    // Bounds against typing errors: no process has so many descriptors.
    let mut count = |flag| {
        let count = values.parsed(flag, |text| parsers::count(text, 1..=1 << 30));
        count.and_then(NonZeroUsize::new)
    };
    let max_requests = count("max-requests");
    let max_connections = count("max-connections");
    Some(ClientLimits {
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        write_timeout: write_timeout?,
        max_connection_age: max_connection_age?,
        max_requests: max_requests?,
        max_connections,
    })
}

/// What the connection sets of both roles have in common.
#[derive(Clone, Copy)]
struct Limits {
    connect_timeout: Duration,
    stall_timeout: Duration,
    ping_interval: Duration,
    max_in_flight: usize,
}

fn limits(values: &mut Values<'_>, request_timeout: Option<Duration>) -> Option<Limits> {
    let connect_timeout = values.parsed("connect-timeout", parsers::positive_duration);
    let ping_interval = values.parsed("ping-interval", parsers::positive_duration);
    let max_in_flight = values.parsed("max-in-flight", |text| parsers::count(text, 1..=1 << 20));
    Some(Limits {
        connect_timeout: connect_timeout?,
        // Twice: a command sent at the end of a request's time has as much again before the
        // connection is held for dead.
        stall_timeout: request_timeout?.saturating_mul(2),
        ping_interval: ping_interval?,
        max_in_flight: max_in_flight?,
    })
}

/// The connection set of one role.
fn set(
    values: &mut Values<'_>,
    connections: &str,
    endpoint: Option<Endpoint>,
    limits: Option<Limits>,
) -> Option<SetOptions> {
    let connections = values.parsed(connections, |text| parsers::count(text, 1..=1024));
    let limits = limits?;
    Some(SetOptions {
        endpoint: endpoint?,
        connections: connections?,
        connect_timeout: limits.connect_timeout,
        stall_timeout: limits.stall_timeout,
        ping_interval: limits.ping_interval,
        max_in_flight: limits.max_in_flight,
    })
}
