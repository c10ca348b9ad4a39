//! What a request costs without a kernel: bytes of a request in, bytes of its response out.
//!
//! It is the worker as it runs: tokio's scheduler, our server, hyper, the service, the read side,
//! the driver of the Redis connection, the codec. Only the sockets are bytes in memory, and Redis
//! compares bytes and answers. What is timed includes these two, and the client, which looks at the
//! length of each response.
//!
//! A round is one request on each connection, all there before the first is served: what they share
//! in one turn (clock, command, reply) is shared as in a busy worker. Times are per round,
//! throughput per request.
//!
//! `hello` is the same server with a constant answer: the difference is what reading from Redis
//! costs.
//!
//! `cargo bench --bench handler`, and `-- --quick` for a first look.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

mod support;

use std::rc::Rc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use redis_api_server::parts::{
    Api, Guard, Hello, Limits, Places, RoleMetrics, Server, Service, ServiceOptions, Set, Side,
    Streams, Timeouts, Writes,
};
use redis_api_server::{CachingOptions, ReadMode, ValueKind, WriteOptions};
use support::{BODY, Far, Redis, Worker, pipe, runtime};
use tokio::task::spawn_local;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// As wrk sends it.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const TIMEOUT: Duration = Duration::from_secs(3600);

/// The clients of one server.
struct Clients {
    connections: Vec<Far>,
    /// Bytes of one response.
    response: usize,
}

impl Clients {
    /// Connects to `service`, and checks an answer of each connection.
    async fn connect(
        worker: &Worker,
        service: impl Service,
        connections: usize,
        body: &[u8],
    ) -> Self {
        let limits = Limits {
            timeouts: Timeouts::new(TIMEOUT, TIMEOUT),
            max_requests: usize::MAX,
        };
        let server = Server::new(
            service,
            limits,
            worker.turn.clone(),
            fastrand::Rng::with_seed(1),
        );
        spawn_local(server.clone().sweep());
        let connections = (0..connections).map(|_| {
            let (near, far) = pipe();
            spawn_local(server.clone().serve(near));
            far
        });
        let mut clients = Clients {
            connections: connections.collect(),
            response: 0,
        };
        for client in &clients.connections {
            client.send(REQUEST);
            client
                .receive(1, |bytes| {
                    check(bytes, body);
                    clients.response = bytes.len();
                    bytes.len()
                })
                .await;
        }
        clients
    }

    /// One request on each connection, and its response.
    async fn round(&self) {
        for client in &self.connections {
            client.send(REQUEST);
        }
        for client in &self.connections {
            client
                .receive(self.response, |bytes| {
                    assert_eq!(bytes.len(), self.response);
                    bytes.len()
                })
                .await;
        }
    }

    async fn time(&self, rounds: u64) -> Duration {
        let started = Instant::now();
        for _ in 0..rounds {
            self.round().await;
        }
        started.elapsed()
    }
}

fn check(response: &[u8], body: &[u8]) {
    let text = String::from_utf8_lossy(response);
    let (head, rest) = text.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    assert_eq!(rest.as_bytes(), body);
}

/// The API in front of a Redis in memory.
async fn api(worker: &Worker, mode: ReadMode, connections: usize) -> (Clients, Rc<Redis>) {
    let (reads, redis) = worker.reads(mode).await;
    let (turn, metrics) = (worker.turn.clone(), worker.metrics.clone());
    // Without links: nothing is written here.
    let role = RoleMetrics::new(metrics.clone(), Side::Write);
    let writes = Writes::new(
        WriteOptions::default(),
        "memory".into(),
        Set::new(0, &role),
        turn.clone(),
        metrics.clone(),
    );
    let options = ServiceOptions {
        request_timeout: TIMEOUT,
        max_body: 4096,
        values: ValueKind::Number,
        caching: CachingOptions::default(),
        guard: Guard::default(),
    };
    let streams = Streams::new(
        Places::new(1),
        options.request_timeout,
        reads.clone(),
        turn.clone(),
        metrics.clone(),
        fastrand::Rng::with_seed(1),
    );
    let api = Api::new(options, reads, Rc::new(writes), streams, turn, metrics);
    let clients = Clients::connect(worker, api, connections, BODY).await;
    (clients, redis)
}

fn handler(criterion: &mut Criterion) {
    for connections in [1, 64] {
        let mut group = criterion.benchmark_group("handler");
        group.throughput(Throughput::Elements(connections as u64));
        for (name, mode, commands) in [
            ("batch", ReadMode::Batch, 1),
            ("direct", ReadMode::Direct, connections as u64),
        ] {
            let runtime = runtime();
            let (clients, redis) = runtime.block_on(async {
                let worker = Worker::start();
                api(&worker, mode, connections).await
            });
            let before = redis.hgets();
            runtime.block_on(clients.round());
            assert_eq!(redis.hgets() - before, commands, "{name}");
            group.bench_function(BenchmarkId::new(name, connections), |bencher| {
                bencher.iter_custom(|rounds| runtime.block_on(clients.time(rounds)));
            });
        }
        let runtime = runtime();
        let clients = runtime.block_on(async {
            let worker = Worker::start();
            let hello = Hello::new(worker.turn.clone(), worker.metrics.clone());
            Clients::connect(&worker, hello, connections, b"Hello World!").await
        });
        group.bench_function(BenchmarkId::new("hello", connections), |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(clients.time(rounds)));
        });
        group.finish();
    }
}

criterion_group!(benches, handler);
criterion_main!(benches);
