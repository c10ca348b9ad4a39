//! Instructions and allocations per request, from bytes in to bytes out, with bytes in memory where
//! the sockets would be: see `counting`, and `handler` for what is there and what is not. The
//! client and the Redis in memory are part of it.
//!
//! `cargo bench --bench requests`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

mod counting;
#[allow(dead_code, unused_imports, reason = "others use the rest of it")]
mod support;

use std::process::ExitCode;

use counting::{Bench, Operation};
use redis_api_server::parts::Hello;
use redis_api_server::{CachingOptions, ReadMode, cache_control};
use support::{BODY, Clients, REQUEST, Worker, runtime};

/// A request that is parsed each time: a head that says so much of the connection isn't remembered.
const PARSED: &[u8] =
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: keep-alive, te\r\n\r\n";

fn operations() -> Vec<Operation> {
    let (off, on) = (CachingOptions::default(), caching());
    let (batch, tracked) = (ReadMode::Batch, ReadMode::Tracked);
    vec![
        hello("hello, 64 at once", 64),
        api("batch, one", batch, &off, 1, 1, REQUEST),
        api("batch, 64 at once", batch, &off, 64, 1, REQUEST),
        api(
            "direct, 64 at once",
            ReadMode::Direct,
            &off,
            64,
            64,
            REQUEST,
        ),
        api("tracked, one", tracked, &off, 1, 0, REQUEST),
        api("tracked, 64 at once", tracked, &off, 64, 0, REQUEST),
        api("batch, one, with a tag", batch, &on, 1, 1, REQUEST),
        api(
            "tracked, 64 at once, with tags",
            tracked,
            &on,
            64,
            0,
            REQUEST,
        ),
        api("tracked, 64 at once, parsed", tracked, &off, 64, 0, PARSED),
        api(
            "tracked, 64 at once, parsed, with tags",
            tracked,
            &on,
            64,
            0,
            PARSED,
        ),
    ]
}

fn caching() -> CachingOptions {
    CachingOptions {
        etag: true,
        cache_control: Some(cache_control("max-age=1").expect("it is a header")),
    }
}

/// One request on each connection, which makes so many `HGET`s.
fn api(
    name: &'static str,
    mode: ReadMode,
    caching: &CachingOptions,
    connections: usize,
    commands: u64,
    request: &'static [u8],
) -> Operation {
    let runtime = runtime();
    let (clients, redis) = runtime.block_on(async {
        let worker = Worker::start();
        let (api, redis) = worker.api(mode, caching.clone()).await;
        let clients = Clients::connect(&worker, api, connections, request, BODY).await;
        // The heads are known, and the value is kept.
        for _ in 0..16 {
            clients.round().await;
        }
        (clients, redis)
    });
    let run = move || {
        let before = redis.hgets();
        runtime.block_on(clients.round());
        assert_eq!(redis.hgets() - before, commands, "{name}");
        connections
    };
    Operation {
        name,
        run: Box::new(run),
        answer: connections,
        each: connections as u64,
    }
}

/// The same server with a constant answer.
fn hello(name: &'static str, connections: usize) -> Operation {
    let runtime = runtime();
    let clients = runtime.block_on(async {
        let worker = Worker::start();
        let hello = Hello::new(worker.turn.clone(), worker.metrics.clone());
        Clients::connect(&worker, hello, connections, REQUEST, b"Hello World!").await
    });
    let run = move || {
        runtime.block_on(clients.round());
        connections
    };
    Operation {
        name,
        run: Box::new(run),
        answer: connections,
        each: connections as u64,
    }
}

fn main() -> ExitCode {
    let bench = Bench {
        baseline: "requests.csv",
        runs: 50,
        operations,
    };
    bench.main()
}
