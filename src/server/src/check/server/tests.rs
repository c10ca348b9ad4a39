//! Judgements over texts as servers send them.

use super::*;
use crate::check::report::Status::{self, Fail, Ok, Warn};

fn info(lines: &[&str]) -> Info {
    Info(lines.join("\r\n"))
}

#[track_caller]
fn check(verdict: Verdict, status: Status, words: &str) {
    assert_eq!(verdict.status, status, "{verdict:?}");
    assert!(verdict.found.contains(words), "{verdict:?}");
    assert_eq!(verdict.cure.is_some(), status != Ok, "{verdict:?}");
}

#[test]
fn modes_and_versions() {
    let judge = |lines: &[&str]| version(&info(lines));
    let check = |lines, status, words| check(judge(lines), status, words);
    check(
        &["redis_version:7.0.15", "redis_mode:standalone"],
        Ok,
        "Redis 7.0.15",
    );
    check(
        &["redis_version:7.0.15", "redis_mode:cluster"],
        Fail,
        "cluster mode",
    );
    check(
        &["valkey_version:8.0.1", "server_mode:cluster"],
        Fail,
        "Valkey 8.0.1 in cluster mode",
    );
    check(
        &["redis_version:7.0.15", "redis_mode:sentinel"],
        Fail,
        "Sentinel",
    );
    check(
        &["redis_version:5.0.7", "redis_mode:standalone"],
        Warn,
        "no ACL",
    );
    check(&["role:master"], Warn, "no version");
}

const UP: &[&str] = &[
    "loading:0",
    "role:slave",
    "master_host:m",
    "master_port:6379",
    "master_link_status:up",
    "master_last_io_seconds_ago:3",
];

#[test]
fn states_of_the_read_side() {
    let check_as = |role, lines: &[&str], status, words| {
        check(read_state(&info(lines), role), status, words);
    };
    let check = |lines: &[&str], status, words| check_as(ReadRole::Any, lines, status, words);
    check(UP, Ok, "in sync with m:6379");
    let silent = [&UP[..5], &["master_last_io_seconds_ago:11"]].concat();
    check(&silent, Warn, "silent for 11 s");
    let down = |since| {
        let lines = ["loading:0", "role:slave", "master_link_status:down"];
        [&lines[..], &[since]].concat()
    };
    check(
        &down("master_link_down_since_seconds:7"),
        Warn,
        "down for 7 s",
    );
    check(
        &down("master_link_down_since_seconds:-1"),
        Fail,
        "never been in sync",
    );
    check(&["loading:1", "role:slave"], Fail, "loading");
    check(&["role:master"], Fail, "does not say");
    check(&["loading:0", "role:master"], Ok, "a master");
    check(&["loading:0"], Fail, "INFO replication");
    check_as(
        ReadRole::Replica,
        &["loading:0", "role:master"],
        Fail,
        "is a master",
    );
}

#[test]
fn states_of_the_write_side() {
    check(write_state(&info(&["loading:0"])), Warn, "can't be seen");
    check(write_state(&info(UP)), Fail, "a replica of m:6379");
    let master = ["loading:0", "role:master", "connected_slaves:3"];
    check(write_state(&info(&master)), Ok, "3 replicas");
    check(
        write_state(&info(&["loading:1", "role:master"])),
        Fail,
        "loading",
    );
}

#[test]
fn room_for_clients() {
    let judge =
        |used: &str, max: &str, asked, per_pod| clients(&info(&[used, max]), asked, per_pod, true);
    let (used, max) = ("connected_clients:10", "maxclients:100");
    check(judge(used, max, None, 2), Ok, "room for 45 more pods");
    check(judge(used, "", Some(30), 4), Ok, "room for 5 more pods");
    check(judge(used, "", None, 2), Warn, "can't be seen");
    check(
        judge("connected_clients:80", max, None, 2),
        Warn,
        "room for 10",
    );
    check(judge(used, max, None, 91), Warn, "room for 0");
    check(
        judge("connected_clients:101", max, None, 1),
        Warn,
        "room for 0",
    );
}

#[test]
fn memory_and_its_limit() {
    let check = |used: &str, max: &str, policy: &str, status, words| {
        check(memory(&info(&[used, max, policy])), status, words);
    };
    let policy = "maxmemory_policy:noeviction";
    check(
        "used_memory:1048576",
        "maxmemory:0",
        policy,
        Ok,
        "1 MiB, no maxmemory",
    );
    check(
        "used_memory:1048576",
        "maxmemory:10485760",
        policy,
        Ok,
        "1 of maxmemory 10 MiB",
    );
    check(
        "used_memory:9961472",
        "maxmemory:10485760",
        policy,
        Warn,
        "OOM",
    );
    let lru = "maxmemory_policy:allkeys-lru";
    check("used_memory:1", "maxmemory:10485760", lru, Warn, "evicted");
    check("", "", "", Ok, "doesn't say");
}

#[test]
fn what_outlives_a_restart() {
    let off = info(&["aof_enabled:0"]);
    check(persistence(&off, Some("")), Warn, "wipes every replica");
    check(persistence(&off, None), Warn, "can't be seen");
    check(persistence(&off, Some("3600 1")), Ok, "save 3600 1");
    check(
        persistence(&info(&["aof_enabled:1"]), Some("")),
        Ok,
        "append-only",
    );
}

#[test]
fn pings_against_staleness() {
    let seconds = Duration::from_secs;
    check(ping_period(Some(10), seconds(11)), Warn, "10 s");
    check(ping_period(Some(10), seconds(12)), Ok, "10 s");
    check(ping_period(None, seconds(12)), Warn, "can't be seen");
}

#[test]
fn pairs_of_servers() {
    let side = |id: &str, version: &str, state: &[&str]| {
        let lines = [format!("run_id:{id}"), version.to_string()];
        let lines = lines.iter().map(String::as_str);
        info(&lines.chain(state.iter().copied()).collect::<Vec<_>>())
    };
    let up: &[&str] = &["role:slave", "master_link_status:up", "master_replid:x"];
    let never: &[&str] = &[
        "role:slave",
        "master_link_status:down",
        "master_link_down_since_seconds:-1",
    ];
    let master: &[&str] = &["role:master", "master_replid:x"];
    let check = |read: &str, state, write: &str, status, words| {
        check(
            pair(&side("1", read, state), &side("2", write, master)),
            status,
            words,
        );
    };
    let (redis70, redis74) = ("redis_version:7.0.15", "redis_version:7.4.0");
    let valkey = "redis_version:7.2.4\r\nvalkey_version:8.0.1";
    check(
        redis70,
        up,
        redis70,
        Ok,
        "Redis 7.0.15 follows Redis 7.0.15",
    );
    check(redis74, up, redis70, Ok, "follows");
    check("redis_version:7.0.1", up, redis70, Ok, "follows");
    check(redis70, up, redis74, Warn, "RDB format version");
    check(redis70, never, redis74, Fail, "RDB format version");
    check(valkey, up, redis74, Warn, "Valkey 8.0.1");
    check(redis74, never, valkey, Fail, "follow Valkey 8.0.1");
    check(redis70, master, redis70, Warn, "two masters");
    check(redis70, &[], redis70, Warn, "can't be seen");
    let other = ["role:slave", "master_link_status:up", "master_replid:y"];
    check(redis70, &other, redis70, Warn, "another data set");
    // Before Redis 4 there is no `master_replid`.
    let (redis28, unnamed) = ("redis_version:2.8.19", "role:master");
    let follower = side("1", redis28, &up[..2]);
    let pair28 = pair(&follower, &side("2", redis28, &[unnamed]));
    super::tests::check(pair28, Ok, "Redis 2.8.19 follows Redis 2.8.19");
    let one = side("1", redis70, master);
    super::tests::check(pair(&one, &one), Warn, "one server");
}
