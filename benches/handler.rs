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

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use redis_api_server::parts::Hello;
use redis_api_server::{CachingOptions, ReadMode};
use support::{BODY, Clients, REQUEST, Worker, runtime};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
                let (api, redis) = worker.api(mode, CachingOptions::default()).await;
                let clients = Clients::connect(&worker, api, connections, REQUEST, BODY).await;
                (clients, redis)
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
            Clients::connect(&worker, hello, connections, REQUEST, b"Hello World!").await
        });
        group.bench_function(BenchmarkId::new("hello", connections), |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(clients.time(rounds)));
        });
        group.finish();
    }
}

criterion_group!(benches, handler);
criterion_main!(benches);
