//! No call that may block runs on a worker: `strace` watches the workers while all goes wrong that
//! makes a process read files, look names up and log.
//!
//! What counts is the kind of a call: one that may block is seen here however quick it was. How
//! long calls took is told too, but a call that can't wait is also late when the machine is busy.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::record::write_line;
use crate::stage::{turn, wait_filled};
use crate::support::load::{Shape, fill};
use crate::support::process::{Process, find_program};
use crate::support::{Api, Certs, Load, PATIENCE, Redis, eventually, files, pass};

/// A call that takes longer has kept all clients of its worker waiting.
const LONG: Duration = Duration::from_millis(5);

/// What a worker may call, and why that does not wait.
const ALLOWED: [(&str, &str); 42] = [
    ("accept4", "listeners are non-blocking"),
    ("bind", "only says where"),
    ("brk", "memory"),
    ("clock_gettime", "reads"),
    ("clone3", "starts a thread of the shared pool"),
    ("close", "no socket of ours lingers"),
    ("connect", "sockets are non-blocking"),
    ("epoll_create1", "only says what"),
    ("epoll_ctl", "only says what"),
    (
        "epoll_wait",
        "the one place where a worker waits: for all its sockets",
    ),
    ("eventfd2", "only says what"),
    ("fcntl", "only says how"),
    ("futex", "wakes others"),
    ("getpeername", "reads"),
    ("getpid", "reads"),
    ("getrandom", "does not wait once the system is up"),
    ("getsockname", "reads"),
    ("getsockopt", "reads"),
    ("gettid", "reads"),
    ("ioctl", "only says how"),
    ("madvise", "memory"),
    ("mmap", "memory"),
    ("mprotect", "memory"),
    ("mremap", "memory"),
    ("munmap", "memory"),
    ("prctl", "names a thread"),
    ("read", "of sockets and wakers, which are non-blocking"),
    ("readv", "of sockets, which are non-blocking"),
    ("recvfrom", "sockets are non-blocking"),
    ("recvmsg", "sockets are non-blocking"),
    ("rseq", "a thread begins"),
    ("rt_sigprocmask", "only says how"),
    ("sched_getaffinity", "reads"),
    ("sched_yield", "gives the core away for a moment"),
    ("sendmsg", "sockets are non-blocking"),
    ("sendto", "sockets are non-blocking"),
    ("set_robust_list", "a thread begins"),
    ("setsockopt", "only says how"),
    ("shutdown", "does not wait for the other side"),
    ("socket", "made non-blocking"),
    ("write", "of wakers and sockets, which are non-blocking"),
    ("writev", "of sockets, which are non-blocking"),
];

/// Calls of one kind.
#[derive(Default)]
struct Calls {
    times: u64,
    long: u64,
    longest: Duration,
    /// One of them.
    example: String,
}

/// One line of `strace -f -T`, if it tells of a call's end: whose, which, how long.
fn parse(line: &str) -> Option<(u32, &str, Duration)> {
    let (thread, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    let name = match rest.strip_prefix("<... ") {
        Some(resumed) => resumed.split_once(" resumed>")?.0,
        None => rest.split_once('(')?.0,
    };
    let took = line.strip_suffix('>')?.rsplit_once('<')?.1.parse().ok()?;
    Some((thread.parse().ok()?, name, Duration::from_secs_f64(took)))
}

/// All calls of these threads, by name.
fn calls(trace: &str, threads: &HashMap<u32, String>) -> BTreeMap<String, Calls> {
    let mut calls: BTreeMap<String, Calls> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, name, took)) = parse(line) else {
            continue;
        };
        if !threads.contains_key(&thread) {
            continue;
        }
        let calls = calls.entry(name.to_owned()).or_default();
        calls.times += 1;
        if took > LONG {
            calls.long += 1;
        }
        if took >= calls.longest {
            calls.longest = took;
            line.clone_into(&mut calls.example);
        }
    }
    calls
}

/// What is wrong with these calls. Where `sleeps`, a worker may sleep for the wake interval, which
/// is the one exception.
fn wrong(calls: &BTreeMap<String, Calls>, sleeps: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, calls) in calls {
        let waits = match name.as_str() {
            "epoll_wait" => true,
            "clock_nanosleep" if sleeps => true,
            name if ALLOWED.iter().any(|(allowed, _)| *allowed == name) => false,
            _ => {
                wrong.push(format!("it may block: {}", calls.example));
                continue;
            }
        };
        // The scheduler may keep any thread waiting, and strace with it: now and then.
        if !waits && calls.long > 5 + calls.times / 50 {
            let (long, times) = (calls.long, calls.times);
            wrong.push(format!("{long} of {times} took long: {}", calls.example));
        }
    }
    wrong
}

/// The workers of a process, by thread.
fn workers(api: &mut Api) -> HashMap<u32, String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", api.process().pid())).expect("it runs");
    let named = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let id = task.file_name().to_str()?.parse().ok()?;
        name.starts_with("worker-")
            .then(|| (id, name.trim().to_owned()))
    });
    named.collect()
}

/// Everything that makes it read files, look names up and log.
fn trouble(api: &Api, replica: &mut Redis, master: &mut Redis, token: &Path) {
    files::replace(token, "another-token-of-this-test\n");
    for _ in 0..2 {
        replica.kill();
        replica.restart();
        wait_filled(replica);
        master.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(api.metric("redis_api_http_connections").is_some());
        pass(Duration::from_millis(500));
    }
    replica.freeze();
    pass(Duration::from_millis(2_500));
    replica.thaw();
    master.kill();
    pass(Duration::from_millis(500));
    master.restart();
}

fn watched(mode: &str, interval: &str) -> BTreeMap<String, Calls> {
    let strace = find_program(&["strace"]).unwrap_or_else(|error| panic!("{error}"));
    let certs = Certs::new();
    let mut master = Redis::builder()
        .tls(&certs)
        .password("of-this-test")
        .start();
    fill(&master);
    let mut replica = Redis::builder().replica_of(&master).start();
    wait_filled(&replica);
    let builder = Api::serve()
        .read_at(&format!("localhost:{}", replica.port()), &replica)
        .write_at(&format!("localhost:{}", master.port()), &master);
    let token = builder.file("token", "the-token-of-this-test\n");
    let flags = [
        "--read-mode",
        mode,
        "--wake-interval",
        interval,
        "--workers",
        "2",
    ];
    let flags = flags
        .into_iter()
        .chain(["--log-level", "debug", "--write-token-file"]);
    let mut api = builder.args(flags).arg(token.display().to_string()).start();
    api.wait_ready(PATIENCE);
    // A thread that one of them has just begun has its name for a moment.
    let threads = eventually(PATIENCE, "there are two workers", || {
        let threads = workers(&mut api);
        (threads.len() == 2).then_some(threads)
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let trace = folder.path().join("trace");
    let mut strace = Process::spawn(
        Command::new(strace)
            .args(["-f", "-T", "-qq", "-o"])
            .arg(&trace)
            .args(["-p", &api.process().pid().to_string()])
            .stderr(Stdio::null()),
    );
    let shape = Shape {
        threads: 1,
        connections: 16,
        pause: Duration::from_millis(5),
        hung: PATIENCE,
    };
    let load = Load::with(api.addr(), shape);
    let traced = || fs::metadata(&trace).is_ok_and(|file| file.len() > 10_000);
    eventually(PATIENCE, "it is traced", traced);
    trouble(&api, &mut replica, &mut master, &token);
    load.wait_good(Instant::now(), PATIENCE);
    load.finish();
    strace.signal(Signal::SIGINT);
    strace.wait_exit(PATIENCE);
    let trace = fs::read(&trace).expect("it was written");
    calls(&String::from_utf8_lossy(&trace), &threads)
}

#[test]
fn no_worker_calls_what_may_block() {
    let _turn = turn();
    for (mode, interval) in [("batch", "0s"), ("tracked", "2ms")] {
        let calls = watched(mode, interval);
        let wrong = wrong(&calls, interval != "0s");
        let total: u64 = calls.values().map(|calls| calls.times).sum();
        let long: u64 = calls
            .iter()
            .filter(|(name, _)| *name != "epoll_wait" && *name != "clock_nanosleep")
            .map(|(_, calls)| calls.long)
            .sum();
        for (name, calls) in &calls {
            let (times, long, most) = (calls.times, calls.long, calls.longest);
            eprintln!("{mode}, {interval}: {times} × {name}, {long} long, {most:?} at most");
        }
        let name = format!("| calls of workers: {mode}, {interval} |");
        let line = format!(
            "{name} {total} | {} | {} | {long} |",
            calls.len(),
            wrong.len()
        );
        eprintln!("{line}");
        assert!(total > 2_000, "{total}");
        assert_eq!(wrong, Vec::<String>::new());
        write_line(&name, &line);
    }
}

#[test]
fn the_probe_sees_what_may_block() {
    let threads = HashMap::from([(7, "worker-0".to_owned())]);
    let trace = "\
7     openat(AT_FDCWD, \"/etc/hosts\", O_RDONLY) = 3 <0.000010>
7     epoll_wait(3, [], 1024, 9) = 0 <0.009000>
8     openat(AT_FDCWD, \"/etc/hosts\", O_RDONLY) = 3 <0.000010>
7     futex(0x1, FUTEX_WAIT, 0, NULL <unfinished ...>
7     <... futex resumed>) = 0 <0.020000>
7     clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=0}, NULL) = 0 <0.000500>
";
    let seen = |sleeps| wrong(&calls(trace, &threads), sleeps).len();
    assert_eq!(seen(true), 1, "the file");
    assert_eq!(seen(false), 2, "and the sleep");
    let waits = [
        trace,
        &"7     futex(0x1, FUTEX_WAIT) = 0 <0.02>\n".repeat(5),
    ]
    .concat();
    let calls = calls(&waits, &threads);
    assert_eq!(calls["futex"].long, 6);
    assert_eq!(
        wrong(&calls, true).len(),
        2,
        "and a lock that is often waited for"
    );
}
