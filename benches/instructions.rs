//! Instructions and allocations per operation of `wire`, counted instead of timed: they repeat on a
//! busy machine, where times move by tens of percent.
//!
//! `cargo bench -p redis-api-wire --bench instructions` counts and compares with the baseline,
//! `-- --save` makes what it counts the baseline, and `-- --check` (`make bench-check`) fails where
//! an operation costs more. Needs valgrind: each operation runs again below callgrind, which counts
//! only inside of `measured`. The counts are those of one compiler and one kind of CPU; the
//! baseline names its own.
//!
//! Each operation checks its answer before it is counted.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

use std::alloc::System;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, process};

use bytes::BytesMut;
use redis_api_wire::conn::{Conn, Event, Login, Options, Verdict};
use redis_api_wire::resp::{Decoder, Limits, Reply, command, constant};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Enough that what the loop itself costs is below the last digit.
const RUNS: u64 = 1_000;

/// Two counts of one build differ by less than 0.5 %: this much more is a change.
const MARGIN: f64 = 0.005;

const HGET: [&[u8]; 3] = [b"HGET", b"currency", b"current-value"];
const VALUE: &[u8] = b"$4\r\n12.5\r\n";

type Operation = Box<dyn FnMut() -> usize>;

/// Operations by name, each with the answer that it has to give.
fn operations() -> Vec<(&'static str, Operation, usize)> {
    let array = [b"*128\r\n".as_slice(), &VALUE.repeat(128)].concat();
    let info = [b"$4000\r\n".as_slice(), &[b'x'; 4_000], b"\r\n"].concat();
    vec![
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
    ]
}

fn encode() -> Operation {
    let mut out = BytesMut::with_capacity(1 << 10);
    Box::new(move || {
        out.clear();
        command(&mut out, black_box(&HGET));
        out.len()
    })
}

fn encode_constant() -> Operation {
    let mut out = BytesMut::with_capacity(1 << 10);
    let hget = constant(&HGET);
    Box::new(move || {
        out.clear();
        out.extend_from_slice(black_box(&hget));
        out.len()
    })
}

/// Decodes a reply that arrives `step` bytes at a time, and reads all of it.
fn decode(input: Vec<u8>, step: usize) -> Operation {
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
fn batch(commands: usize) -> Operation {
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

/// What is counted. By this name callgrind knows it.
#[inline(never)]
fn measured(operation: &mut Operation) -> usize {
    (0..RUNS).fold(0, |sum, _| sum + operation())
}

/// What an operation costs.
#[derive(Clone, Copy)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| words.iter().any(|word| word == flag);
    if let Some(at) = words.iter().position(|word| word == "--run") {
        run(&words[at + 1]);
        return ExitCode::SUCCESS;
    }
    for (name, mut operation, answer) in operations() {
        assert_eq!(operation(), answer, "{name}");
    }
    // `cargo test --benches`: only whether the answers are right.
    if has("--test") || !has("--bench") {
        return ExitCode::SUCCESS;
    }
    match count_all() {
        Ok(costs) if has("--save") => save(&costs),
        Ok(costs) => compare(&costs, has("--check")),
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one operation for callgrind, and prints how many allocations it makes.
fn run(name: &str) {
    let mut all = operations().into_iter();
    let (_, mut operation, answer) = all
        .find(|(other, ..)| *other == name)
        .expect("a name of ours");
    // Buffers have grown after the first run.
    assert_eq!(operation(), answer, "{name}");
    let region = Region::new(ALLOCATOR);
    let sum = measured(&mut operation);
    let made = region.change();
    assert_eq!(sum, answer * RUNS as usize, "{name}");
    println!("{}", made.allocations + made.reallocations);
}

fn count_all() -> Result<Vec<(&'static str, Cost)>, String> {
    let names = operations().into_iter().map(|(name, ..)| name);
    names.map(|name| Ok((name, count(name)?))).collect()
}

fn count(name: &str) -> Result<Cost, String> {
    let own = env::current_exe().map_err(|error| format!("can't find this program: {error}"))?;
    let file = env::temp_dir().join(format!("callgrind.{}", process::id()));
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*::measured*",
        ])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args(["--run", name])
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| {
            format!("can't run valgrind: {error}; install it: apt-get install valgrind")
        })?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} failed below valgrind: {told}"));
    }
    let counts =
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let _ = fs::remove_file(&file);
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
    let mut lines = counts.lines();
    let total = number(lines.find_map(|line| line.strip_prefix("totals:")));
    let allocations = number(str::from_utf8(&output.stdout).ok());
    match (total, allocations) {
        (Some(total), Some(allocations)) if total > 0 => Ok(Cost {
            instructions: total as f64 / RUNS as f64,
            allocations: allocations as f64 / RUNS as f64,
        }),
        _ => Err(format!("{name}: callgrind counted nothing in `measured`")),
    }
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/baseline/wire.csv")
}

fn save(costs: &[(&str, Cost)]) -> ExitCode {
    let mut text = format!("# {}\noperation;instructions;allocations\n", conditions());
    for (name, cost) in costs {
        text += &format!("{name};{:.1};{:.3}\n", cost.instructions, cost.allocations);
    }
    let file = baseline_file();
    match fs::write(&file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions: can't write {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

/// What the counts depend on.
fn conditions() -> String {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let rustc = rustc.unwrap_or_else(|_| "an unknown compiler".to_owned());
    format!("{rustc}, {}", env::consts::ARCH)
}

/// The table beside the baseline. With `check`, fails where an operation costs more.
fn compare(costs: &[(&str, Cost)], check: bool) -> ExitCode {
    let text = fs::read_to_string(baseline_file()).unwrap_or_default();
    let known: BTreeMap<&str, Cost> = text.lines().filter_map(parse).collect();
    let comparable = text.lines().next() == Some(&format!("# {}", conditions()));
    if !comparable {
        eprintln!("instructions: the baseline is of another compiler or CPU: read it as a hint");
    }
    let mut more = Vec::new();
    println!("| operation | instructions | before | allocations | before |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, cost) in costs {
        let (before, allocated) = match known.get(name) {
            Some(known) => {
                let limit = known.instructions * (1.0 + MARGIN);
                if cost.instructions > limit || cost.allocations > known.allocations + MARGIN {
                    more.push(*name);
                }
                (
                    format!("{:.1}", known.instructions),
                    format!("{:.3}", known.allocations),
                )
            }
            None => ("–".to_owned(), "–".to_owned()),
        };
        let Cost {
            instructions,
            allocations,
        } = cost;
        println!("| {name} | {instructions:.1} | {before} | {allocations:.3} | {allocated} |");
    }
    if check && comparable && !more.is_empty() {
        eprintln!(
            "instructions: these cost more than the baseline: {}; make them cheaper, or accept it \
             with -- --save and say why in the commit",
            more.join(", ")
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(line: &str) -> Option<(&str, Cost)> {
    let mut cells = line.split(';');
    let name = cells.next()?;
    let mut number = || cells.next()?.parse().ok();
    let (instructions, allocations) = (number()?, number()?);
    Some((
        name,
        Cost {
            instructions,
            allocations,
        },
    ))
}
