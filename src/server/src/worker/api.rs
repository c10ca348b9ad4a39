//! Puts the read API of one worker together: its connection sets, its store, its service.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};

use super::thread::Context;
use super::{Error, Options, run};
use crate::http::guard::{self, Guard};
use crate::http::service::{self, Api};
use crate::metrics::{RoleOf, Side};
use crate::net::endpoint::SetOptions;
use crate::net::{Credentials, Driver, Owner, Set};
use crate::store::{Fallback, ReadOptions, Reads, WriteOptions, Writes};

/// How often a read server is asked whether it is still usable.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How often the master is asked for its CPU time, by one worker of each pod: 800 pods make 80
/// questions a second.
const CPU_EVERY: Duration = Duration::from_secs(10);

/// All that the API of a worker needs.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The connections to the replica.
    pub read: SetOptions,
    /// The connections to the master.
    pub write: SetOptions,
    /// How fields are read.
    pub reads: ReadOptions,
    /// How fields are written.
    pub writes: WriteOptions,
    /// Reads go to the master while no replica is usable; `None`: they don't.
    pub fallback: Option<FallbackOptions>,
    /// Bytes of a request's body, at least 1.
    pub max_body: usize,
    /// Who may write, and which fields there are.
    pub guard: guard::Options,
}

/// How to read from the master while no replica is usable.
#[derive(Clone, Debug)]
pub struct FallbackOptions {
    /// The connections to the master for such reads.
    pub set: SetOptions,
    /// Read commands that may await the master's answer at the same moment, of the whole process.
    pub max_in_flight: usize,
}

/// Runs the API until it is told to end. Blocks. `Ok` after a drain.
///
/// # Errors
/// See [`Error`].
pub fn run_api(process: &Options, api: ApiOptions) -> Result<(), Error> {
    let service = service::Options {
        request_timeout: process.request_timeout,
        max_body: api.max_body,
        guard: Guard::open(api.guard.clone()).map_err(Error::Token)?,
    };
    run(process, move |context| start(&api, &service, context))
}

/// Connects the current worker to Redis and makes its service.
fn start(options: &ApiOptions, service: &service::Options, context: &Context) -> Api {
    let (turn, metrics) = (&context.turn, &context.metrics);
    let address = |set: &SetOptions| set.endpoint.address.to_string();
    let reads = Reads::new(
        options.reads,
        address(&options.read),
        turn.clone(),
        metrics.clone(),
    );
    let writes = Writes::new(
        options.writes,
        address(&options.write),
        turn.clone(),
        metrics.clone(),
    );
    let read = set(&options.read, Side::Read, "read", reads.clone(), context);
    reads.start(read);
    let write = set(
        &options.write,
        Side::Write,
        "write",
        writes.clone(),
        context,
    );
    writes.start(write);
    if let Some(options) = &options.fallback {
        // Divided without shared state. Rounded up, so that every worker has a share: together they
        // may be above the limit by less than one command each.
        let share = options.max_in_flight.div_ceil(context.workers);
        let (reads, address) = (reads.clone(), address(&options.set));
        let fallback = Fallback::new(reads, address, share, metrics.clone());
        let links = set(
            &options.set,
            Side::Read,
            "fallback",
            fallback.clone(),
            context,
        );
        fallback.start(links);
    }
    spawn_local(every(PROBE_EVERY, {
        let reads = reads.clone();
        move || reads.probe()
    }));
    if context.index == 0 {
        let writes = writes.clone();
        spawn_local(every(CPU_EVERY, move || writes.ask_cpu()));
        if let Some(token) = service.guard.token() {
            spawn_local(token.clone().follow(context.resolver.pool().clone()));
        }
    }
    Api::new(
        service.clone(),
        reads,
        writes,
        turn.clone(),
        metrics.clone(),
    )
}

fn set<W: 'static>(
    options: &SetOptions,
    side: Side,
    role: &'static str,
    owner: Rc<dyn Owner<W>>,
    context: &Context,
) -> Set<W> {
    let metrics = RoleOf::new(Arc::clone(&context.metrics), side);
    let shared = Rc::new(options.clone());
    let credentials = Rc::new(Credentials::new(role, metrics.clone()));
    Set::start(options.connections, &metrics, &owner, || Driver {
        options: shared.clone(),
        client_name: format!("redis-api-{role}-{}", context.index),
        role,
        resolver: context.resolver.clone(),
        turn: context.turn.clone(),
        wall_clock: SystemTime::now,
        metrics: metrics.clone(),
        credentials: credentials.clone(),
        random: fastrand::Rng::new(),
    })
}

async fn every(period: Duration, act: impl Fn()) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        act();
    }
}
