//! The master dies, hangs, refuses or is another one: reads go on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::follower::Servers;
use crate::stage::{Setup, row, target, wait_filled};
use crate::support::{Certs, PATIENCE, Redis, eventually, pass};

const OUTAGE: Duration = Duration::from_secs(4);

#[track_caller]
fn set(redis: &Redis, name: &str, value: &str) {
    assert_eq!(redis.cli(&["CONFIG", "SET", name, value]), "OK");
}

#[test]
fn killed_and_restarted() {
    row("master killed and restarted", Setup::default(), |stage| {
        stage.master.kill();
        stage.wait_unwritten();
        pass(OUTAGE);
        stage.check_reads_unhurt();
        stage.check_aged();
        stage.master.restart();
        let restarted = Instant::now();
        // The replica takes all data anew, and may say that it is loading.
        wait_filled(&stage.replica);
        stage.reads_back(Instant::now());
        stage.writes_back(restarted);
    });
}

#[test]
fn frozen() {
    row("master frozen", Setup::default(), |stage| {
        stage.master.freeze();
        stage.wait_unwritten();
        pass(OUTAGE);
        stage.check_reads_unhurt();
        stage.master.thaw();
        stage.writes_back(Instant::now());
        stage.check_reads_unhurt();
    });
}

/// The replica becomes the master and the master its replica: connections to the old one stay, and
/// are told READONLY.
#[test]
fn fails_over() {
    let setup = Setup {
        wires: true,
        ..Setup::default()
    };
    row("orderly failover (FAILOVER, READONLY)", setup, |stage| {
        let [_, wire] = stage.wires();
        let port = stage.replica.port().to_string();
        wire.lead_to(stage.replica.addr());
        let said = stage.master.cli(&["FAILOVER", "TO", "127.0.0.1", &port]);
        assert_eq!(said, "OK");
        let role = || stage.replica.info("replication", "role");
        eventually(PATIENCE, "the replica is the master", || {
            role().as_deref() == Some("master")
        });
        let promoted = Instant::now();
        stage.follower.follow(Servers {
            master: target(&stage.replica),
            replicas: vec![target(&stage.replica)],
        });
        stage.writes_back(promoted);
        stage.reads_back(promoted);
        // What is asked at the end whether it has all writes.
        std::mem::swap(&mut stage.master, &mut stage.replica);
    });
}

#[test]
fn out_of_memory() {
    row("master out of memory (OOM)", Setup::default(), |stage| {
        set(&stage.master, "maxmemory", "1");
        stage.wait_unwritten();
        stage.check_reads_unhurt();
        set(&stage.master, "maxmemory", "0");
        stage.writes_back(Instant::now());
        stage.check_reads_unhurt();
    });
}

/// A folder stands where its dump should go, as on a disk that takes no more.
#[test]
fn cannot_save() {
    let setup = Setup {
        master: Redis::builder().config("dbfilename occupied.rdb"),
        ..Setup::default()
    };
    row("master can't write its dump (MISCONF)", setup, |stage| {
        let folder = stage.master.cli(&["CONFIG", "GET", "dir"]);
        let folder = folder.lines().nth(1).expect("it has one").to_owned();
        let occupied = Path::new(&folder).join("occupied.rdb");
        // The replica's first copy went there too.
        let _ = fs::remove_file(&occupied);
        fs::create_dir_all(occupied.join("full")).expect("the folder is ours");
        set(&stage.master, "save", "3600 1000000");
        stage.master.cli(&["BGSAVE"]);
        stage.wait_unwritten();
        stage.check_reads_unhurt();
        set(&stage.master, "save", "");
        stage.writes_back(Instant::now());
        stage.check_reads_unhurt();
    });
}

/// Connections that stand stay; new ones are refused until there is a good certificate again.
#[test]
fn certificate_expires() {
    let certs = Certs::new();
    let (good, expired) = (certs.leaf.clone(), certs.expired());
    let plain = crate::support::free_port();
    let master = Redis::builder().tls(&certs);
    let setup = Setup {
        master: master.config(&format!("port {plain}")),
        ..Setup::default()
    };
    row("certificate of the master expires", setup, |stage| {
        stage.follower.follow(Servers {
            master: (([127, 0, 0, 1], plain).into(), None),
            replicas: vec![target(&stage.replica)],
        });
        let show = |redis: &Redis, pair: &crate::support::Pair| {
            let (cert, key) = (pair.cert.display(), pair.key.display());
            let names = ["tls-cert-file", "tls-key-file"];
            let (cert, key) = (cert.to_string(), key.to_string());
            let said = redis.cli(&["CONFIG", "SET", names[0], &cert, names[1], &key]);
            assert_eq!(said, "OK");
            redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        };
        show(&stage.master, &expired);
        stage.wait_unwritten();
        pass(OUTAGE);
        stage.check_reads_unhurt();
        show(&stage.master, &good);
        stage.writes_back(Instant::now());
        stage.check_reads_unhurt();
    });
}
