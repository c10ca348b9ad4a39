//! The light generator: an open loop over keep-alive connections, on one core.
//!
//! Each request has a planned time, and its latency counts from there, however late it could be
//! sent: a server that stalls is charged for all who would have asked meanwhile (no coordinated
//! omission). It sleeps until the next planned time, as real clients do: a server that wakes one up
//! pays for that, and a busy loop would hide it. Its own lateness is measured and reported.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::record::Load;

/// How long answers may be outstanding after the last planned request.
const PATIENCE: Duration = Duration::from_secs(1);
/// Latencies in ns, up to a minute, to three digits.
const LONGEST_NS: u64 = 60_000_000_000;

/// What to send, over what.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    #[arg(long)]
    pub address: SocketAddr,
    #[arg(long)]
    pub connections: usize,
    /// Requests a second.
    #[arg(long)]
    pub rate: f64,
    #[arg(long)]
    pub seconds: f64,
    /// Seconds of the same load before, unmeasured.
    #[arg(long, default_value_t = 0.2)]
    pub warm: f64,
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Send a POST with this body.
    #[arg(long)]
    pub post: Option<String>,
    /// The body of each answer.
    #[arg(long)]
    pub expect: String,
}

impl Options {
    /// The request, as bytes.
    pub fn request(&self) -> Vec<u8> {
        let head = format!("{} HTTP/1.1\r\nHost: {}\r\n", self.path, self.address);
        let request = match &self.post {
            None => format!("GET {head}\r\n"),
            Some(body) => format!(
                "POST {head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        };
        request.into_bytes()
    }
}

/// Runs one load. `begin` is called once it is connected and warm; the measured part begins when
/// that returns.
pub fn run(options: &Options, begin: impl FnOnce() -> Result<()>) -> Result<Load> {
    // The kernel may else wake a sleeper 50 µs late.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let mut generator = Generator::connect(options)?;
    let warm = generator.phase(options.rate, options.warm)?;
    ensure!(
        warm.answered == warm.planned,
        "{} of {} requests unanswered before the measurement",
        warm.planned - warm.answered,
        warm.planned
    );
    begin()?;
    let phase = generator.phase(options.rate, options.seconds)?;
    let us = |histogram: &Histogram<u64>, p: f64| histogram.value_at_quantile(p) as f64 / 1e3;
    Ok(Load {
        requests: phase.answered,
        seconds: phase.took.as_secs_f64(),
        p50_us: us(&phase.latency, 0.5),
        p99_us: us(&phase.latency, 0.99),
        p999_us: us(&phase.latency, 0.999),
        late_us: Some(us(&phase.late, 0.99)),
    })
}

/// Opens connections, sends one request on each, and keeps them open.
pub fn hold(options: &Options) -> Result<Vec<TcpStream>> {
    let request = options.request();
    let mut held = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        let mut connection = Connection::open(options.address)?;
        connection.stream.write_all(&request)?;
        while !connection.receive(options.expect.as_bytes())? {}
        held.push(connection.stream);
    }
    Ok(held)
}

struct Connection {
    stream: TcpStream,
    /// An answer as far as it has come.
    answer: Vec<u8>,
    /// When the request it waits for was planned.
    planned: Instant,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(1024),
            planned: Instant::now(),
        })
    }

    /// Reads once. `true`: the answer is whole.
    fn receive(&mut self, expect: &[u8]) -> Result<bool> {
        let mut buffer = [0; 4096];
        let n = self.stream.read(&mut buffer).context("no answer")?;
        ensure!(n > 0, "the server closed a connection");
        self.answer.extend_from_slice(&buffer[..n]);
        let whole = is_whole(&self.answer, expect)?;
        if whole {
            self.answer.clear();
        }
        Ok(whole)
    }
}

/// Whether an answer is there to its end. One that isn't the expected is an error.
fn is_whole(answer: &[u8], expect: &[u8]) -> Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer)? else {
        return Ok(false);
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .context("an answer without Content-Length")?;
    let length: usize = std::str::from_utf8(length.value)?.trim().parse()?;
    let body = &answer[head..];
    if body.len() < length {
        return Ok(false);
    }
    let status = response.code.unwrap_or(0);
    if status != 200 || body != expect {
        bail!(
            "answer {status} {}",
            String::from_utf8_lossy(body).trim_end()
        );
    }
    Ok(true)
}

struct Phase {
    planned: u64,
    answered: u64,
    took: Duration,
    latency: Histogram<u64>,
    /// How late requests were sent.
    late: Histogram<u64>,
}

struct Generator {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Those without a request, longest idle first: all are used alike.
    idle: VecDeque<usize>,
    request: Vec<u8>,
    expect: Vec<u8>,
}

impl Generator {
    fn connect(options: &Options) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(options.connections);
        for place in 0..options.connections {
            let connection = Connection::open(options.address)?;
            let key = epoll::EventData::new_u64(place as u64);
            epoll::add(&epoll, &connection.stream, key, epoll::EventFlags::IN)?;
            connections.push(connection);
        }
        Ok(Self {
            epoll,
            idle: (0..connections.len()).collect(),
            connections,
            request: options.request(),
            expect: options.expect.clone().into_bytes(),
        })
    }

    fn phase(&mut self, rate: f64, seconds: f64) -> Result<Phase> {
        let mut phase = Phase {
            planned: (rate * seconds).round() as u64,
            answered: 0,
            took: Duration::ZERO,
            latency: Histogram::new_with_max(LONGEST_NS, 3)?,
            late: Histogram::new_with_max(LONGEST_NS, 3)?,
        };
        let start = Instant::now();
        let due = |index: u64| start + Duration::from_secs_f64(index as f64 / rate);
        let give_up = due(phase.planned) + PATIENCE;
        let mut sent = 0;
        let mut events = Vec::with_capacity(1024);
        while phase.answered < phase.planned {
            let now = Instant::now();
            if now >= give_up {
                break;
            }
            while sent < phase.planned && due(sent) <= now {
                let Some(place) = self.idle.pop_front() else {
                    break;
                };
                self.send(place, due(sent))?;
                phase.late.record(nanoseconds(due(sent)))?;
                sent += 1;
            }
            let waits = sent < phase.planned && !self.idle.is_empty();
            let until = if waits { due(sent) } else { give_up };
            let timeout = Timespec::try_from(until.saturating_duration_since(Instant::now()))?;
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout))?;
            for event in &events {
                let place = event.data.u64() as usize;
                let connection = &mut self.connections[place];
                if connection.receive(&self.expect)? {
                    phase.latency.record(nanoseconds(connection.planned))?;
                    phase.answered += 1;
                    self.idle.push_back(place);
                }
            }
        }
        phase.took = start.elapsed().max(Duration::from_secs_f64(seconds));
        Ok(phase)
    }

    fn send(&mut self, place: usize, planned: Instant) -> Result<()> {
        let connection = &mut self.connections[place];
        connection.planned = planned;
        connection
            .stream
            .write_all(&self.request)
            .context("cannot send")
    }
}

/// Since then, within what a histogram takes.
fn nanoseconds(since: Instant) -> u64 {
    (since.elapsed().as_nanos() as u64).min(LONGEST_NS)
}
