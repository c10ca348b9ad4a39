//! Reads while the replica, or its link to the master, is in trouble: how old the data is, how old
//! it may be, and where else it may come from.

mod confirm;
mod fallback;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, Redis, Response, Wire, eventually, request};

/// A change of the replica's state is seen by the next look at it, which comes each second.
const SEEN: Duration = Duration::from_secs(3);

/// A master that pings its replicas each second and keeps its data when it is killed.
fn master() -> Redis {
    let master = Redis::builder()
        .config("appendonly yes")
        .config("appendfsync always")
        .config("repl-ping-replica-period 1")
        .start();
    set(&master, "current-value", "1");
    set(&master, "EUR", "2");
    master
}

fn set(redis: &Redis, field: &str, value: &str) {
    redis.cli(&["HSET", "currency", field, value]);
}

/// A replica of whoever is at `upstream`, in sync.
fn replica_of(upstream: SocketAddr) -> Redis {
    replica_with(upstream, "repl-timeout 60")
}

/// The same with one more line of configuration.
fn replica_with(upstream: SocketAddr, config: &str) -> Redis {
    let replica = Redis::builder()
        .config(config)
        .config(&format!("replicaof 127.0.0.1 {}", upstream.port()))
        .start();
    replica.wait_synced();
    eventually(PATIENCE, "the replica has the values", || {
        replica.cli(&["HGET", "currency", "EUR"]) == "2"
    });
    replica
}

/// One worker, so that what one answer shows holds for all.
fn ready(api: Builder) -> Api {
    let mut api = api.args(["--workers", "1"]).start();
    api.wait_ready(PATIENCE);
    api
}

fn readyz(api: &Api) -> Response {
    request(api.admin(), "GET", "/readyz", &[], b"")
}

fn age(response: &Response) -> Option<u32> {
    let age = response.header("X-Data-Age")?;
    Some(age.parse().expect("it is a whole number"))
}

/// Waits until answers have this age at least.
#[track_caller]
fn wait_age(api: &Api, least: u32, timeout: Duration) -> u32 {
    eventually(timeout, &format!("an age of {least} s"), || {
        let response = api.get("/");
        match age(&response) {
            Some(age) if age >= least => Ok(age),
            _ => Err(response),
        }
    })
}

/// Waits until answers are good and have no age; how long it took.
#[track_caller]
fn wait_fresh(api: &Api) -> Duration {
    let since = Instant::now();
    eventually(PATIENCE, "fresh answers", || {
        let response = api.get("/");
        let fresh = response.status == 200 && age(&response).is_none();
        fresh.then_some(()).ok_or(response)
    });
    since.elapsed()
}

/// Waits until reads are refused and the pod is unready, for a reason that has all `words`.
#[track_caller]
fn wait_refused(api: &Api, timeout: Duration, words: &[&str]) {
    eventually(timeout, &format!("503 for {words:?}"), || {
        for response in [api.get("/"), api.get("/missing"), readyz(api)] {
            let text = response.text();
            let named = words.iter().all(|word| text.contains(word));
            if response.status != 503 || !named {
                return Err(response);
            }
        }
        Ok(())
    });
    assert_eq!(api.get("/").header("Retry-After"), Some("1"));
}

#[test]
fn answers_tell_their_age_while_the_master_is_away() {
    let mut master = master();
    let replica = replica_of(master.addr());
    let api = ready(Api::serve().read_from(&replica).write_to(&master));
    for path in ["/", "/EUR", "/missing", "/?fields=EUR"] {
        assert_eq!(age(&api.get(path)), None, "{path}");
    }

    master.kill();
    let first = wait_age(&api, 0, SEEN);
    assert!(first <= 3, "it has just gone: {first}");
    wait_age(&api, first + 3, PATIENCE);
    let check = |path: &str, status: u16, body: &str| {
        let response = api.get(path);
        assert_eq!((response.status, response.text().as_str()), (status, body));
        assert!(age(&response).is_some_and(|age| age >= 3), "{response:?}");
        let exposed = response.header("Access-Control-Expose-Headers");
        assert_eq!(exposed, Some("X-Data-Age"), "browsers may read it");
    };
    check("/", 200, "{\"current\":1}");
    check("/EUR", 200, "{\"current\":2}");
    check("/?fields=EUR,USD", 200, "{\"EUR\":2,\"USD\":null}");
    check("/missing", 404, "{\"error\":\"Not found\"}");
    let head = request(api.addr(), "HEAD", "/", &[], b"");
    assert!(age(&head).is_some(), "{head:?}");
    let failed = request(api.addr(), "PUT", "/", &[], b"");
    assert_eq!(
        age(&failed),
        None,
        "only answers of the replica have an age"
    );
    assert_eq!(readyz(&api).status, 200);

    master.restart();
    replica.wait_synced();
    let took = wait_fresh(&api);
    eprintln!("master stopped: no age any more {took:?} after the link was up");
    assert!(took <= SEEN, "{took:?}");
}

#[test]
fn not_initialised_has_its_age_too() {
    let mut master = Redis::start_plain();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    let api = ready(Api::serve().read_from(&replica).write_to(&master));
    master.kill();
    wait_age(&api, 0, SEEN);
    assert_eq!(api.get("/").text(), "{\"error\":\"Not initialised\"}");
}

#[test]
fn a_master_has_no_age() {
    let master = master();
    let api = ready(
        Api::serve()
            .read_from(&master)
            .write_to(&master)
            .args(["--max-stale", "1s"]),
    );
    assert_eq!(age(&api.get("/")), None);
    assert_eq!(api.get("/").status, 200);
}

/// The link stays up: only the time since the last byte tells.
#[test]
fn answers_tell_their_age_while_the_master_hangs() {
    let mut master = master();
    let replica = replica_of(master.addr());
    let api = ready(Api::serve().read_from(&replica).write_to(&master));
    master.freeze();
    let frozen = Instant::now();
    let first = wait_age(&api, 0, PATIENCE);
    assert!((11..=13).contains(&first), "up to 10 s is usual: {first}");
    assert!(frozen.elapsed() >= Duration::from_secs(9), "{frozen:?}");
    assert_eq!(api.metric("redis_api_replica_link_up"), Some(1.0));
    assert_eq!(api.get("/EUR").text(), "{\"current\":2}");
    wait_age(&api, 13, PATIENCE);
    assert_eq!(readyz(&api).status, 200);

    master.thaw();
    let took = wait_fresh(&api);
    eprintln!("master frozen: no age any more {took:?} after it went on");
    assert!(took <= SEEN, "{took:?}");
}

#[test]
fn data_past_its_limit_is_refused_while_the_wire_is_cut() {
    let master = master();
    let wire = Wire::to(master.addr());
    let replica = replica_of(wire.addr());
    let api = Api::serve().read_from(&replica).write_to(&master);
    let api = ready(api.args(["--max-stale", "3s"]));
    api.wait_log("repl-ping-replica-period", PATIENCE);

    for _ in 0..2 {
        wire.cut();
        let cut = Instant::now();
        let words = [
            "--max-stale allows 3 s",
            "has data that is",
            "though the link is up",
        ];
        wait_refused(&api, PATIENCE, &words);
        eprintln!("wire cut: reads refused after {:?}", cut.elapsed());
        assert!(cut.elapsed() >= Duration::from_secs(2), "{cut:?}");
        assert_eq!(api.metric("redis_api_replica_usable"), Some(0.0));
        set(&master, "current-value", "7");

        wire.mend();
        let took = wait_fresh(&api);
        eprintln!("wire mended: reads back after {took:?}");
        assert!(took <= SEEN, "{took:?}");
        assert_eq!(readyz(&api).status, 200);
        eventually(PATIENCE, "the new value", || {
            api.get("/").text() == "{\"current\":7}"
        });
    }
}

#[test]
fn data_past_its_limit_is_refused_while_the_master_is_away() {
    let mut master = master();
    let replica = replica_of(master.addr());
    let api = Api::serve().read_from(&replica).write_to(&master);
    let api = ready(api.args(["--max-stale", "3s"]));
    master.kill();
    wait_age(&api, 1, PATIENCE);
    let words = ["--max-stale allows 3 s", "its link to the master is down"];
    wait_refused(&api, PATIENCE, &words);
    assert_eq!(
        age(&api.get("/")),
        None,
        "nothing of the replica is answered"
    );
    master.restart();
    replica.wait_synced();
    let took = wait_fresh(&api);
    eprintln!("master back: reads back {took:?} after the link was up");
    assert!(took <= SEEN, "{took:?}");
}

/// The replica gives the link up after a while, and counts from 0 then: its data is no younger.
#[test]
fn data_does_not_grow_young_when_the_link_is_given_up() {
    let master = master();
    let wire = Wire::to(master.addr());
    let replica = replica_with(wire.addr(), "repl-timeout 7");
    let api = Api::serve().read_from(&replica).write_to(&master);
    let api = ready(api.args(["--max-stale", "4s"]));
    wire.cut();
    wait_refused(&api, PATIENCE, &["though the link is up"]);
    eventually(PATIENCE, "the link is given up", || {
        let response = api.get("/");
        assert_eq!(response.status, 503, "{response:?}");
        response.text().contains("its link to the master is down")
    });
    wire.mend();
    replica.wait_synced();
    wait_fresh(&api);
}
