//! Why there is nothing to run, as a text and an exit status.

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

/// The report of every flag and value that is wrong.
pub(super) fn all_wrong(errors: &[String], subcommand: Option<&str>) -> Exit {
    let text = match errors {
        [error] => format!("error: {error}\n"),
        errors => {
            let count = errors.len();
            let lines = errors.join("\n  ");
            format!("error: {count} flags or values are wrong:\n  {lines}\n")
        }
    };
    wrong(text, subcommand)
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
/// a space in it, unquoted). So only the names of flags are taken over from them. `unknown` are
/// flags that were found to be wrong before.
pub(super) fn refusal(
    error: &clap::Error,
    mut unknown: Vec<String>,
    subcommand: Option<&str>,
) -> Exit {
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
    let flag = context(error, ContextKind::InvalidArg).and_then(flag_name);
    unknown.push(match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, _) => match unknown_flag(error) {
            Some((_, text)) => text,
            None => "unexpected argument (not shown: it may be part of a password)".into(),
        },
        (ErrorKind::InvalidSubcommand, _) => {
            let names: Vec<_> = SUBCOMMANDS.iter().map(|known| known.name).collect();
            format!("unknown subcommand; use one of {}", names.join(", "))
        }
        (ErrorKind::ArgumentConflict, Some(flag)) => format!("--{flag} is given twice"),
        (ErrorKind::InvalidValue, Some(flag)) => format!("--{flag} needs a value"),
        (kind, Some(flag)) => format!("--{flag}: {kind}"),
        (kind, None) => kind.to_string(),
    });
    all_wrong(&unknown, subcommand)
}

/// The flag that clap doesn't know, and a sentence about it; `None` for any other error.
pub(super) fn unknown_flag(error: &clap::Error) -> Option<(&str, String)> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let flag = context(error, ContextKind::InvalidArg).and_then(flag_name)?;
    let mut text = format!("unknown flag --{flag}");
    if let Some(suggestion) = context(error, ContextKind::SuggestedArg) {
        let _ = write!(text, "; did you mean {suggestion}?");
    }
    Some((flag, text))
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
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
