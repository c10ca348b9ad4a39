//! The replica dies, hangs, refuses, or has nothing.

use std::time::{Duration, Instant};

use crate::follower::Servers;
use crate::stage::{HANGING, Setup, row, target, wait_filled};
use crate::support::files::replace;
use crate::support::{PATIENCE, Redis, Session, eventually, pass};

const OUTAGE: Duration = Duration::from_secs(4);

#[track_caller]
fn set(redis: &Redis, name: &str, value: &str) {
    assert_eq!(redis.cli(&["CONFIG", "SET", name, value]), "OK");
}

/// Ends the connections of all clients but replicas and masters.
fn hang_up(redis: &Redis) {
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
}

#[test]
fn killed_and_restarted() {
    row("replica killed and restarted", Setup::default(), |stage| {
        stage.replica.kill();
        stage.wait_refused(100);
        pass(OUTAGE);
        stage.replica.restart();
        wait_filled(&stage.replica);
        stage.reads_back(Instant::now());
    });
}

/// Its dump is old, and the master still has what came since: the link is up before the replica has
/// applied that.
#[test]
fn restarted_with_an_old_dump() {
    row(
        "replica restarted with a dump that is 10 s old, three times",
        Setup::default(),
        |stage| {
            stage.replica.cli(&["SAVE"]);
            pass(Duration::from_secs(10));
            for _ in 0..3 {
                stage.replica.kill();
                stage.replica.restart();
                wait_filled(&stage.replica);
                stage.reads_back(Instant::now());
            }
        },
    );
}

#[test]
fn frozen() {
    let setup = Setup {
        slack: HANGING,
        ..Setup::default()
    };
    row("replica frozen", setup, |stage| {
        for _ in 0..2 {
            stage.replica.freeze();
            pass(OUTAGE);
            stage.wait_refused(100);
            stage.replica.thaw();
            stage.reads_back(Instant::now());
        }
    });
}

/// What it has is nothing, and it can't get more: nobody may take that for the truth.
#[test]
fn replaced_by_an_empty_one() {
    row(
        "replica replaced by an empty one",
        Setup::default(),
        |stage| {
            stage.master.freeze();
            stage.replica.restart();
            stage.wait_refused(100);
            pass(OUTAGE);
            stage.master.thaw();
            let thawed = Instant::now();
            wait_filled(&stage.replica);
            stage.reads_back(Instant::now());
            stage.writes_back(thawed);
        },
    );
}

#[test]
#[ignore = "run by make prove"]
fn loading() {
    // Its dump takes it half a minute to read, at a millisecond a key.
    let slow = Redis::builder()
        .config("enable-debug-command yes")
        .config("loading-process-events-interval-bytes 1024")
        .config("key-load-delay 1000");
    let setup = Setup {
        replica: slow,
        ..Setup::default()
    };
    row("replica loads its dump (LOADING)", setup, |stage| {
        let replica = &mut stage.replica;
        let populate = ["DEBUG", "POPULATE", "20000", "key", "100"];
        assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
        assert_eq!(replica.cli(&populate), "OK");
        assert_eq!(replica.cli(&["SAVE"]), "OK");
        replica.restart();
        let said = replica.cli(&["HGET", "currency", "f01"]);
        assert!(said.starts_with("LOADING"), "{said}");
        stage.wait_refused(500);
        set(&stage.replica, "key-load-delay", "0");
        eventually(PATIENCE, "it is in sync", || {
            let status = stage.replica.info("replication", "master_link_status");
            (status.as_deref() == Some("up"))
                .then_some(())
                .ok_or(status)
        });
        wait_filled(&stage.replica);
        stage.reads_back(Instant::now());
    });
}

#[test]
fn refuses_stale_reads() {
    let setup = Setup {
        replica: Redis::builder().config("replica-serve-stale-data no"),
        ..Setup::default()
    };
    row(
        "replica-serve-stale-data no, master gone (MASTERDOWN)",
        setup,
        |stage| {
            stage.master.kill();
            stage.wait_refused(100);
            pass(OUTAGE);
            stage.master.restart();
            let restarted = Instant::now();
            wait_filled(&stage.replica);
            stage.reads_back(Instant::now());
            stage.writes_back(restarted);
        },
    );
}

/// The address leads to another replica from one moment to the next, as a Service does.
#[test]
fn fails_over() {
    let setup = Setup {
        wires: true,
        ..Setup::default()
    };
    row(
        "read address leads to another replica, the first is killed",
        setup,
        |stage| {
            let other = Redis::builder().replica_of(&stage.master).start();
            wait_filled(&other);
            let servers = |replicas| Servers {
                master: target(&stage.master),
                replicas,
            };
            let both = vec![target(&stage.replica), target(&other)];
            stage.follower.follow_all(servers(both));
            stage.wires()[0].lead_to(other.addr());
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

#[test]
fn clients_are_killed() {
    row("CLIENT KILL, 20 times", Setup::default(), |stage| {
        for _ in 0..20 {
            hang_up(&stage.replica);
            hang_up(&stage.master);
            pass(Duration::from_millis(200));
        }
        let now = Instant::now();
        stage.reads_back(now);
        stage.writes_back(now);
    });
}

#[test]
fn clients_are_paused() {
    let setup = Setup {
        slack: HANGING,
        ..Setup::default()
    };
    row("CLIENT PAUSE on the replica", setup, |stage| {
        assert_eq!(stage.replica.cli(&["CLIENT", "PAUSE", "4000"]), "OK");
        stage.wait_refused(100);
        stage.replica.cli(&["CLIENT", "UNPAUSE"]);
        stage.reads_back(Instant::now());
    });
}

#[test]
fn is_full() {
    row(
        "maxclients reached on the replica",
        Setup::default(),
        |stage| {
            // Nobody else gets in to let the others in again.
            let mut inside =
                Session::open(stage.replica.addr(), None, PATIENCE).expect("it has room");
            let mut say = |words: &[&str]| inside.call(words).expect("it answers");
            say(&["CONFIG", "SET", "maxclients", "1"]);
            say(&["CLIENT", "KILL", "TYPE", "normal"]);
            stage.wait_refused(100);
            pass(OUTAGE);
            say(&["CONFIG", "SET", "maxclients", "1000"]);
            stage.reads_back(Instant::now());
        },
    );
}

#[test]
fn password_changes() {
    let files = tempfile::tempdir().expect("a temporary folder can be made");
    let file = files.path().join("password");
    replace(&file, "first");
    let flag = file.display().to_string();
    let setup = Setup {
        replica: Redis::builder().config("user app on >first ~* +@all"),
        configure: Box::new(move |builder| {
            builder.args(["--read-redis-user", "app", "--read-redis-pass-file", &flag])
        }),
        ..Setup::default()
    };
    row(
        "password changed on the replica, then in the file",
        setup,
        |stage| {
            let replica = &stage.replica;
            replica.cli(&["ACL", "SETUSER", "app", "resetpass", ">second"]);
            replica.cli(&["CLIENT", "KILL", "USER", "app"]);
            stage.wait_refused(100);
            pass(OUTAGE);
            replace(&file, "second");
            stage.reads_back(Instant::now());
        },
    );
}
