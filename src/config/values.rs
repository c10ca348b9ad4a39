//! The values of one command line and environment, and the list of all that is wrong with them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::ArgMatches;

use super::flag::Subcommand;
use super::flag::variable;
use super::parsers::Expected;

/// Looks a variable of the environment up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

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
    environment: Environment<'a>,
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

impl<'a> Values<'a> {
    pub fn new(
        subcommand: &'static Subcommand,
        matches: &'a ArgMatches,
        environment: Environment<'a>,
    ) -> Self {
        Values {
            subcommand,
            matches,
            environment,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The raw value of a flag: as given, else its variable, else its default.
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
        if let Some(text) = (self.environment)(&variable) {
            let name = format!("{variable} (environment)");
            return Some(Given {
                text,
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

    /// Each value of a flag that repeats and may hold commas, else each line of its variable, and
    /// its name as the user knows it. What is no UTF-8 is an error, without the value.
    pub fn hidden_texts(&mut self, flag: &str) -> (String, Vec<String>) {
        let given: Option<(String, Vec<OsString>)> = match self.matches.get_many::<OsString>(flag) {
            Some(texts) => Some((format!("--{flag}"), texts.cloned().collect())),
            None => self.given(flag).map(|given| (given.name, vec![given.text])),
        };
        let Some((name, texts)) = given else {
            return (format!("--{flag}"), Vec::new());
        };
        let mut lines = Vec::new();
        for text in texts {
            match text.into_string() {
                // A flag's value is one line: where it is not, it is refused with the value.
                Ok(text) if name.starts_with("--") => lines.push(text),
                Ok(text) => lines.extend(
                    text.lines()
                        .filter(|line| !line.trim().is_empty())
                        .map(str::to_owned),
                ),
                Err(_) => self
                    .errors
                    .push(format!("{name}: is no UTF-8 (value not shown)")),
            }
        }
        (name, lines)
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
            None => Err("text in UTF-8".to_string()),
        };
        match parsed {
            Ok(value) => Some(value),
            Err(expected) => {
                let Given { text, name, .. } = given;
                self.errors.push(format!(
                    "{name}: {} is wrong; expected {expected}",
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
                self.errors
                    .push(format!("{}: is no UTF-8 (value not shown)", given.name));
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
