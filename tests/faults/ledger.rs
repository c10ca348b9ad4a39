//! The write ledger: thousands of writes while the master is killed, hangs and loses connections.
//!
//! Each post has a field of its own. The master's `MONITOR` says what arrived: every `200` is on
//! the master, what was `not-sent` never came, nothing came twice; `unknown` may be either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::record::write_line;
use crate::support::wire::Fault;
use crate::support::writer::Post;
use crate::support::{Api, PATIENCE, Redis, Session, Wire, Writer, eventually, pass};

/// How often each field was written, as the master says.
type Arrived = Arc<Mutex<HashMap<String, u32>>>;

/// Notes each `HSET` of the hash, until the master dies.
fn monitor(master: &Redis, arrived: &Arrived) -> JoinHandle<()> {
    let session = Session::open(master.addr(), None, Duration::from_secs(60));
    let mut session = session.expect("it answers");
    session.call(&["MONITOR"]).expect("it may be watched");
    let arrived = Arc::clone(arrived);
    thread::spawn(move || {
        // 1700000000.000000 [0 127.0.0.1:1] "HSET" "currency" "w0n1" "1"
        while let Ok(line) = session.line() {
            let mut words = line.split('"').skip(1).step_by(2);
            if words.next() == Some("HSET")
                && let Some(field) = words.nth(1)
            {
                let mut arrived = arrived.lock().expect("no thread panics with it");
                *arrived.entry(field.to_owned()).or_default() += 1;
            }
        }
    })
}

fn wait_written(writers: &[Writer]) {
    let now = Instant::now();
    for writer in writers {
        eventually(PATIENCE, "a post succeeds", || writer.success_after(now));
    }
}

#[test]
fn no_write_is_lost_or_repeated() {
    let builder = Redis::builder()
        .config("appendonly yes")
        .config("appendfsync always");
    let mut master = builder.start();
    let wire = Wire::to(master.addr());
    let api = Api::serve().read_from(&master);
    let api = api.write_at(&wire.addr().to_string(), &master);
    let mut api = api.args(["--workers", "2"]).start();
    api.wait_ready(PATIENCE);
    let arrived = Arrived::default();
    let mut watch = monitor(&master, &arrived);
    let writers: Vec<Writer> = (0..8)
        .map(|number| Writer::start(api.addr(), &format!("w{number}n")))
        .collect();
    wait_written(&writers);

    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..12 {
        match round % 3 {
            0 => {
                master.kill();
                // Nothing reaches the new one before it is watched.
                wire.cut();
                watch.join().expect("it only reads");
                master.restart();
                watch = monitor(&master, &arrived);
                wire.mend();
            }
            1 => {
                master.freeze();
                pass(Duration::from_millis(random.u64(300..2_000)));
                master.thaw();
            }
            _ => {
                wire.fault(Fault::Resets);
                pass(Duration::from_millis(1_000));
                wire.mend();
            }
        }
        wait_written(&writers);
        pass(Duration::from_millis(random.u64(200..700)));
    }
    let posts: Vec<Post> = writers
        .into_iter()
        .flat_map(|writer| writer.check(&master))
        .collect();
    master.kill();
    watch.join().expect("it only reads");
    check(&posts, &arrived.lock().expect("no thread panics with it"));
}

fn check(posts: &[Post], arrived: &HashMap<String, u32>) {
    let (mut done, mut not_done, mut unknown, mut came) = (0, 0, 0, 0);
    for post in posts {
        let times = arrived.get(&post.field).copied().unwrap_or(0);
        assert!(times <= 1, "{times} times: {post:?}");
        match (post.status, post.outcome()) {
            // What the master did in its last moment it may not have told any more.
            (200, None) => done += 1,
            (_, Some("not-sent")) => {
                assert_eq!(times, 0, "it was sent: {post:?}");
                not_done += 1;
            }
            (_, Some("unknown")) => {
                unknown += 1;
                came += times;
            }
            // A master that loads has it, and refuses it.
            _ => not_done += 1,
        }
    }
    assert!(
        done > 2_000 && not_done > 0 && unknown > 0,
        "{done}, {not_done}, {unknown}"
    );
    let line = format!(
        "| ledger: 4 kills, 4 freezes, 4 times resets | {done} | {not_done} | {unknown} | {came} | 0 | 0 |"
    );
    eprintln!("{line}");
    write_line("| ledger:", &line);
}
