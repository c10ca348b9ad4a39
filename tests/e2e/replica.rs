//! Which replicas are usable, what is said of those that are not, and the rights they ask for.

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::fake::bulk;
use crate::support::load::{fill, store};
use crate::support::redis::Builder;
use crate::support::{
    Act, Api, Fake, Load, PATIENCE, Redis, Response, eventually, free_port, pass, request,
    try_request,
};

/// A change of the replica's state is seen by the next look at it, which comes each second.
const SEEN: Duration = Duration::from_secs(2);

/// Longer than two looks at the replica.
const SEVERAL_LOOKS: Duration = Duration::from_millis(2500);

fn readyz(api: &Api) -> Response {
    request(api.admin(), "GET", "/readyz", &[], b"")
}

/// Waits until `/readyz`, every read and the metrics say 503 for this reason.
#[track_caller]
fn wait_unusable(api: &Api, timeout: Duration, reason: &str) {
    wait_refused(api, timeout, reason, 503, reason);
    assert_eq!(api.get("/").header("retry-after"), Some("1"));
}

/// Waits until `/readyz` and the metrics say 503 for this reason, and every read has this status
/// and these words.
#[track_caller]
fn wait_refused(api: &Api, timeout: Duration, reason: &str, status: u16, words: &str) {
    let check = |response: Response, status: u16, words: &str| {
        let fits = response.status == status && response.text().contains(words);
        fits.then_some(())
            .ok_or_else(|| format!("{} {}", response.status, response.text()))
    };
    eventually(timeout, &format!("unready because of {reason:?}"), || {
        let ready = try_request(api.admin(), "GET", "/readyz", &[], b"");
        check(ready.map_err(|error| error.to_string())?, 503, reason)?;
        for path in ["/", "/f01", "/missing", "/?fields=f01,f02"] {
            check(api.get(path), status, words).map_err(|text| format!("{path}: {text}"))?;
        }
        Ok::<_, String>(())
    });
    assert_eq!(api.metric("redis_api_replica_usable"), Some(0.0));
}

/// Asks for three seconds, in which the server is looked at as often, and wants the same each time:
/// unready, every read with this status and these words, and no value.
#[track_caller]
fn check_steady(api: &Api, status: u16, words: &str) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        assert_eq!(readyz(api).status, 503);
        let response = api.get("/");
        assert_eq!(response.status, status, "{response:?}");
        assert!(response.text().contains(words), "{response:?}");
    }
    let usable = |line: &&String| line.ends_with(": usable");
    let log = api.log();
    let flaps = log.iter().filter(usable).count();
    let before = log.iter().filter(|line| line.contains("no longer usable"));
    assert!(flaps <= before.count().max(1), "{log:#?}");
}

/// A master with all fields and a replica in sync with it.
fn pair(replica: Builder) -> (Redis, Redis) {
    let master = Redis::builder()
        .config("appendonly yes")
        .config("appendfsync always")
        .start();
    fill(&master);
    let replica = replica.replica_of(&master).start();
    replica.wait_synced();
    (master, replica)
}

fn check_never_synced(with_dump: bool) {
    let keep = if with_dump { "no" } else { "yes" };
    let builder = Redis::builder().config(&format!("rdb-del-sync-files {keep}"));
    let (mut master, mut replica) = pair(builder);
    if with_dump {
        assert_eq!(replica.cli(&["SAVE"]), "OK");
    }
    // What the dump lacks.
    assert_eq!(store(&master, 1), "0");
    eventually(PATIENCE, "the replica has the new values", || {
        replica.cli(&["HGET", "currency", "f49"]) == "49001"
    });
    let mut api = Api::serve().read_from(&replica).write_to(&master).start();
    api.wait_ready(PATIENCE);
    let load = Load::start(api.addr());
    load.demand(1);
    load.wait_good(Instant::now(), PATIENCE);

    master.kill();
    replica.restart();
    // It has all values of its dump, or none, and would give them to anybody.
    let fields = replica.cli(&["HLEN", "currency"]);
    assert_eq!(fields != "0", with_dump, "{fields}");
    let good = load.tally().good;
    wait_unusable(&api, PATIENCE, "has never been in sync with its master");
    pass(SEVERAL_LOOKS);
    wait_unusable(&api, SEEN, "has never been in sync with its master");
    api.wait_log(": not usable: has never been in sync", PATIENCE);
    assert_eq!(
        load.tally().good,
        good,
        "an answer from a replica that knows nothing"
    );
    assert_eq!(api.metric("redis_api_replica_link_up"), Some(0.0));
    assert_eq!(api.metric("redis_api_replica_link_down_seconds"), None);

    master.restart();
    replica.wait_synced();
    let took = load.wait_good(Instant::now(), PATIENCE);
    eprintln!("never synced, dump: {with_dump}: reads back {took:?} after the first sync");
    assert!(took <= SEEN, "{took:?}");
    load.finish();
    assert_eq!(api.get("/").text(), "{\"current\":12.5}");
}

#[test]
fn empty_replica_that_was_never_in_sync_is_not_believed() {
    check_never_synced(false);
}

#[test]
fn replica_with_old_dump_that_was_never_in_sync_is_not_believed() {
    check_never_synced(true);
}

const NEVER_IN_SYNC: &str = "# Replication\r\nrole:slave\r\nmaster_link_status:down\r\n\
    master_link_down_since_seconds:-1\r\n";

#[test]
fn nothing_is_asked_before_the_first_look() {
    let fake = Fake::start();
    let mut hold = true;
    fake.script(move |command| {
        if command[0] == "INFO" && std::mem::take(&mut hold) {
            return Act::Hold(bulk("# Persistence\r\nloading:0\r\n"));
        }
        Act::Behave
    });
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let mut api = api
        .args(["--workers", "1", "--request-timeout", "1s"])
        .start();
    api.wait_live(PATIENCE);
    eventually(PATIENCE, "it looks", || fake.seen("INFO") > 0);
    assert_eq!(api.get("/f01").status, 503);
    assert_eq!(fake.seen("HGET"), 0);
    fake.release();
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/f01").text(), "{\"current\":1000}");
}

#[test]
fn value_overtaken_by_bad_news_is_not_believed() {
    let fake = Fake::start();
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let mut api = api
        .args(["--workers", "1", "--request-timeout", "1s"])
        .start();
    api.wait_ready(PATIENCE);
    fake.script(|command| match (command[0].as_str(), command.last()) {
        ("INFO", Some(section)) if section == "replication" => Act::Hold(bulk(NEVER_IN_SYNC)),
        _ => Act::Behave,
    });
    let looks = fake.seen("INFO");
    eventually(PATIENCE, "it looks", || fake.seen("INFO") >= looks + 3);
    let addr = api.addr();
    let read = thread::spawn(move || request(addr, "GET", "/f01", &[], b""));
    eventually(PATIENCE, "the read is sent", || fake.seen("HGET") > 0);
    fake.release();
    let answer = read.join().expect("it is answered");
    assert_eq!(answer.status, 503, "{}", answer.text());
}

#[test]
fn replica_that_lost_its_master_goes_on() {
    let (mut master, replica) = pair(Redis::builder());
    let mut api = Api::serve().read_from(&replica).write_to(&master);
    api = api.args(["--read-role", "replica"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    let up = |api: &Api| api.metric("redis_api_replica_link_up");
    eventually(SEEN, "the link is up", || up(&api) == Some(1.0));
    assert_eq!(api.metric("redis_api_replica_usable"), Some(1.0));
    assert_eq!(api.metric("redis_api_replica_link_down_seconds"), None);
    assert!(api.metric("redis_api_replica_last_io_seconds").is_some());
    assert!(api.metric("redis_api_replica_lag_bytes").is_some());
    let load = Load::start(api.addr());
    load.wait_good(Instant::now(), PATIENCE);

    master.kill();
    eventually(PATIENCE, "the link is down", || up(&api) == Some(0.0));
    eventually(PATIENCE, "for two seconds", || {
        let seconds = api.metric("redis_api_replica_link_down_seconds");
        seconds.filter(|seconds| *seconds >= 2.0).ok_or(seconds)
    });
    assert_eq!(readyz(&api).status, 200);
    assert_eq!(api.metric("redis_api_replica_usable"), Some(1.0));
    assert_eq!(api.metric("redis_api_replica_last_io_seconds"), None);
    assert_eq!(load.finish().bad(), 0);
}

#[test]
fn loading_replica_is_waited_for() {
    // Its dump takes it a minute to read, at a millisecond a key; it looks around in between.
    let builder = Redis::builder()
        .config("enable-debug-command yes")
        .config("loading-process-events-interval-bytes 1024")
        .config("key-load-delay 1000");
    let mut replica = builder.start();
    fill(&replica);
    assert_eq!(
        replica.cli(&["DEBUG", "POPULATE", "60000", "key", "100"]),
        "OK"
    );
    assert_eq!(replica.cli(&["SAVE"]), "OK");
    let mut api = Api::serve().read_from(&replica).start();
    api.wait_ready(PATIENCE);
    let load = Load::start(api.addr());
    load.wait_good(Instant::now(), PATIENCE);

    replica.restart();
    assert!(
        replica
            .cli(&["HGET", "currency", "f01"])
            .starts_with("LOADING")
    );
    let (reason, words) = ("is loading its data set", "LOADING");
    wait_refused(&api, PATIENCE, reason, 503, words);
    assert_eq!(replica.cli(&["CONFIG", "SET", "key-load-delay", "0"]), "OK");
    eventually(PATIENCE, "it is loaded", || {
        replica.cli(&["HGET", "currency", "f01"]) == "1000"
    });
    let took = load.wait_good(Instant::now(), PATIENCE);
    eprintln!("loading: reads back {took:?} after it");
    assert!(took <= SEEN, "{took:?}");
    load.finish();
}

#[test]
fn master_where_a_replica_is_asked_for() {
    let master = Redis::start_plain();
    fill(&master);
    let mut api = Api::serve().read_from(&master).start();
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/f03").text(), "{\"current\":3000}");
    assert_eq!(api.metric("redis_api_replica_link_up"), None);
    assert_eq!(api.metric("redis_api_replica_usable"), Some(1.0));

    let api = Api::serve().read_from(&master);
    let api = api.args(["--read-role", "replica"]).start();
    wait_unusable(
        &api,
        PATIENCE,
        "is a master, and --read-role replica asks for a replica",
    );
}

#[test]
fn server_told_to_follow_nobody_is_not_believed() {
    let redis = Redis::start_plain();
    fill(&redis);
    let mut api = Api::serve().read_from(&redis).start();
    api.wait_ready(PATIENCE);
    let port = free_port().to_string();
    assert_eq!(redis.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    wait_unusable(&api, SEEN, "has never been in sync with its master");
    assert_eq!(redis.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    api.wait_ready(SEEN);
    assert_eq!(api.get("/f03").text(), "{\"current\":3000}");
}

/// A server whose users `reader` and `writer` have these rights, and an API that logs in as them.
fn with_rights(reader: &str, writer: &str) -> (Redis, Api) {
    let user = |name: &str, rights: &str| format!("user {name} on >secret ~currency {rights}");
    let redis = Redis::builder()
        .password("secret")
        .config(&user("reader", reader))
        .config(&user("writer", writer))
        .start();
    redis.cli(&["HSET", "currency", "current-value", "12.5", "f01", "1000"]);
    let api = Api::serve().read_from(&redis).write_to(&redis);
    let users = [
        "--read-redis-user",
        "reader",
        "--write-redis-user",
        "writer",
    ];
    let api = api.args(users).start();
    (redis, api)
}

const READER: &str = "+hello +auth +ping +client|setname +info +hget +hmget";
const WRITER: &str = "+hello +auth +ping +client|setname +info +hset";

#[test]
fn least_rights_suffice() {
    let (redis, mut api) = with_rights(READER, WRITER);
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/").text(), "{\"current\":12.5}");
    assert_eq!(
        api.get("/?fields=f01,f02").text(),
        "{\"f01\":1000,\"f02\":null}"
    );
    let posted = api.post("/f02", "{\"value\":2000}");
    assert_eq!(
        (posted.status, posted.text().as_str()),
        (200, "{\"current\":2000}")
    );
    // Long enough for the probes and for PING on both sides.
    pass(SEVERAL_LOOKS);
    assert_eq!(api.get("/f02").text(), "{\"current\":2000}");
    let denied = redis.cli(&["ACL", "LOG"]);
    assert_eq!(denied, "", "something was tried that is not granted");
    let clients = redis.cli(&["CLIENT", "LIST"]);
    for name in ["name=redis-api-read-0", "name=redis-api-write-0"] {
        assert!(clients.contains(name), "{clients}");
    }
}

#[test]
fn server_without_hello_is_spoken_to_in_resp2() {
    let redis = Redis::builder()
        .password("secret")
        .config("rename-command HELLO \"\"")
        .start();
    fill(&redis);
    let mut api = Api::serve().read_from(&redis).write_to(&redis).start();
    api.wait_ready(PATIENCE);
    let line = api.wait_log("connected (RESP", PATIENCE);
    assert!(line.contains("(RESP2)"), "{line}");
    assert_eq!(
        api.get("/?fields=f01,x").text(),
        "{\"f01\":1000,\"x\":null}"
    );
    assert_eq!(api.get("/f01").text(), "{\"current\":1000}");
    assert_eq!(api.post("/f02", "{\"value\":2}").status, 200);
}

#[test]
fn missing_rights_are_named() {
    let (_redis, api) = with_rights("+hello +auth +ping +client|setname +hget +hmget", "+hello");
    wait_unusable(&api, PATIENCE, "refuses INFO");
    assert!(readyz(&api).text().contains("'info' command"));
    let posted = api.post("/f01", "{\"value\":1}");
    assert_eq!(posted.status, 502, "{}", posted.text());
    assert!(
        posted.text().contains("'hset' command"),
        "{}",
        posted.text()
    );
    assert!(posted.text().ends_with("\"outcome\":\"refused\"}"));

    // Whoever may not read one field can't be asked for any.
    let (_redis, api) = with_rights("+hello +auth +ping +client|setname +info", WRITER);
    let word = "'hget' command";
    wait_refused(&api, PATIENCE, word, 502, word);

    let (_redis, mut api) = with_rights("+hello +auth +ping +client|setname +info +hget", WRITER);
    api.wait_ready(PATIENCE);
    let response = api.get("/?fields=f01");
    assert_eq!(response.status, 502, "{}", response.text());
    assert!(
        response.text().contains("'hmget' command"),
        "{}",
        response.text()
    );
    assert_eq!(api.get("/f01").text(), "{\"current\":1000}");
    assert_eq!(readyz(&api).status, 200, "it concerns one command");
}

const MASTERDOWN: &str = "MASTERDOWN Link with MASTER is down";

#[test]
fn replica_that_refuses_stale_reads_is_unready_while_its_link_is_down() {
    let (mut master, replica) = pair(Redis::builder().config("replica-serve-stale-data no"));
    let mut api = Api::serve().read_from(&replica).write_to(&master).start();
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/f01").text(), "{\"current\":1000}");
    master.kill();
    let reason = "refuses reads: MASTERDOWN";
    wait_refused(&api, PATIENCE, reason, 503, MASTERDOWN);
    check_steady(&api, 503, MASTERDOWN);
    master.restart();
    replica.wait_synced();
    api.wait_ready(SEEN);
    assert_eq!(api.get("/f01").text(), "{\"current\":1000}");
}

/// It is never in sync and refuses reads from the start: both are known.
#[test]
fn replica_that_refuses_stale_reads_from_the_start() {
    let upstream = format!("replicaof 127.0.0.1 {}", free_port());
    let replica = Redis::builder()
        .config("replica-serve-stale-data no")
        .config(&upstream)
        .start();
    let api = Api::serve().read_from(&replica).start();
    let reason = "has never been in sync with its master";
    wait_refused(&api, PATIENCE, reason, 503, MASTERDOWN);
    check_steady(&api, 503, MASTERDOWN);
}

/// What it refuses is asked of the master, and no read is lost by looking again each second.
#[test]
fn reads_that_a_replica_refuses_go_to_the_master() {
    let (master, replica) = pair(Redis::builder().config("replica-serve-stale-data no"));
    let wire = crate::support::Wire::to(master.addr());
    let port = wire.addr().port().to_string();
    assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    replica.wait_synced();
    let api = Api::serve().read_from(&replica).write_to(&master);
    let mut api = api.args(["--read-fallback", "master"]).start();
    api.wait_ready(PATIENCE);
    let load = Load::start(api.addr());
    load.wait_good(Instant::now(), PATIENCE);
    // The link is down at once, and the master is there all the time.
    let nobody = free_port().to_string();
    let repoint = |port: &str| assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", port]), "OK");
    repoint(&nobody);
    eventually(SEEN, "it is unready", || readyz(&api).status == 503);
    pass(SEVERAL_LOOKS);
    assert_eq!(readyz(&api).status, 503);
    assert!(
        api.metric("redis_api_fallback_reads_total")
            .is_some_and(|reads| reads > 0.0)
    );
    repoint(&port);
    replica.wait_synced();
    api.wait_ready(SEEN);
    let tally = load.finish();
    assert!(tally.good > 0);
    assert_eq!(tally.bad(), 0, "one of the two always answers");
}

#[test]
fn server_in_cluster_mode_without_slots_is_unready() {
    // Its own default, 10,000 above the other, is past the last port for some.
    let bus = format!("cluster-port {}", free_port());
    let redis = Redis::builder()
        .config("cluster-enabled yes")
        .config(&bus)
        .start();
    let api = Api::serve().read_from(&redis).write_to(&redis).start();
    wait_refused(
        &api,
        PATIENCE,
        "CLUSTERDOWN",
        502,
        "CLUSTERDOWN Hash slot not served",
    );
    check_steady(&api, 502, "cluster mode, which is not supported");
}

#[test]
fn user_who_may_not_read_the_hash_is_unready() {
    let redis = Redis::builder()
        .password("secret")
        .config("user reader on >secret ~other +@all")
        .start();
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let api = Api::serve().read_from(&redis);
    let mut api = api.args(["--read-redis-user", "reader"]).start();
    wait_refused(
        &api,
        PATIENCE,
        "NOPERM",
        502,
        "the Redis user lacks a permission: NOPERM",
    );
    check_steady(&api, 502, "NOPERM");
    redis.cli(&["ACL", "SETUSER", "reader", "~currency"]);
    api.wait_ready(SEEN);
    assert_eq!(api.get("/").text(), "{\"current\":12.5}");
}

/// What is stored there is no fault of the server.
#[test]
fn key_of_another_type_leaves_the_server_usable() {
    let redis = Redis::start_plain();
    redis.cli(&["SET", "currency", "x"]);
    let mut api = Api::serve().read_from(&redis).start();
    api.wait_ready(PATIENCE);
    let response = api.get("/");
    assert_eq!(response.status, 502, "{response:?}");
    pass(SEVERAL_LOOKS);
    assert_eq!(readyz(&api).status, 200);
}

#[test]
fn server_is_judged_by_a_field_that_is_served() {
    let fake = Fake::start();
    fake.script(|command| match command[0].as_str() {
        "HGET" if command[2] != "f02" => Act::Send(b"-ERR not this one\r\n".to_vec()),
        _ => Act::Behave,
    });
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let mut api = api.args(["--fields", "f03,f02"]).start();
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/f02").text(), "{\"current\":2000}");
}

#[test]
fn maxclients_reached_is_said_in_the_servers_words() {
    let redis = Redis::builder().config("maxclients 4").start();
    fill(&redis);
    let taken: Vec<TcpStream> = eventually(PATIENCE, "all places are taken", || {
        let taken: Vec<_> = (0..4)
            .map(|_| TcpStream::connect(redis.addr()).expect("it listens"))
            .collect();
        let full = redis
            .try_cli(&["PING"])
            .map_or(true, |said| said.contains("max number"));
        full.then_some(taken)
    });
    let api = Api::serve().read_from(&redis).write_to(&redis);
    let mut api = api.args(["--workers", "1"]).start();
    let words = "max number of clients reached";
    wait_unusable(&api, PATIENCE, words);
    let line = api.wait_log(words, PATIENCE);
    assert!(line.contains("raise the server's maxclients"), "{line}");
    drop(taken);
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/f01").text(), "{\"current\":1000}");
}
