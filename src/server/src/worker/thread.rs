//! One worker: a thread, its runtime, its clock, its connections.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use super::packing::Packing;
use super::wake::{self, Pulse};
use super::{Phase, cores};
use crate::http::server::{self, Limits, Server, Service};
use crate::metrics;
use crate::net::Resolver;
use crate::net::listen::{Client, Incoming, Origin, Ticket};
use crate::turn::Turn;

/// What a service is made from, on the worker's own thread.
pub(super) struct Context {
    /// The worker's number, from 0.
    pub index: usize,
    /// How many there are, at least 1.
    pub workers: usize,
    /// Its clock.
    pub turn: Rc<Turn>,
    /// To be told of what may be unfinished.
    pub pulse: Rc<Pulse>,
    /// What it counts.
    pub metrics: Arc<metrics::Worker>,
    /// Looks names up, for the whole process.
    pub resolver: Resolver,
    /// Gives each part of the worker its own generator.
    pub random: RefCell<fastrand::Rng>,
}

/// The part of it that can cross to the thread.
pub(super) struct Seed {
    pub index: usize,
    pub workers: usize,
    pub metrics: Arc<metrics::Worker>,
    pub resolver: Resolver,
    pub random: fastrand::Rng,
}

/// All that a worker's thread is given.
pub(super) struct Plan {
    pub seed: Seed,
    pub limits: Limits,
    /// How long it may sleep before a look at its sockets; zero: not at all.
    pub wake_interval: Duration,
    /// Which worker has the connections, if it may sleep.
    pub packing: Packing,
    /// The core to bind the thread to.
    pub core: Option<usize>,
    pub incoming: Incoming,
    pub phases: watch::Receiver<Phase>,
    /// Told the worker's number when it ends, however it does.
    pub ended: mpsc::Sender<usize>,
}

impl server::Ticket<TcpStream> for Ticket {
    fn leave(&self, stream: &TcpStream, retires: Option<Instant>) -> bool {
        self.hand_over(stream, retires)
    }
}

/// Tells that the worker has ended, also when it ends by a panic.
struct Ending {
    index: usize,
    ended: mpsc::Sender<usize>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.ended.try_send(self.index);
    }
}

/// Starts a worker.
///
/// # Errors
/// The system refuses a thread or its runtime.
pub(super) fn spawn<S: Service>(
    plan: Plan,
    make: Arc<impl Fn(&Context) -> S + Send + Sync + 'static>,
) -> io::Result<()> {
    let name = format!("worker-{}", plan.seed.index);
    let start = move || {
        let _ending = Ending {
            index: plan.seed.index,
            ended: plan.ended.clone(),
        };
        if let Some(core) = plan.core
            && let Err(why) = cores::bind(core)
        {
            tracing::warn!("can't pin worker {} to core {core}: {why}", plan.seed.index);
        }
        match runtime(!plan.wake_interval.is_zero()) {
            Ok(runtime) => runtime.block_on(work(plan, &*make)),
            Err(error) => tracing::error!("no runtime for a worker: {error}"),
        }
    };
    std::thread::Builder::new()
        .name(name)
        .spawn(start)
        .map(drop)
}

fn runtime(sleeps: bool) -> io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(1);
    if sleeps {
        builder.on_thread_park(wake::on_idle);
    }
    builder.build_local(LocalOptions::default())
}

async fn work<S: Service>(plan: Plan, make: &impl Fn(&Context) -> S) {
    let Plan {
        seed,
        mut incoming,
        mut phases,
        limits,
        wake_interval,
        packing,
        ..
    } = plan;
    let turn = Rc::new(Turn::default());
    spawn_local({
        let turn = turn.clone();
        async move { turn.forget().await }
    });
    let Seed {
        index,
        workers,
        metrics,
        resolver,
        mut random,
    } = seed;
    let of_server = random.fork();
    let pulse = Pulse::new(wake_interval, packing, turn.clone(), metrics.clone());
    let pulse = Rc::new(pulse);
    let service = make(&Context {
        index,
        workers,
        turn: turn.clone(),
        pulse: pulse.clone(),
        metrics: metrics.clone(),
        resolver,
        random: RefCell::new(random),
    });
    let server = Server::new(service, limits, turn, of_server);
    spawn_local(server.clone().sweep());
    let (quiet, counted) = (server.clone(), server.clone());
    pulse.watch(move || quiet.is_quiet());
    pulse.count(move || counted.in_progress());
    let moved = server.clone();
    pulse.relocate(move || moved.relocate());
    pulse.start();
    spawn_local(pulse.clone().watch_packing());
    loop {
        tokio::select! {
            accepted = incoming.next() => match accepted {
                None => break,
                Some(Ok(client)) => serve(client, &server, &pulse, &metrics),
                Some(Err(error)) => tracing::warn!("can't serve a connection: {error}"),
            },
            changed = phases.changed() => match changed {
                Ok(()) if *phases.borrow() == Phase::Drain => {
                    // From now on it is not CPU time that counts.
                    Pulse::stop();
                    server.drain();
                }
                Ok(()) => {}
                Err(_) => break,
            },
        }
    }
    Pulse::stop();
    server.close().await;
}

/// Serves what the worker was given.
fn serve<S: Service>(
    client: Client,
    server: &Rc<Server<S>>,
    pulse: &Pulse,
    metrics: &metrics::Worker,
) {
    let Client {
        stream,
        ticket,
        from,
    } = client;
    let server = server.clone();
    match from {
        Origin::Client => {
            pulse.connected();
            spawn_local(server.serve(stream, ticket));
        }
        Origin::Worker { retires } => {
            metrics.http_connections_moved.add(1);
            spawn_local(server.resume(stream, ticket, retires));
        }
    }
}
