//! Why there is nothing to run, as a text and an exit status.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::subcommands::SUBCOMMANDS;

/// Why there is nothing to run: help was asked for, or something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Ends with a newline.
    pub text: String,
    pub stream: Stream,
    /// The exit status: 0 for help and version, 2 for everything wrong.
    pub status: u8,
}

/// Where a text belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The report of every wrong value.
pub(super) fn wrong_values(errors: &[String], subcommand: &str) -> Exit {
    let mut text = match errors.len() {
        1 => "error: a value is wrong:\n".to_string(),
        n => format!("error: {n} values are wrong:\n"),
    };
    for error in errors {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {error}");
    }
    wrong(text, Some(subcommand))
}

/// Something wrong, with the way to the help.
pub(super) fn wrong(mut text: String, subcommand: Option<&str>) -> Exit {
    let subcommand = subcommand
        .map(|name| format!(" {name}"))
        .unwrap_or_default();
    let _ = writeln!(text, "\nSee redis-api{subcommand} --help.");
    Exit {
        text,
        stream: Stream::Stderr,
        status: 2,
    }
}

/// clap's own refusals: help, version, and what isn't a flag.
///
/// Its messages repeat stray words of the command line, and such a word may be a password (one with
/// a space in it, unquoted). So only the names of flags are taken over from them. `first` is the
/// word behind the program's name.
pub(super) fn refusal(error: &clap::Error, first: Option<&OsString>) -> Exit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Exit {
                text,
                stream: Stream::Stdout,
                status: 0,
            };
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Exit {
                text,
                stream: Stream::Stderr,
                status: 2,
            };
        }
        _ => {}
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let flag = context(ContextKind::InvalidArg).and_then(flag_name);
    let what = match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, Some(flag)) => format!("--{flag} is no flag here"),
        (ErrorKind::UnknownArgument, None) => {
            "there is a word that belongs to no flag (not shown, it may be part of a password)"
                .into()
        }
        (ErrorKind::InvalidSubcommand, _) => {
            let names: Vec<_> = SUBCOMMANDS.iter().map(|known| known.name).collect();
            format!("unknown subcommand; there are {}", names.join(", "))
        }
        (ErrorKind::ArgumentConflict, Some(flag)) => format!("--{flag} is given twice"),
        (ErrorKind::InvalidValue, Some(flag)) => format!("--{flag} needs a value"),
        (kind, Some(flag)) => format!("--{flag}: {kind}"),
        (kind, None) => kind.to_string(),
    };
    let mut text = format!("error: {what}\n");
    if let Some(suggestion) = context(ContextKind::SuggestedArg) {
        let _ = writeln!(text, "  did you mean {suggestion}?");
    }
    let mut names = SUBCOMMANDS.iter().map(|known| known.name);
    wrong(
        text,
        names.find(|name| first.is_some_and(|first| first == name)),
    )
}

/// The name in a `--name`, `--name=value` or `--name <VALUE>`; `None` if it doesn't look like one.
fn flag_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("--")?;
    let name = name.split(['=', ' ', '[']).next()?;
    let valid = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (valid && !name.is_empty()).then_some(name)
}
