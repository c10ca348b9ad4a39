//! What several subcommands read alike: where to listen, workers, how to log.

use std::num::NonZeroUsize;

use redis_api_server::worker::Port;
use tracing::level_filters::LevelFilter;

use super::parsers;
use super::values::{Origin, Values};
use crate::log;

pub(super) fn log_options(values: &mut Values<'_>) -> Option<log::Options> {
    let format = choice(
        values,
        "log-format",
        &[("text", log::Format::Text), ("json", log::Format::Json)],
    );
    let level = choice(
        values,
        "log-level",
        &[
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
        ],
    );
    Some(log::Options {
        format: format?,
        level: level?,
    })
}

/// The bound is a guard against typing errors: no machine has more cores.
pub(super) fn workers(values: &mut Values<'_>) -> Option<NonZeroUsize> {
    values
        .parsed("workers", |text| parsers::count(text, 1..=1024))
        .and_then(NonZeroUsize::new)
}

/// Where a flag says to listen.
pub(super) fn listen(values: &mut Values<'_>, flag: &str) -> Option<Port> {
    let is_default = values.given(flag)?.origin == Origin::Default;
    let (address, any) = values.parsed(flag, parsers::listen)?;
    Some(Port {
        address,
        defaulted: any || is_default,
    })
}

/// Another listening address, which may not be one of the `others`.
pub(super) fn listen_apart(
    values: &mut Values<'_>,
    flag: &str,
    others: &[(&str, Option<Port>)],
) -> Option<Port> {
    let own = listen(values, flag)?;
    let is_same = |other: &Option<Port>| {
        other.is_some_and(|other| other.address == own.address && own.address.port() != 0)
    };
    if let Some((other, _)) = others.iter().find(|(_, other)| is_same(other)) {
        let names = [other, flag].map(|flag| values.given(flag).map(|given| given.name));
        let [other, flag] = names.map(Option::unwrap_or_default);
        values.errors.push(format!(
            "{other} and {flag}: both are {}; give two ports",
            own.address
        ));
    }
    Some(own)
}

/// One of several words.
pub(super) fn choice<T: Copy>(
    values: &mut Values<'_>,
    flag: &str,
    choices: &[(&str, T)],
) -> Option<T> {
    values.parsed(flag, |text| {
        let found = choices
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value);
        found.ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        })
    })
}
