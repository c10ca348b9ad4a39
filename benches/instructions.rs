//! Instructions and allocations per operation of `wire`: see `counting`.
//!
//! `cargo bench --bench instructions`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

mod counting;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use counting::{Bench, Operation};
use redis_api_wire::conn::{Conn, Event, Login, Options, Verdict};
use redis_api_wire::resp::{Decoder, Limits, Reply, command, constant};

const HGET: [&[u8]; 3] = [b"HGET", b"currency", b"current-value"];
const VALUE: &[u8] = b"$4\r\n12.5\r\n";

type Run = Box<dyn FnMut() -> usize>;

fn operations() -> Vec<Operation> {
    let array = [b"*128\r\n".as_slice(), &VALUE.repeat(128)].concat();
    let info = [b"$4000\r\n".as_slice(), &[b'x'; 4_000], b"\r\n"].concat();
    let operations: Vec<(&'static str, Run, usize)> = vec![
        ("encode HGET", encode(), 48),
        ("encode HGET, a constant", encode_constant(), 48),
        ("decode a small bulk", decode(VALUE.to_vec(), usize::MAX), 4),
        (
            "decode a small bulk, byte by byte",
            decode(VALUE.to_vec(), 1),
            4,
        ),
        (
            "decode an integer",
            decode(b":1\r\n".to_vec(), usize::MAX),
            1,
        ),
        ("decode 4 kB of text", decode(info, usize::MAX), 4_000),
        (
            "decode and read an array of 128",
            decode(array, usize::MAX),
            512,
        ),
        (
            "conn: login",
            Box::new(|| usize::from(connect().is_ready())),
            1,
        ),
        ("conn: one command and its reply", batch(1), 4),
        ("conn: a batch of 64", batch(64), 256),
    ];
    let operations = operations.into_iter();
    operations
        .map(|(name, run, answer)| Operation {
            name,
            run,
            answer,
            each: 1,
        })
        .collect()
}

fn encode() -> Run {
    let mut out = BytesMut::with_capacity(1 << 10);
    Box::new(move || {
        out.clear();
        command(&mut out, black_box(&HGET));
        out.len()
    })
}

fn encode_constant() -> Run {
    let mut out = BytesMut::with_capacity(1 << 10);
    let hget = constant(&HGET);
    Box::new(move || {
        out.clear();
        out.extend_from_slice(black_box(&hget));
        out.len()
    })
}

/// Decodes a reply that arrives `step` bytes at a time, and reads all of it.
fn decode(input: Vec<u8>, step: usize) -> Run {
    let mut decoder = Decoder::new(Limits::default());
    Box::new(move || {
        let mut arrived = 0;
        while arrived < input.len() {
            arrived = input.len().min(arrived.saturating_add(step));
            match decoder.decode(black_box(&input[..arrived])) {
                Ok(Some(decoded)) => return read(decoded.reply),
                Ok(None) => {}
                Err(_) => break,
            }
        }
        0
    })
}

/// Bytes of text in a reply; an integer is its own answer.
fn read(reply: Reply<'_>) -> usize {
    match reply {
        Reply::Array(elements) => elements.map(read).sum(),
        Reply::Integer(number) => number as usize,
        other => other.as_text().map_or(0, <[u8]>::len),
    }
}

/// A connection that is logged in.
fn connect() -> Conn<usize> {
    let long = Duration::from_secs(3_600);
    let options = Options {
        stall_timeout: long,
        ping_interval: long,
        max_in_flight: 1 << 10,
        limits: Limits::default(),
    };
    let now = Instant::now();
    let mut conn = Conn::new(options, Login::default(), now + long, now);
    conn.sent(conn.output().len());
    conn.input()
        .extend_from_slice(b"%1\r\n$5\r\nproto\r\n:3\r\n");
    let taken = conn.on_input(now, |_| Verdict::Continue);
    assert_eq!(taken, Ok(()));
    conn
}

/// So many commands in one write, their replies in one read.
fn batch(commands: usize) -> Run {
    let mut conn = connect();
    let (hget, now) = (constant(&HGET), Instant::now());
    let replies = VALUE.repeat(commands);
    Box::new(move || {
        for waiter in 0..commands {
            let queued = conn.enqueue(waiter, now, |out| out.extend_from_slice(&hget));
            assert!(queued.is_ok());
        }
        conn.sent(conn.output().len());
        conn.input().extend_from_slice(black_box(&replies));
        let mut bytes = 0;
        let taken = conn.on_input(now, |event| {
            if let Event::Reply(_, reply) = event {
                bytes += read(reply);
            }
            Verdict::Continue
        });
        assert!(taken.is_ok());
        bytes
    })
}

fn main() -> ExitCode {
    let bench = Bench {
        baseline: "wire.csv",
        runs: 1_000,
        operations,
    };
    bench.main()
}
