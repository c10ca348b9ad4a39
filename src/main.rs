//! Reads the configuration, runs what it asks for, and turns the result into an exit status.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use mimalloc::MiMalloc;
use redis_api_server::worker::{self, ApiOptions};
use redis_api_server::{LOG_DROPPED, ReadMode, check, sync_auth};

use crate::config::{Command, Environment, Invocation, Serve, Stream};

mod config;
#[cfg(feature = "rig")]
mod load;
mod log;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The helpers that the rig starts itself take no flags: they are for it alone.
    #[cfg(feature = "rig")]
    if let Some(outcome) = load::helper(std::env::args_os().skip(1)) {
        return outcome;
    }
    let environment = Environment::new(std::env::vars_os());
    let invocation = match config::parse(std::env::args_os(), &environment) {
        Ok(invocation) => invocation,
        Err(exit) => {
            // A reader that went away (`redis-api serve --help | head`) is no failure of ours.
            let _ = match exit.stream {
                Stream::Stdout => io::stdout().write_all(exit.text.as_bytes()),
                Stream::Stderr => io::stderr().write_all(exit.text.as_bytes()),
            };
            return ExitCode::from(exit.status);
        }
    };
    let Invocation {
        command,
        log: log_options,
        warnings,
    } = invocation;
    // Until the end, where it waits for its last lines.
    let log = match log::start(log_options, &LOG_DROPPED) {
        Ok(log) => log,
        Err(error) => return finish_plain(Err(format!("no thread for the log: {error}"))),
    };
    tracing::info!("redis-api {}", env!("CARGO_PKG_VERSION"));
    match command {
        Command::Serve(options) => finish(serve(*options, &warnings)),
        Command::HelloWorld(options) => finish(worker::run_hello(&options)),
        Command::Check(options, format) => look(*options, warnings, format, &log),
        Command::SyncAuth(options) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            finish(sync_auth::run(*options))
        }
        #[cfg(feature = "rig")]
        Command::Rig(command) => load::run(*command, log_options, &log),
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

/// The same before there is a log. No worker runs yet that could be held up.
fn finish_plain<E: fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody reads, nobody misses it.
            let _ = writeln!(io::stderr(), "redis-api: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What counts, after flags, variables and defaults; without the secrets.
fn log_configuration(process: &worker::Options, api: &ApiOptions) {
    let workers = process.workers.map(|workers| workers.to_string());
    let admin_listen = process.admin_listen.map(|port| port.address.to_string());
    tracing::info!(
        read = %api.read.endpoint.address,
        read_tls = api.read.endpoint.tls.is_some(),
        read_mode = match api.reads.mode {
            ReadMode::Batch => "batch",
            ReadMode::Direct => "direct",
            ReadMode::Tracked => "tracked",
        },
        write = %api.write.endpoint.address,
        write_tls = api.write.endpoint.tls.is_some(),
        listen = %process.listen.address,
        admin_listen = admin_listen.as_deref().unwrap_or("off"),
        workers = workers.as_deref().unwrap_or("auto"),
        "configuration"
    );
}

fn serve(options: Serve, warnings: &[String]) -> Result<(), worker::Error> {
    let Serve { process, api } = options;
    log_configuration(&process, &api);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    worker::run_api(&process, api)
}

fn look(options: Serve, warnings: Vec<String>, format: check::Format, log: &log::Log) -> ExitCode {
    let Serve { process, api } = options;
    let options = check::Options {
        process,
        api,
        warnings,
    };
    match check::run(&options) {
        Ok(report) => {
            log.settle();
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
