//! One measurement: a server started, warmed, loaded, and what that cost.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::machine::{self, Usage};
use crate::modes::{Mode, Store};
use crate::record::{Load, Point, Row};
use crate::server::{Places, Process, Redis, Server, pause, pinned, until};

/// More than this of a core taken away by the hypervisor disturbs, in percent.
const MOST_STEAL: f64 = 3.0;
/// More than this of a core used by processes that aren't ours disturbs, in percent.
const MOST_OTHER: f64 = 10.0;
/// A lower part of the rate, in percent, is not the load that was asked for.
const LEAST_RATE: f64 = 98.0;
/// Of the one connection or more that the load before a closed loop uses.
const WARM_RATE: u32 = 5000;

pub struct Bench<'a> {
    pub places: &'a Places,
    pub redis: &'a Redis,
    /// How long a measurement takes; for wrk in whole seconds.
    pub seconds: f64,
    /// Whether a disturbed measurement doesn't count.
    pub strict: bool,
}

/// The counters of everything at one moment.
struct Moment {
    at: Instant,
    api: Usage,
    redis: Usage,
    /// Both in ticks of 10 ms.
    stolen: u64,
    others: u64,
}

/// A load that is connected and warm, or one that has no such state.
enum Generator {
    Own(Process),
    Tool(Command),
}

impl Bench<'_> {
    /// `Err`: the server doesn't run, or the load failed.
    pub fn measure(&self, mode: &Mode, point: &Point, round: u32) -> Result<Row> {
        let mut row = Row::new(point, round, &mode.name, &mode.base);
        let server = Server::start(self.places, self.redis, mode)?;
        if point.regime == "idle" {
            row.bytes_per_connection = Some(self.idle(&server, mode, point)?);
            return Ok(row);
        }
        let mut generator = self.prepare(&server, mode, point)?;
        let counter = (round == 0)
            .then(|| CallCounter::start(self.places, server.pid()))
            .transpose()?
            .flatten();
        let asked = self.redis.hgets()?;
        let before = self.moment(&server, &generator)?;
        let load = self.go(&mut generator, point)?;
        let after = self.moment(&server, &generator)?;
        row.hgets = Some(self.redis.hgets()?.saturating_sub(asked));
        row.calls = counter.map(CallCounter::finish).transpose()?;
        fill(&mut row, mode, &load, &before, &after);
        if self.strict {
            row.disturbed = disturbed(&row);
        }
        Ok(row)
    }

    fn url(server: &Server, mode: &Mode) -> String {
        format!("http://{}{}", server.address, mode.path)
    }

    /// Our own generator, at some rate.
    fn own(&self, server: &Server, mode: &Mode, connections: usize, rate: f64) -> Result<Command> {
        let me = std::env::current_exe()?;
        let mut command = pinned(&self.places.core_client.to_string(), &me);
        command
            .args(["load", "--address", &server.address.to_string()])
            .args(["--connections", &connections.to_string()])
            .args(["--rate", &rate.to_string(), "--path", mode.path])
            .args([
                "--seconds",
                &self.seconds.to_string(),
                "--expect",
                mode.answer,
            ]);
        if let Some(body) = mode.post {
            command.args(["--post", body]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(command)
    }

    fn prepare(&self, server: &Server, mode: &Mode, point: &Point) -> Result<Generator> {
        if point.generator == "own" {
            let rate = point.rate as f64;
            let mut command = self.own(server, mode, point.connections, rate)?;
            let mut child = Process(command.spawn()?);
            said(&mut child, "ready")?;
            return Ok(Generator::Own(child));
        }
        // Others can't tell their load before from the measured one.
        let connections = point.connections.min(64);
        let mut command = self.own(server, mode, connections, f64::from(WARM_RATE))?;
        let mut child = Process(command.spawn()?);
        said(&mut child, "ready").context("the load before the measurement failed")?;
        drop(child);
        let core = self.places.core_client.to_string();
        if point.generator == "vegeta" {
            let mut vegeta = pinned(&core, Path::new("vegeta"));
            let connections = point.connections.to_string();
            vegeta
                .args([
                    "attack",
                    "-workers",
                    &connections,
                    "-connections",
                    &connections,
                ])
                .args([
                    "-max-connections",
                    &connections,
                    "-rate",
                    &format!("{}/s", point.rate),
                ])
                .args(["-duration", &format!("{}s", self.seconds), "-output"])
                .arg(self.places.work.join("vegeta.bin"))
                .arg("-targets")
                .arg(self.places.work.join("vegeta.targets"));
            let target = format!("GET {}\n", Self::url(server, mode));
            fs::write(self.places.work.join("vegeta.targets"), target)?;
            return Ok(Generator::Tool(vegeta));
        }
        let script = self.places.work.join("wrk.lua");
        fs::write(&script, include_str!("wrk.lua"))?;
        let mut wrk = pinned(&core, Path::new("wrk"));
        wrk.args(["-t1", &format!("-c{}", point.connections)])
            .arg(format!("-d{}s", self.seconds.ceil()))
            .arg("-s")
            .arg(script);
        if point.regime == "churn" {
            wrk.args(["-H", "Connection: close"]);
        }
        wrk.arg(Self::url(server, mode));
        Ok(Generator::Tool(wrk))
    }

    fn go(&self, generator: &mut Generator, point: &Point) -> Result<Load> {
        let command = match generator {
            Generator::Own(child) => {
                let input = child.0.stdin.as_mut().context("the load has no input")?;
                input.write_all(b"go\n")?;
                return Load::from_text(&said(child, "end")?);
            }
            Generator::Tool(command) => command,
        };
        let output = command
            .output()
            .with_context(|| format!("cannot run {}", point.generator))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} failed: {text}{errors}",
            point.generator
        );
        if point.generator == "vegeta" {
            return self.vegeta_says(point);
        }
        ensure!(text.contains("\nfailed 0\n"), "wrk: {}", text.trim());
        // A server that closes after each answer is no error, but what was asked for.
        let closes = point.regime == "churn";
        ensure!(
            closes || text.contains("\nread_errors 0\n"),
            "wrk: {}",
            text.trim()
        );
        Load::from_text(&text)
    }

    /// vegeta's own report lacks the 99.9th percentile.
    fn vegeta_says(&self, point: &Point) -> Result<Load> {
        let output = Command::new("vegeta")
            .args(["encode", "-to", "csv"])
            .arg(self.places.work.join("vegeta.bin"))
            .output()?;
        let mut latencies: Vec<f64> = Vec::new();
        let (mut first, mut last) = (f64::MAX, 0.0_f64);
        let mut lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(output.stdout.as_slice());
        for line in lines.records() {
            let line = line?;
            let number = |index| line.get(index).unwrap_or_default().parse::<f64>();
            let (at, code, latency) = (number(0)?, number(1)?, number(2)?);
            ensure!(code == 200.0, "vegeta: status {code}");
            latencies.push(latency / 1e3);
            first = first.min(at);
            last = last.max(at + latency);
        }
        ensure!(!latencies.is_empty(), "vegeta sent nothing");
        latencies.sort_by(f64::total_cmp);
        let part = |part: f64| latencies[(part * (latencies.len() - 1) as f64).round() as usize];
        // The last of n requests is planned one gap before the end.
        let gap = 1.0 / point.rate as f64;
        Ok(Load {
            requests: latencies.len() as u64,
            seconds: ((last - first) / 1e9 + gap).max(self.seconds),
            p50_us: part(0.5),
            p99_us: part(0.99),
            p999_us: part(0.999),
            late_us: None,
        })
    }

    /// Memory of a connection that has had one answer and is idle since.
    fn idle(&self, server: &Server, mode: &Mode, point: &Point) -> Result<f64> {
        // What the first connections bring about, once for all.
        let mut first = self.own(server, mode, 64, f64::from(WARM_RATE))?;
        let mut first = Process(first.spawn()?);
        said(&mut first, "ready")?;
        drop(first);
        let before = machine::memory(server.pid())?;
        let me = std::env::current_exe()?;
        let mut command = pinned(&self.places.core_client.to_string(), &me);
        command
            .args(["hold", "--rate", "1", "--seconds", "0", "--path", mode.path])
            .args([
                "--address",
                &server.address.to_string(),
                "--expect",
                mode.answer,
            ])
            .args(["--connections", &point.connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = Process(command.spawn()?);
        said(&mut child, "ready")?;
        pause(Duration::from_secs_f64(self.seconds));
        let after = machine::memory(server.pid())?;
        Ok(after.saturating_sub(before) as f64 / point.connections as f64)
    }

    fn moment(&self, server: &Server, generator: &Generator) -> Result<Moment> {
        let mut ours = vec![std::process::id(), server.pid(), self.redis.pid()];
        if let Generator::Own(child) = generator {
            ours.push(child.pid());
        }
        let cores = [self.places.core_server, self.places.core_client];
        Ok(Moment {
            stolen: machine::stolen(cores[0])? + machine::stolen(cores[1])?,
            others: machine::others(&ours)?,
            api: machine::usage(server.pid())?,
            redis: machine::usage(self.redis.pid())?,
            at: Instant::now(),
        })
    }
}

/// What a child of ours prints up to a line.
fn said(child: &mut Process, end: &str) -> Result<String> {
    let output = child.0.stdout.as_mut().context("the load has no output")?;
    // Byte by byte, so that nothing after the line is taken.
    let mut reader = BufReader::with_capacity(1, output);
    let mut text = String::new();
    loop {
        let start = text.len();
        ensure!(reader.read_line(&mut text)? > 0, "the load ended early");
        if text[start..].trim() == end {
            text.truncate(start);
            return Ok(text);
        }
    }
}

fn fill(row: &mut Row, mode: &Mode, load: &Load, before: &Moment, after: &Moment) {
    let wall_ns = (after.at - before.at).as_nanos() as f64;
    let api_ns = after.api.cpu_ns.saturating_sub(before.api.cpu_ns);
    let redis_ns = after.redis.cpu_ns.saturating_sub(before.redis.cpu_ns);
    row.requests = load.requests;
    row.seconds = load.seconds;
    row.p50_us = Some(load.p50_us);
    row.p99_us = Some(load.p99_us);
    row.p999_us = Some(load.p999_us);
    row.late_us = load.late_us;
    row.api_cpu_us = Some(api_ns as f64 / 1e3);
    row.api_switches = Some(after.api.switches.saturating_sub(before.api.switches));
    if mode.store == Store::Constant {
        row.hgets = None;
    } else {
        row.redis_cpu_us = Some(redis_ns as f64 / 1e3);
        row.redis_switches = Some(after.redis.switches.saturating_sub(before.redis.switches));
    }
    let percent = |before: u64, after: u64| {
        let tick_ns = 1e7;
        Some(100.0 * after.saturating_sub(before) as f64 * tick_ns / wall_ns)
    };
    row.steal_percent = percent(before.stolen, after.stolen);
    row.other_percent = percent(before.others, after.others);
}

/// What makes a measurement one of something else, or nothing.
fn disturbed(row: &Row) -> String {
    let rate = row.requests as f64 / row.seconds;
    let (steal, other) = (row.steal_percent, row.other_percent);
    match (steal.unwrap_or_default(), other.unwrap_or_default()) {
        _ if row.rate > 0 && 100.0 * rate < LEAST_RATE * row.rate as f64 => {
            format!("only {rate:.0} of {}/s", row.rate)
        }
        (steal, _) if steal > MOST_STEAL => format!("{steal:.0} % steal"),
        (_, other) if other > MOST_OTHER => format!("{other:.0} % of a core used by others"),
        _ => String::new(),
    }
}

/// Counts a process' system calls, by `perf`.
struct CallCounter {
    perf: Process,
    file: std::path::PathBuf,
}

impl CallCounter {
    /// `None`: perf can't, here.
    fn start(places: &Places, pid: u32) -> Result<Option<Self>> {
        let file = places.work.join("perf");
        let child = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter"])
            .args(["-p", &pid.to_string(), "-o"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            return Ok(None);
        };
        let mut perf = Process(child);
        let descriptors = format!("/proc/{}/fd", perf.pid());
        let attached = until(Duration::from_secs(5), || {
            if perf.0.try_wait()?.is_some() {
                return Ok(false);
            }
            let links = fs::read_dir(&descriptors)?.flatten();
            let mut links = links.filter_map(|link| fs::read_link(link.path()).ok());
            let found = links.any(|link| link.to_string_lossy().contains("perf_event"));
            ensure!(found, "perf has not attached");
            Ok(true)
        })?;
        Ok(attached.then_some(Self { perf, file }))
    }

    fn finish(mut self) -> Result<u64> {
        let pid = rustix::process::Pid::from_child(&self.perf.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.perf.0.wait()?;
        let text = fs::read_to_string(&self.file)?;
        let counted = text.lines().find(|line| line.contains("raw_syscalls"));
        let counted = counted.and_then(|line| line.split(',').next()?.parse().ok());
        counted.with_context(|| format!("perf counted nothing: {text}"))
    }
}

/// Whether perf counts system calls here.
pub fn counts_calls(places: &Places) -> bool {
    CallCounter::start(places, std::process::id())
        .ok()
        .flatten()
        .is_some_and(|counter| counter.finish().is_ok())
}
