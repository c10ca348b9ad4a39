//! The parts of a worker on one thread of tokio's, with bytes in memory where its sockets would be.

mod clients;
mod memory;
mod redis;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis_api_server::parts::{
    Api, CURRENT, Credentials, Driver, Guard, Places, ReadServer, Reads, Resolver, RoleMetrics,
    ServiceOptions, Set, Side, Streams, Turn, WorkerMetrics, Writes,
};
use redis_api_server::{
    Address, CachingOptions, Endpoint, HashName, Password, ReadMode, ReadOptions, ReadRole,
    SetOptions, Sources, TrackedOptions, ValueKind, WriteOptions,
};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::{spawn_local, yield_now};

pub use clients::{Clients, REQUEST};
pub use memory::{Far, pipe};
pub use redis::Redis;

/// The body of every answer.
pub const BODY: &[u8] = b"{\"current\":12.5}";

/// No deadline is to pass, and no `PING` to be sent, while a bench runs.
const LONG: Duration = Duration::from_secs(3600);

/// A runtime as a worker has it, but for the sockets.
pub fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_time()
        .build_local(LocalOptions::default())
        .expect("a runtime without sockets asks nothing of the system")
}

/// What a worker's services are made from.
pub struct Worker {
    pub turn: Rc<Turn>,
    pub metrics: Arc<WorkerMetrics>,
}

impl Worker {
    /// Starts the clock; to be called on the runtime.
    pub fn start() -> Self {
        let turn = Rc::new(Turn::default());
        let clock = turn.clone();
        spawn_local(async move { clock.forget().await });
        Worker {
            turn,
            metrics: Arc::default(),
        }
    }

    /// The read side, logged in to a Redis in memory and admitted by it.
    pub async fn reads(&self, mode: ReadMode) -> (Rc<Reads>, Rc<Redis>) {
        let options = ReadOptions {
            hash: HashName::default(),
            values: ValueKind::Number,
            mode,
            role: ReadRole::Any,
            max_stale: None,
            tracked: TrackedOptions {
                max_bytes: 1 << 20,
                max_age: None,
            },
        };
        let (turn, metrics) = (self.turn.clone(), self.metrics.clone());
        let role = RoleMetrics::new(metrics.clone(), Side::Read);
        let set = Set::new(1, &role);
        let (address, links) = ("memory".into(), set.clone());
        let reads = Reads::new(
            options,
            address,
            links,
            CURRENT.as_bytes(),
            None,
            turn.clone(),
            metrics.clone(),
        );
        let driver = Driver {
            options: Rc::new(set_options()),
            client_name: "bench".into(),
            role: "read",
            resolver: Resolver::new(tokio::runtime::Handle::current()),
            turn,
            wall_clock: SystemTime::now,
            metrics: role.clone(),
            credentials: Rc::new(Credentials::new("read", role.clone())),
            random: fastrand::Rng::with_seed(1),
        };
        let (near, far) = pipe();
        set.drive_over(Box::new(near), &reads.owner(ReadServer::Replica), driver);
        let redis = Redis::start(far);
        while metrics.replica.usable.get() == 0 {
            yield_now().await;
        }
        (reads, redis)
    }

    /// The API in front of a Redis in memory.
    pub async fn api(&self, mode: ReadMode, caching: CachingOptions) -> (Api, Rc<Redis>) {
        let (reads, redis) = self.reads(mode).await;
        let (turn, metrics) = (self.turn.clone(), self.metrics.clone());
        // Without links: nothing is written here.
        let role = RoleMetrics::new(metrics.clone(), Side::Write);
        let writes = Writes::new(
            WriteOptions::default(),
            "memory".into(),
            Set::new(0, &role),
            turn.clone(),
            metrics.clone(),
        );
        let options = ServiceOptions {
            request_timeout: LONG,
            max_body: 4096,
            values: ValueKind::Number,
            caching,
            guard: Guard::default(),
        };
        let streams = Streams::new(
            Places::new(1),
            options.request_timeout,
            reads.clone(),
            turn.clone(),
            metrics.clone(),
            fastrand::Rng::with_seed(1),
        );
        let api = Api::new(options, reads, Rc::new(writes), streams, turn, metrics);
        (api, redis)
    }
}

fn set_options() -> SetOptions {
    SetOptions {
        endpoint: Endpoint {
            // Never dialled.
            address: Address::Tcp {
                host: "127.0.0.1".into(),
                port: 0,
            },
            username: None,
            password: Password::None,
            database: 0,
            tls: None,
            sources: Sources::default(),
        },
        connections: 1,
        connect_timeout: LONG,
        stall_timeout: LONG,
        ping_interval: LONG,
        max_in_flight: 8192,
    }
}
