//! Writes that wait for replicas: `--write-wait`.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{master, ready, replica_of};
use crate::support::{Act, Api, Fake, PATIENCE, Redis, Response, eventually, request};

/// How late a deadline may be noticed on a loaded machine.
const SLACK: Duration = Duration::from_secs(3);

fn waiting(master: &Redis, replicas: &str) -> Api {
    let api = Api::serve().read_from(master).write_to(master);
    // So that replicas are counted at least once on a machine that is slow.
    let time = ["--request-timeout", "1s"];
    ready(api.args(["--write-wait", replicas]).args(time))
}

fn post_beside(addr: SocketAddr, path: &str, value: u32) -> JoinHandle<Response> {
    let (path, body) = (path.to_owned(), format!("{{\"value\":{value}}}"));
    thread::spawn(move || request(addr, "POST", &path, &[], body.as_bytes()))
}

#[track_caller]
fn check_applied(response: &Response, status: u16, words: &str) {
    let json: serde_json::Value = serde_json::from_slice(&response.body).expect("it is JSON");
    assert_eq!(
        (response.status, json["outcome"].as_str()),
        (status, Some("applied"))
    );
    let error = json["error"].as_str().expect("it has words");
    assert!(error.contains(words), "{error}");
}

/// Waits until the master counts so many replicas: it sends nothing to one that is in sync before
/// that one's first word, which tells an offset and comes within a second.
#[track_caller]
fn wait_replicas(master: &Redis, count: usize) {
    eventually(PATIENCE, "the replicas are heard of", || {
        let info = master.cli(&["INFO", "replication"]);
        let online = |line: &&str| line.contains("state=online") && !line.contains("offset=0,");
        let heard_of = info.lines().filter(online).count();
        (heard_of == count).then_some(()).ok_or(info)
    });
}

#[test]
fn a_write_is_a_success_when_the_replica_has_it() {
    let master = master();
    let replica = replica_of(master.addr());
    wait_replicas(&master, 1);
    let api = waiting(&master, "1");
    let mut took = Vec::new();
    for value in 0..20 {
        let started = Instant::now();
        let response = api.post("/new", &format!("{{\"value\":{value}}}"));
        took.push(started.elapsed());
        assert_eq!(response.text(), format!("{{\"current\":{value}}}"));
        // Not soon: now.
        assert_eq!(replica.cli(&["HGET", "currency", "new"]), value.to_string());
    }
    took.sort();
    eprintln!("one of one replica: median {:?}", took[took.len() / 2]);
    assert!(master.calls("wait") >= 20);
}

#[test]
fn too_few_replicas_are_counted() {
    let mut master = master();
    let api = waiting(&master, "1");
    let check_none = |path: &str| {
        let started = Instant::now();
        let response = api.post(path, r#"{"value":5}"#);
        check_applied(
            &response,
            504,
            "written on the master; 0 of 1 replicas confirmed it",
        );
        assert!(started.elapsed() < SLACK, "{:?}", started.elapsed());
        assert_eq!(master.cli(&["HGET", "currency", &path[1..]]), "5");
    };
    check_none("/none");
    check_none("/again");
    let sample = "redis_api_write_failures_total{outcome=\"applied\"}";
    assert_eq!(api.metric(sample), Some(2.0));
    drop(api);

    let _replica = replica_of(master.addr());
    wait_replicas(&master, 1);
    let api = waiting(&master, "2");
    // The replica's word may come late; two of them never do.
    eventually(PATIENCE, "one of two", || {
        let response = api.post("/two", r#"{"value":5}"#);
        check_applied(&response, 504, "written on the master");
        let text = response.text();
        text.contains("1 of 2 replicas").then_some(()).ok_or(text)
    });
    master.kill();
}

#[test]
fn a_frozen_replica_is_not_counted() {
    let master = master();
    let mut replica = replica_of(master.addr());
    wait_replicas(&master, 1);
    let api = waiting(&master, "1");
    assert_eq!(api.post("/a", r#"{"value":1}"#).status, 200);
    replica.freeze();
    check_applied(&api.post("/a", r#"{"value":2}"#), 504, "0 of 1 replicas");
    assert_eq!(master.cli(&["HGET", "currency", "a"]), "2");
    replica.thaw();
    let thawed = Instant::now();
    eventually(PATIENCE, "a success", || {
        let response = api.post("/a", r#"{"value":3}"#);
        (response.status == 200).then_some(()).ok_or(response)
    });
    eprintln!("replica thawed: writes back after {:?}", thawed.elapsed());
}

/// None is kept from the master by the waits of others, though there is one connection.
#[test]
fn many_writes_wait_together() {
    let master = master();
    let api = waiting(&master, "1");
    let paths: Vec<String> = (0..30).map(|n| format!("/n{n}")).collect();
    let post_all = || -> Vec<Response> {
        let posts: Vec<_> = paths
            .iter()
            .zip(0..)
            .map(|(path, value)| post_beside(api.addr(), path, value))
            .collect();
        let join = |post: JoinHandle<_>| post.join().expect("there is a response");
        posts.into_iter().map(join).collect()
    };
    for response in post_all() {
        check_applied(&response, 504, "written on the master");
    }
    for (path, value) in paths.iter().zip(0..) {
        let stored = master.cli(&["HGET", "currency", &path[1..]]);
        assert_eq!(stored, value.to_string());
    }
    let replica = replica_of(master.addr());
    wait_replicas(&master, 1);
    for response in post_all() {
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(replica.cli(&["HGET", "currency", "n29"]), "29");
}

#[test]
fn a_master_that_refuses_to_wait_has_the_write() {
    let master = master();
    let api = waiting(&master, "1");
    master.cli(&["ACL", "SETUSER", "default", "-wait"]);
    let response = api.post("/a", r#"{"value":4}"#);
    check_applied(&response, 502, "NOPERM");
    assert_eq!(master.cli(&["HGET", "currency", "a"]), "4");
}

/// A fake master that answers no `WAIT` before it is told to; by then `f01` is written.
fn held(act: Act) -> (Fake, Api, JoinHandle<Response>) {
    let fake = Fake::start();
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let api = ready(api.args(["--write-wait", "1", "--request-timeout", "10s"]));
    let mut act = Some(act);
    fake.script(move |command| match command[0].as_str() {
        "WAIT" => act.take().unwrap_or(Act::Send(b":1\r\n".to_vec())),
        _ => Act::Behave,
    });
    let first = post_beside(api.addr(), "/f01", 1);
    eventually(PATIENCE, "it waits", || fake.seen("WAIT") == 1);
    (fake, api, first)
}

#[test]
fn no_write_is_put_behind_a_wait() {
    let (fake, api, first) = held(Act::Hold(b":1\r\n".to_vec()));
    let others: Vec<_> = (2..6).map(|n| post_beside(api.addr(), "/f02", n)).collect();
    eventually(PATIENCE, "they have arrived", || {
        api.metric("redis_api_http_connections") == Some(5.0)
    });
    assert_eq!(fake.seen("HSET"), 1);
    fake.release();
    for post in [first].into_iter().chain(others) {
        assert_eq!(post.join().expect("there is a response").status, 200);
    }
    assert_eq!(fake.seen("HSET"), 5);
    assert!(fake.seen("WAIT") <= 5, "{}", fake.seen("WAIT"));
}

#[test]
fn a_connection_lost_while_waiting_leaves_the_write_applied() {
    let (fake, api, first) = held(Act::Hold(Vec::new()));
    fake.hang_up();
    let response = first.join().expect("there is a response");
    check_applied(&response, 504, "it is not known whether any replica has it");
    eventually(PATIENCE, "writes work again", || {
        api.post("/f02", r#"{"value":1}"#).status == 200
    });
    assert_eq!(fake.seen("HSET"), 2, "none was sent twice");
}

#[test]
fn a_reply_of_the_wrong_type_leaves_the_write_applied() {
    let (_fake, _api, first) = held(Act::Send(b"+OK\r\n".to_vec()));
    let response = first.join().expect("there is a response");
    check_applied(&response, 504, "the reply to WAIT is not a number");
}

#[test]
fn the_deadline_passes_while_waiting() {
    let fake = Fake::start();
    let api = Api::serve().args(["--redis-addr", &fake.addr().to_string()]);
    let api = ready(api.args(["--write-wait", "3"]));
    fake.once("WAIT", None, Act::Hold(b":0\r\n".to_vec()));
    let response = api.post("/f01", r#"{"value":1}"#);
    check_applied(&response, 504, "how many of 3 replicas have it");
}
