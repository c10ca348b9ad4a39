//! `--wake-interval`: workers that sleep where that saves wake-ups, and never where something is
//! unfinished. What is counted is sleeps, not time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::load::{fill, store};
use crate::support::{Api, Connection, Load, PATIENCE, Redis, eventually, pass};

const SLEEPS: &str = "redis_api_wake_sleeps_total";

/// The longest that may be asked for, so that few requests make a rate at which it sleeps.
const FLAGS: [&str; 4] = ["--workers", "1", "--wake-interval", "5ms"];

fn hello() -> Api {
    let mut api = Api::subcommand("helloworld").args(FLAGS).start();
    api.wait_live(PATIENCE);
    api
}

/// Reads from this server, whose value is 1.
fn serve(redis: &Redis, flags: &[&str]) -> Api {
    redis.cli(&["HSET", "currency", "current-value", "1"]);
    let api = Api::serve().read_from(redis).write_to(redis).args(FLAGS);
    let mut api = api.args(flags.iter().copied()).start();
    api.wait_ready(PATIENCE);
    api
}

fn sleeps(api: &Api) -> f64 {
    api.metric(SLEEPS).expect("it is there")
}

/// Clients that ask all at once, and again when all are answered.
struct Clients {
    connections: Vec<Connection>,
    path: &'static str,
    status: u16,
}

impl Clients {
    fn of(addr: SocketAddr, path: &'static str, status: u16) -> Clients {
        Clients::so_many(16, addr, path, status)
    }

    fn so_many(count: usize, addr: SocketAddr, path: &'static str, status: u16) -> Clients {
        let open = |_| Connection::open(addr).expect("it listens");
        Clients {
            connections: (0..count).map(open).collect(),
            path,
            status,
        }
    }

    fn round(&mut self) {
        self.rounds_at_once(1);
    }

    fn rounds_at_once(&mut self, times: usize) {
        for connection in &mut self.connections {
            for _ in 0..times {
                connection
                    .send("GET", self.path, &[], b"")
                    .expect("it is open");
            }
        }
        for connection in &mut self.connections {
            for _ in 0..times {
                let response = connection.read_response("GET").expect("it is answered");
                assert_eq!(response.status, self.status);
            }
        }
    }

    /// Asks until the worker sleeps between the rounds.
    #[track_caller]
    fn wait_sleeping(&mut self, api: &Api) {
        eventually(PATIENCE, "it sleeps", || {
            let before = sleeps(api);
            (0..20).for_each(|_| self.round());
            sleeps(api) >= before + 10.0
        });
    }

    /// Asks for a while, in which the worker must not sleep.
    #[track_caller]
    fn check_awake(&mut self, api: &Api, why: &str) {
        let before = sleeps(api);
        (0..50).for_each(|_| self.round());
        assert_eq!(sleeps(api), before, "{why}");
    }
}

#[test]
fn a_worker_sleeps_where_requests_come_together() {
    let api = hello();
    let mut clients = Clients::of(api.addr(), "/", 200);
    clients.wait_sleeping(&api);
    let before = sleeps(&api);
    (0..100).for_each(|_| clients.round());
    // Behind each answer at most once, so that no request waits for two.
    let slept = sleeps(&api) - before;
    assert!((1.0..=1600.0).contains(&slept), "{slept}");
}

#[test]
fn without_the_flag_it_never_does() {
    let mut api = Api::subcommand("helloworld")
        .args(["--workers", "1"])
        .start();
    api.wait_live(PATIENCE);
    Clients::of(api.addr(), "/", 200).check_awake(&api, "it is off by default");
}

#[test]
fn at_a_low_rate_it_does_not() {
    let api = hello();
    let mut connection = Connection::open(api.addr()).expect("it listens");
    for _ in 0..30 {
        pass(Duration::from_millis(10));
        assert_eq!(connection.request("GET", "/", &[], b"").status, 200);
    }
    assert_eq!(sleeps(&api), 0.0);
}

/// It asks often enough, and yet nothing comes while the worker sleeps but its one request.
#[test]
fn one_client_that_waits_for_its_answers_is_seldom_held() {
    let api = hello();
    let mut connection = Connection::open(api.addr()).expect("it listens");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        assert_eq!(connection.request("GET", "/", &[], b"").status, 200);
    }
    // Eight in each tenth of a second.
    let most = 8.0 * (start.elapsed().as_secs_f64() * 10.0 + 1.0);
    let slept = sleeps(&api);
    assert!(slept <= most, "{slept} of {most}");
}

const PACKED: &str = "redis_api_http_connections_packed";
const MOVED: &str = "redis_api_http_connections_moved_total";

/// One worker has all connections while there is little to do, and each its share again when there
/// is much. Nobody's answer is lost by that.
#[test]
fn connections_are_packed_and_spread_again() {
    let mut api = Api::subcommand("helloworld")
        .args(["--workers", "2", "--wake-interval", "5ms"])
        .start();
    api.wait_live(PATIENCE);
    assert_eq!(api.metric(PACKED), Some(0.0));
    let mut clients = Clients::so_many(4, api.addr(), "/", 200);
    eventually(3 * PATIENCE, "one worker is to have them all", || {
        for _ in 0..20 {
            clients.round();
            pass(Duration::from_millis(5));
        }
        api.metric(PACKED) == Some(1.0)
    });
    eventually(PATIENCE, "it has them", || {
        clients.round();
        api.metric(MOVED) >= Some(2.0)
    });
    let before = api.metric(MOVED);
    eventually(PATIENCE, "each is to have its share", || {
        clients.rounds_at_once(256);
        api.metric(PACKED) == Some(0.0)
    });
    eventually(PATIENCE, "it has it", || {
        clients.round();
        api.metric(MOVED) >= before.map(|moved| moved + 2.0)
    });
    assert_eq!(api.metric("redis_api_http_connections"), Some(4.0));
}

#[test]
fn a_head_that_is_not_complete_keeps_it_awake() {
    let api = hello();
    let mut clients = Clients::of(api.addr(), "/", 200);
    let mut slow = Connection::open(api.addr()).expect("it listens");
    clients.wait_sleeping(&api);
    slow.send_raw(b"GET / HT").expect("it is open");
    clients.round();
    clients.check_awake(&api, "half a head has come");
    slow.send_raw(b"TP/1.1\r\nHost: a\r\n\r\n")
        .expect("it is open");
    assert_eq!(slow.read_response("GET").map(|r| r.status).ok(), Some(200));
    clients.wait_sleeping(&api);
}

#[test]
fn a_body_that_is_not_complete_keeps_it_awake() {
    let redis = Redis::start_plain();
    let api = serve(&redis, &["--request-timeout", "10s"]);
    let mut clients = Clients::of(api.addr(), "/no/such", 404);
    let mut slow = Connection::open(api.addr()).expect("it listens");
    clients.wait_sleeping(&api);
    slow.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n{\"va")
        .expect("it is open");
    clients.round();
    clients.check_awake(&api, "half a body has come");
    slow.send_raw(b"lue\":2}").expect("it is open");
    assert_eq!(slow.read_response("POST").map(|r| r.status).ok(), Some(200));
    clients.wait_sleeping(&api);
}

#[test]
fn a_command_in_flight_keeps_it_awake() {
    let (replica, mut master) = (Redis::start_plain(), Redis::start_plain());
    replica.cli(&["HSET", "currency", "current-value", "1"]);
    let api = Api::serve().read_from(&replica).write_to(&master);
    let mut api = api.args(FLAGS).args(["--request-timeout", "10s"]).start();
    api.wait_ready(PATIENCE);
    eventually(PATIENCE, "a write", || {
        api.post("/", "{\"value\":1}").status == 200
    });
    let mut clients = Clients::of(api.addr(), "/no/such", 404);
    clients.wait_sleeping(&api);
    master.freeze();
    let mut writer = Connection::open(api.addr()).expect("it listens");
    writer
        .send("POST", "/", &[], b"{\"value\":2}")
        .expect("it is open");
    clients.round();
    clients.check_awake(&api, "a write awaits its reply");
    master.thaw();
    let response = writer.read_response("POST").expect("it is answered");
    assert_eq!(response.status, 200);
    clients.wait_sleeping(&api);
}

#[test]
fn in_batch_mode_it_sleeps_when_redis_has_answered() {
    let redis = Redis::start_plain();
    let api = serve(&redis, &[]);
    let mut clients = Clients::of(api.addr(), "/", 200);
    clients.wait_sleeping(&api);
}

#[test]
fn a_drain_answers_all_and_ends_in_time() {
    let redis = Redis::start_plain();
    let mut api = serve(&redis, &["--drain-delay", "300ms", "--drain-timeout", "5s"]);
    let mut clients = Clients::of(api.addr(), "/", 200);
    clients.wait_sleeping(&api);
    api.term();
    clients.round();
    let status = api.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(0), "{:#?}", api.log());
    let log = api.log().join("\n");
    assert!(!log.contains("cut "), "{log}");
}

#[test]
fn an_idle_connection_is_closed_beside_sleeps() {
    let mut api = Api::subcommand("helloworld")
        .args(FLAGS)
        .args(["--idle-timeout", "500ms"])
        .start();
    api.wait_live(PATIENCE);
    let mut idle = Connection::open(api.addr()).expect("it listens");
    assert_eq!(idle.request("GET", "/", &[], b"").status, 200);
    let since = Instant::now();
    let mut clients = Clients::of(api.addr(), "/", 200);
    idle.stream().set_nonblocking(true).expect("it is a socket");
    eventually(PATIENCE, "it is closed", || {
        clients.round();
        matches!(idle.stream().peek(&mut [0]), Ok(0))
    });
    assert!(since.elapsed() >= Duration::from_millis(450));
}

/// Every answer is looked at while all values change: what comes from memory is no older than the
/// sleep and the message about the change.
#[test]
fn tracked_reads_are_fresh() {
    let redis = Redis::start_plain();
    fill(&redis);
    let api = Api::serve().read_from(&redis).write_to(&redis);
    let api = api.args(["--read-mode", "tracked", "--wake-interval", "5ms"]);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    let load = Load::start(api.addr());
    load.wait_good(Instant::now(), PATIENCE);
    for version in 1..20 {
        store(&redis, version);
        pass(Duration::from_millis(200));
        load.demand(version);
    }
    let tally = load.finish();
    assert_eq!((tally.bad(), tally.stale), (0, 0));
    assert!(sleeps(&api) > 0.0);
}
