//! The table of subcommands: which groups of flags each takes.

use super::aggregator::AGGREGATOR;
use super::flag::{Group, Subcommand};
use super::flags::{
    ACCESS, CHECK, CLIENTS, HELLO_LISTEN, LIMITS, LISTEN, LOG, PROCESS, READ_REDIS, READS, REDIS,
    WRITE_REDIS, WRITES,
};
use super::local::LOCAL;
use super::ramp::RAMP;
use super::updater::UPDATER;
use super::vegetaserver::{VEGETASERVER, WINDOW};

const SERVE: &[&Group] = &[
    &LISTEN,
    &REDIS,
    &READ_REDIS,
    &WRITE_REDIS,
    &READS,
    &WRITES,
    &ACCESS,
    &LIMITS,
    &CLIENTS,
    &PROCESS,
    &LOG,
];

pub(super) const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "serve",
        about: "The API: reads from the replica beside it, writes to the master",
        groups: &[SERVE],
    },
    Subcommand {
        name: "helloworld",
        about: "The same server returning a constant: the ceiling to compare `serve` with",
        groups: &[&[&HELLO_LISTEN, &CLIENTS, &PROCESS, &LOG]],
    },
    Subcommand {
        name: "check",
        about: "Connects as `serve` would with the same flags, and says what is wrong and its cure",
        groups: &[&[&CHECK], SERVE],
    },
    Subcommand {
        name: "local",
        about: "The whole rig on this machine, as real processes: Redis, API, load, dashboard",
        groups: &[&[&LOCAL, &LOG]],
    },
    Subcommand {
        name: "vegetaserver",
        about: "A load bot: drives vegeta at a constant rate, and serves a window of its results",
        groups: &[&[&VEGETASERVER, &WINDOW, &LOG]],
    },
    Subcommand {
        name: "aggregator",
        about: "Merges the windows of all load bots; serves the dashboard and the currency page",
        groups: &[&[&AGGREGATOR, &LOG]],
    },
    Subcommand {
        name: "updater",
        about: "Posts a new value at a steady pace",
        groups: &[&[&UPDATER, &LOG]],
    },
    Subcommand {
        name: "ramp",
        about: "Holds one rate after another on the rig; writes a table and a chart",
        groups: &[&[&RAMP, &LOG]],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_with;

    #[test]
    fn every_subcommand_starts_with_what_is_required_alone() {
        let environment = |name: &str| match name {
            "API_URL" | "TARGET_URL" => Some("http://localhost:8080/".into()),
            "VEGETA_SERVERS" => Some("localhost:8081".into()),
            _ => None,
        };
        for subcommand in SUBCOMMANDS {
            let args = ["redis-api", subcommand.name].map(Into::into).into_iter();
            let parsed = parse_with(args, &environment);
            assert!(parsed.is_ok(), "{}: {parsed:?}", subcommand.name);
        }
    }

    /// So that the difference between the two is the cost of Redis alone.
    #[test]
    fn helloworld_has_the_settings_of_serve() {
        let find = |name| SUBCOMMANDS.iter().find(|known| known.name == name);
        let (serve, hello) = (find("serve").unwrap(), find("helloworld").unwrap());
        for flag in hello.groups().flat_map(|group| group.flags) {
            let same = serve.flag(flag.name).expect(flag.name);
            // Its admin port is off unless asked for.
            if flag.name != "admin-listen" {
                assert_eq!(flag.default, same.default, "{}", flag.name);
            }
        }
        for group in [&CLIENTS, &PROCESS] {
            for flag in group.flags {
                assert!(hello.flag(flag.name).is_some(), "{}", flag.name);
            }
        }
    }
}
