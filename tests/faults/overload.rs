//! More work than the CPU allows: the process is held to a tenth of a core, and its clients ask for
//! three times what it can do.
//!
//! First by as many clients as a proxy in front has connections, each of which waits for its answer:
//! what is asked for beyond that waits with the clients, and not here. Then by an unbounded number
//! of clients, who open a connection for each request that finds none free, and leave after a while:
//! there `--max-connections` is what keeps the process from serving those who have left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::record::write_line;
use crate::stage::turn;
use crate::support::poll::{PATIENCE, eventually};
use crate::support::process::find_program;
use crate::support::{Redis, on_one_master};

/// What a process may use of each [`PERIOD`], in µs.
const QUOTA: u32 = 1_000;

/// In µs. A tenth of the usual one, so that the process never stands still for long.
const PERIOD: u32 = 10_000;

/// Clients, each on a connection of its own; also the limit where there are more.
const CLIENTS: u32 = 256;

/// When an unbounded number of clients give up.
const GIVE_UP: &str = "2s";

/// At the rates here that is no bound to vegeta.
const UNBOUNDED: &str = "20000";

/// What a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);

/// A control group of its own. Removed when dropped.
struct Group(PathBuf);

impl Group {
    /// Needs root, and a kernel that has groups for CPU time, of the first version or the second.
    fn new() -> Group {
        let name = format!("redis-api-faults-{}", std::process::id());
        let first = Path::new("/sys/fs/cgroup/cpu");
        let is_first = first.join("cpu.cfs_quota_us").exists() || first.join("tasks").exists();
        let root = if is_first {
            first
        } else {
            Path::new("/sys/fs/cgroup")
        };
        let group = Group(root.join(name));
        fs::create_dir(&group.0).expect("root may make a group");
        if is_first {
            group.set("cpu.cfs_period_us", &PERIOD.to_string());
            group.set("cpu.cfs_quota_us", &QUOTA.to_string());
        } else {
            group.set("cpu.max", &format!("{QUOTA} {PERIOD}"));
        }
        group
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.0.join(name), value).expect("a group for CPU time has it");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only when all of its processes have ended.
        let _ = fs::remove_dir(&self.0);
    }
}

/// What vegeta says of one attack.
struct Report {
    summary: Value,
    /// Of answers that were 200.
    p99: Duration,
}

impl Report {
    fn goodput(&self) -> f64 {
        self.summary["throughput"].as_f64().unwrap_or(0.0)
    }

    /// How much of what was to be sent was sent.
    fn of_rate(&self, rate: u32) -> f64 {
        self.summary["rate"].as_f64().unwrap_or(0.0) / f64::from(rate)
    }

    /// What went wrong other than that a connection was refused or, in the backlog, ended.
    fn other_errors(&self) -> Vec<&str> {
        let known = ["connection refused", "reset by peer", "broken pipe"];
        let errors = self.summary["errors"].as_array();
        let texts = errors.into_iter().flatten().filter_map(Value::as_str);
        texts
            .filter(|text| !known.iter().any(|end| text.ends_with(end)))
            .collect()
    }

    /// Answers by status; vegeta's `0` is none at all.
    fn statuses(&self) -> Vec<(String, u64)> {
        let codes = self.summary["status_codes"].as_object();
        let codes = codes.into_iter().flatten();
        codes
            .map(|(code, times)| (code.clone(), times.as_u64().unwrap_or(0)))
            .collect()
    }

    fn text(&self) -> String {
        let each = self.statuses().into_iter();
        let each = each.map(|(code, times)| format!("{times} × {code}"));
        let p99 = self.p99.as_secs_f64() * 1e3;
        format!("{} | {p99:.0} ms", each.collect::<Vec<_>>().join(", "))
    }
}

/// Attacks with so many requests a second, or, for 0, with as many as are answered.
fn attack(folder: &Path, target: &str, rate: u32, seconds: u32, clients: Clients) -> Report {
    let vegeta = find_program(&["vegeta"]).expect("it is installed by make setup");
    let (targets, results) = (folder.join("targets"), folder.join("results"));
    fs::write(&targets, format!("GET {target}\n")).expect("our folder is writable");
    let number = CLIENTS.to_string();
    let (number, timeout) = match clients {
        Clients::Few => (number.as_str(), "5s"),
        Clients::Unbounded => (UNBOUNDED, GIVE_UP),
    };
    let status = Command::new(&vegeta)
        .args(["attack", "-rate", &rate.to_string(), "-timeout", timeout])
        .args([
            "-duration",
            &format!("{seconds}s"),
            "-workers",
            &CLIENTS.to_string(),
        ])
        .args(["-max-workers", number, "-connections", number])
        .arg("-targets")
        .arg(&targets)
        .arg("-output")
        .arg(&results)
        .stderr(Stdio::inherit())
        .status();
    assert!(status.expect("vegeta runs").success());
    let read = |how: &[&str]| {
        let output = Command::new(&vegeta).args(how).arg(&results).output();
        output.expect("vegeta runs").stdout
    };
    Report {
        summary: serde_json::from_slice(&read(&["report", "-type", "json"])).expect("it is JSON"),
        p99: p99(&String::from_utf8_lossy(&read(&["encode", "-to", "csv"]))),
    }
}

/// Of the 200s among vegeta's results: time, status and latency in ns are the first in a line.
fn p99(results: &str) -> Duration {
    let good = results.lines().filter_map(|line| {
        let mut fields = line.split(',').skip(1);
        let is_good = fields.next() == Some("200");
        is_good.then(|| fields.next()?.parse().ok())?
    });
    let mut latencies: Vec<u64> = good.collect();
    latencies.sort_unstable();
    let at = latencies.len() * 99 / 100;
    Duration::from_nanos(latencies.get(at).copied().unwrap_or(u64::MAX))
}

/// Who attacks.
#[derive(Clone, Copy, PartialEq)]
enum Clients {
    Few,
    Unbounded,
}

/// Three times the peak for a minute, and half of it for a moment; the row of the table.
fn overload(name: &str, clients: Clients) {
    let _turn = turn();
    let group = Group::new();
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let limit = CLIENTS.to_string();
    let mut api = on_one_master(&redis, |builder| match clients {
        Clients::Few => builder.args(["--workers", "1"]),
        Clients::Unbounded => builder.args(["--workers", "1", "--max-connections", &limit]),
    });
    group.set("cgroup.procs", &api.process().pid().to_string());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let target = format!("http://{}/", api.addr());
    let peak = attack(folder.path(), &target, 0, 8, Clients::Few).goodput();
    let before = api.process().resident_kib();
    let rate = 3 * peak as u32;
    let over = attack(folder.path(), &target, rate, 60, clients);
    let grown = api.process().resident_kib().saturating_sub(before);
    eventually(PATIENCE, "its clients have left", || {
        api.metric("redis_api_http_connections") == Some(0.0)
    });
    let after = attack(folder.path(), &target, peak as u32 / 2, 5, Clients::Few);
    let line = format!(
        "| {name} | {peak:.0} | {:.0} | {} | {:.1} | {} |",
        over.goodput(),
        over.text(),
        grown as f64 / 1024.0,
        after.text(),
    );
    eprintln!("{line}");
    assert!(over.goodput() >= 0.9 * peak, "{line}");
    let refused: &[&str] = match clients {
        Clients::Few => &[],
        // vegeta's for an answer that never came.
        Clients::Unbounded => &["0"],
    };
    for (report, refused) in [(&over, refused), (&after, &[])] {
        let known = |code: &str| ["200", "503"].contains(&code) || refused.contains(&code);
        let mut statuses = report.statuses().into_iter();
        assert!(statuses.all(|(code, _)| known(&code)), "{line}");
        assert_eq!(report.other_errors(), [""; 0], "{line}");
    }
    // Only they can ask for what they want to, whatever is answered.
    assert!(
        clients == Clients::Few || over.of_rate(rate) >= 0.98,
        "{line}"
    );
    // Some of them have waited for a connection, too.
    let waits = if clients == Clients::Few { 1 } else { 2 };
    assert!(over.p99 < waits * REQUEST_TIMEOUT, "{line}");
    assert!(after.p99 < REQUEST_TIMEOUT, "{line}");
    assert!(grown < 20 * 1024, "{line}");
    write_line(&format!("| {name} |"), &line);
    api.stop();
}

#[test]
#[ignore = "run by make prove"]
fn three_times_what_it_can_do() {
    overload("256 clients", Clients::Few);
}

#[test]
#[ignore = "run by make prove"]
fn three_times_what_it_can_do_by_unbounded_clients() {
    overload("an unbounded number of clients", Clients::Unbounded);
}
