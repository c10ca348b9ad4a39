//! `--read-mode tracked`: reads from memory, and each way in which that must end, with real servers
//! where they can be made to do it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::fake::bulk;
use crate::support::http::Connection;
use crate::support::load::{fill, store};
use crate::support::redis::Builder;
use crate::support::{Act, Api, Fake, Load, PATIENCE, Redis, Wire, eventually, pass};

/// An answer is at most two looks old where the server or the way to it hangs, and the looks come
/// each second; the rest is for a loaded machine.
const HANGS: Duration = Duration::from_secs(4);

const HITS: &str = "redis_api_tracked_hits_total";
const MISSES: &str = "redis_api_tracked_misses_total";
const INVALIDATIONS: &str = "redis_api_tracked_invalidations_total";

/// A server that holds `/` at 1 and `/EUR` at 2.
fn filled(builder: Builder) -> Redis {
    let redis = builder.start();
    redis.cli(&["HSET", "currency", "current-value", "1", "EUR", "2"]);
    redis
}

/// One worker that reads from here, and has both fields in memory.
fn tracked(redis: &Redis) -> Api {
    let api = Api::serve().read_from(redis).write_to(redis);
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    wait_kept(&api, "/");
    wait_kept(&api, "/EUR");
    api
}

fn count(api: &Api, sample: &str) -> f64 {
    api.metric(sample).expect("it is there")
}

/// Waits until this is answered from memory.
#[track_caller]
fn wait_kept(api: &Api, path: &str) {
    eventually(PATIENCE, "an answer from memory", || {
        let before = count(api, HITS);
        api.get(path);
        count(api, HITS) > before
    });
}

/// Waits until `path` is answered by `body`; how long it took.
#[track_caller]
fn wait_body(api: &Api, path: &str, body: &str, timeout: Duration) -> Duration {
    let since = Instant::now();
    eventually(timeout, body, || {
        let response = api.get(path);
        (response.text() == body).then_some(()).ok_or(response)
    });
    since.elapsed()
}

#[test]
fn answers_from_memory_ask_nothing_of_redis() {
    let redis = filled(Redis::builder());
    let api = tracked(&redis);
    let (calls, hits) = (redis.calls("hget"), count(&api, HITS));
    for _ in 0..50 {
        assert_eq!(api.get("/").text(), "{\"current\":1}");
        assert_eq!(api.get("/EUR").text(), "{\"current\":2}");
        let both = api.get("/?fields=EUR,current-value");
        assert_eq!(both.text(), "{\"EUR\":2,\"current-value\":1}");
    }
    assert_eq!(redis.calls("hget"), calls);
    assert_eq!(redis.calls("hmget"), 0);
    assert_eq!(count(&api, HITS), hits + 150.0);
    eventually(PATIENCE, "they are counted", || {
        count(&api, "redis_api_tracked_entries") == 2.0
    });
}

#[test]
fn every_change_of_the_hash_is_seen() {
    let redis = filled(Redis::builder());
    let api = tracked(&redis);
    let check = |command: &[&str], path: &str, body: &str| {
        wait_kept(&api, path);
        redis.cli(command);
        let took = wait_body(&api, path, body, PATIENCE);
        eprintln!("{command:?}: seen after {took:?}");
        assert!(took < Duration::from_secs(1), "{command:?}: {took:?}");
    };
    check(
        &["HSET", "currency", "current-value", "5"],
        "/",
        "{\"current\":5}",
    );
    check(&["HSET", "currency", "new", "6"], "/new", "{\"current\":6}");
    check(
        &["HDEL", "currency", "new"],
        "/new",
        "{\"error\":\"Not found\"}",
    );
    check(&["HSET", "currency", "new", "7"], "/new", "{\"current\":7}");
    check(&["DEL", "currency"], "/", "{\"error\":\"Not initialised\"}");
    check(
        &["HSET", "currency", "current-value", "8"],
        "/",
        "{\"current\":8}",
    );
    check(&["FLUSHALL"], "/", "{\"error\":\"Not initialised\"}");
    check(
        &["HSET", "currency", "current-value", "9"],
        "/",
        "{\"current\":9}",
    );
    let wrong = "is not a JSON number";
    wait_kept(&api, "/");
    redis.cli(&["HSET", "currency", "current-value", "nan"]);
    eventually(PATIENCE, "502", || api.get("/").text().contains(wrong));
    redis.cli(&["HSET", "currency", "current-value", "10"]);
    wait_body(&api, "/", "{\"current\":10}", PATIENCE);
    wait_kept(&api, "/");
    // Another type, in one step and with no moment in between.
    redis.cli(&["SET", "currency", "text"]);
    eventually(PATIENCE, "502 for another type", || {
        let response = api.get("/");
        let fits = response.status == 502 && response.text().contains("other than a hash");
        fits.then_some(()).ok_or(response)
    });
    redis.cli(&["DEL", "currency"]);
    check(
        &["HSET", "currency", "current-value", "11"],
        "/",
        "{\"current\":11}",
    );
    assert!(count(&api, INVALIDATIONS) >= 10.0);
}

#[test]
fn a_posted_value_is_read_back() {
    let redis = filled(Redis::builder());
    let api = tracked(&redis);
    for value in 0..50 {
        let posted = api.post("/EUR", &format!("{{\"value\":{value}}}"));
        assert_eq!(posted.status, 200);
        wait_body(&api, "/EUR", &format!("{{\"current\":{value}}}"), PATIENCE);
    }
}

/// A replica of `master` that is in sync, and an API that reads from it.
fn behind(master: &Redis, builder: Builder) -> (Redis, Api) {
    let replica = builder.replica_of(master).start();
    replica.wait_synced();
    let api = Api::serve().read_from(&replica).write_to(master);
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    wait_body(&api, "/EUR", "{\"current\":2}", PATIENCE);
    wait_kept(&api, "/EUR");
    (replica, api)
}

#[test]
fn what_is_written_to_the_master_arrives() {
    let master = filled(Redis::builder());
    let (_replica, api) = behind(&master, Redis::builder());
    for value in 10..30 {
        wait_kept(&api, "/EUR");
        let value = value.to_string();
        master.cli(&["HSET", "currency", "EUR", &value]);
        let body = format!("{{\"current\":{value}}}");
        let took = wait_body(&api, "/EUR", &body, PATIENCE);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn a_replica_that_restarts_is_read_again() {
    let master = filled(Redis::builder());
    let (mut replica, api) = behind(&master, Redis::builder());
    for value in 10..12 {
        replica.kill();
        eventually(PATIENCE, "nothing is answered from memory", || {
            api.get("/EUR").status == 503
        });
        let value = value.to_string();
        master.cli(&["HSET", "currency", "EUR", &value]);
        replica.restart();
        let body = format!("{{\"current\":{value}}}");
        eventually(PATIENCE, "the new value and no other", || {
            let response = api.get("/EUR");
            assert!(
                response.status == 503 || response.text() == body,
                "{response:?}"
            );
            response.status == 200
        });
        wait_kept(&api, "/EUR");
    }
}

#[test]
fn a_connection_that_is_lost_takes_what_was_read_by_it() {
    let redis = filled(Redis::builder());
    let api = tracked(&redis);
    for value in 10..15 {
        wait_kept(&api, "/");
        let value = value.to_string();
        // The push goes to nobody.
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        redis.cli(&["HSET", "currency", "current-value", &value]);
        let body = format!("{{\"current\":{value}}}");
        wait_body(&api, "/", &body, PATIENCE);
    }
}

#[test]
fn a_replica_that_hangs_is_not_answered_for() {
    let master = filled(Redis::builder());
    let (mut replica, api) = behind(&master, Redis::builder());
    replica.freeze();
    let frozen = Instant::now();
    master.cli(&["HSET", "currency", "EUR", "9"]);
    eventually(PATIENCE, "no answer from memory", || {
        let response = api.get("/EUR");
        (response.status != 200).then_some(()).ok_or(response)
    });
    let took = frozen.elapsed();
    eprintln!("replica frozen: last answer from memory within {took:?}");
    assert!(took < HANGS, "{took:?}");
    replica.thaw();
    wait_body(&api, "/EUR", "{\"current\":9}", PATIENCE);
    wait_kept(&api, "/EUR");
}

#[test]
fn a_way_that_hangs_is_not_answered_for() {
    let redis = filled(Redis::builder());
    let wire = Wire::to(redis.addr());
    let addr = wire.addr().to_string();
    let api = Api::serve().args(["--redis-addr", &addr]);
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    wait_kept(&api, "/");
    wire.cut();
    let cut = Instant::now();
    redis.cli(&["HSET", "currency", "current-value", "9"]);
    eventually(PATIENCE, "no answer from memory", || {
        let response = api.get("/");
        (response.status != 200).then_some(()).ok_or(response)
    });
    let took = cut.elapsed();
    assert!(took < HANGS, "{took:?}");
    wire.mend();
    wait_body(&api, "/", "{\"current\":9}", PATIENCE);
}

#[test]
fn a_resync_is_seen() {
    let master = filled(Redis::builder());
    let other = Redis::builder().start();
    other.cli(&["HSET", "currency", "EUR", "77"]);
    let (replica, api) = behind(
        &master,
        Redis::builder().config("repl-diskless-sync-delay 0"),
    );
    for (upstream, body) in [(&other, "{\"current\":77}"), (&master, "{\"current\":2}")] {
        wait_kept(&api, "/EUR");
        let port = upstream.addr().port().to_string();
        assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", &port]), "OK");
        wait_body(&api, "/EUR", body, PATIENCE);
    }
}

/// Its link goes down and comes back between two looks, by which `INFO` has nothing to tell: it is
/// seen all the same, and what was written meanwhile too.
#[test]
fn a_link_to_the_master_that_flaps_is_seen() {
    let master = filled(Redis::builder());
    let (replica, api) = behind(&master, Redis::builder());
    for value in 10..13 {
        eventually(PATIENCE, "a look since", || {
            let before = replica.calls("client|list");
            eventually(PATIENCE, "two looks", || {
                replica.calls("client|list") >= before + 2
            });
            replica.info("replication", "master_link_status").as_deref() == Some("up")
        });
        wait_kept(&api, "/EUR");
        assert_eq!(replica.cli(&["CLIENT", "KILL", "TYPE", "master"]), "1");
        eventually(PATIENCE, "it is back", || {
            replica.info("replication", "master_link_status").as_deref() == Some("up")
        });
        let misses = count(&api, MISSES);
        eventually(PATIENCE, "it is asked for again", || {
            assert_eq!(api.get("/EUR").status, 200);
            count(&api, MISSES) > misses
        });
        wait_kept(&api, "/EUR");
        let value = value.to_string();
        replica.cli(&["CLIENT", "KILL", "TYPE", "master"]);
        master.cli(&["HSET", "currency", "EUR", &value]);
        wait_body(&api, "/EUR", &format!("{{\"current\":{value}}}"), PATIENCE);
    }
}

#[test]
fn a_replica_out_of_sync_for_too_long_is_not_answered_for() {
    let master = Redis::builder().config("repl-ping-replica-period 1");
    let mut master = filled(master);
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    let api = Api::serve().read_from(&replica).write_to(&master);
    let api = api.args([
        "--read-mode",
        "tracked",
        "--workers",
        "1",
        "--max-stale",
        "3s",
    ]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    wait_kept(&api, "/EUR");
    master.kill();
    eventually(PATIENCE, "its age is told", || {
        let response = api.get("/EUR");
        assert_eq!(response.status, 200, "{response:?}");
        response.header("X-Data-Age").is_some()
    });
    eventually(PATIENCE, "it is too old", || {
        let response = api.get("/EUR");
        response.status == 503 && response.text().contains("--max-stale")
    });
}

#[test]
fn a_value_is_read_again_at_its_age() {
    let redis = filled(Redis::builder());
    let api = Api::serve().read_from(&redis);
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let mut api = api.args(["--tracked-max-age", "200ms"]).start();
    api.wait_ready(PATIENCE);
    wait_kept(&api, "/");
    let before = count(&api, MISSES);
    eventually(PATIENCE, "it is asked for again and again", || {
        api.get("/");
        count(&api, MISSES) >= before + 3.0
    });
}

/// The push overtakes the reply: that one answers who asked, and nobody after.
#[test]
fn a_push_between_command_and_reply() {
    let fake = Fake::start();
    let push = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\ncurrency\r\n";
    let mut reads = 0;
    fake.script(move |command| match command[0].as_str() {
        "CLIENT" => Act::Send(b"+OK\r\n".to_vec()),
        "HGET" if command[2] == "f01" => {
            reads += 1;
            let value = bulk(&reads.to_string());
            Act::Send(match reads {
                1 => [push.as_bytes(), &value].concat(),
                _ => value,
            })
        }
        _ => Act::Behave,
    });
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    for body in ["{\"current\":1}", "{\"current\":2}", "{\"current\":2}"] {
        assert_eq!(api.get("/f01").text(), body);
    }
}

/// One request, the push, and another request arrive in one turn: while the process is stopped, the
/// kernel collects them. The connection's task is the first that is woken, and finds both requests.
#[test]
fn a_push_that_has_arrived_is_taken_in_before_a_request_is_answered() {
    let redis = filled(Redis::builder());
    let mut api = tracked(&redis);
    let mut connection = Connection::open(api.addr()).expect("it listens");
    for value in 100..130 {
        wait_kept(&api, "/");
        let response = connection.request("GET", "/", &[], b"");
        assert_eq!(response.status, 200);
        // Not in the middle of a turn, which would go on as that turn.
        let asleep = |api: &mut Api| api.process().is_all('S');
        eventually(PATIENCE, "it waits for the sockets", || asleep(&mut api));
        api.process().signal(Signal::SIGSTOP);
        eventually(PATIENCE, "it is stopped", || api.process().is_all('T'));
        let mut send = || {
            connection
                .send("GET", "/", &[], b"")
                .expect("it can be sent");
        };
        send();
        redis.cli(&["HSET", "currency", "current-value", &value.to_string()]);
        send();
        api.process().signal(Signal::SIGCONT);
        let mut answer = || connection.read_response("GET").expect("it is answered");
        answer();
        assert_eq!(answer().text(), format!("{{\"current\":{value}}}"));
    }
}

fn check_batched(redis: &Redis, args: &[&str], words: &str) {
    let api = Api::serve().read_from(redis).args(args.iter().copied());
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    let warning = "cannot track changes, so reads are batched";
    let line = api.wait_log(warning, PATIENCE);
    assert!(line.contains(words), "{line}");
    for value in 10..13 {
        let value = value.to_string();
        redis.cli(&["HSET", "currency", "current-value", &value]);
        assert_eq!(api.get("/").text(), format!("{{\"current\":{value}}}"));
    }
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually(PATIENCE, "it is connected again", || {
        api.metric("redis_api_redis_connects_total{role=\"read\"}") >= Some(2.0)
            && api.get("/").status == 200
    });
    let log = api.log();
    let warnings = log.iter().filter(|line| line.contains(warning)).count();
    assert_eq!(warnings, 1, "{log:#?}");
    assert_eq!(count(&api, HITS), 0.0);
}

#[test]
fn a_server_that_speaks_only_resp2_is_read_in_batches() {
    let redis = filled(Redis::builder().config("rename-command HELLO \"\""));
    check_batched(&redis, &[], "does not speak RESP3");
}

#[test]
fn a_user_who_may_not_track_reads_in_batches() {
    let user = "user reader on >secret ~currency +hello +auth +ping +client|setname +info +hget";
    let redis = Redis::builder().password("secret").config(user);
    let redis = filled(redis);
    check_batched(&redis, &["--read-redis-user", "reader"], "NOPERM");
}

/// Redis tracks keys, so that a write to any field costs a push. What both of them have to do must
/// not be more than in batch mode, however often the hash changes: here once for each read, and
/// once for ten.
#[test]
fn a_hash_that_changes_often_costs_no_more_than_in_batch_mode() {
    let redis = filled(Redis::builder());
    let api = tracked(&redis);
    let mut writer = TcpStream::connect(redis.addr()).expect("it listens");
    let mut reader = Connection::open(api.addr()).expect("it listens");
    let mut work = |reads: u32, each: u32| {
        let mut reply = [0; 64];
        for number in 0..reads {
            if number % each == 0 {
                let command = format!("HSET currency other {number}\r\n");
                writer.write_all(command.as_bytes()).expect("it is sent");
                assert!(writer.read(&mut reply).expect("it is answered") > 0);
            }
            let response = reader.request("GET", "/", &[], b"");
            assert_eq!(response.text(), "{\"current\":1}");
        }
    };
    let cost = || redis.calls("hget") as f64 + count(&api, INVALIDATIONS);
    let before = cost();
    work(2000, 10);
    let seldom = cost() - before;
    eprintln!("a write for ten reads: {seldom} commands and pushes for 2000 reads");
    assert!(seldom <= 1.05 * 2000.0, "{seldom}");

    // Until it has noticed, which takes a look.
    let since = Instant::now();
    eventually(PATIENCE, "tracking is turned off", || {
        work(200, 1);
        let before = count(&api, INVALIDATIONS);
        work(200, 1);
        count(&api, INVALIDATIONS) == before
    });
    eprintln!("a write for each read: noticed after {:?}", since.elapsed());
    let before = cost();
    work(2000, 1);
    let often = cost() - before;
    eprintln!("a write for each read: {often} commands and pushes for 2000 reads");
    assert!(often <= 1.05 * 2000.0, "{often}");
}

/// Names that a client makes up are kept too, that they are not there; but apart, in a 64th of the
/// memory, so that neither `/` nor another field gives way to them.
#[test]
fn a_flood_of_made_up_names_takes_bounded_memory_and_evicts_nothing() {
    const NAMES: u32 = 50_000;
    const AT_ONCE: u32 = 100;
    /// A 64th of the default of 64 MiB, by what an entry counts at least.
    const MOST: f64 = 1024.0 * 1024.0 / 256.0;
    let redis = filled(Redis::builder());
    let api = Api::serve().read_from(&redis).write_to(&redis);
    let api = api.args(["--read-mode", "tracked", "--workers", "1"]);
    let api = api.args(["--tracked-max-age", "0s", "--request-timeout", "10s"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    wait_kept(&api, "/");
    wait_kept(&api, "/EUR");
    let mut connection = Connection::open(api.addr()).expect("it listens");
    let mut ask = |first: u32| {
        let names = first..first + AT_ONCE;
        let head = |name| format!("GET /made-up-{name} HTTP/1.1\r\nHost: test\r\n\r\n");
        let heads: String = names.clone().map(head).collect();
        connection.send_raw(heads.as_bytes()).expect("it is open");
        for name in names {
            let response = connection.read_response("GET").expect("it is answered");
            assert_eq!(response.status, 404, "{name}");
        }
    };
    // What a warm process has anyway.
    (0..10).for_each(|round| ask(round * AT_ONCE));
    let before = api.process().resident_kib();
    for first in (0..NAMES).step_by(AT_ONCE as usize) {
        ask(first);
    }
    let grown = api.process().resident_kib().saturating_sub(before);
    eprintln!("{NAMES} names: {grown} KiB more");
    assert!(grown < 8 * 1024, "{grown} KiB");
    eventually(PATIENCE, "they are counted", || {
        let entries = count(&api, "redis_api_tracked_entries");
        assert!(entries <= MOST + 2.0, "{entries}");
        entries > MOST / 2.0
    });
    let (misses, hits) = (count(&api, MISSES), count(&api, HITS));
    assert_eq!(api.get("/").text(), "{\"current\":1}");
    assert_eq!(api.get("/EUR").text(), "{\"current\":2}");
    assert_eq!(
        (count(&api, MISSES), count(&api, HITS)),
        (misses, hits + 2.0)
    );
}

/// Under load, with many fields and all of them changing: [`Load`] looks at every answer.
#[test]
fn under_load_no_answer_is_older_than_what_was_asked_for() {
    let master = Redis::builder().start();
    fill(&master);
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    eventually(PATIENCE, "the replica has the values", || {
        replica.cli(&["HGET", "currency", "f49"]) == "49000"
    });
    let api = Api::serve().read_from(&replica).write_to(&master);
    let mut api = api.args(["--read-mode", "tracked"]).start();
    api.wait_ready(PATIENCE);
    let load = Load::start(api.addr());
    load.wait_good(Instant::now(), PATIENCE);
    for version in 1..40 {
        store(&master, version);
        let last = (49_000 + version).to_string();
        eventually(PATIENCE, "the replica has it", || {
            replica.cli(&["HGET", "currency", "f49"]) == last
        });
        // A thousand times as long as a push takes.
        pass(Duration::from_millis(300));
        load.demand(version);
    }
    let tally = load.finish();
    assert_eq!((tally.bad(), tally.stale), (0, 0));
    assert!(count(&api, HITS) > count(&api, MISSES));
}
