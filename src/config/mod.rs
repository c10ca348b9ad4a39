//! Flags and environment to the options of every layer.
//!
//! This is the only reader of the environment, and it reads no file: a password file is opened at
//! each connect. Everything wrong is reported at once. No report, warning or `--help` holds a
//! password, not even a part of one in a malformed address.
//!
//! Nothing here prints or exits; [`parse`] returns what should be printed, and `main` does it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use self::subcommands::SUBCOMMANDS;
use self::values::{Environment, Origin, Values};
use crate::log;
use redis_api_rig::{aggregator as load_aggregator, bot, updater as load_updater};
use redis_api_server::check::Format;
use redis_api_server::http::guard;
use redis_api_server::net::endpoint::{Endpoint, SetOptions};
use redis_api_server::store::{ReadMode, ReadRole};
use redis_api_server::worker::{ClientLimits, FallbackOptions};

mod access;
mod address;
mod aggregator;
mod command_line;
mod degraded;
mod exit;
mod flag;
mod flags;
mod local;
mod parsers;
mod ramp;
mod redis;
mod subcommands;
mod updater;
mod url;
mod values;
mod vegetaserver;

pub use exit::{Exit, Stream};

/// What the program was asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// The API.
    Serve(Box<Serve>),
    /// The same server returning a constant.
    HelloWorld(HelloWorld),
    /// The whole rig on this machine.
    Local(redis_api_rig::local::Options, log::Options),
    /// Looks at what `serve` would meet with these options.
    Check(Box<Serve>, Format),
    /// Drives vegeta.
    VegetaServer(bot::Options, log::Options),
    /// Merges what all bots measured.
    Aggregator(load_aggregator::Options, log::Options),
    /// Posts values.
    Updater(load_updater::Options, log::Options),
    /// Holds one rate after another.
    Ramp(redis_api_rig::ramp::Options, log::Options),
}

impl Command {
    /// How to log.
    pub fn log(&self) -> log::Options {
        match self {
            Command::Serve(options) => options.log,
            Command::HelloWorld(options) => options.log,
            Command::Check(options, _) => options.log,
            Command::Local(_, log)
            | Command::VegetaServer(_, log)
            | Command::Aggregator(_, log)
            | Command::Updater(_, log)
            | Command::Ramp(_, log) => *log,
        }
    }
}

/// Options of `serve`.
#[derive(Clone, Debug)]
pub struct Serve {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
    /// The same for `admin_listen`.
    pub admin_listen_defaulted: bool,
    pub read: SetOptions,
    pub write: SetOptions,
    pub read_mode: ReadMode,
    pub read_role: ReadRole,
    /// A replica whose data is older may not answer; `None`: whatever its age.
    pub max_stale: Option<Duration>,
    /// Reads go to the master while no replica may answer; `None`: they don't.
    pub fallback: Option<FallbackOptions>,
    /// Replicas that must have a write before it is a success.
    pub write_wait: u64,
    /// The whole time a request may take, from the end of its headers.
    pub request_timeout: Duration,
    /// Bytes, at least 1.
    pub max_body: usize,
    /// Who may write, and which fields there are.
    pub guard: guard::Options,
    /// How long to wait for the read side at start; `None`: for ever.
    pub redis_wait: Option<Duration>,
    /// `None`: one per core granted.
    pub workers: Option<NonZeroUsize>,
    pub pin: bool,
    pub clients: ClientLimits,
    pub drain_delay: Duration,
    pub drain_timeout: Duration,
    pub drain_unready: bool,
    pub log: log::Options,
    /// What to log at start.
    pub warnings: Vec<String>,
}

/// Options of `helloworld`.
#[derive(Clone, Debug)]
pub struct HelloWorld {
    pub listen: SocketAddr,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
    /// `None`: off.
    pub admin_listen: Option<SocketAddr>,
    /// `None`: one per core granted.
    pub workers: Option<NonZeroUsize>,
    pub pin: bool,
    pub clients: ClientLimits,
    pub drain_delay: Duration,
    pub drain_timeout: Duration,
    pub drain_unready: bool,
    pub log: log::Options,
}

/// Reads a command line (its first item is the program's name) and the environment.
///
/// # Errors
/// An [`Exit`] with the help asked for, or naming every wrong value.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, Exit> {
    parse_with(args, &|name| std::env::var_os(name))
}

/// Like [`parse`], with an environment of the caller's.
///
/// # Errors
/// As for [`parse`].
pub fn parse_with(
    args: impl Iterator<Item = OsString>,
    environment: Environment<'_>,
) -> Result<Command, Exit> {
    let args: Vec<_> = args.collect();
    let named = SUBCOMMANDS
        .iter()
        .find(|known| args.get(1).is_some_and(|first| first == known.name));
    let (matches, unknown) = command_line::matches(args);
    let matches = match matches {
        Ok(matches) => matches,
        Err(error) => {
            return Err(exit::refusal(
                &error,
                unknown,
                named.map(|known| known.name),
            ));
        }
    };
    let known = matches.subcommand().and_then(|(name, matches)| {
        let known = SUBCOMMANDS.iter().find(|known| known.name == name)?;
        Some((known, matches))
    });
    let Some((subcommand, matches)) = known else {
        return Err(exit::wrong(
            "error: no subcommand given\n".to_string(),
            None,
        ));
    };
    let mut values = Values::new(subcommand, matches, environment);
    values.errors = unknown;
    let command = match subcommand.name {
        "serve" => serve(&mut values).map(|serve| Command::Serve(Box::new(serve))),
        "check" => check(&mut values),
        "helloworld" => hello_world(&mut values).map(Command::HelloWorld),
        "vegetaserver" => with_log(&mut values, vegetaserver::options, Command::VegetaServer),
        "aggregator" => with_log(&mut values, self::aggregator::options, Command::Aggregator),
        "updater" => with_log(&mut values, self::updater::options, Command::Updater),
        "ramp" => with_log(&mut values, self::ramp::options, Command::Ramp),
        _ => self::local::options(&mut values).map(|(options, log)| Command::Local(options, log)),
    };
    match command {
        Some(command) if values.errors.is_empty() => Ok(command),
        _ => Err(exit::all_wrong(&values.errors, Some(subcommand.name))),
    }
}

/// Options of a subcommand's own, and how to log.
fn with_log<T>(
    values: &mut Values<'_>,
    options: impl FnOnce(&mut Values<'_>) -> Option<T>,
    command: impl FnOnce(T, log::Options) -> Command,
) -> Option<Command> {
    let options = options(values);
    let log = log_options(values);
    Some(command(options?, log?))
}

fn serve(values: &mut Values<'_>) -> Option<Serve> {
    let listen = listen(values, "listen");
    let admin_listen = listen_apart(values, "admin-listen", &[("listen", listen)]);
    let both = redis::level(values, "redis");
    let read = redis::level(values, "read-redis");
    let write = redis::level(values, "write-redis");
    let read = redis::endpoint(values, &read, &both);
    let write = redis::endpoint(values, &write, &both);
    if let (Some(read), Some(write)) = (&read, &write) {
        redis::warn_of_idle_tls(values, &both, read.tls.is_some() || write.tls.is_some());
    }

    let read_mode = choice(
        values,
        "read-mode",
        &[("batch", ReadMode::Batch), ("direct", ReadMode::Direct)],
    );
    let read_role = choice(
        values,
        "read-role",
        &[("any", ReadRole::Any), ("replica", ReadRole::Replica)],
    );
    let max_stale = degraded::max_stale(values);
    let guard = access::access(values, listen.map(|(address, _)| address));
    let request_timeout = values.parsed("request-timeout", parsers::positive_duration);
    let max_body = values.parsed("max-body", parsers::size);
    let redis_wait = values.parsed("redis-wait", parsers::duration_or_unlimited);
    let limits = limits(values, request_timeout);
    let read = set(values, "read-connections", read, limits);
    let write = set(values, "write-connections", write, limits);
    let fallback = degraded::fallback(values, write.as_ref());
    let (write_wait, write) = degraded::write_wait(values, write);
    let process = process(values);
    let log = log_options(values);

    let ((listen, listen_defaulted), (admin_listen, admin_listen_defaulted)) =
        (listen?, admin_listen?);
    let process = process?;
    Some(Serve {
        listen,
        admin_listen,
        listen_defaulted,
        admin_listen_defaulted,
        read: read?,
        write: write?,
        read_mode: read_mode?,
        read_role: read_role?,
        max_stale: max_stale?,
        fallback: fallback?,
        write_wait: write_wait?,
        request_timeout: request_timeout?,
        max_body: max_body?,
        guard: guard?,
        redis_wait: redis_wait?,
        workers: process.workers,
        pin: process.pin,
        clients: process.clients,
        drain_delay: process.drain_delay,
        drain_timeout: process.drain_timeout,
        drain_unready: process.drain_unready,
        log: log?,
        warnings: std::mem::take(&mut values.warnings),
    })
}

fn check(values: &mut Values<'_>) -> Option<Command> {
    let formats = [("text", Format::Text), ("json", Format::Json)];
    let format = choice(values, "format", &formats);
    let serve = serve(values);
    Some(Command::Check(Box::new(serve?), format?))
}

fn hello_world(values: &mut Values<'_>) -> Option<HelloWorld> {
    let listen = listen(values, "listen");
    let admin_listen = listen_apart(values, "admin-listen", &[("listen", listen)]);
    let process = process(values);
    let log = log_options(values);
    let (listen, listen_defaulted) = listen?;
    let process = process?;
    Some(HelloWorld {
        listen,
        listen_defaulted,
        admin_listen: admin_listen.map(|(address, _)| address),
        workers: process.workers,
        pin: process.pin,
        clients: process.clients,
        drain_delay: process.drain_delay,
        drain_timeout: process.drain_timeout,
        drain_unready: process.drain_unready,
        log: log?,
    })
}

/// What the subcommands that serve have in common.
struct Process {
    workers: Option<NonZeroUsize>,
    pin: bool,
    clients: ClientLimits,
    drain_delay: Duration,
    drain_timeout: Duration,
    drain_unready: bool,
}

fn process(values: &mut Values<'_>) -> Option<Process> {
    let workers = workers(values);
    let pin = values.boolean("pin").unwrap_or(false);
    let clients = clients(values);
    let drain_delay = values.parsed("drain-delay", parsers::duration);
    let drain_timeout = values.parsed("drain-timeout", parsers::duration);
    let drain_unready = values.boolean("drain-unready").unwrap_or(false);
    Some(Process {
        workers,
        pin,
        clients: clients?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
        drain_unready,
    })
}

fn clients(values: &mut Values<'_>) -> Option<ClientLimits> {
    let mut limit = |flag| values.parsed(flag, parsers::duration_or_unlimited);
    let header_timeout = limit("header-timeout");
    let idle_timeout = limit("idle-timeout");
    let write_timeout = limit("write-timeout");
    let max_connection_age = limit("max-connection-age");
    // Bounds against typing errors: no process has so many descriptors.
    let mut count = |flag| {
        let count = values.parsed(flag, |text| parsers::count(text, 1..=1 << 30));
        count.and_then(NonZeroUsize::new)
    };
    let max_requests = count("max-requests");
    let max_connections = count("max-connections");
    Some(ClientLimits {
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        write_timeout: write_timeout?,
        max_connection_age: max_connection_age?,
        max_requests: max_requests?,
        max_connections,
    })
}

fn log_options(values: &mut Values<'_>) -> Option<log::Options> {
    let format = choice(
        values,
        "log-format",
        &[("text", log::Format::Text), ("json", log::Format::Json)],
    );
    let level = choice(
        values,
        "log-level",
        &[
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
        ],
    );
    Some(log::Options {
        format: format?,
        level: level?,
    })
}

/// The bound is a guard against typing errors: no machine has more cores.
fn workers(values: &mut Values<'_>) -> Option<NonZeroUsize> {
    values
        .parsed("workers", |text| parsers::count(text, 1..=1024))
        .and_then(NonZeroUsize::new)
}

/// The address of a listening flag, and whether its host was left to us.
fn listen(values: &mut Values<'_>, flag: &str) -> Option<(SocketAddr, bool)> {
    let defaulted = values.given(flag)?.origin == Origin::Default;
    let (address, any) = values.parsed(flag, parsers::listen)?;
    Some((address, any || defaulted))
}

/// Another listening address, which may not be one of the `others`.
fn listen_apart(
    values: &mut Values<'_>,
    flag: &str,
    others: &[(&str, Option<(SocketAddr, bool)>)],
) -> Option<(SocketAddr, bool)> {
    let own = listen(values, flag)?;
    let is_same =
        |other: &Option<_>| other.is_some_and(|(other, _)| other == own.0 && own.0.port() != 0);
    if let Some((other, _)) = others.iter().find(|(_, other)| is_same(other)) {
        let names = [other, flag].map(|flag| values.given(flag).map(|given| given.name));
        let [other, flag] = names.map(Option::unwrap_or_default);
        values.errors.push(format!(
            "{other} and {flag}: both are {}; give two ports",
            own.0
        ));
    }
    Some(own)
}

fn choice<T: Copy>(values: &mut Values<'_>, flag: &str, choices: &[(&str, T)]) -> Option<T> {
    values.parsed(flag, |text| {
        let found = choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value);
        found.ok_or_else(|| {
            choices
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(" or ")
        })
    })
}

/// What the connection sets of both roles have in common.
#[derive(Clone, Copy)]
struct Limits {
    connect_timeout: Duration,
    stall_timeout: Duration,
    ping_interval: Duration,
    max_in_flight: usize,
}

fn limits(values: &mut Values<'_>, request_timeout: Option<Duration>) -> Option<Limits> {
    let connect_timeout = values.parsed("connect-timeout", parsers::positive_duration);
    let ping_interval = values.parsed("ping-interval", parsers::positive_duration);
    let max_in_flight = values.parsed("max-in-flight", |text| parsers::count(text, 1..=1 << 20));
    Some(Limits {
        connect_timeout: connect_timeout?,
        // Twice: a command sent at the end of a request's time has as much again before the
        // connection is held for dead.
        stall_timeout: request_timeout?.saturating_mul(2),
        ping_interval: ping_interval?,
        max_in_flight: max_in_flight?,
    })
}

/// The connection set of one role.
fn set(
    values: &mut Values<'_>,
    connections: &str,
    endpoint: Option<Endpoint>,
    limits: Option<Limits>,
) -> Option<SetOptions> {
    let connections = values.parsed(connections, |text| parsers::count(text, 1..=1024));
    let limits = limits?;
    Some(SetOptions {
        endpoint: endpoint?,
        connections: connections?,
        connect_timeout: limits.connect_timeout,
        stall_timeout: limits.stall_timeout,
        ping_interval: limits.ping_interval,
        max_in_flight: limits.max_in_flight,
    })
}

#[cfg(test)]
mod tests;
