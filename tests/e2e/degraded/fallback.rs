//! Reads that go to the master while no replica is usable.

use std::thread;
use std::time::{Duration, Instant};

use super::{SEEN, age, master, ready, readyz, replica_of, set};
use crate::support::fake::bulk;
use crate::support::{Act, Api, Fake, PATIENCE, Redis, eventually, free_port, request};

const FALLBACK_READS: &str = "redis_api_fallback_reads_total";

#[test]
fn reads_go_to_the_master_while_the_replica_is_away() {
    let master = master();
    let mut replica = replica_of(master.addr());
    let api = Api::serve().read_from(&replica).write_to(&master);
    let api = ready(api.args(["--read-fallback", "master", "--read-role", "replica"]));
    assert_eq!(api.get("/").text(), "{\"current\":1}");
    assert_eq!(api.get("/?fields=EUR").text(), "{\"EUR\":2}");
    assert_eq!(master.calls("hmget"), 0, "the replica is usable");
    assert_eq!(api.metric(FALLBACK_READS), Some(0.0));

    for round in 0..2 {
        replica.kill();
        // What only the master knows.
        let value = (10 + round).to_string();
        set(&master, "current-value", &value);
        let killed = Instant::now();
        let body = format!("{{\"current\":{value}}}");
        eventually(SEEN, "the master's value", || {
            let response = api.get("/");
            (response.text() == body).then_some(()).ok_or(response)
        });
        eprintln!(
            "replica killed: answers of the master after {:?}",
            killed.elapsed()
        );
        assert_eq!(api.get("/EUR").text(), "{\"current\":2}");
        let many = api.get("/?fields=EUR,USD");
        assert_eq!(many.text(), "{\"EUR\":2,\"USD\":null}");
        assert_eq!((api.get("/missing").status, age(&many)), (404, None));
        assert!(api.metric(FALLBACK_READS).is_some_and(|reads| reads >= 4.0));
        let ready = readyz(&api);
        assert_eq!(ready.status, 503, "the fallback does not count");
        assert!(ready.text().contains("replica"), "{}", ready.text());

        replica.restart();
        replica.wait_synced();
        let back = Instant::now();
        eventually(PATIENCE, "ready again", || readyz(&api).status == 200);
        eprintln!("replica back: read from again after {:?}", back.elapsed());
        let reads = (master.calls("hmget"), api.metric(FALLBACK_READS));
        for _ in 0..20 {
            assert_eq!(api.get("/EUR").text(), "{\"current\":2}");
            assert_eq!(api.get("/?fields=EUR").text(), "{\"EUR\":2}");
        }
        assert_eq!((master.calls("hmget"), api.metric(FALLBACK_READS)), reads);
    }
}

/// A replica that would answer nil is as good as none.
#[test]
fn reads_go_to_the_master_while_the_replica_was_never_in_sync() {
    let master = master();
    let replica = Redis::builder()
        .config(&format!("replicaof 127.0.0.1 {}", free_port()))
        .start();
    let api = Api::serve().read_from(&replica).write_to(&master);
    let mut api = api.args(["--read-fallback", "master"]).start();
    api.wait_live(PATIENCE);
    eventually(PATIENCE, "the master's value", || {
        let response = api.get("/");
        (response.text() == "{\"current\":1}")
            .then_some(())
            .ok_or(response)
    });
    assert!(readyz(&api).text().contains("has never been in sync"));
}

#[test]
fn data_past_its_limit_comes_from_the_master() {
    let master = master();
    let wire = crate::support::Wire::to(master.addr());
    let replica = replica_of(wire.addr());
    let api = Api::serve().read_from(&replica).write_to(&master);
    let api = ready(api.args(["--read-fallback", "master", "--max-stale", "2s"]));
    wire.cut();
    set(&master, "current-value", "5");
    eventually(PATIENCE, "the master's value", || {
        let response = api.get("/");
        assert_eq!(response.status, 200, "one of them always answers");
        (response.text() == "{\"current\":5}")
            .then_some(())
            .ok_or(response)
    });
    assert_eq!(readyz(&api).status, 503);
    wire.mend();
    eventually(PATIENCE, "ready again", || readyz(&api).status == 200);
}

/// Nobody at the read address; `fake` is the master.
fn on_fallback(fake: &Fake, limit: &str) -> Api {
    let nobody = format!("127.0.0.1:{}", free_port());
    let api = Api::serve()
        .args(["--read-redis-addr", &nobody])
        .args(["--write-redis-addr", &fake.addr().to_string()])
        .args([
            "--read-fallback",
            "master",
            "--fallback-max-in-flight",
            limit,
        ])
        .args(["--workers", "1", "--request-timeout", "10s"])
        .start();
    eventually(PATIENCE, "an answer of the master", || {
        crate::support::try_request(api.addr(), "GET", "/f01", &[], b"")
            .is_ok_and(|response| response.text() == "{\"current\":1000}")
    });
    api
}

#[test]
fn what_exceeds_the_limit_is_shed() {
    let fake = Fake::start();
    let api = on_fallback(&fake, "2");
    let shed = || api.metric("redis_api_shed_total").expect("it is there");
    let before = (fake.seen("HGET"), shed());
    fake.script(|command| match command.last().map(String::as_str) {
        Some("f02") => Act::Hold(bulk("2000")),
        _ => Act::Behave,
    });
    let addr = api.addr();
    let get = move |path: &'static str| thread::spawn(move || request(addr, "GET", path, &[], b""));
    let first = get("/f02");
    eventually(PATIENCE, "the first is sent", || {
        fake.seen("HGET") > before.0
    });
    let second = get("/f03");
    eventually(PATIENCE, "the second is sent", || {
        fake.seen("HGET") > before.0 + 1
    });
    let started = Instant::now();
    for _ in 0..3 {
        let third = api.get("/f04");
        assert_eq!(third.status, 503);
        assert!(
            third.text().contains("--fallback-max-in-flight"),
            "{}",
            third.text()
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it is refused at once"
    );
    assert_eq!((fake.seen("HGET"), shed()), (before.0 + 2, before.1 + 3.0));
    fake.release();
    for (read, body) in [
        (first, "{\"current\":2000}"),
        (second, "{\"current\":3000}"),
    ] {
        assert_eq!(read.join().expect("it is answered").text(), body);
    }
    assert_eq!(api.get("/f04").text(), "{\"current\":4000}");
}

#[test]
fn a_lost_connection_gives_its_places_back() {
    let fake = Fake::start();
    let api = on_fallback(&fake, "1");
    for _ in 0..3 {
        fake.once("HGET", None, Act::Close(Vec::new()));
        // Lost; sent again if there is a connection by then.
        api.get("/f01");
        eventually(PATIENCE, "an answer", || {
            let response = api.get("/f01");
            (response.text() == "{\"current\":1000}")
                .then_some(())
                .ok_or(response)
        });
    }
}

#[test]
fn a_master_that_is_loading_is_not_read() {
    let fake = Fake::start();
    let api = on_fallback(&fake, "64");
    fake.script(|command| match command[0].as_str() {
        "HGET" => Act::Send(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()),
        "INFO" if command[1] == "persistence" => Act::Send(bulk("loading:1\r\n")),
        _ => Act::Behave,
    });
    let words = "the fallback is not usable either: master";
    eventually(PATIENCE, "it is not read", || {
        let response = api.get("/f01");
        (response.status == 503 && response.text().contains(words))
            .then_some(())
            .ok_or(response)
    });
    fake.script(|_| Act::Behave);
    eventually(PATIENCE, "it is read again", || {
        api.get("/f01").status == 200
    });
}
