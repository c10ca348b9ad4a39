//! The table of subcommands: which groups of flags each takes.

use super::caching::CACHES;
use super::data::DATA;
use super::flag::{Group, Subcommand};
use super::flags::{
    ACCESS, CHECK, CLIENTS, HELLO_LISTEN, LIMITS, LISTEN, LOG, PROCESS, READ_REDIS, READS, REDIS,
    SYNC_AUTH, SYNC_REDIS, WRITE_REDIS, WRITES,
};
#[cfg(feature = "rig")]
use super::rig;
use super::streams::STREAMS;

const SERVE: &[&Group] = &[
    &LISTEN,
    &REDIS,
    &READ_REDIS,
    &WRITE_REDIS,
    &DATA,
    &READS,
    &WRITES,
    &ACCESS,
    &CACHES,
    &STREAMS,
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
        name: "sync-auth",
        about: "Tells the Redis server beside it when mounted passwords or certificates change",
        groups: &[&[&SYNC_AUTH, &SYNC_REDIS, &LOG]],
    },
    #[cfg(feature = "rig")]
    rig::LOCAL,
    #[cfg(feature = "rig")]
    rig::VEGETASERVER,
    #[cfg(feature = "rig")]
    rig::AGGREGATOR,
    #[cfg(feature = "rig")]
    rig::UPDATER,
    #[cfg(feature = "rig")]
    rig::RAMP,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::run;

    #[test]
    fn every_subcommand_starts_with_what_is_required_alone() {
        let environment = [
            ("API_URL", "http://localhost:8080/"),
            ("TARGET_URL", "http://localhost:8080/"),
            ("VEGETA_SERVERS", "localhost:8081"),
            ("REDIS_API_MASTERAUTH_FILE", "password"),
        ];
        for subcommand in SUBCOMMANDS {
            let parsed = run(&[subcommand.name], &environment);
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
