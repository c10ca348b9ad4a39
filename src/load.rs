//! Runs the load rig's subcommands, and the helpers that they start.

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use redis_api_rig::{aggregator, bot, guarded, local, ramp, updater};
use tracing::level_filters::LevelFilter;

use crate::config::rig::Command;
use crate::{finish, finish_plain, log};

/// Runs one of the rig's own helpers, if the arguments name one.
pub fn helper(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    match args.next()? {
        name if name == guarded::SUBCOMMAND => {
            Some(finish_plain(guarded::run(args).map(|never| match never {})))
        }
        name if name == local::JANITOR => Some(finish_plain(local::run_janitor(args))),
        _ => None,
    }
}

/// Runs a subcommand to its end.
pub fn run(command: Command, how: log::Options, log: &log::Log) -> ExitCode {
    match command {
        Command::Local(options) => {
            let options = with_log_flags(options, how);
            finish_lines(local::run(options), how.format, log)
        }
        Command::VegetaServer(options) => finish(bot::run(options)),
        Command::Aggregator(options) => finish(aggregator::run(options)),
        Command::Updater(options) => finish(updater::run(options)),
        Command::Ramp(options) => finish_lines(ramp::run(options), how.format, log),
    }
}

/// The rig's processes log as it does itself.
fn with_log_flags(mut options: local::Options, log: log::Options) -> local::Options {
    options.serve_args.extend(log_flags(log));
    options.load_args.extend(log_flags(load_log(log)));
    options
}

/// What the processes of the load do is in the table and on the dashboard: only what goes wrong is
/// worth a line.
fn load_log(log: log::Options) -> log::Options {
    log::Options {
        level: log.level.min(LevelFilter::WARN),
        ..log
    }
}

/// The flags of a child that is to log like that.
fn log_flags(log: log::Options) -> [String; 2] {
    let format = match log.format {
        log::Format::Text => "text",
        log::Format::Json => "json",
    };
    [
        format!("--log-format={format}"),
        format!("--log-level={}", log.level),
    ]
}

/// The same where an error may end with the last lines of a child. For people they are printed as
/// lines, which one event of the log can't be.
fn finish_lines<E: fmt::Display>(
    outcome: Result<(), E>,
    format: log::Format,
    log: &log::Log,
) -> ExitCode {
    let text = match outcome {
        Err(error) if format == log::Format::Text => error.to_string(),
        outcome => return finish(outcome),
    };
    let (what, lines) = text.split_once('\n').unwrap_or((&text, ""));
    tracing::error!("{what}");
    if !lines.is_empty() {
        log.lines(lines);
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_logs_what_goes_wrong_alone() {
        let check = |level: LevelFilter, serve: &str, load: &str| {
            let format = log::Format::Text;
            let [_, own] = log_flags(log::Options { format, level });
            let [_, quiet] = log_flags(load_log(log::Options { format, level }));
            assert_eq!((own.as_str(), quiet.as_str()), (serve, load));
        };
        check(LevelFilter::INFO, "--log-level=info", "--log-level=warn");
        check(LevelFilter::ERROR, "--log-level=error", "--log-level=error");
    }
}
