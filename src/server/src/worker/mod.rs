//! The process: one worker thread per granted core, and the main thread, which accepts, serves the
//! admin port and runs the drain.
//!
//! Invariants: a worker owns all it uses (runtime, client connections, Redis connections, metrics
//! table) and nothing on the read path is shared between two. Beside the workers there are the main
//! thread, its pool of [`LOOKUP_THREADS`] for name lookups and the token file, the log's thread,
//! and no others.

mod admin;
mod api;
mod cores;
mod limits;
mod packing;
mod signal;
mod thread;
mod wake;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

pub use api::{ApiOptions, FallbackOptions, run_api};
pub use cores::granted as granted_workers;
pub use limits::raised as raise_descriptor_limit;
pub use signal::Termination;
use thread::Context;

use crate::http::hello::Hello;
use crate::http::server::{Limits, Service, Timeouts};
use crate::metrics::Registry;
use crate::net::listen::{self, Acceptor, BindError};
use crate::net::{LOOKUP_THREADS, Resolver};
use crate::token_file;
use packing::Packing;
use thread::{Plan, Seed};

/// Between two looks at whether the read side has become usable.
const STARTUP_POLL: Duration = Duration::from_millis(50);

/// For the rest of what a client sends behind the last answer: a round trip across the world, with
/// slack.
const LINGER: Duration = Duration::from_secs(1);

/// The request timeout of a service that waits for nothing: what its connections are swept by.
pub const HELLO_TIMEOUT: Duration = Duration::from_millis(400);

/// A port to listen on.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Where to listen.
    pub address: SocketAddr,
    /// Nobody asked for this address: `[::]` may become `0.0.0.0` where there is no IPv6.
    pub defaulted: bool,
}

/// What clients may take of us. `None` is without limit, but for `max_connections`.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// From the first byte of a request's head to its last.
    pub header_timeout: Option<Duration>,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Option<Duration>,
    /// The age past which a connection is told to end with its next answer.
    pub max_connection_age: Option<Duration>,
    /// Requests in progress at the same time, of one worker.
    pub max_requests: NonZeroUsize,
    /// Connections of the process; `None`: what the file descriptors are good for.
    pub max_connections: Option<NonZeroUsize>,
}

/// How the process runs, whatever it serves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the service.
    pub listen: Port,
    /// Of probes and metrics; `None`: there is none.
    pub admin_listen: Option<Port>,
    /// `None`: as many as the system grants.
    pub workers: Option<NonZeroUsize>,
    /// Bind each worker to one core.
    pub pin: bool,
    /// How long a worker may sleep before a look at its sockets where that saves wake-ups; zero:
    /// not at all.
    pub wake_interval: Duration,
    /// From the end of a request's head to its answer.
    pub request_timeout: Duration,
    /// What clients may take of us.
    pub clients: ClientLimits,
    /// Be unready from the signal on, rather than from the end of `drain_delay`.
    pub drain_unready: bool,
    /// How long to keep serving after a signal, while the load balancers learn of it.
    pub drain_delay: Duration,
    /// How long what is in flight may take then.
    pub drain_timeout: Duration,
    /// How long to wait for the first usable read connection before giving up; `None`: for ever.
    pub redis_wait: Option<Duration>,
    /// Connections of each worker to Redis; 0: the workers don't talk to it.
    pub redis_connections: usize,
}

/// Why the process could not go on.
#[derive(Debug)]
pub enum Error {
    /// A port can't be listened on.
    Bind(BindError),
    /// The file with the token for writes is of no use.
    Token(token_file::Error),
    /// The operating system refused a runtime, thread or signal handler.
    System(io::Error),
    /// The read side was not usable within the time given; what is missing.
    NotUsable {
        /// How long it was waited for.
        waited: Duration,
        /// What is missing, in sentences.
        missing: Vec<String>,
    },
    /// A worker thread ended by itself: a bug of ours.
    WorkerDied(usize),
    /// A second signal ended it, whatever was in flight.
    Forced {
        /// Its name.
        signal: &'static str,
        /// Client connections that were open.
        connections: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bind(error) => error.fmt(f),
            Error::Token(error) => error.fmt(f),
            Error::System(error) => write!(f, "the operating system refused: {error}"),
            Error::NotUsable { waited, missing } => write!(
                f,
                "no replica became usable within {} s (--redis-wait; 0s waits forever): {}",
                waited.as_secs(),
                missing.join("; ")
            ),
            Error::WorkerDied(index) => {
                write!(
                    f,
                    "worker {index} died of the panic above; please report it"
                )
            }
            Error::Forced {
                signal,
                connections,
            } => write!(
                f,
                "{signal} received again: exiting at once with status 1; cut {connections} \
                 connections"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        Error::Bind(error)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::System(error)
    }
}

/// What the workers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Answer.
    Serve,
    /// Serve, and say `Connection: close` on every answer.
    Drain,
}

/// Runs the process until it is told to end: `make` gives each worker, on its own thread, its
/// service.
///
/// Blocks. `Ok` after a drain.
///
/// # Errors
/// See [`Error`].
fn run<S: Service>(
    options: &Options,
    make: impl Fn(&Context) -> S + Send + Sync + 'static,
) -> Result<(), Error> {
    limits::use_small_pages();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUP_THREADS)
        .build()?;
    let resolver = Resolver::new(runtime.handle().clone());
    let outcome = runtime.block_on(supervise(options, resolver, Arc::new(make)));
    // A lookup that hangs must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

async fn supervise<S: Service>(
    options: &Options,
    resolver: Resolver,
    make: Arc<impl Fn(&Context) -> S + Send + Sync + 'static>,
) -> Result<(), Error> {
    let mut signal = signal::Termination::listen()?;
    let listener = listen::bind(options.listen.address, options.listen.defaulted)?;
    let address = listener.local_addr()?;
    limits::log_backlog(listen::BACKLOG as usize);
    let cores = cores::grant(options.workers, options.pin);
    let max_connections = limits::max_connections(
        options.clients.max_connections,
        cores.len(),
        options.redis_connections,
    );
    let registry = Registry::new(cores.len(), options.redis_connections > 0);
    let state = Arc::new(admin::State::new(registry));
    let registry = &state.registry;
    if let Some(port) = options.admin_listen {
        let admin = listen::bind(port.address, port.defaulted)?;
        tracing::info!("admin listens on {}", admin.local_addr()?);
        tokio::spawn(admin::serve(admin, state.clone()));
    }
    tracing::info!("listening on {address}");

    let (phase, phases) = watch::channel(Phase::Serve);
    let (ended, mut endings) = mpsc::channel(cores.len());
    let workers = cores.len();
    let metrics = registry.acceptor.clone();
    // Who has waited for longer than a request may take is no longer there.
    let patience = options.request_timeout;
    let (acceptor, ends) =
        Acceptor::new(listener, cores.len(), max_connections, patience, metrics)?;
    let tables = registry.workers.iter().cloned();
    let parts = ends.into_iter().zip(cores).zip(tables).enumerate();
    // All that is random in this process comes from here.
    let mut random = fastrand::Rng::new();
    let plans = parts.map(|(index, ((incoming, core), metrics))| Plan {
        seed: Seed {
            index,
            workers,
            metrics,
            resolver: resolver.clone(),
            random: random.fork(),
        },
        limits: client_limits(options),
        wake_interval: options.wake_interval,
        packing: Packing::new(
            acceptor.workers().clone(),
            registry.workers.clone(),
            index,
            wake::least_rate(options.wake_interval),
        ),
        core,
        incoming,
        phases: phases.clone(),
        ended: ended.clone(),
    });
    for plan in plans {
        thread::spawn(plan, make.clone())?;
    }
    drop(ended);

    serve(options, &acceptor, registry, &mut signal, &mut endings).await?;

    let _ = phase.send(Phase::Drain);
    tokio::select! {
        () = drain(options, acceptor, &state, &mut endings) => {
            tracing::info!("drained");
            Ok(())
        }
        // Not 0, which says that nothing was lost that could be kept.
        signal = signal.arrived() => Err(Error::Forced {
            signal,
            connections: connections(registry),
        }),
    }
}

fn client_limits(options: &Options) -> Limits {
    let ClientLimits {
        header_timeout,
        idle_timeout,
        write_timeout,
        max_connection_age,
        max_requests,
        ..
    } = options.clients;
    Limits {
        timeouts: Timeouts {
            header: header_timeout,
            idle: idle_timeout,
            write: write_timeout,
            age: max_connection_age,
            drain: options.drain_delay,
            ..Timeouts::new(options.request_timeout, LINGER)
        },
        max_requests: max_requests.get(),
    }
}

/// Goes on serving while the balancers learn of the end, then stops listening and lets what is in
/// flight finish.
async fn drain(
    options: &Options,
    acceptor: Acceptor,
    state: &admin::State,
    endings: &mut mpsc::Receiver<usize>,
) {
    if options.drain_unready {
        state.health.set_unready();
    }
    match options.drain_delay {
        Duration::ZERO => tracing::info!("draining"),
        delay => tracing::info!("draining: still serving for {delay:?}"),
    }
    beside(acceptor.run(), sleep(options.drain_delay)).await;
    state.health.set_unready();
    acceptor.finish().await;
    let all = async { while endings.recv().await.is_some() {} };
    if timeout(options.drain_timeout, all).await.is_err() {
        tracing::warn!(
            "cut {} connections that were not done within {:?} (--drain-timeout)",
            connections(&state.registry),
            options.drain_timeout
        );
    }
}

/// Client connections that are open.
fn connections(registry: &Registry) -> u64 {
    let tables = registry.workers.iter();
    tables.map(|worker| worker.http_connections.get()).sum()
}

/// Serves until a signal. The read side has `redis_wait` to become usable for the first time.
async fn serve(
    options: &Options,
    acceptor: &Acceptor,
    registry: &Registry,
    signal: &mut signal::Termination,
    endings: &mut mpsc::Receiver<usize>,
) -> Result<(), Error> {
    let startup = async {
        match usable(options, registry).await {
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        never = acceptor.run() => match never {},
        error = startup => Err(error),
        Some(index) = endings.recv() => Err(Error::WorkerDied(index)),
        name = signal.arrived() => {
            tracing::info!("{name} received");
            Ok(())
        }
    }
}

/// Waits until every worker can read.
async fn usable(options: &Options, registry: &Registry) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        let missing = registry.read_troubles();
        if missing.is_empty() {
            tracing::info!("ready");
            return Ok(());
        }
        if let Some(waited) = options.redis_wait.filter(|wait| started.elapsed() >= *wait) {
            return Err(Error::NotUsable { waited, missing });
        }
        sleep(STARTUP_POLL).await;
    }
}

/// Runs `background` until `end` is done.
async fn beside<T>(
    background: impl Future<Output = std::convert::Infallible>,
    end: impl Future<Output = T>,
) -> T {
    tokio::select! {
        never = background => match never {},
        done = end => done,
    }
}

/// Runs `helloworld`, a service without Redis, until it is told to end. Blocks. `Ok` after a drain.
///
/// # Errors
/// See [`Error`].
pub fn run_hello(options: &Options) -> Result<(), Error> {
    run(options, |context: &Context| {
        Hello::new(Rc::clone(&context.turn), context.metrics.clone())
    })
}
