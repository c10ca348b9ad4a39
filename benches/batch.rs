//! What it costs to share one answer: joining, resolving, waking, reading it.
//!
//! `answer` is [`Answer`] alone. `reads` is the read side: the first read writes a command, the
//! others join it, a Redis in memory replies, the driver decodes, and everyone gets the body. Times
//! are for all waiters, throughput is per waiter. All wait in one task, so a wake-up costs less
//! than one of a task each: see `handler` for that.
//!
//! `cargo bench --bench batch`, and `-- --quick` for a first look.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

#[allow(dead_code, unused_imports, reason = "others use the rest of it")]
mod support;

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use redis_api_server::ReadMode;
use redis_api_server::parts::{Answer, Reads, Turn, Wait};
use support::{BODY, Worker, runtime};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const WAITERS: [usize; 3] = [1, 64, 1024];

/// `waiters` join an answer and get it; the bytes that they got together.
fn share(waiters: usize, waits: &mut Vec<Wait<Bytes>>) -> usize {
    let mut cx = Context::from_waker(Waker::noop());
    let answer = Answer::new(waiters);
    for _ in 0..waiters {
        let mut wait = answer.wait();
        assert!(Pin::new(&mut wait).poll(&mut cx).is_pending());
        waits.push(wait);
    }
    answer.resolve(Bytes::from_static(BODY));
    let lengths = waits
        .drain(..)
        .map(|mut wait| match Pin::new(&mut wait).poll(&mut cx) {
            Poll::Ready(body) => body.len(),
            Poll::Pending => 0,
        });
    lengths.sum()
}

fn answer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    for waiters in WAITERS {
        let mut waits = Vec::with_capacity(waiters);
        assert_eq!(share(waiters, &mut waits), waiters * BODY.len());
        group.throughput(Throughput::Elements(waiters as u64));
        group.bench_function(BenchmarkId::from_parameter(waiters), |bencher| {
            bencher.iter(|| share(black_box(waiters), &mut waits));
        });
    }
    group.finish();
}

/// `waiters` read at the same moment; how many got `BODY`.
async fn read(reads: &Rc<Reads>, turn: &Turn, waiters: usize) -> usize {
    let now = turn.now();
    let mut under_way: Vec<_> = (0..waiters).map(|_| reads.current(now)).collect();
    let mut right = 0;
    poll_fn(|cx| {
        under_way.retain_mut(|read| match Pin::new(read).poll(cx) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                right += usize::from(
                    matches!(outcome, Ok(found) if found.body.as_deref() == Some(BODY)),
                );
                false
            }
        });
        if under_way.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    right
}

async fn time(reads: &Rc<Reads>, turn: &Turn, waiters: usize, rounds: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..rounds {
        black_box(read(reads, turn, waiters).await);
    }
    started.elapsed()
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reads");
    for waiters in WAITERS {
        let runtime = runtime();
        let (reads, redis, turn) = runtime.block_on(async {
            let worker = Worker::start();
            let (reads, redis) = worker.reads(ReadMode::Batch).await;
            (reads, redis, worker.turn)
        });
        let before = redis.hgets();
        let right = runtime.block_on(read(&reads, &turn, waiters));
        let commands = redis.hgets() - before;
        assert_eq!((right, commands), (waiters, 1), "one command for all");
        group.throughput(Throughput::Elements(waiters as u64));
        group.bench_function(BenchmarkId::from_parameter(waiters), |bencher| {
            bencher.iter_custom(|rounds| runtime.block_on(time(&reads, &turn, waiters, rounds)));
        });
    }
    group.finish();
}

criterion_group!(benches, answer, reads);
criterion_main!(benches);
