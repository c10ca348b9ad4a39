//! What encoding and decoding cost. Each bench checks its answer before it is timed.
//!
//! `cargo bench --bench codec`, and `-- --quick` for a first look.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redis_api_wire::resp::{Decoder, Limits, Reply, command, constant};

const HGET: [&[u8]; 3] = [b"HGET", b"currency", b"current-value"];

/// Replies by name, with the number of bytes and elements that a reader has to find in each.
fn inputs() -> Vec<(&'static str, Vec<u8>, (usize, usize))> {
    let bulk = [b"$10000\r\n".as_slice(), &[b'x'; 10_000], b"\r\n"].concat();
    let array = [b"*1000\r\n".as_slice(), &b"$4\r\n12.5\r\n".repeat(1_000)].concat();
    vec![
        ("small bulk", b"$4\r\n12.5\r\n".to_vec(), (4, 1)),
        (
            "medium bulk",
            b"$18\r\n1.2345678901234567\r\n".to_vec(),
            (18, 1),
        ),
        ("null", b"$-1\r\n".to_vec(), (0, 1)),
        ("integer", b":1\r\n".to_vec(), (0, 1)),
        ("bulk of 10 kB", bulk, (10_000, 1)),
        ("array of 1,000", array, (4_000, 1_000)),
    ]
}

/// Reads all of a reply: bytes of text and elements in it.
fn read(reply: Reply<'_>) -> (usize, usize) {
    match reply {
        Reply::Array(elements) => elements.fold((0, 0), |sum, element| {
            let (bytes, elements) = read(element);
            (sum.0 + bytes, sum.1 + elements)
        }),
        other => (other.as_text().map_or(0, <[u8]>::len), 1),
    }
}

/// Decodes one reply that arrives `step` bytes at a time, and reads all of it.
fn decode(decoder: &mut Decoder, input: &[u8], step: usize) -> Option<(usize, usize)> {
    let mut arrived = 0;
    while arrived < input.len() {
        arrived = input.len().min(arrived + step);
        if let Some(decoded) = decoder.decode(&input[..arrived]).ok()? {
            return Some(read(decoded.reply));
        }
    }
    None
}

fn decoding(criterion: &mut Criterion) {
    for (group, step) in [("decode", usize::MAX), ("decode byte by byte", 1)] {
        let mut group = criterion.benchmark_group(group);
        for (name, input, answer) in inputs() {
            let mut decoder = Decoder::new(Limits::default());
            let step = step.min(input.len());
            assert_eq!(decode(&mut decoder, &input, step), Some(answer), "{name}");
            group.throughput(Throughput::Bytes(input.len() as u64));
            group.bench_with_input(
                BenchmarkId::from_parameter(name),
                &input,
                |bencher, input| {
                    bencher.iter(|| decode(&mut decoder, black_box(input), step));
                },
            );
        }
    }
}

fn encoding(criterion: &mut Criterion) {
    let expected = b"*3\r\n$4\r\nHGET\r\n$8\r\ncurrency\r\n$13\r\ncurrent-value\r\n";
    let mut out = BytesMut::with_capacity(1 << 10);
    command(&mut out, &HGET);
    assert_eq!(&out[..], expected);
    let copied = constant(&HGET);
    assert_eq!(&copied[..], expected);

    let mut group = criterion.benchmark_group("encode");
    group.bench_function("HGET", |bencher| {
        bencher.iter(|| {
            out.clear();
            command(&mut out, black_box(&HGET));
            out.len()
        });
    });
    group.bench_function("HGET, a constant", |bencher| {
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&copied));
            out.len()
        });
    });
    let value = vec![b'x'; 10_000];
    let set: [&[u8]; 3] = [b"SET", b"key", &value];
    out.clear();
    command(&mut out, &set);
    assert!(out.starts_with(b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$10000\r\nxxx"));
    group.bench_function("SET of 10 kB", |bencher| {
        bencher.iter(|| {
            out.clear();
            command(&mut out, black_box(&set));
            out.len()
        });
    });
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
