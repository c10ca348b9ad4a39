//! Many clients on one thread that learn of a value's changes: by streams, or by asking each
//! second; or that do nothing, to see what that costs. `tuning/streams.sh` runs it.
//!
//! A thread of its own stores a number at a steady pace, and notes when; a client that sees a
//! number for the first time knows how old it is. Latency so counts from before the write to the
//! byte at the client.

use std::collections::VecDeque;
use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

const STREAM: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
const READ: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const VALUE: &[u8] = b"{\"current\":";

/// After so long without a request the server gives back what an idle connection doesn't need.
const REST: Duration = Duration::from_secs(8);

/// Before anything is counted.
const WARM: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Idle,
    Stream,
    Poll,
}

struct Client {
    socket: TcpStream,
    /// The number that it has seen last.
    seen: usize,
}

/// When each number was stored, in ns since the start; 0: not yet.
struct Writes {
    start: Instant,
    at: Vec<AtomicU64>,
    stop: AtomicBool,
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [mode, api, redis, pid, clients, rate, seconds] = &args[..] else {
        eprintln!("usage: streams-load idle|stream|poll API REDIS PID CLIENTS RATE SECONDS");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let (count, rate, seconds) = (number(clients), number(rate), number(seconds));
    let mode = match mode.as_str() {
        "idle" => Mode::Idle,
        "stream" => Mode::Stream,
        _ => Mode::Poll,
    };
    let before = resident_kib(pid)?;
    let mut clients = Vec::with_capacity(count);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for index in 0..count {
        let mut socket = TcpStream::connect(api)?;
        socket.set_nodelay(true)?;
        socket.write_all(if mode == Mode::Stream { STREAM } else { READ })?;
        let mut answer = [0; 4096];
        // Its first answer, so that no more than this is on its way at once.
        let mut read = socket.read(&mut answer)?;
        while !answer[..read]
            .windows(VALUE.len())
            .any(|part| part == VALUE)
        {
            read += socket.read(&mut answer[read..])?;
        }
        socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &socket, data, epoll::EventFlags::IN)?;
        clients.push(Client { socket, seen: 0 });
    }
    if mode == Mode::Idle {
        pause(REST);
        report(
            mode,
            count,
            0,
            before,
            resident_kib(pid)?,
            0.0,
            0.0,
            0,
            Vec::new(),
        );
        return Ok(());
    }
    let total = rate * (seconds + 10) + 1;
    let writes = Arc::new(Writes {
        start: Instant::now(),
        at: (0..=total).map(|_| AtomicU64::new(0)).collect(),
        stop: AtomicBool::new(false),
    });
    let writer = thread::spawn({
        let (writes, redis) = (writes.clone(), redis.clone());
        move || write(&redis, rate, &writes)
    });
    run(mode, &poll, &mut clients, &writes, WARM, &mut Vec::new())?;
    let cpu = cpu_seconds(pid)?;
    let since = Instant::now();
    let mut latencies = Vec::new();
    let length = Duration::from_secs(seconds as u64);
    let events = run(mode, &poll, &mut clients, &writes, length, &mut latencies)?;
    let (cpu, took) = (cpu_seconds(pid)? - cpu, since.elapsed().as_secs_f64());
    let after = resident_kib(pid)?;
    writes.stop.store(true, Relaxed);
    writer.join().expect("no panic")?;
    report(
        mode, count, rate, before, after, cpu, took, events, latencies,
    );
    Ok(())
}

/// Reads what comes, and asks where that is the way, for so long; how many values came.
fn run(
    mode: Mode,
    poll: &impl std::os::fd::AsFd,
    clients: &mut [Client],
    writes: &Writes,
    length: Duration,
    latencies: &mut Vec<u64>,
) -> Result<u64> {
    let start = Instant::now();
    let mut due: VecDeque<(Instant, usize)> = VecDeque::new();
    if mode == Mode::Poll {
        let count = clients.len() as u32;
        let at = |index: u32| start + Duration::from_secs(1) * index / count;
        due.extend((0..count).map(|index| (at(index), index as usize)));
    }
    let mut events = Vec::with_capacity(1024);
    let (mut values, mut buffer) = (0, vec![0; 64 * 1024]);
    loop {
        let now = Instant::now();
        if now - start >= length {
            return Ok(values);
        }
        while let Some((at, index)) = due.front().copied().filter(|(at, _)| *at <= now) {
            due.pop_front();
            due.push_back((at + Duration::from_secs(1), index));
            clients[index].socket.write_all(READ)?;
        }
        let wait = match due.front() {
            Some((at, _)) => at
                .saturating_duration_since(now)
                .min(Duration::from_millis(50)),
            None => Duration::from_millis(50),
        };
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: wait.as_nanos() as i64,
        };
        events.clear();
        epoll::wait(
            poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&wait),
        )?;
        for event in &events {
            let client = &mut clients[event.data.u64() as usize];
            let count = match client.socket.read(&mut buffer) {
                Ok(0) => panic!("the server has ended a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            values += look(client, &buffer[..count], writes, latencies);
        }
    }
}

/// Notes how old what is new to this client is; how many values came.
fn look(client: &mut Client, bytes: &[u8], writes: &Writes, latencies: &mut Vec<u64>) -> u64 {
    let (mut rest, mut values) = (bytes, 0);
    while let Some(at) = rest.windows(VALUE.len()).position(|part| part == VALUE) {
        rest = &rest[at + VALUE.len()..];
        values += 1;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&rest[..digits]).ok();
        let number: usize = number.and_then(|text| text.parse().ok()).unwrap_or(0);
        if number == client.seen || number == 0 {
            continue;
        }
        assert!(
            number > client.seen,
            "an older value: {number} after {}",
            client.seen
        );
        client.seen = number;
        let stored = writes.at.get(number).map_or(0, |at| at.load(Relaxed));
        latencies.push((writes.start.elapsed().as_nanos() as u64).saturating_sub(stored));
    }
    values
}

/// Stores the numbers from 1 on, `rate` a second.
fn write(redis: &str, rate: usize, writes: &Writes) -> Result<()> {
    let mut socket = TcpStream::connect(redis)?;
    socket.set_nodelay(true)?;
    let mut answer = [0; 64];
    for number in 1..writes.at.len() {
        let due = writes.start + Duration::from_secs_f64(number as f64 / rate as f64);
        pause(due.saturating_duration_since(Instant::now()));
        if writes.stop.load(Relaxed) {
            break;
        }
        let command = format!("HSET currency current-value {number}\r\n");
        let now = writes.start.elapsed().as_nanos() as u64;
        writes.at[number].store(now, Relaxed);
        socket.write_all(command.as_bytes())?;
        let _ = socket.read(&mut answer)?;
    }
    Ok(())
}

fn pause(time: Duration) {
    thread::sleep(time);
}

fn resident_kib(pid: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|text| text.split_whitespace().next()?.parse().ok());
    Ok(number.unwrap_or(0))
}

/// User and system time so far. A tick is 10 ms on every Linux.
fn cpu_seconds(pid: &str) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0.0)
    };
    Ok((ticks(11) + ticks(12)) / 100.0)
}

#[allow(clippy::too_many_arguments)]
fn report(
    mode: Mode,
    clients: usize,
    rate: usize,
    before: u64,
    after: u64,
    cpu: f64,
    took: f64,
    values: u64,
    mut latencies: Vec<u64>,
) {
    latencies.sort_unstable();
    let quantile = |of: f64| {
        let at = ((latencies.len() as f64 * of) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0.0, |ns| *ns as f64 / 1e6)
    };
    let name = match mode {
        Mode::Idle => "idle",
        Mode::Stream => "stream",
        Mode::Poll => "poll",
    };
    let bytes = after.saturating_sub(before) * 1024 / clients as u64;
    let each = if values > 0 {
        cpu * 1e6 / values as f64
    } else {
        0.0
    };
    println!(
        "{name},{clients},{rate},{took:.1},{bytes},{cpu:.2},{values},{each:.2},{:.2},{:.2},{:.2}",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
}
