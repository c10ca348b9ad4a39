//! A master, its replica, and one API process for each way of reading, all under load.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::follower::{Demand, Follower, Servers, Target};
use crate::record::{Row, record};
use crate::support::api::Builder;
use crate::support::load::{FIELDS, Shape, fill};
use crate::support::{Api, Load, PATIENCE, Redis, Wire, Writer, eventually, redis};

/// What is promised: reads are back so long after the replica can be used again.
pub const READS_BACK: Duration = Duration::from_secs(3);

/// What is promised: writes are back so long after the master answers again, which is the longest
/// wait between two attempts to connect, and the connect.
pub const WRITES_BACK: Duration = Duration::from_secs(12);

/// What a machine may add whose two cores run six API processes of a debug build, three servers and
/// the checker.
const ROOM: Duration = Duration::from_secs(3);

/// Memory may grow by this much in a row.
const GROWTH_KIB: u64 = 20 * 1024;

/// How long a tracked value may be served after the replica has a newer one: a push's travel time,
/// a thousand times, on a busy machine.
const PUSH: Duration = Duration::from_millis(500);

/// The same where a connection hangs: two PINGs, and that room.
pub const HANGING: Duration = Duration::from_millis(3_500);

/// The ways of reading that every row is run in, at the same time.
const MODES: [(&str, &str); 6] = [
    ("batch", "0s"),
    ("batch", "500us"),
    ("direct", "0s"),
    ("direct", "500us"),
    ("tracked", "0s"),
    ("tracked", "500us"),
];

/// 800 requests a second and process.
const SHAPE: Shape = Shape {
    threads: 1,
    connections: 16,
    pause: Duration::from_millis(20),
    hung: Duration::from_secs(2),
};

/// Waits until no other row runs, and keeps others from it.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An API process, its readers and its writer.
pub struct Pod {
    pub name: String,
    pub api: Api,
    pub load: Load,
    pub writer: Option<Writer>,
    resident_kib: u64,
    connects: [f64; 2],
    /// Bad answers before the fault.
    bad: u64,
}

/// What a row needs that others don't.
pub struct Setup {
    pub master: redis::Builder,
    pub replica: redis::Builder,
    /// Both links pass through wires.
    pub wires: bool,
    /// Where the wires' near ends are, to the replica and to the master, and what they are called.
    pub names: Option<[(String, SocketAddr); 2]>,
    /// Each process is written through too.
    pub writes: bool,
    /// How soon reads must be back.
    pub reads_back: Duration,
    /// How long a tracked value may be old.
    pub slack: Duration,
    /// When an answer counts as one that hangs.
    pub hung: Duration,
    /// Between two versions of all fields, between two reads of a connection, and between two posts
    /// to one process.
    pub pauses: [Duration; 3],
    /// More flags, stderr and the like for each process.
    pub configure: Box<dyn Fn(Builder) -> Builder>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            master: Redis::builder(),
            replica: Redis::builder(),
            wires: false,
            names: None,
            writes: true,
            reads_back: READS_BACK,
            slack: PUSH,
            hung: SHAPE.hung,
            pauses: [100, 20, 50].map(Duration::from_millis),
            configure: Box::new(|builder| builder),
        }
    }
}

/// See the module.
pub struct Stage {
    pub master: Redis,
    pub replica: Redis,
    /// To the replica, and to the master.
    pub wires: Option<[Wire; 2]>,
    pub pods: Vec<Pod>,
    pub follower: Follower,
    reads_back: Duration,
    row: Row,
    _turn: MutexGuard<'static, ()>,
}

/// Runs one row: `fault` breaks something, mends it, and waits until all is well again.
pub fn row(name: &'static str, setup: Setup, fault: impl FnOnce(&mut Stage)) {
    record(&run(name, setup, fault));
}

/// The same without putting it into the table.
pub fn run(name: &'static str, setup: Setup, fault: impl FnOnce(&mut Stage)) -> Row {
    let mut stage = Stage::start(name, setup, turn());
    stage.mark();
    fault(&mut stage);
    stage.finish()
}

/// Where a server is, for one who follows it.
pub fn target(redis: &Redis) -> Target {
    (redis.addr(), redis.password().map(String::from))
}

/// Waits until the replica has what the master has.
pub fn wait_filled(replica: &Redis) {
    replica.wait_synced();
    eventually(PATIENCE, "the replica has all fields", || {
        let fields = replica.cli(&["HLEN", "currency"]);
        let enough = fields.parse::<u32>().is_ok_and(|fields| fields > FIELDS);
        enough.then_some(()).ok_or(fields)
    });
}

impl Stage {
    fn start(name: &'static str, setup: Setup, turn: MutexGuard<'static, ()>) -> Stage {
        // What it has acknowledged survives its death.
        let master = setup
            .master
            .config("appendonly yes")
            .config("appendfsync always");
        let master = master.start();
        fill(&master);
        let replica = setup.replica.replica_of(&master).start();
        wait_filled(&replica);
        let wires = match &setup.names {
            Some([(_, read), (_, write)]) => Some([
                Wire::between(*read, replica.addr()),
                Wire::between(*write, master.addr()),
            ]),
            None if setup.wires => Some([Wire::to(replica.addr()), Wire::to(master.addr())]),
            None => None,
        };
        let [read, write] = match (&setup.names, &wires) {
            (Some(names), _) => names.clone().map(|(name, _)| name),
            (None, Some(wires)) => [0, 1].map(|role: usize| wires[role].addr().to_string()),
            (None, None) => [&replica, &master].map(|redis| redis.addr().to_string()),
        };
        let [versions, reads, posts] = setup.pauses;
        let start = |(number, (mode, interval)): (usize, &(&str, &str))| {
            let builder = Api::serve().read_at(&read, &replica);
            let builder = builder.write_at(&write, &master);
            let flags = ["--read-mode", mode, "--wake-interval", interval];
            let builder = (setup.configure)(builder.args(flags).args(["--workers", "2"]));
            let shape = Shape {
                hung: setup.hung,
                pause: reads,
                ..SHAPE
            };
            let name = format!("{mode}, {interval}");
            Pod::start(name, number, builder, shape, setup.writes.then_some(posts))
        };
        let pods: Vec<Pod> = MODES.iter().enumerate().map(start).collect();
        let servers = Servers {
            master: target(&master),
            replicas: vec![target(&replica)],
        };
        let demands = pods.iter().zip(MODES).map(|(pod, (mode, _))| Demand {
            oldest: pod.load.oldest(),
            // The others ask after the request has come: nothing older than what was there then.
            slack: if mode == "tracked" {
                setup.slack
            } else {
                Duration::ZERO
            },
        });
        let follower = Follower::start(servers, demands.collect(), versions);
        let row = Row::new(name);
        Stage {
            master,
            replica,
            wires,
            pods,
            follower,
            reads_back: setup.reads_back,
            row,
            _turn: turn,
        }
    }

    /// The wires to the replica and to the master.
    pub fn wires(&self) -> &[Wire; 2] {
        self.wires.as_ref().expect("the row asked for wires")
    }

    /// Bad answers, connects and memory count from now on.
    fn mark(&mut self) {
        for pod in &mut self.pods {
            pod.load.wait_good(Instant::now(), PATIENCE);
            if let Some(writer) = &pod.writer {
                let now = Instant::now();
                eventually(PATIENCE, "a post succeeds", || writer.success_after(now));
            }
            pod.mark();
        }
        self.row.begin();
    }

    /// Waits until every process has refused so many reads more.
    pub fn wait_refused(&self, reads: u64) {
        for pod in &self.pods {
            let before = pod.load.tally().bad();
            pod.load.wait(PATIENCE, "reads are refused", |tally| {
                let refused = tally.bad() >= before + reads;
                refused
                    .then_some(())
                    .ok_or_else(|| format!("{}: {tally:?}", pod.name))
            });
        }
    }

    /// Waits until every process has failed a post.
    pub fn wait_unwritten(&self) {
        for pod in &self.pods {
            let before = pod.failed();
            eventually(PATIENCE, "posts fail", || pod.failed() >= before + 3);
        }
    }

    /// Waits until all reads are good again, and checks that it was soon after `usable`.
    pub fn reads_back(&mut self, usable: Instant) {
        for pod in &self.pods {
            let took = pod.load.wait_good(usable, PATIENCE);
            assert!(
                took <= self.reads_back + ROOM,
                "{}: reads after {took:?}",
                pod.name
            );
            self.row.reads_back(took);
        }
    }

    /// The same for writes.
    pub fn writes_back(&mut self, usable: Instant) {
        for pod in &self.pods {
            let writer = pod.writer.as_ref().expect("the row writes");
            let success = || writer.success_after(usable);
            let took = eventually(PATIENCE, "a post succeeds", success) - usable;
            assert!(
                took <= WRITES_BACK + ROOM,
                "{}: writes after {took:?}",
                pod.name
            );
            self.row.writes_back(took);
        }
    }

    /// No read was refused or late since the row began.
    pub fn check_reads_unhurt(&self) {
        for pod in &self.pods {
            let tally = pod.load.tally();
            assert_eq!(tally.bad(), pod.bad, "{}: {tally:?}", pod.name);
        }
    }

    /// Every process has said of an answer that its data may be old.
    pub fn check_aged(&self) {
        for pod in &self.pods {
            let tally = pod.load.tally();
            assert!(tally.aged > 0, "{}: {tally:?}", pod.name);
        }
    }

    fn finish(mut self) -> Row {
        let took = self.row.end();
        for pod in &mut self.pods {
            pod.check_cost(took, &mut self.row);
        }
        drop(self.follower);
        for pod in self.pods.drain(..) {
            let tally = pod.load.finish();
            let posts = pod.writer.map(|writer| writer.check(&self.master));
            self.row.add(&tally, &posts.unwrap_or_default());
        }
        self.row
    }
}

impl Pod {
    fn start(
        name: String,
        number: usize,
        builder: Builder,
        shape: Shape,
        posts: Option<Duration>,
    ) -> Pod {
        let mut api = builder.start();
        api.wait_ready(PATIENCE);
        let load = Load::fair(&api, shape);
        let writer = |pause| Writer::every(pause, api.addr(), &format!("w{number}n"));
        let writer = posts.map(writer);
        Pod {
            name,
            api,
            load,
            writer,
            resident_kib: 0,
            connects: [0.0; 2],
            bad: 0,
        }
    }

    fn mark(&mut self) {
        self.resident_kib = self.api.process().resident_kib();
        self.connects = self.connects();
        self.bad = self.load.tally().bad();
    }

    fn failed(&self) -> usize {
        let posts = self.writer.as_ref().map(Writer::posts).unwrap_or_default();
        posts.iter().filter(|post| post.status != 200).count()
    }

    /// Attempts to connect, by role.
    fn connects(&self) -> [f64; 2] {
        ["read", "write"].map(|role| {
            let sample = format!("redis_api_redis_connects_total{{role=\"{role}\"}}");
            self.api.metric(&sample).expect("it is there")
        })
    }

    /// Few connects, and flat memory.
    fn check_cost(&mut self, took: Duration, row: &mut Row) {
        self.api.check_running();
        let name = &self.name;
        for (before, after) in self.connects.into_iter().zip(self.connects()) {
            // Two workers with one connection each, at random moments within a second at most: two
            // a second each, were nothing ever reached. Faults that reach and break it again, more.
            let most = 8.0 * (took.as_secs_f64() + 3.0);
            assert!(
                after - before <= most,
                "{name}: {} connects in {took:?}",
                after - before
            );
            row.connects(after - before);
        }
        let resident = self.api.process().resident_kib();
        let growth = resident.saturating_sub(self.resident_kib);
        assert!(growth <= GROWTH_KIB, "{name}: {growth} KiB more");
        row.growth(growth);
    }
}
