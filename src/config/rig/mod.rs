//! The options of the load rig's subcommands.

use redis_api_rig::{
    aggregator as merging, bot, local as machine, ramp as ramping, updater as posting,
};

use super::flag::Subcommand;
use super::flags::LOG;
use super::values::Values;

mod aggregator;
mod local;
mod ramp;
mod updater;
mod url;
mod vegetaserver;

/// Which part of the rig to run.
#[derive(Clone, Debug)]
pub enum Command {
    /// The whole rig on this machine.
    Local(machine::Options),
    /// Drives vegeta.
    VegetaServer(bot::Options),
    /// Merges what all bots measured.
    Aggregator(merging::Options),
    /// Posts values.
    Updater(posting::Options),
    /// Holds one rate after another.
    Ramp(ramping::Options),
}

pub(super) const LOCAL: Subcommand = Subcommand {
    name: "local",
    about: "The whole rig on this machine, as real processes: Redis, API, load, dashboard",
    groups: &[&[&local::LOCAL, &LOG]],
};

pub(super) const VEGETASERVER: Subcommand = Subcommand {
    name: "vegetaserver",
    about: "A load bot: drives vegeta at a constant rate, and serves a window of its results",
    groups: &[&[&vegetaserver::VEGETASERVER, &vegetaserver::WINDOW, &LOG]],
};

pub(super) const AGGREGATOR: Subcommand = Subcommand {
    name: "aggregator",
    about: "Merges the windows of all load bots; serves the dashboard and the currency page",
    groups: &[&[&aggregator::AGGREGATOR, &LOG]],
};

pub(super) const UPDATER: Subcommand = Subcommand {
    name: "updater",
    about: "Posts a new value at a steady pace",
    groups: &[&[&updater::UPDATER, &LOG]],
};

pub(super) const RAMP: Subcommand = Subcommand {
    name: "ramp",
    about: "Holds one rate after another on the rig; writes a table and a chart",
    groups: &[&[&ramp::RAMP, &LOG]],
};

pub(super) fn command(name: &str, values: &mut Values<'_>) -> Option<Command> {
    match name {
        "local" => local::options(values).map(Command::Local),
        "vegetaserver" => vegetaserver::options(values).map(Command::VegetaServer),
        "aggregator" => aggregator::options(values).map(Command::Aggregator),
        "updater" => updater::options(values).map(Command::Updater),
        "ramp" => ramp::options(values).map(Command::Ramp),
        _ => None,
    }
}
