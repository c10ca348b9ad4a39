//! The values of one command line and environment, and the list of all that is wrong with them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::ArgMatches;

use super::environment::{Environment, variable};
use super::flag::Subcommand;
use super::parsers::Expected;

/// Where a value comes from. The order is that of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Flag,
    Variable,
    Default,
}

/// A raw value; may be a secret, so it has no `Debug`.
pub(super) struct Given {
    pub text: OsString,
    pub origin: Origin,
    /// As the user knows it: the flag, or the variable if that is where it comes from.
    pub name: String,
}

/// Hands out checked values, and keeps every error until the end.
pub(super) struct Values<'a> {
    subcommand: &'static Subcommand,
    matches: &'a ArgMatches,
    environment: &'a Environment,
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

impl<'a> Values<'a> {
    pub fn new(
        subcommand: &'static Subcommand,
        matches: &'a ArgMatches,
        environment: &'a Environment,
    ) -> Self {
        Values {
            subcommand,
            matches,
            environment,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The raw value of a flag: as given, else its variable, else its default. A variable that is
    /// empty counts as not set, but for an address, which must not be taken for the default, and a
    /// password, which is none.
    pub fn given(&self, flag: &str) -> Option<Given> {
        let named = format!("--{flag}");
        if let Some(texts) = self.matches.get_many::<OsString>(flag) {
            let texts: Vec<&OsStr> = texts.map(OsString::as_os_str).collect();
            return Some(Given {
                text: texts.join(OsStr::new(",")),
                origin: Origin::Flag,
                name: named,
            });
        }
        let variable = variable(flag);
        let is_set =
            |text: &&OsStr| !text.is_empty() || flag.ends_with("-addr") || flag.ends_with("-pass");
        if let Some(text) = self.environment.get(&variable).filter(is_set) {
            let name = format!("{variable} (environment)");
            return Some(Given {
                text: text.to_owned(),
                origin: Origin::Variable,
                name,
            });
        }
        let default = self.subcommand.flag(flag)?.default?;
        Some(Given {
            text: default.into(),
            origin: Origin::Default,
            name: named,
        })
    }

    /// The values of a flag that repeats, where it stands on the command line, each as it was
    /// given.
    #[cfg(feature = "rig")]
    pub fn flag_values(&self, flag: &str) -> Option<Vec<OsString>> {
        let texts = self.matches.get_many::<OsString>(flag)?;
        Some(texts.cloned().collect())
    }

    /// The value of a flag, parsed. `None` if there is none, or if it was wrong.
    pub fn parsed<T>(
        &mut self,
        flag: &str,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> Option<T> {
        let given = self.given(flag)?;
        let parsed = match given.text.to_str() {
            Some(text) => parse(text),
            None => Err("valid UTF-8".to_string()),
        };
        match parsed {
            Ok(value) => Some(value),
            Err(expected) => {
                let Given { text, name, .. } = given;
                self.errors.push(format!(
                    "{name}: {} is not valid; expected {expected}",
                    shown(&text)
                ));
                None
            }
        }
    }

    /// The value of a bare flag; `None` if it was not given.
    pub fn boolean(&mut self, flag: &str) -> Option<bool> {
        self.parsed(flag, super::parsers::boolean)
    }

    /// A path. The inner `None` is an empty one: none, said aloud.
    pub fn path(&mut self, flag: &str) -> Option<Option<PathBuf>> {
        let text = self.given(flag)?.text;
        Some((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    /// A text that is never shown. The inner `None` is an empty one: none, said aloud.
    pub fn hidden_text(&mut self, flag: &str) -> Option<Option<String>> {
        let given = self.given(flag)?;
        match given.text.into_string() {
            Ok(text) => Some(Some(text).filter(|text| !text.is_empty())),
            Err(_) => {
                self.errors.push(format!(
                    "{}: is not valid UTF-8 (value not shown)",
                    given.name
                ));
                None
            }
        }
    }
}

/// A value in quotes, without control characters, and not longer than one wants to read.
fn shown(text: &OsStr) -> String {
    const LONGEST: usize = 64;
    let text = text.to_string_lossy();
    if text.chars().count() > LONGEST {
        let head: String = text.chars().take(LONGEST).collect();
        return format!("{head:?}…");
    }
    format!("{text:?}")
}
