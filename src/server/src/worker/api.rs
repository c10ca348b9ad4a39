//! Puts the read API of one worker together: its connection sets, its store, its service.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_local;

use super::thread::Context;
use super::{Error, Options, run};
use crate::http::caching;
use crate::http::guard::{self, Guard};
use crate::http::service::{self, Api};
use crate::http::streams::{Places, Streams};
use crate::metrics::{RoleMetrics, Side};
use crate::net::endpoint::SetOptions;
use crate::net::{Credentials, Driver, Owner, Set};
use crate::store::{Fallback, ReadOptions, ReadServer, Reads, WriteOptions, Writes};
use crate::turn::Turn;

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
    /// What caches are told of answers.
    pub caching: caching::Options,
    /// Who may write, and which fields there are.
    pub guard: guard::Options,
    /// Streams of the process at most; 0: there are none.
    pub max_streams: usize,
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
        values: api.reads.values,
        caching: api.caching.clone(),
        guard: Guard::open(api.guard.clone()).map_err(Error::Token)?,
    };
    let places = Places::new(api.max_streams);
    run(process, move |context| {
        start(&api, &service, &places, context)
    })
}

/// Connects the current worker to Redis and makes its service.
fn start(
    options: &ApiOptions,
    service: &service::Options,
    places: &Places,
    context: &Context,
) -> Api {
    let (turn, metrics) = (&context.turn, &context.metrics);
    let (read, probed) = (Side::Read, service.guard.probed_field());
    let (replica, write) = (
        Links::new(&options.read, read, "read", context),
        Links::new(&options.write, Side::Write, "write", context),
    );
    let second = options.fallback.as_ref().map(|options| {
        let links = Links::new(&options.set, read, "fallback", context);
        // Divided without shared state. Rounded up, so that every worker has a share: together they
        // may be above the limit by less than one command each.
        let share = options.max_in_flight.div_ceil(context.workers);
        (links, share)
    });
    let fallback = second.as_ref().map(|(links, share)| {
        Fallback::new(
            links.address(),
            links.set.clone(),
            (&options.reads.hash, probed),
            *share,
            metrics.clone(),
        )
    });
    let mut how = options.reads.clone();
    how.tracked.max_bytes /= context.workers;
    let reads = Reads::new(
        how,
        replica.address(),
        replica.set.clone(),
        probed,
        fallback,
        turn.clone(),
        metrics.clone(),
    );
    replica.drive(&reads.owner(ReadServer::Replica), context);
    if let Some((links, _)) = second {
        links.drive(&reads.owner(ReadServer::Fallback), context);
    }
    let writes = Rc::new(Writes::new(
        options.writes.clone(),
        write.address(),
        write.set.clone(),
        turn.clone(),
        metrics.clone(),
    ));
    write.drive(&writes.owner(), context);
    spawn_local(every(PROBE_EVERY, turn.clone(), {
        let reads = reads.clone();
        move || reads.probe()
    }));
    if context.index == 0 {
        let writes = writes.clone();
        spawn_local(every(CPU_EVERY, turn.clone(), move || writes.ask_cpu()));
        if let Some(token) = service.guard.token() {
            spawn_local(token.clone().follow(context.resolver.pool().clone()));
        }
    }
    let streams = streams(places, service.request_timeout, &reads, context);
    Api::new(
        service.clone(),
        reads,
        writes,
        streams,
        turn.clone(),
        metrics.clone(),
    )
}

/// The streams of what these read, and the task that reads for them.
fn streams(
    places: &Places,
    timeout: Duration,
    reads: &Rc<Reads>,
    context: &Context,
) -> Rc<Streams> {
    let streams = Streams::new(
        places.clone(),
        timeout,
        reads.clone(),
        context.turn.clone(),
        context.metrics.clone(),
        context.random.borrow_mut().fork(),
    );
    spawn_local(streams.clone().run());
    streams
}

/// The links to one server, and what their drivers need.
struct Links<W> {
    set: Set<W>,
    options: Rc<SetOptions>,
    role: &'static str,
    metrics: RoleMetrics,
}

impl<W: 'static> Links<W> {
    fn new(options: &SetOptions, side: Side, role: &'static str, context: &Context) -> Self {
        let metrics = RoleMetrics::new(Arc::clone(&context.metrics), side);
        let set: Set<W> = Set::new(options.connections, &metrics);
        let watched = set.clone();
        context.pulse.watch(move || watched.is_quiet());
        Links {
            set,
            options: Rc::new(options.clone()),
            role,
            metrics,
        }
    }

    fn address(&self) -> String {
        self.options.endpoint.address.to_string()
    }

    /// Has them connected, and `owner` told what arrives.
    fn drive(self, owner: &Rc<dyn Owner<W>>, context: &Context) {
        let credentials = Rc::new(Credentials::new(self.role, self.metrics.clone()));
        self.set.drive(owner, || Driver {
            options: self.options.clone(),
            client_name: format!("redis-api-{}-{}", self.role, context.index),
            role: self.role,
            resolver: context.resolver.clone(),
            turn: context.turn.clone(),
            wall_clock: SystemTime::now,
            metrics: self.metrics.clone(),
            credentials: credentials.clone(),
            random: context.random.borrow_mut().fork(),
        });
    }
}

async fn every(period: Duration, turn: Rc<Turn>, act: impl Fn()) {
    loop {
        act();
        turn.sleep_until(turn.clock() + period).await;
    }
}
