//! What 800 bots cost an aggregator: CPU and memory.
//!
//! First, on this thread, what reading, checking and merging a window costs. Then the real process,
//! with 800 bots that are real HTTP servers on the loopback, each with a window of 10,000 requests
//! of its own: its CPU time and memory as it says them itself at `/metrics`, so that the bots, which
//! this process plays, are not counted.
//!
//! A report, not a comparison: `cargo bench --bench aggregator`. As a test (`cargo test --benches`)
//! it is short and has few bots, so that a slow build on a busy machine passes it as well.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mimalloc::MiMalloc;
use redis_api_rig::aggregator::{Merge, Report, Trend};
use redis_api_rig::window::{Generator, Sample, Tally, Window};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const REQUESTS: u64 = 10_000;

/// How long until all bots are there, and between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

type Windows = BTreeMap<IpAddr, Bytes>;

fn main() {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (bots, rounds, seconds) = if is_bench { (800, 20, 30) } else { (40, 1, 3) };
    let windows: Windows = (1..=bots).map(|bot| (ip(bot), window(bot))).collect();
    let bytes: usize = windows.values().map(Bytes::len).sum();
    println!(
        "{bots} windows of {REQUESTS} requests, {:.1} KB each as JSON",
        bytes as f64 / 1e3 / f64::from(bots)
    );
    merge_alone(&windows, rounds);
    whole_process(windows, seconds);
}

/// The address of a bot.
fn ip(bot: u16) -> IpAddr {
    let [high, low] = bot.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

/// Latencies as they are met: most around 0.3 ms, some 10 times that, a few in the hundreds; 1 in
/// 500 fails.
fn window(bot: u16) -> Bytes {
    let mut random = fastrand::Rng::with_seed(bot.into());
    let mut tally = Tally::default();
    for request in 0..REQUESTS {
        let spread = -random.f64().max(1e-9).ln();
        let scale = match random.u32(0..100) {
            0 => 40_000_000.0,
            1..10 => 2_000_000.0,
            _ => 200_000.0,
        };
        let (code, error) = match random.u32(0..500) {
            0 => (503, "503 Service Unavailable"),
            _ => (200, ""),
        };
        tally.record(&Sample {
            sent_ns: 1_700_000_000_000_000_000 + request * 1_000_000,
            latency_ns: 100_000 + (spread * scale) as u64,
            code,
            bytes_in: 16,
            bytes_out: 0,
            error,
        });
    }
    let generator = Generator {
        target_rate: 1_000.0,
        achieved_rate: 1_000.0,
        window_seconds: 10.0,
        silent_seconds: Some(0.01),
        ..Generator::default()
    };
    let window = Window::new(&tally, generator);
    serde_json::to_vec(&window)
        .expect("a window is JSON")
        .into()
}

/// Reads and merges all windows; the best of some rounds, since noise only adds.
fn merge_alone(windows: &Windows, rounds: u32) {
    let bots = windows.len() as u64;
    let read = |json| Report::read(json).expect("a window is a report");
    let mut best_read = Duration::MAX;
    let mut best_all = Duration::MAX;
    for _ in 0..rounds {
        let started = Instant::now();
        for json in windows.values() {
            std::hint::black_box(read(json));
        }
        best_read = best_read.min(started.elapsed());

        let started = Instant::now();
        let mut merge = Merge::default();
        for json in windows.values() {
            merge.add(&read(json), Trend::default());
        }
        let summary = merge.summary(0);
        best_all = best_all.min(started.elapsed());
        assert_eq!(summary.window.requests, bots * REQUESTS);
    }
    let us = |time: Duration| time.as_secs_f64() * 1e6 / bots as f64;
    println!(
        "alone: {:.1} µs to read a window, {:.1} µs to read and merge it; {:.1} ms for all {bots}",
        us(best_read),
        us(best_all),
        best_all.as_secs_f64() * 1e3
    );
}

/// The aggregator itself; ends with this.
struct Aggregator {
    child: Child,
    addr: SocketAddr,
}

impl Aggregator {
    fn start(bots: &str) -> Aggregator {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let child = Command::new(env!("CARGO_BIN_EXE_redis-api"))
            .args(["aggregator", "--log-level=error", "--listen"])
            .arg(addr.to_string())
            .env("VEGETA_SERVERS", bots)
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary starts");
        Aggregator { child, addr }
    }

    fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = StdStream::connect(self.addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: bench\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A sample of `/metrics`.
    fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.get("/metrics").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(sample))?;
        line.trim().parse().ok()
    }

    fn alive(&self) -> f64 {
        self.metric("redis_api_aggregator_bots{state=\"alive\"}")
            .unwrap_or(0.0)
    }
}

impl Drop for Aggregator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn whole_process(windows: Windows, seconds: u32) {
    let bots = windows.len() as f64;
    let ips: Vec<IpAddr> = windows.keys().copied().collect();
    let port = serve(windows);
    let addrs: Vec<String> = ips.iter().map(|ip| format!("{ip}:{port}")).collect();
    let aggregator = Aggregator::start(&addrs.join(","));
    let started = Instant::now();
    while aggregator.alive() < bots {
        assert!(
            started.elapsed() < PATIENCE,
            "{} bots are alive",
            aggregator.alive()
        );
        pause(PAUSE);
    }
    let requests: f64 = ["200", "503"]
        .map(|code| format!("redis_api_aggregator_window_requests{{code=\"{code}\"}}"))
        .iter()
        .filter_map(|sample| aggregator.metric(sample))
        .sum();
    assert_eq!(requests, bots * REQUESTS as f64);

    let cpu = || {
        aggregator
            .metric("process_cpu_seconds_total")
            .expect("Linux says it")
    };
    let (before, started) = (cpu(), Instant::now());
    let (mut memory, mut fewest) = (0f64, bots);
    for _ in 0..seconds {
        pause(Duration::from_secs(1));
        let resident = aggregator.metric("process_resident_memory_bytes");
        memory = memory.max(resident.unwrap_or(0.0));
        fewest = fewest.min(aggregator.alive());
    }
    let spent = (cpu() - before) / started.elapsed().as_secs_f64();
    println!(
        "process: {:.0} ms of CPU a second, {:.0} MiB; at least {fewest} of {bots} bots in time, \
         over {seconds} s",
        spent * 1e3,
        memory / f64::from(1 << 20),
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "here it is time itself that passes"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}

fn free_port() -> u16 {
    let listener = StdListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// Serves each window at its address, on one port, until the process ends.
fn serve(windows: Windows) -> u16 {
    let listener = StdListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
    listener.set_nonblocking(true).expect("a socket can be");
    let port = listener.local_addr().expect("it is bound").port();
    let windows = Arc::new(windows);
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(async {
            let listener = TcpListener::from_std(listener).expect("it listens");
            while let Ok((stream, _)) = listener.accept().await {
                let windows = Arc::clone(&windows);
                tokio::spawn(async move {
                    let ip = stream.local_addr().expect("it is connected").ip();
                    let window = windows.get(&ip).cloned().unwrap_or_default();
                    let service = service_fn(|_| {
                        let response = Response::new(Full::new(window.clone()));
                        async { Ok::<_, io::Error>(response) }
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
    });
    port
}
