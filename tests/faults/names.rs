//! Names that vanish, lead elsewhere, or are never answered.
//!
//! Each process has `/etc/hosts` and `/etc/resolv.conf` of its own, in a mount namespace. Behind
//! those is a name server that hears everything and says nothing. Needs root.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::follower::Servers;
use crate::stage::{READS_BACK, Setup, Stage, WRITES_BACK, row, target, wait_filled};
use crate::support::{Redis, Wire, free_port, pass};

const OUTAGE: Duration = Duration::from_secs(4);

/// Where the name server is that never answers; port 53 is the only one that a resolver asks.
const SILENT: Ipv4Addr = Ipv4Addr::new(127, 53, 11, 1);

/// The addresses behind the name of the replica, one after the other.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 53, 11, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 53, 11, 3);

/// Addresses by name: `None` for a name that isn't there.
fn hosts(read: Option<Ipv4Addr>, write: Option<Ipv4Addr>) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for (name, address) in [("replica.faults.test", read), ("master.faults.test", write)] {
        if let Some(address) = address {
            text += &format!("{address} {name}\n");
        }
    }
    text
}

/// The name server that `resolv.conf` names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolver {
    /// Nothing listens there: a name that isn't in the hosts file is refused at once.
    Absent,
    /// Takes each question, and never answers.
    Silent,
}

/// # Panics
/// When this user or machine can't give a process files of its own.
fn check_namespaces() {
    let mut probe = Command::new("unshare");
    let output = probe.args(["--mount", "true"]).output();
    let output = output.expect("unshare is a tool of util-linux");
    let said = String::from_utf8_lossy(&output.stderr);
    let why = "these rows need root, and mount namespaces";
    assert!(output.status.success(), "{why}: {said}");
}

/// Runs a row with names for both servers, whose ways pass through wires. Reads must be back so
/// soon: a server behind a name is not known to be of this host, so that the longest wait between
/// two attempts is that of a remote one. While there is no name, it is shorter.
fn named(
    name: &'static str,
    resolver: Resolver,
    reads_back: Duration,
    fault: impl FnOnce(&mut Stage, &Path, SocketAddr),
) {
    check_namespaces();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("hosts");
    let resolv = folder.path().join("resolv.conf");
    fs::write(&file, hosts(Some(FIRST), Some(FIRST))).expect("our folder is writable");
    fs::write(&resolv, format!("nameserver {SILENT}\n")).expect("our folder is writable");
    let _silent = match resolver {
        Resolver::Absent => None,
        Resolver::Silent => Some(UdpSocket::bind((SILENT, 53)).expect("root may take port 53")),
    };
    let (read, write) = (free_port(), free_port());
    let name_of = |host, port| (format!("{host}.faults.test:{port}"), (FIRST, port).into());
    let (seen, seen_resolv) = (file.clone(), resolv.clone());
    let setup = Setup {
        reads_back,
        names: Some([name_of("replica", read), name_of("master", write)]),
        configure: Box::new(move |builder| builder.names(&seen, &seen_resolv)),
        ..Setup::default()
    };
    row(name, setup, |stage| {
        fault(stage, &file, (SECOND, read).into())
    });
}

/// In place: a namespace sees the file, not its name.
fn say(file: &Path, text: &str) {
    fs::write(file, text).expect("our folder is writable");
}

fn hang_up(redis: &Redis) {
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
}

#[test]
fn of_both_servers_vanish() {
    named(
        "names of both servers vanish",
        Resolver::Absent,
        READS_BACK,
        |stage, file, _| {
            say(file, &hosts(None, None));
            // What stands needs no name.
            pass(Duration::from_secs(1));
            stage.check_reads_unhurt();
            hang_up(&stage.replica);
            hang_up(&stage.master);
            stage.wait_refused(100);
            stage.wait_unwritten();
            pass(OUTAGE);
            say(file, &hosts(Some(FIRST), Some(FIRST)));
            let back = Instant::now();
            stage.reads_back(back);
            stage.writes_back(back);
        },
    );
}

/// The name of the master is asked for in vain; that of the replica is found.
#[test]
#[ignore = "run by make prove"]
fn of_the_master_is_never_answered() {
    named(
        "resolver hangs for the master's name",
        Resolver::Silent,
        WRITES_BACK,
        |stage, file, _| {
            say(file, &hosts(Some(FIRST), None));
            hang_up(&stage.master);
            stage.wait_unwritten();
            pass(OUTAGE);
            stage.check_reads_unhurt();
            hang_up(&stage.replica);
            stage.reads_back(Instant::now());
            say(file, &hosts(Some(FIRST), Some(FIRST)));
            // A question that is out is asked again until the resolver gives up, which is its own time.
            pass(Duration::from_secs(10));
            stage.writes_back(Instant::now());
        },
    );
}

#[test]
fn of_the_replica_leads_elsewhere() {
    named(
        "name of the replica leads to another, the first is killed",
        Resolver::Absent,
        WRITES_BACK,
        |stage, file, second| {
            let other = Redis::builder().replica_of(&stage.master).start();
            wait_filled(&other);
            let _way = Wire::between(second, other.addr());
            stage.follower.follow_all(Servers {
                master: target(&stage.master),
                replicas: vec![target(&stage.replica), target(&other)],
            });
            say(file, &hosts(Some(SECOND), Some(FIRST)));
            stage.replica.kill();
            stage.reads_back(Instant::now());
            stage.follower.follow(Servers {
                master: target(&stage.master),
                replicas: vec![target(&other)],
            });
            pass(OUTAGE);
            stage.replica = other;
        },
    );
}
