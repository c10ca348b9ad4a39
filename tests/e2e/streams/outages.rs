//! Streams through what happens to servers: a client is told how old its data are, and then of the
//! newest.

use std::time::Duration;

use super::{current, set};
use crate::support::events::{Event, Events};
use crate::support::{Api, PATIENCE, Redis, eventually};

fn pair() -> (Redis, Redis) {
    let master = Redis::builder().start();
    set(&master, "current-value", "0");
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    (master, replica)
}

fn serve(master: &Redis, replica: &Redis, flags: &[&str]) -> Api {
    let api = Api::serve().read_from(replica).write_to(master);
    let mut api = api.args(flags.iter().copied()).start();
    api.wait_ready(PATIENCE);
    api
}

fn age(event: &Event) -> u64 {
    let data: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
    data["age"].as_u64().expect("an age")
}

fn pods(master: &Redis, replica: &Redis) -> Vec<(Api, Events)> {
    ["batch", "tracked"]
        .iter()
        .map(|mode| {
            let api = serve(master, replica, &["--read-mode", mode]);
            let mut stream = Events::open(api.addr(), "/");
            assert_eq!(stream.next_data(), current(0));
            (api, stream)
        })
        .collect()
}

#[test]
fn a_killed_replica_is_told_and_so_is_its_return() {
    let (master, mut replica) = pair();
    let mut pods = pods(&master, &replica);
    replica.kill();
    for (api, stream) in &mut pods {
        let event = stream.next();
        assert_eq!(event.kind, "stale", "{event:?}");
        assert!(age(&event) >= 1, "{event:?}");
        assert!(event.data.contains("\"error\":\""), "{event:?}");
        let refused = Events::ask(api.addr(), "/", &[]).expect("it answers");
        assert_eq!(refused.head.status, 503);
        assert!(refused.head.header("Retry-After").is_some());
    }
    set(&master, "current-value", "1");
    replica.restart();
    for (_, stream) in &mut pods {
        let mut events = vec![stream.next_of("fresh"), stream.next()];
        events.retain(|event| event.kind == "message");
        let last = events.pop().expect("an event behind the first");
        assert_eq!(last.data, current(1));
    }
    set(&master, "current-value", "2");
    for (_, stream) in &mut pods {
        assert_eq!(stream.next_data(), current(2));
    }
}

#[test]
fn a_frozen_replica_is_told_and_so_is_its_return() {
    let (master, mut replica) = pair();
    let mut pods = pods(&master, &replica);
    replica.freeze();
    for (_, stream) in &mut pods {
        let event = stream.next();
        assert_eq!(event.kind, "stale", "{event:?}");
    }
    set(&master, "current-value", "1");
    replica.thaw();
    for (_, stream) in &mut pods {
        stream.until_data(&current(1));
    }
}

#[test]
fn a_replica_that_lost_its_master_is_stale_until_it_is_one_itself() {
    let (mut master, replica) = pair();
    let mut pods = pods(&master, &replica);
    master.kill();
    for (api, stream) in &mut pods {
        let event = stream.next();
        assert_eq!(event.kind, "stale", "{event:?}");
        assert!(!event.data.contains("error"), "{event:?}");
        // Who comes now is told the value, and how old it is.
        let mut late = Events::open(api.addr(), "/");
        assert_eq!(late.next_data(), current(0));
        assert_eq!(late.next().kind, "stale");
        // Again with each heartbeat, and older each time.
        let again = stream.next();
        assert_eq!(again.kind, "stale", "{again:?}");
        assert!(age(&again) > age(&event), "{again:?} after {event:?}");
    }
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    for (_, stream) in &mut pods {
        assert_eq!(age(&stream.next_of("fresh")), 0);
    }
    set(&replica, "current-value", "1");
    for (_, stream) in &mut pods {
        assert_eq!(stream.next_data(), current(1));
    }
}

#[test]
fn a_replica_that_goes_over_to_another_master_brings_its_values() {
    let (master, replica) = pair();
    let other = Redis::builder().start();
    set(&other, "current-value", "7");
    let mut pods = pods(&master, &replica);
    let port = other.port().to_string();
    eventually(PATIENCE, "it follows the other", || {
        replica.try_cli(&["REPLICAOF", "127.0.0.1", &port])
    });
    for (_, stream) in &mut pods {
        stream.until_data(&current(7));
    }
    set(&other, "current-value", "8");
    for (_, stream) in &mut pods {
        stream.until_data(&current(8));
    }
}

#[test]
fn a_connection_that_is_replaced_at_once_is_not_worth_a_word() {
    let (master, replica) = pair();
    let mut pods = pods(&master, &replica);
    replica.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    for (_, stream) in &mut pods {
        assert!(stream.is_silent_for(Duration::from_secs(1)));
    }
    set(&master, "current-value", "1");
    for (_, stream) in &mut pods {
        stream.until_data(&current(1));
    }
}
