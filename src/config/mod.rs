//! Flags and environment to the options of every layer, which stand with the layers.
//!
//! This is the only reader of the environment, and it reads no file: a password file is opened at
//! each connect. Everything wrong is reported at once. No report, warning or `--help` holds a
//! password, not even a part of one in a malformed address.
//!
//! Nothing here prints or exits; [`parse`] returns what should be printed, and `main` does it.

use std::ffi::OsString;

use redis_api_server::check::Format;
use redis_api_server::{sync_auth as keeping, worker};

use self::subcommands::SUBCOMMANDS;
use self::values::Values;
use crate::log;

mod access;
mod address;
mod caching;
mod command_line;
mod common;
mod data;
mod degraded;
mod environment;
mod exit;
mod flag;
mod flags;
mod parsers;
mod redis;
#[cfg(feature = "rig")]
pub mod rig;
mod serve;
mod streams;
mod subcommands;
mod sync_auth;
mod values;

pub use environment::Environment;
pub use exit::{Exit, Stream};
pub use serve::Serve;

/// What the program was asked to do, and how to log meanwhile.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub command: Command,
    pub log: log::Options,
    /// What to log at start.
    pub warnings: Vec<String>,
}

/// What the program was asked to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// The API.
    Serve(Box<Serve>),
    /// The same server returning a constant.
    HelloWorld(Box<worker::Options>),
    /// Looks at what `serve` would meet with these options.
    Check(Box<Serve>, Format),
    /// Tells a running Redis server what mounted files say.
    SyncAuth(Box<keeping::Options>),
    /// A part of the load rig, or all of it.
    #[cfg(feature = "rig")]
    Rig(Box<rig::Command>),
}

/// Reads a command line (its first item is the program's name) and the environment.
///
/// # Errors
/// An [`Exit`] with the help asked for, or naming every wrong value.
pub fn parse(
    args: impl Iterator<Item = OsString>,
    environment: &Environment,
) -> Result<Invocation, Exit> {
    let args: Vec<_> = args.collect();
    let named = SUBCOMMANDS
        .iter()
        .find(|known| args.get(1).is_some_and(|first| first == known.name));
    let (matches, mut errors) = command_line::matches(args);
    let matches = match matches {
        Ok(matches) => matches,
        Err(error) => {
            return Err(exit::refusal(&error, errors, named.map(|known| known.name)));
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
    errors.extend(environment.unknown());
    let mut values = Values::new(subcommand, matches, environment);
    values.errors = errors;
    let log = common::log_options(&mut values);
    let command = command(subcommand.name, &mut values);
    match (command, log) {
        (Some(command), Some(log)) if values.errors.is_empty() => Ok(Invocation {
            command,
            log,
            warnings: values.warnings,
        }),
        _ => Err(exit::all_wrong(&values.errors, Some(subcommand.name))),
    }
}

fn command(name: &str, values: &mut Values<'_>) -> Option<Command> {
    match name {
        "serve" => serve::serve(values).map(|serve| Command::Serve(Box::new(serve))),
        "helloworld" => {
            serve::hello_world(values).map(|process| Command::HelloWorld(Box::new(process)))
        }
        "check" => {
            serve::check(values).map(|(serve, format)| Command::Check(Box::new(serve), format))
        }
        "sync-auth" => {
            sync_auth::options(values).map(|options| Command::SyncAuth(Box::new(options)))
        }
        #[cfg(feature = "rig")]
        name => rig::command(name, values).map(|command| Command::Rig(Box::new(command))),
        #[cfg(not(feature = "rig"))]
        _ => None,
    }
}

#[cfg(test)]
mod tests;
