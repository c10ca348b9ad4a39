//! The subcommand: starts the rig, says what to try, and shows what it does until the end.

use std::env;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::meter::Meter;
use super::rig::Rig;
use super::screen::Screen;
use super::start_lock::StartLock;
use super::table;
use super::usage::Process;
use super::{AGGREGATOR, API, BOT, Error, MASTER, Options, REPLICA, Topology, UPDATER};

/// So long nobody wonders why nothing happens.
const MOMENT: Duration = Duration::from_millis(500);

/// Without a terminal the processes are told every so many seconds, the load each second.
const PROCESS_LINES: u64 = 10;

/// Runs the rig until SIGINT, SIGTERM or SIGHUP, or until a child ends by itself. Must be called on
/// the main thread: the children are killed when the thread that started them ends.
///
/// # Errors
/// A child, port, file or program is missing or failed; all that was started is stopped by then.
pub fn run(options: Options) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start the event loop"))?;
    let screen = Screen::new();
    let outcome = runtime.block_on(live(&options, &screen));
    // Only readers of pipes are left, whose writers are gone.
    runtime.shutdown_background();
    outcome
}

/// Starts the children in order, waits for the end, and stops them all.
async fn live(options: &Options, screen: &Screen) -> Result<(), Error> {
    let mut stop = StopSignals::new().map_err(Error::io("listen for signals"))?;
    Rig::find_programs(options)?;
    let start_lock = tokio::select! {
        lock = take_start_lock(screen) => lock,
        () = stop.next() => return Ok(()),
    };
    let mut rig = Rig::prepare(options, screen.clone())?;
    let outcome = tokio::select! {
        error = work(&mut rig, start_lock, options, screen) => Err(error),
        () = stop.next() => Ok(()),
    };
    screen.leave();
    screen.say(format_args!("Stopping."));
    tokio::select! {
        () = rig.end_all() => {}
        // A second signal: the children go with us, and the janitor removes the folder.
        () = stop.next() => {}
    }
    outcome.and(rig.close())
}

/// Waits until no other rig is starting, and says so where that takes longer than a moment.
async fn take_start_lock(screen: &Screen) -> StartLock {
    let mut lock = pin!(StartLock::take());
    if let Ok(lock) = timeout(MOMENT, lock.as_mut()).await {
        return lock;
    }
    screen.say(format_args!(
        "Another rig is starting on this machine: waiting for it."
    ));
    lock.await
}

/// Ends only by a failure.
async fn work(rig: &mut Rig, start_lock: StartLock, options: &Options, screen: &Screen) -> Error {
    screen.say(format_args!(
        "Dashboard: http://{}/dashboard (in a few seconds)\nThe rig's data folder is {}",
        rig.dashboard(),
        rig.folder().display()
    ));
    if options.rate.is_some() && !rig.parts().has_vegeta() {
        screen.say(format_args!(
            "\nTHERE IS NO LOAD: {}.\n",
            Error::VegetaMissing
        ));
    }
    loop {
        match rig.start_next().await {
            Ok(Some(process)) => screen.say(format_args!("{}", Started(&process, rig, options))),
            Ok(None) => break,
            Err(error) => return error,
        }
    }
    drop(start_lock);
    screen.say(format_args!("{}", Hints(rig)));
    let meter = Meter::new(rig, options.rate.is_some() && rig.parts().has_vegeta());
    watch(rig, meter, screen).await
}

/// Shows what the rig does, once a second; ends only by a failure.
async fn watch(rig: &mut Rig, mut meter: Meter, screen: &Screen) -> Error {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0.. {
        let children = rig.processes();
        let look = async {
            seconds.tick().await;
            meter.look(children).await
        };
        let view = tokio::select! {
            error = rig.failure() => return error,
            view = look => view,
        };
        if screen.is_terminal() {
            screen.draw(table::table(&view));
            continue;
        }
        screen.say(format_args!("{}", table::load_line(&view)));
        if second % PROCESS_LINES == PROCESS_LINES - 1 {
            let lines = table::process_lines(&view);
            screen.say(format_args!("{}", lines.join("\n")));
        }
    }
    rig.failure().await
}

/// Where a child listens, and how.
struct Started<'a>(&'a Process, &'a Rig, &'a Options);

impl fmt::Display for Started<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Started(Process { name, pid }, rig, options) = self;
        let places = &rig.parts().places;
        write!(f, "{name:12} ")?;
        match name.as_str() {
            MASTER => write!(f, "{} TLS, password", places.master)?,
            REPLICA => write!(
                f,
                "{} plaintext, follows the master over TLS",
                places.replica
            )?,
            API => write!(
                f,
                "http://{}/ admin port http://{}/, reads from the {}",
                places.api,
                places.admin,
                rig.read_server()
            )?,
            UPDATER => write!(f, "posts a value to the API each second")?,
            BOT => write!(
                f,
                "http://{}/ sends {} requests/s to the API",
                places.bot,
                options.rate.unwrap_or_default()
            )?,
            AGGREGATOR => write!(f, "http://{}/dashboard", places.dashboard)?,
            _ => {}
        }
        write!(f, " (process {pid})")
    }
}

/// What to look at, and what to try.
struct Hints<'a>(&'a Rig);

impl fmt::Display for Hints<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (api, admin, dashboard): (SocketAddr, SocketAddr, SocketAddr) =
            (self.0.api(), self.0.admin(), self.0.dashboard());
        let program = env::args_os().next().unwrap_or_else(|| "redis-api".into());
        let program = program.display();
        let other = match self.0.parts().topology {
            Topology::Sidekick => "--topology naive (the master answers reads)",
            Topology::Naive => "--topology sidekick (a replica does)",
        };
        write!(
            f,
            "\n\
             Dashboard      http://{dashboard}/dashboard\n\
             Currency page  http://{dashboard}/currency\n\
             API            http://{api}/\n\
             Its state      http://{admin}/readyz and http://{admin}/metrics\n\n\
             Post a value   curl -d '{{\"value\":12.5}}' http://{api}/\n\
             Other load     {program} local --rate 5000, or --no-load\n\
             Other form     {program} local {other}\n\
             Ctrl-C stops all of it.\n"
        )
    }
}

/// The signals that end the rig.
#[derive(Debug)]
pub struct StopSignals([Signal; 3]);

impl StopSignals {
    /// From now on these signals are ours.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<StopSignals> {
        Ok(StopSignals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            // The terminal was closed.
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
