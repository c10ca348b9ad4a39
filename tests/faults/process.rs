//! The service itself is stopped, its clock is stepped, or nobody reads what it logs.

use std::fs::{self, OpenOptions};
use std::io::{Write, pipe};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::stage::{HANGING, Pod, Setup, row, wait_filled};
use crate::support::{PATIENCE, eventually, files, pass};

/// Long enough for tracked values to be out of date, and for its connections to Redis to stall.
const STOPPED: Duration = Duration::from_secs(4);

/// Requests wait as long as it is stopped; the first answers behind that are as fresh as any.
#[test]
fn frozen_and_thawed() {
    let setup = Setup {
        hung: STOPPED + Duration::from_secs(6),
        ..Setup::default()
    };
    row(
        "process stopped and continued (SIGSTOP, SIGCONT)",
        setup,
        |stage| {
            for pod in &mut stage.pods {
                pod.api.process().signal(Signal::SIGSTOP);
            }
            pass(STOPPED);
            for pod in &mut stage.pods {
                pod.api.process().signal(Signal::SIGCONT);
            }
            let thawed = Instant::now();
            stage.reads_back(thawed);
            stage.writes_back(thawed);
        },
    );
}

/// Redis is lost and comes back, which is worth many lines, with the log where `setup` has it.
fn replica_killed(name: &'static str, setup: Setup) {
    row(name, setup, |stage| {
        stage.replica.kill();
        stage.wait_refused(100);
        stage.replica.restart();
        wait_filled(&stage.replica);
        stage.reads_back(Instant::now());
    });
}

#[test]
fn log_reader_stalls() {
    let (_reader, mut writer) = pipe().expect("there are pipes");
    let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).expect("it is a pipe");
    let size = size.try_into().expect("a size is positive");
    writer
        .write_all(&vec![b'\n'; size])
        .expect("it takes its size");
    let setup = Setup {
        slack: HANGING,
        configure: Box::new(move |builder| {
            let stderr = writer.try_clone().expect("a descriptor is free");
            builder.args(["--log-level", "debug"]).stderr(stderr)
        }),
        ..Setup::default()
    };
    replica_killed("nobody reads the log, replica killed", setup);
}

/// Each line of the log fails with "no space left on device".
#[test]
#[ignore = "run by make prove"]
fn disk_of_the_log_is_full() {
    let setup = Setup {
        configure: Box::new(|builder| {
            let full = OpenOptions::new().write(true).open("/dev/full");
            builder
                .args(["--log-level", "debug"])
                .stderr(full.expect("Linux has it"))
        }),
        ..Setup::default()
    };
    replica_killed("disk of the log full, replica killed", setup);
}

/// Where Debian's package `libfaketime` puts it.
fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").expect("there is one");
    let mut files = folders.flatten().map(|folder| {
        let path = folder.path();
        path.join("faketime/libfaketimeMT.so.1")
    });
    let file = files.find(|file| file.exists());
    let file = file.expect("libfaketime is not installed: run `make setup`");
    file.display().to_string()
}

/// How far ahead of ours the clock of a process is, as it tells its clients.
fn ahead(pod: &Pod) -> Option<i64> {
    let answer = pod.api.get("/");
    let date = OffsetDateTime::parse(answer.header("date")?, &Rfc2822).ok()?;
    Some((date - OffsetDateTime::now_utc()).whole_seconds())
}

/// Only the time of day is stepped, as an operator or NTP does; the monotonic clock never is.
#[test]
#[ignore = "run by make prove"]
fn clock_is_stepped() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let clock = folder.path().join("clock");
    files::replace(&clock, "+0");
    let (seen, library) = (clock.display().to_string(), faketime());
    let setup = Setup {
        configure: Box::new(move |builder| {
            builder
                .env("LD_PRELOAD", &library)
                .env("FAKETIME_TIMESTAMP_FILE", &seen)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        }),
        ..Setup::default()
    };
    row("clock stepped by an hour, both ways", setup, |stage| {
        for step in [3_600, -3_600, 0] {
            files::replace(&clock, &format!("{step:+}"));
            let stepped = Instant::now();
            for pod in &stage.pods {
                let what = "it has the new time";
                let is_there = || ahead(pod).is_some_and(|ahead| (ahead - step).abs() < 60);
                eventually(PATIENCE, what, is_there);
            }
            pass(Duration::from_secs(2));
            stage.reads_back(stepped);
            stage.writes_back(stepped);
        }
        stage.check_reads_unhurt();
    });
}
