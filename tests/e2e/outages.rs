//! Outages under load: a replica or a master that dies or hangs, and comes back.
//!
//! Whatever happens, a read is answered in time by a value of its own field, or by 503 or 504;
//! [`Load`] checks that for every answer. Both read modes run against the same servers.

use std::time::{Duration, Instant};

use crate::support::load::{FIELDS, fill};
use crate::support::{Api, Load, PATIENCE, Redis, Writer, eventually, pass};

/// Reads are back this long after the replica can be used again.
const READS_BACK: Duration = Duration::from_secs(3);

/// Writes are back this long after the master answers again: the longest wait between two attempts
/// to connect, and the connect.
const WRITES_BACK: Duration = Duration::from_secs(12);

/// Memory may grow by this much in an outage.
const GROWTH_KIB: u64 = 20 * 1024;

/// An API process under load.
struct Pod {
    mode: &'static str,
    api: Api,
    load: Load,
}

/// A master with all fields, its replica, and an API for each read mode.
fn rig(read_modes: &[&'static str]) -> (Redis, Redis, Vec<Pod>) {
    let master = Redis::builder()
        .config("appendonly yes")
        .config("appendfsync always")
        .start();
    fill(&master);
    let replica = Redis::builder().replica_of(&master).start();
    wait_filled(&replica);
    let start = |mode: &&'static str| {
        let api = Api::serve().read_from(&replica).write_to(&master);
        let mut api = api.args(["--read-mode", mode]).start();
        api.wait_ready(PATIENCE);
        let load = Load::start(api.addr());
        load.wait_good(Instant::now(), PATIENCE);
        Pod { mode, api, load }
    };
    let pods = read_modes.iter().map(start).collect();
    (master, replica, pods)
}

fn wait_filled(replica: &Redis) {
    replica.wait_synced();
    eventually(PATIENCE, "the replica has all fields", || {
        replica
            .cli(&["HLEN", "currency"])
            .parse::<u32>()
            .is_ok_and(|fields| fields > FIELDS)
    });
}

/// Waits until every pod's reads are good again, and checks that it was soon after `usable`.
fn check_back(pods: &[Pod], what: &str, usable: Instant) {
    for pod in pods {
        let took = pod.load.wait_good(usable, PATIENCE);
        eprintln!(
            "{what}, {}: reads back {took:?} after it could be used",
            pod.mode
        );
        assert!(took <= READS_BACK, "{what}, {}: {took:?}", pod.mode);
    }
}

fn finish(pods: Vec<Pod>, what: &str) {
    for mut pod in pods {
        pod.api.check_running();
        let tally = pod.load.finish();
        eprintln!(
            "{what}, {}: {} good, {} 503, {} 504",
            pod.mode, tally.good, tally.unavailable, tally.late
        );
    }
}

#[test]
fn replica_killed_and_restarted() {
    let (_master, mut replica, pods) = rig(&["batch", "direct", "tracked"]);
    for _ in 0..2 {
        replica.kill();
        for pod in &pods {
            let before = pod.load.tally().unavailable;
            pod.load.wait(PATIENCE, "503 for a while", |tally| {
                tally.unavailable > before + 1000
            });
        }
        replica.restart();
        replica.wait_synced();
        check_back(&pods, "replica killed", Instant::now());
    }
    finish(pods, "replica killed");
}

/// The long one: what piles up in an outage shows after a minute of it.
#[test]
fn replica_frozen_for_a_minute() {
    let (_master, mut replica, mut pods) = rig(&["batch", "direct", "tracked"]);
    let before: Vec<u64> = pods
        .iter_mut()
        .map(|pod| pod.api.process().resident_kib())
        .collect();
    replica.freeze();
    pass(Duration::from_secs(60));
    for pod in &mut pods {
        let tally = pod.load.tally();
        assert!(tally.unavailable > 1000, "{tally:?}");
        let ready = crate::support::request(pod.api.admin(), "GET", "/readyz", &[], b"");
        assert_eq!(ready.status, 503);
    }
    replica.thaw();
    check_back(&pods, "replica frozen", Instant::now());
    for (pod, before) in pods.iter_mut().zip(before) {
        let after = pod.api.process().resident_kib();
        eprintln!(
            "replica frozen, {}: {before} KiB before, {after} after",
            pod.mode
        );
        assert!(after <= before + GROWTH_KIB, "{before} KiB, then {after}");
    }
    finish(pods, "replica frozen");
}

/// Replies that were late are answered by nobody: the values would be another field's.
#[test]
fn replica_frozen_again_and_again() {
    let (_master, mut replica, pods) = rig(&["batch", "direct"]);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20 {
        replica.freeze();
        pass(Duration::from_millis(random.u64(300..900)));
        replica.thaw();
        pass(Duration::from_millis(random.u64(20..200)));
    }
    check_back(&pods, "replica frozen often", Instant::now());
    for pod in &pods {
        assert!(pod.load.tally().late > 0, "no freeze was felt");
    }
    finish(pods, "replica frozen often");
}

#[test]
fn master_killed_and_restarted() {
    let (mut master, _replica, pods) = rig(&["batch"]);
    let api = &pods[0].api;
    let writer = Writer::start(api.addr(), "w");
    wait_written(&writer, Instant::now());

    let reads = pods[0].load.tally();
    master.kill();
    eventually(PATIENCE, "posts fail", || failures(&writer) >= 5);
    assert_eq!(
        pods[0].load.tally().bad(),
        reads.bad(),
        "reads don't need the master"
    );
    master.restart();
    wait_back(&writer, "master killed", Instant::now());
    // The replica takes all data anew from the restarted master, and may say that it is loading.
    pods[0].load.wait_good(Instant::now(), PATIENCE);
    let posts = writer.check(&master);
    let not_sent = posts.iter().filter(|post| post.body.contains("not-sent"));
    assert!(not_sent.count() > 0, "without a connection nothing is sent");
    finish(pods, "master killed");
}

#[test]
fn master_frozen_and_thawed() {
    let (mut master, _replica, pods) = rig(&["batch"]);
    let writers: Vec<Writer> = ["v", "w"]
        .map(|prefix| Writer::start(pods[0].api.addr(), prefix))
        .into();
    for writer in &writers {
        wait_written(writer, Instant::now());
    }
    let reads = pods[0].load.tally();
    for _ in 0..3 {
        master.freeze();
        for writer in &writers {
            let before = failures(writer);
            eventually(PATIENCE, "posts fail", || failures(writer) >= before + 4);
        }
        master.thaw();
        let thawed = Instant::now();
        for writer in &writers {
            wait_back(writer, "master frozen", thawed);
        }
    }
    assert_eq!(
        pods[0].load.tally().bad(),
        reads.bad(),
        "reads don't need the master"
    );
    for writer in writers {
        let posts = writer.check(&master);
        let unknown = posts.iter().filter(|post| post.body.contains("unknown"));
        assert!(
            unknown.count() > 0,
            "a frozen master makes the fate unknown"
        );
    }
    finish(pods, "master frozen");
}

fn failures(writer: &Writer) -> usize {
    writer
        .posts()
        .iter()
        .filter(|post| post.status != 200)
        .count()
}

fn wait_written(writer: &Writer, since: Instant) -> Instant {
    eventually(PATIENCE, "a post succeeds", || writer.success_after(since))
}

fn wait_back(writer: &Writer, what: &str, usable: Instant) {
    let took = wait_written(writer, usable) - usable;
    eprintln!("{what}: writes back {took:?} after it answered");
    assert!(took <= WRITES_BACK, "{what}: {took:?}");
}
