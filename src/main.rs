//! Reads the configuration, runs what it asks for, and turns the result into an exit status.

use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;

use mimalloc::MiMalloc;
use redis_api::check;
use redis_api::config::{self, Command, HelloWorld, Local, Serve, Stream};
use redis_api::http::service;
use redis_api::local;
use redis_api::store::ReadOptions;
use redis_api::worker::{self, ApiOptions, Port};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The helpers that `local` starts take no flags: they are for it alone.
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(name) if name == local::CHILD => {
            return finish(local::run_child(args).map(|never| match never {}));
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
    log_to_stderr();
    match command {
        Command::Serve(options) => finish(serve(*options)),
        Command::HelloWorld(options) => finish(hello(&options)),
        Command::Local(options) => finish(rig(options)),
        Command::Check(options, format) => look(*options, format),
    }
}

/// One line an event, on stderr.
fn log_to_stderr() {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
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

fn serve(options: Serve) -> Result<(), worker::Error> {
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
        drain_delay: options.drain_delay,
        drain_timeout: options.drain_timeout,
        redis_wait: options.redis_wait,
        redis: true,
    };
    let api = ApiOptions {
        reads: ReadOptions {
            mode: options.read_mode,
            role: options.read_role,
        },
        read: options.read,
        write: options.write,
        service: service::Options {
            request_timeout: options.request_timeout,
            max_body: options.max_body,
        },
    };
    worker::run(&process, move |context| worker::start_api(&api, context))
}

fn look(options: Serve, format: check::Format) -> ExitCode {
    let options = check::Options {
        read: options.read,
        write: options.write,
        read_role: options.read_role,
        request_timeout: options.request_timeout,
        workers: options.workers,
        uses: check::Uses::default(),
        max_stale: None,
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
        drain_delay: options.drain_delay,
        drain_timeout: options.drain_timeout,
        redis_wait: None,
        redis: false,
    };
    worker::run(&process, worker::hello)
}

fn rig(options: Local) -> Result<(), local::Error> {
    let workers = options
        .workers
        .map(|workers| format!("--workers={workers}"));
    local::run(local::Options {
        listen: options.listen,
        admin_listen: options.admin_listen,
        redis_server: options.redis_server,
        serve_args: workers.into_iter().collect(),
    })
}
