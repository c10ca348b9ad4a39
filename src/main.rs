//! Reads the configuration, runs what it asks for, and turns the result into an exit status.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use mimalloc::MiMalloc;
use redis_api_rig::{aggregator, bot, guarded, local, ramp, updater};
use redis_api_server::check;
use redis_api_server::http::guard::Guard;
use redis_api_server::http::service;
use redis_api_server::store::{ReadMode, ReadOptions, WriteOptions};
use redis_api_server::worker::{self, ApiOptions, Port};

use crate::config::{Command, HelloWorld, Serve, Stream};

mod config;
mod log;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The helpers that we start ourselves take no flags: they are for us alone.
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(name) if name == guarded::SUBCOMMAND => {
            return finish(guarded::run(args).map(|never| match never {}));
        }
        Some(name) if name == local::JANITOR => return finish(local::run_janitor(args)),
        _ => {}
    }
    let command = match config::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(exit) => {
            // A reader that went away (`redis-api serve --help | head`) is no failure of ours.
            let _ = match exit.stream {
                Stream::Stdout => io::stdout().write_all(exit.text.as_bytes()),
                Stream::Stderr => io::stderr().write_all(exit.text.as_bytes()),
            };
            return ExitCode::from(exit.status);
        }
    };
    // Until the end, where it says what it has held back.
    let _log = log::start(command.log());
    tracing::info!("redis-api {}", env!("CARGO_PKG_VERSION"));
    match command {
        Command::Serve(options) => finish(serve(*options)),
        Command::HelloWorld(options) => finish(hello(&options)),
        Command::Local(options, log) => finish_lines(local::run(options), log.format),
        Command::Check(options, format) => look(*options, format),
        Command::VegetaServer(options, _) => finish(bot::run(options)),
        Command::Aggregator(options, _) => finish(aggregator::run(options)),
        Command::Updater(options, _) => finish(updater::run(options)),
        Command::Ramp(options, log) => finish_lines(ramp::run(options), log.format),
    }
}

fn finish<E: fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The same where an error may end with the last lines of a child. For people they are printed as
/// lines, which one event of the log can't be.
fn finish_lines<E: fmt::Display>(outcome: Result<(), E>, format: log::Format) -> ExitCode {
    let text = match outcome {
        Err(error) if format == log::Format::Text => error.to_string(),
        outcome => return finish(outcome),
    };
    let (what, lines) = text.split_once('\n').unwrap_or((&text, ""));
    tracing::error!("{what}");
    if !lines.is_empty() {
        // Where nobody reads any more, nobody misses them.
        let _ = writeln!(io::stderr(), "{lines}");
    }
    ExitCode::FAILURE
}

/// What counts, after flags, variables and defaults; without the secrets.
fn log_configuration(options: &Serve) {
    let workers = options.workers.map(|workers| workers.to_string());
    tracing::info!(
        read = %options.read.endpoint.address,
        read_tls = options.read.endpoint.tls.is_some(),
        read_mode = match options.read_mode {
            ReadMode::Batch => "batch",
            ReadMode::Direct => "direct",
        },
        write = %options.write.endpoint.address,
        write_tls = options.write.endpoint.tls.is_some(),
        listen = %options.listen,
        admin_listen = %options.admin_listen,
        workers = workers.as_deref().unwrap_or("auto"),
        "configuration"
    );
}

fn serve(options: Serve) -> Result<(), Box<dyn Error>> {
    log_configuration(&options);
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    let process = worker::Options {
        listen: Port {
            address: options.listen,
            defaulted: options.listen_defaulted,
        },
        admin_listen: Some(Port {
            address: options.admin_listen,
            defaulted: options.admin_listen_defaulted,
        }),
        workers: options.workers,
        pin: options.pin,
        request_timeout: options.request_timeout,
        clients: options.clients,
        drain_delay: options.drain_delay,
        drain_timeout: options.drain_timeout,
        drain_unready: options.drain_unready,
        redis_wait: options.redis_wait,
        redis_connections: options.read.connections + options.write.connections,
    };
    let api = ApiOptions {
        reads: ReadOptions {
            mode: options.read_mode,
            role: options.read_role,
            max_stale: options.max_stale,
        },
        writes: WriteOptions {
            replicas: options.write_wait,
        },
        fallback: options.fallback,
        read: options.read,
        write: options.write,
        service: service::Options {
            request_timeout: options.request_timeout,
            max_body: options.max_body,
            guard: Guard::open(options.guard)?,
        },
    };
    worker::run(&process, move |context| worker::start_api(&api, context))?;
    Ok(())
}

fn look(options: Serve, format: check::Format) -> ExitCode {
    let options = check::Options {
        read: options.read,
        write: options.write,
        read_role: options.read_role,
        request_timeout: options.request_timeout,
        workers: options.workers,
        uses: check::Uses {
            field_limit: options.guard.max_fields.is_some(),
            write_wait: options.write_wait > 0,
        },
        max_stale: options.max_stale,
        token_file: options.guard.token_file,
        warnings: options.warnings,
    };
    match check::run(&options) {
        Ok(report) => {
            // A reader that went away is no failure of what was checked.
            let _ = io::stdout().write_all(report.render(format).as_bytes());
            match report.passed() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(error) => finish(Err(worker::Error::System(error))),
    }
}

fn hello(options: &HelloWorld) -> Result<(), worker::Error> {
    let process = worker::Options {
        listen: Port {
            address: options.listen,
            defaulted: options.listen_defaulted,
        },
        admin_listen: options.admin_listen.map(|address| Port {
            address,
            defaulted: false,
        }),
        workers: options.workers,
        pin: options.pin,
        request_timeout: worker::HELLO_TIMEOUT,
        clients: options.clients,
        drain_delay: options.drain_delay,
        drain_timeout: options.drain_timeout,
        drain_unready: options.drain_unready,
        redis_wait: None,
        redis_connections: 0,
    };
    worker::run(&process, worker::hello)
}
