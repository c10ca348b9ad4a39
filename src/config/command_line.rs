//! The command line as clap sees it: texts in, texts out, and `--help`.
//!
//! clap takes every value as raw text, and doesn't look at the environment: checking is left to
//! [`super::values`], which names all wrong values at once where clap would stop at the first.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::environment::variable;
use super::exit;
use super::flag::{Flag, Subcommand};
use super::subcommands::SUBCOMMANDS;

const SERVE_RULES: &str = "\
Which value counts:
  A role's own flag, then its variable (REDIS_…_READ, REDIS_…_WRITE), then the flag for both roles
  (--redis-…), then its variable (REDIS_…), then the default. So a role's variable beats the flag
  for both roles. User and password of a URL count as given for the role whose address it is. An
  empty user, password, file or name means none, also where both roles have one.";

const FORMS: &str = "\
Forms:
  Durations are a whole number and ms, s, m or h, up to 24h; 0s turns a limit off where that makes
  sense. Sizes are bytes, or end in k or KiB (1,024 bytes), m or MiB. Bare flags take true or false
  in the environment.";

/// What clap makes of the command line once the subcommand's flags that it doesn't know are gone,
/// of which it would name the first only; and a sentence about each of those.
pub(super) fn matches(args: Vec<OsString>) -> (Result<ArgMatches, clap::Error>, Vec<String>) {
    let mut args = with_hyphens_joined(args);
    let mut unknown = Vec::new();
    loop {
        let matches = command().try_get_matches_from(&args);
        let flag = matches.as_ref().err().and_then(exit::unknown_flag);
        let found = flag.and_then(|(flag, text)| Some((find(&args, flag)?, text)));
        // The first word stands where the subcommand does.
        let Some((place, text)) = found.filter(|(place, _)| *place > 1) else {
            return (matches, unknown);
        };
        unknown.push(text);
        let has_value = !args.remove(place).as_encoded_bytes().contains(&b'=')
            && args
                .get(place)
                .is_some_and(|next| !next.as_encoded_bytes().starts_with(b"-"));
        if has_value {
            args.remove(place);
        }
    }
}

/// `--flag -value` as `--flag=-value` where the flag takes a value: clap would take the second word
/// for a flag of its own, and say so without a name. A word with two hyphens stays one: whoever
/// forgets a value must not have the next flag taken for it.
fn with_hyphens_joined(args: Vec<OsString>) -> Vec<OsString> {
    let named = args.get(1).cloned();
    let Some(known) = SUBCOMMANDS
        .iter()
        .find(|known| named.as_ref().is_some_and(|name| name == known.name))
    else {
        return args;
    };
    let takes_value = |word: &OsString| {
        let name = word.to_str().and_then(|word| word.strip_prefix("--"));
        name.and_then(|name| known.flag(name))
            .is_some_and(|flag| !flag.value.is_empty())
    };
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        let bytes = arg.as_encoded_bytes();
        let is_value = bytes.starts_with(b"-") && !bytes.starts_with(b"--");
        match joined.last_mut() {
            Some(flag) if is_value && takes_value(flag) => {
                flag.push("=");
                flag.push(arg);
            }
            _ => joined.push(arg),
        }
    }
    joined
}

/// Where `--flag` or `--flag=value` stands.
fn find(args: &[OsString], flag: &str) -> Option<usize> {
    args.iter().position(|arg| {
        let name = arg.as_encoded_bytes().strip_prefix(b"--");
        let rest = name.and_then(|name| name.strip_prefix(flag.as_bytes()));
        matches!(rest, Some([] | [b'=', ..]))
    })
}

/// The whole command line.
fn command() -> Command {
    Command::new("redis-api")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A read API over Redis that scales with its pods")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .max_term_width(100)
        .subcommands(SUBCOMMANDS.iter().map(subcommand))
}

fn subcommand(sub: &'static Subcommand) -> Command {
    let rules = match sub.name {
        "serve" | "check" => format!("{SERVE_RULES}\n\n{FORMS}"),
        _ => FORMS.to_string(),
    };
    let mut command = Command::new(sub.name)
        .about(sub.about)
        .after_long_help(rules);
    for group in sub.groups() {
        command = command
            .next_help_heading(group.heading)
            .args(group.flags.iter().map(arg));
    }
    command
}

fn arg(flag: &'static Flag) -> Arg {
    let action = match flag.repeats {
        true => ArgAction::Append,
        false => ArgAction::Set,
    };
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .action(action)
        .value_parser(value_parser!(OsString));
    let default = flag
        .default
        .map(|default| format!(" [default: {default}]"))
        .unwrap_or_default();
    let env = variable(flag.name);
    let help = format!("{}{default}", flag.help);
    let long = format!("{}. {}{default} [env: {env}]", flag.help, flag.why);
    let arg = arg.help(help).long_help(long.replace("  ", " "));
    if flag.value.is_empty() {
        // `--tls`, and `--tls=false` to undo what the environment says.
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
    } else {
        arg.value_name(flag.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn all_unknown_flags_are_named_beside_what_else_is_wrong() {
        fn check(args: &[&str], names: &[&str]) {
            let args = ["redis-api", "serve"].iter().chain(args);
            let drain_delay = [("REDIS_API_DRAIN_DELAY".into(), "soon".into())];
            let exit = parse(args.map(OsString::from), &Environment::new(drain_delay))
                .expect_err("is not valid");
            for name in names {
                assert!(exit.text.contains(name), "{name}: {}", exit.text);
            }
            assert!(!exit.text.contains("hunter2"), "{}", exit.text);
        }
        check(
            &["--nope", "hunter2", "--redis-pas=hunter2", "--workers=0"],
            &[
                "error: 4 flags or values are wrong:\n",
                "unknown flag --nope\n",
                "unknown flag --redis-pas; did you mean --redis-pass?",
                "--workers",
                "REDIS_API_DRAIN_DELAY",
                "See redis-api serve --help",
            ],
        );
        check(
            &["--nope", "--pin", "--pin"],
            &["unknown flag --nope", "--pin is given twice"],
        );
        check(
            &[
                "--workers",
                "-1",
                "--max-body",
                "-1",
                "--drain-delay",
                "-5s",
            ],
            &[
                "3 flags or values are wrong",
                "--workers: \"-1\" is not valid",
                "--max-body: \"-1\" is not valid",
                "--drain-delay: \"-5s\" is not valid",
            ],
        );
        check(
            &["--redis-pass", "--redis-tls"],
            &["--redis-pass needs a value"],
        );
        let args = ["redis-api", "--nope", "serve"].map(OsString::from);
        let exit = parse(args.into_iter(), &Environment::new([])).expect_err("is not valid");
        assert_eq!(
            exit.text,
            "error: unknown flag --nope\n\nSee redis-api --help.\n"
        );
    }
}
