//! `redis-api vegetaserver`: a bot that drives a real vegeta, and publishes a rolling window of its
//! results.
//!
//! ```text
//! vegeta attack | vegeta encode -> reader -> lines -> result -> kind
//!   -> seconds (a Tally each) and totals -> GET / and GET /metrics
//! ```
//!
//! Invariants:
//! - The attack goes on until the process is told to end: a vegeta that dies is started again, and
//!   one whose target is down goes on, with a window of errors.
//! - A request counts in the second in which it was sent. The window covers whole seconds and ends
//!   one `timeout` (and a little) before now, when the last result of its last second is in.
//! - What can make the numbers wrong is told beside them: target and achieved rate, busy workers,
//!   restarts, silence, lag, results dropped.
//!
//! Non-goals: spreading one rate over several bots, stopping an attack from outside.

mod answer;
mod clock;
mod kind;
mod lines;
mod reader;
mod recorder;
mod result;
mod seconds;
mod target;
mod totals;
mod vegeta;

use std::convert::Infallible;
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Error, process, server};
use clock::Clock;
pub use reader::read;
pub use recorder::{Answer, Recorder, Settings};
use redis_api_server::bind;
use redis_api_server::worker::granted_workers;
use redis_api_wire::conn::backoff;
pub use target::{Attack, BODY_MAX, Body, Rate, Target};
use vegeta::{Launch, Pair};

/// The longest wait before vegeta is started again: it is back within two seconds, however often it
/// has ended before. A start costs some milliseconds.
const BACKOFF_MAX: Duration = Duration::from_millis(1_500);

/// A vegeta that ran for so long was well: its end begins a new series of failures.
const STEADY: Duration = Duration::from_secs(10);

/// What to attack, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
    /// A path, or a name to look for on PATH.
    pub vegeta: PathBuf,
    /// What to attack.
    pub target: Target,
    /// How.
    pub attack: Attack,
    /// Whole seconds.
    pub window: Duration,
}

/// Attacks until the process is told to end.
///
/// # Errors
/// See [`Error`].
pub fn run(options: Options) -> Result<(), Error> {
    let body = body(&options.target.body)?;
    process::run(attack(options, body))
}

async fn attack(options: Options, body: Vec<u8>) -> Result<(), Error> {
    let target = options.target.line(&body).map_err(std::io::Error::other)?;
    let listener = bind(options.listen, options.listen_defaulted)?;
    let version = vegeta::version(&options.vegeta).await?;
    let cpus = granted_workers(None).0;
    tracing::info!(
        target = options.target.place(),
        rate = options.attack.rate.per_second(),
        cpus,
        vegeta = version,
        "attacking"
    );
    let settings = Settings {
        target_rate: options.attack.rate.per_second(),
        max_workers: options.attack.max_workers as u64,
        timeout: options.attack.timeout,
        window_seconds: options.window.as_secs(),
    };
    let clock = Clock::start();
    let recorder = Recorder::new(settings, clock.now_ns()).map_err(std::io::Error::other)?;
    let recorder = Arc::new(Mutex::new(recorder));
    let launch = Launch {
        vegeta: options.vegeta,
        arguments: target::arguments(&options.attack, cpus.get()),
        target,
    };
    let answers = Arc::clone(&recorder);
    let serve = server::serve(listener, move |request| {
        let now_ns = clock.now_ns();
        let response = answer::respond(request.method(), request.uri().path(), &answers, now_ns);
        async move { response }
    });
    tokio::select! {
        () = serve => Ok(()),
        never = keep_running(&launch, &recorder, clock) => match never {},
    }
}

/// Starts vegeta again and again.
async fn keep_running(launch: &Launch, recorder: &Mutex<Recorder>, clock: Clock) -> Infallible {
    let lock = || recorder.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failures = 0;
    loop {
        let started = Instant::now();
        lock().stamped_ahead(clock.behind_ns());
        let why = match Pair::start(launch) {
            Ok(pair) => pair.run(recorder, || clock.now_ns()).await,
            Err(error) => format!("vegeta can't be started: {error}"),
        };
        if started.elapsed() >= STEADY {
            failures = 0;
        }
        let wait = backoff::full_jitter(failures, BACKOFF_MAX, fastrand::f64());
        failures = failures.saturating_add(1);
        tracing::warn!(?wait, "{why}; starting vegeta again");
        sleep(wait).await;
        lock().restarted();
    }
}

fn body(body: &Body) -> Result<Vec<u8>, Error> {
    match body {
        Body::Empty => Ok(Vec::new()),
        Body::Text(text) => Ok(text.clone().into_bytes()),
        Body::File(path) => read_body(path),
    }
}

fn read_body(path: &Path) -> Result<Vec<u8>, Error> {
    let refuse = |why: &dyn Display| {
        let path = path.display();
        Error::Missing(format!(
            "--body-file {path}: {why}; give a file of at most {BODY_MAX} bytes"
        ))
    };
    let file = File::open(path).map_err(|error| refuse(&error))?;
    let mut bytes = Vec::new();
    file.take(BODY_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(&error))?;
    if bytes.len() as u64 > BODY_MAX {
        return Err(refuse(&"it is too long"));
    }
    Ok(bytes)
}
