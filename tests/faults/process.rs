//! The service itself is stopped, or nobody reads what it logs.

use std::fs::OpenOptions;
use std::io::{Write, pipe};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;

use crate::stage::{HANGING, Setup, row, wait_filled};
use crate::support::pass;

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
