//! A log that nobody reads: the service goes on, ends when it is told to, and says later what it
//! had to drop.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{FlowArg, tcflow};

use crate::support::{Act, Api, Fake, PATIENCE, Redis, eventually};

const DROPPED: &str = "redis_api_log_dropped_total";

/// For an end that takes a second because of the log.
const END: Duration = Duration::from_secs(10);

/// A pipe that takes nothing more until it is read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("there are pipes");
    let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).expect("it is a pipe");
    let size = size.try_into().expect("a size is positive");
    writer
        .write_all(&vec![b'\n'; size])
        .expect("an empty pipe takes its size");
    (reader, writer)
}

/// Redis is lost and comes back while `stderr` takes nothing.
#[track_caller]
fn serves_on(stderr: impl AsFd) -> Api {
    let stderr = stderr.as_fd().try_clone_to_owned();
    let mut redis = Redis::start_plain();
    let mut api = Api::serve()
        .args(["--workers", "2", "--drain-delay", "0s"])
        .args(["--redis-addr", &redis.addr().to_string()])
        .stderr(stderr.expect("a descriptor is free"))
        .start();
    api.wait_ready(PATIENCE);
    // Each connection goes to the other worker.
    let statuses = || [api.get("/").status, api.get("/").status];
    assert_eq!(statuses(), [200, 200]);
    redis.kill();
    eventually(PATIENCE, "503 from both workers", || {
        statuses() == [503, 503]
    });
    redis.restart();
    eventually(PATIENCE, "200 from both workers", || {
        statuses() == [200, 200]
    });
    // The summing lets few enough lines through.
    assert_eq!(api.metric(DROPPED), Some(0.0));
    // Beside two workers: the main thread, two for lookups and files, the log.
    assert!(api.metric("process_threads") <= Some(6.0));
    api
}

#[test]
fn a_full_pipe_stops_nothing() {
    let (_reader, writer) = full_pipe();
    let mut api = serves_on(writer);
    api.term();
    assert_eq!(api.wait_exit(END).code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_though_nobody_reads() {
    let (_reader, writer) = full_pipe();
    let mut api = Api::subcommand("helloworld")
        .args(["--drain-delay", "5m"])
        .stderr(writer)
        .start();
    api.wait_live(PATIENCE);
    api.term();
    eventually(PATIENCE, "it drains", || {
        api.get("/").header("connection") == Some("close")
    });
    api.term();
    assert_eq!(api.wait_exit(END).code(), Some(1));
}

#[test]
fn an_error_at_the_start_ends_it_though_nobody_reads() {
    let (_reader, writer) = full_pipe();
    let mut api = Api::serve()
        .args(["--redis-wait", "1ms"])
        .args(["--redis-addr", "127.0.0.1:1"])
        .stderr(writer)
        .start();
    assert_eq!(api.wait_exit(END).code(), Some(1));
}

#[test]
fn a_stopped_terminal_stops_nothing() {
    let pty = openpty(None, None).expect("there are pseudoterminals");
    // What Ctrl-S does, and Ctrl-Q.
    tcflow(&pty.slave, FlowArg::TCOOFF).expect("it is a terminal");
    let mut api = serves_on(&pty.slave);
    tcflow(&pty.slave, FlowArg::TCOON).expect("it is a terminal");
    let shown = collect(File::from(pty.master));
    eventually(PATIENCE, "the log is shown", || {
        let shown = shown.lock().expect("the collector does not panic");
        let is_there = shown.iter().any(|line| line.contains(" listening on "));
        is_there.then_some(()).ok_or_else(|| shown.join("\n"))
    });
    tcflow(&pty.slave, FlowArg::TCOOFF).expect("it is a terminal");
    api.term();
    assert_eq!(api.wait_exit(END).code(), Some(0));
}

/// The lines that come, until there is no more to read.
fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            shared.lock().expect("no test panics with it").push(line);
        }
    });
    lines
}

/// The log keeps 256 KiB, and of each kind of line only the first five. So there are many kinds,
/// which their letters make them, and long lines, as quotes are twice as long in JSON.
#[test]
fn what_was_dropped_is_counted_and_reported_once_there_is_room() {
    let fake = Fake::start();
    let mut number = 0_usize;
    fake.script(move |_| {
        number += 1;
        let letter = char::from(b'a' + u8::try_from(number % 26).unwrap_or(0));
        let reply = format!("-WRONGPASS {letter}{}\r\n", "\"".repeat(200));
        Act::Send(reply.into_bytes())
    });
    let (reader, writer) = full_pipe();
    let mut api = Api::serve()
        .args(["--workers", "16", "--log-format", "json"])
        .args(["--drain-delay", "0s"])
        .args(["--redis-addr", &fake.addr().to_string()])
        .stderr(writer)
        .start();
    eventually(PATIENCE * 3, "lines are dropped", || {
        api.metric(DROPPED) >= Some(3.0)
    });
    assert_eq!(api.get("/").status, 503);
    fake.script(|_| Act::Behave);
    api.wait_ready(PATIENCE);
    let dropped = api.metric(DROPPED).expect("it is there from the start");

    let lines = collect(reader);
    let reports = || -> Vec<serde_json::Value> {
        let lines = lines.lock().expect("the collector does not panic");
        let events = lines.iter().filter(|line| !line.is_empty());
        events
            .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
            .filter(|event: &serde_json::Value| !event["dropped"].is_null())
            .collect()
    };
    eventually(PATIENCE, "a report", || !reports().is_empty());
    api.term();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(0));
    let [report] = &reports()[..] else {
        panic!("{:?}", reports())
    };
    assert_eq!(report["dropped"].as_f64(), Some(dropped), "{report}");
    let message = report["message"].as_str().unwrap_or_default();
    assert!(
        message.contains(" log lines dropped in the last "),
        "{report}"
    );
}
