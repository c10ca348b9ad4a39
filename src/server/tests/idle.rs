//! What an idle connection costs: bytes of the heap, so that they can't grow unseen.
//!
//! Real sockets, for the runtime's part of it; what the kernel keeps for them is not counted.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test or bench fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "others use the rest of it")]
#[path = "../../../benches/support/mod.rs"]
mod support;

use std::alloc::System;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use redis_api_server::parts::{Api, Limits, Server, Ticket, Timeouts};
use redis_api_server::{CachingOptions, ReadMode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{BODY, Worker};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{advance, pause};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 256;

/// Bytes of one idle connection. (The allocator rounds up: to 912 in all.)
const MAX_BYTES: usize = 900;

/// What is kept with a connection: as large as the worker's ticket for it.
#[derive(Default)]
struct OfThatSize {
    _bytes: [usize; 2],
}

impl Ticket<tokio::net::TcpStream> for OfThatSize {
    fn leave(&self, _: &tokio::net::TcpStream, _: Option<Instant>) -> bool {
        false
    }
}

/// Heap bytes of each connection since `region` began.
fn bytes_each(region: &Region<'_, System>) -> usize {
    let change = region.change();
    let live = change.bytes_allocated as isize + change.bytes_reallocated
        - change.bytes_deallocated as isize;
    usize::try_from(live).unwrap_or(0) / CONNECTIONS
}

fn connect(server: &Rc<Server<Api>>) -> Vec<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let connect = |_| {
        let client = TcpStream::connect(address).expect("it listens");
        client.set_nonblocking(true).expect("a socket");
        let (stream, _) = listener.accept().expect("a client");
        stream.set_nonblocking(true).expect("a socket");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a runtime");
        spawn_local(server.clone().serve(stream, OfThatSize::default()));
        client
    };
    (0..CONNECTIONS).map(connect).collect()
}

/// Sends a request that no other one equals, so that it must be parsed, and takes the answer.
async fn ask(mut client: &TcpStream, number: usize) {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Number: {number}\r\n\r\n");
    client.write_all(request.as_bytes()).expect("there is room");
    let mut answer = [0; 1024];
    loop {
        match client.read(&mut answer) {
            Ok(count) => return assert!(answer[..count].ends_with(BODY)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        yield_now().await;
    }
}

/// Lets time pass, and all tasks do what they have to.
async fn pass(time: Duration) {
    advance(time).await;
    for _ in 0..1_000 {
        yield_now().await;
    }
}

#[test]
fn an_idle_connection_takes_less_than_a_kilobyte() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async {
        pause();
        let worker = Worker::start();
        let (api, _redis) = worker.api(ReadMode::Batch, CachingOptions::default()).await;
        let long = Duration::from_secs(3600);
        let limits = Limits {
            timeouts: Timeouts::new(long, long),
            max_requests: usize::MAX,
        };
        let turn = worker.turn.clone();
        let server = Server::new(api, limits, turn, fastrand::Rng::with_seed(1));
        spawn_local(server.clone().sweep());
        // What is made once, with the first connection.
        let first = connect(&server);
        for client in &first {
            ask(client, 0).await;
        }
        drop(first);
        pass(Duration::from_secs(10)).await;

        let region = Region::new(ALLOCATOR);
        let clients = connect(&server);
        pass(Duration::ZERO).await;
        let fresh = bytes_each(&region);
        for (number, client) in clients.iter().enumerate() {
            ask(client, number).await;
        }
        let used = bytes_each(&region);
        pass(Duration::from_secs(10)).await;
        let rested = bytes_each(&region);
        println!("bytes of a connection: new {fresh}, just used {used}, idle {rested}");
        assert!(
            fresh < MAX_BYTES && rested < MAX_BYTES,
            "new {fresh}, idle {rested}"
        );
    });
}
