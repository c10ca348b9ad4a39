//! The table of flags, and the command lines made of it.
//!
//! A flag's variable follows from its name ([`variable`]), so the two cannot drift apart. clap takes
//! every value as raw text: checking them is left to [`super::values`], which names all wrong ones at
//! once where clap would stop at the first.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, value_parser};

/// One flag of one subcommand.
pub(super) struct Flag {
    /// Without the leading dashes.
    pub name: &'static str,
    /// What `--help` calls the value; empty for a bare flag.
    pub value: &'static str,
    /// The value when neither flag nor variable is given.
    pub default: Option<&'static str>,
    /// The first sentence says what it is, the rest (only in `--help`) why.
    help: &'static str,
    why: &'static str,
}

/// Flags under one heading of `--help`.
pub(super) struct Group {
    heading: &'static str,
    pub flags: &'static [Flag],
}

const fn flag(
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
    why: &'static str,
) -> Flag {
    Flag {
        name,
        value,
        default,
        help,
        why,
    }
}

/// The nine flags of one server; `$inherit` says where a missing value comes from.
macro_rules! redis_flags {
    ($prefix:literal, $address:expr, $inherit:literal) => {
        &[
            flag(
                concat!($prefix, "-addr"),
                "ADDRESS",
                $address,
                "Server: host:port, [v6]:port, redis[s]://[user[:pass]@]host[:port][/db] or unix:///path",
                concat!(
                    "rediss:// turns TLS on. User and password of a URL are percent-decoded and belong to that ",
                    "address only; a password here shows in `ps`.",
                    $inherit
                ),
            ),
            flag(
                concat!($prefix, "-user"),
                "NAME",
                None,
                "User to log in as",
                concat!("Without it, the server's `default` user.", $inherit),
            ),
            flag(
                concat!($prefix, "-pass"),
                "PASSWORD",
                None,
                "Password; an empty one is none",
                concat!("Shows in `ps` when given as a flag: prefer the variable or the file.", $inherit),
            ),
            flag(
                concat!($prefix, "-pass-file"),
                "FILE",
                None,
                "File that holds the password",
                concat!("Read at each connect, so it can be rotated; loses one trailing newline.", $inherit),
            ),
            flag(
                concat!($prefix, "-tls"),
                "",
                None,
                "Speak TLS (as rediss:// does)",
                concat!("1.2 or 1.3; the server's certificate is always verified.", $inherit),
            ),
            flag(
                concat!($prefix, "-ca-file"),
                "FILE",
                None,
                "PEM file of the CAs to trust",
                concat!("Without it, the built-in Mozilla roots. Read at each connect.", $inherit),
            ),
            flag(
                concat!($prefix, "-cert-file"),
                "FILE",
                None,
                "PEM file of our certificate chain, for servers that ask for one",
                concat!("Only together with its key.", $inherit),
            ),
            flag(
                concat!($prefix, "-key-file"),
                "FILE",
                None,
                "PEM file of the key to our certificate",
                concat!("Only together with its certificate.", $inherit),
            ),
            flag(
                concat!($prefix, "-server-name"),
                "NAME",
                None,
                "Name to verify and to send as SNI, instead of the address' host",
                concat!("For certificates that name the server otherwise than its address does.", $inherit),
            ),
        ]
    };
}

const REDIS: Group = Group {
    heading: "Redis: both roles",
    flags: redis_flags!("redis", Some("localhost:6379"), ""),
};

const READ_REDIS: Group = Group {
    heading: "Redis: read side",
    flags: redis_flags!("read-redis", None, " Default: as for both roles."),
};

const WRITE_REDIS: Group = Group {
    heading: "Redis: write side",
    flags: redis_flags!("write-redis", None, " Default: as for both roles."),
};

const LISTEN_WHY: &str = "IP:port, [v6]:port or :port. [::] serves IPv4 too, and is 0.0.0.0 where \
    there is no IPv6.";

const LISTEN: Group = Group {
    heading: "Listen",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("[::]:8080"),
            "Where the API listens",
            LISTEN_WHY,
        ),
        flag(
            "admin-listen",
            "ADDRESS",
            Some("[::]:9090"),
            "Where /livez, /readyz and /metrics listen",
            "A port of its own, so that it need not be reachable where the API is.",
        ),
    ],
};

const HELLO_LISTEN: Group = Group {
    heading: "Listen",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("[::]:8080"),
            "Where it listens",
            LISTEN_WHY,
        ),
        flag(
            "admin-listen",
            "ADDRESS",
            None,
            "Where /livez, /readyz and /metrics listen",
            "Off unless given.",
        ),
    ],
};

const LOCAL: Group = Group {
    heading: "Local",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("127.0.0.1:8080"),
            "Where the API listens",
            "If the port of the default is taken, a free one is chosen.",
        ),
        flag(
            "admin-listen",
            "ADDRESS",
            Some("127.0.0.1:9090"),
            "Where /livez, /readyz and /metrics listen",
            "If the port of the default is taken, a free one is chosen.",
        ),
        WORKERS,
        flag(
            "redis-server",
            "FILE",
            None,
            "The server to run as master and replica",
            "Default: redis-server, else valkey-server, on PATH.",
        ),
    ],
};

const READS: Group = Group {
    heading: "Reads",
    flags: &[
        flag(
            "read-mode",
            "MODE",
            Some("batch"),
            "batch: reads of one field that wait together share a reply; direct: one command each",
            "Both send the command after the request has arrived, and pipeline; batch asks the \
             replica less when many read the same field.",
        ),
        flag(
            "read-role",
            "ROLE",
            Some("any"),
            "any: a master is fit to read from; replica: only a replica is",
            "Give replica beside a sidecar, so that one which forgot its master is not believed.",
        ),
    ],
};

const LIMITS: Group = Group {
    heading: "Limits",
    flags: &[
        flag(
            "request-timeout",
            "DURATION",
            Some("400ms"),
            "The whole time a request may take, from the end of its headers",
            "A reply that comes later is thrown away. A Redis connection whose oldest command is \
             unanswered for twice as long is closed.",
        ),
        flag(
            "max-body",
            "SIZE",
            Some("4KiB"),
            "Largest body of a POST, in bytes",
            "A posted number takes some 30 bytes; the rest is room for members that are ignored.",
        ),
        flag(
            "read-connections",
            "N",
            Some("1"),
            "Connections to the read side, per worker",
            "Commands are pipelined, so one is enough for most.",
        ),
        flag(
            "write-connections",
            "N",
            Some("1"),
            "Connections to the write side, per worker",
            "Each counts against the master's maxclients: pods x workers x this.",
        ),
        flag(
            "max-in-flight",
            "N",
            Some("8192"),
            "Unanswered commands per Redis connection; what exceeds it is refused with 503",
            "Some 80 ms of work for a server that answers 100,000 a second: more would grow old.",
        ),
        flag(
            "connect-timeout",
            "DURATION",
            Some("5s"),
            "One deadline for name lookup, TCP, TLS and login",
            "Outlasts one lost packet at each of these steps (a SYN is sent again after 1 s).",
        ),
        flag(
            "ping-interval",
            "DURATION",
            Some("1s"),
            "An idle Redis connection is asked PING this often",
            "A dead peer is then noticed within this and twice the request timeout; the cost is \
             one command a second per connection.",
        ),
        flag(
            "redis-wait",
            "DURATION",
            Some("5m"),
            "How long to wait for the read side at start, before giving up; 0s: for ever",
            "A new replica needs its first full synchronisation, a new node its network.",
        ),
    ],
};

const WORKERS: Flag = flag(
    "workers",
    "N",
    None,
    "Worker threads",
    "Default: one per core that the cgroup or affinity mask grants.",
);

const PROCESS: Group = Group {
    heading: "Process",
    flags: &[
        WORKERS,
        flag(
            "pin",
            "",
            None,
            "Pin each worker to a core",
            "Off: it gains only on cores that nothing else uses.",
        ),
        flag(
            "drain-delay",
            "DURATION",
            Some("5s"),
            "After SIGTERM, go on serving this long; 0s: not at all",
            "Time for balancers to learn that this process goes away.",
        ),
        flag(
            "drain-timeout",
            "DURATION",
            Some("10s"),
            "After that, let requests in flight finish this long",
            "With the delay it must fit in the orchestrator's grace period (Kubernetes: 30 s).",
        ),
    ],
};

/// A subcommand's name, what it is, and its flags.
pub(super) struct Subcommand {
    pub name: &'static str,
    about: &'static str,
    pub groups: &'static [&'static Group],
}

pub(super) const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        name: "serve",
        about: "The API: reads from the replica beside it, writes to the master",
        groups: &[
            &LISTEN,
            &REDIS,
            &READ_REDIS,
            &WRITE_REDIS,
            &READS,
            &LIMITS,
            &PROCESS,
        ],
    },
    Subcommand {
        name: "helloworld",
        about: "The same server returning a constant: the ceiling to compare `serve` with",
        groups: &[&HELLO_LISTEN, &PROCESS],
    },
    Subcommand {
        name: "local",
        about: "The whole rig on this machine: TLS master, replica and API, as real processes",
        groups: &[&LOCAL],
    },
];

impl Subcommand {
    /// The flag of that name, if this subcommand has it.
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.groups
            .iter()
            .flat_map(|group| group.flags)
            .find(|flag| flag.name == name)
    }
}

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

/// The variable of a flag: its name in capitals with `_` for `-`; a role's prefix becomes a suffix
/// (`read-redis-addr`: `REDIS_ADDR_READ`).
pub(super) fn variable(flag: &str) -> String {
    let (stem, suffix) = if flag.starts_with("read-redis-") {
        (flag.trim_start_matches("read-"), "_READ")
    } else if flag.starts_with("write-redis-") {
        (flag.trim_start_matches("write-"), "_WRITE")
    } else {
        (flag, "")
    };
    stem.to_ascii_uppercase().replace('-', "_") + suffix
}

/// The whole command line.
pub(super) fn command() -> Command {
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
        "serve" => format!("{SERVE_RULES}\n\n{FORMS}"),
        _ => FORMS.to_string(),
    };
    let mut command = Command::new(sub.name)
        .about(sub.about)
        .after_long_help(rules);
    for group in sub.groups {
        command = command
            .next_help_heading(group.heading)
            .args(group.flags.iter().map(arg));
    }
    command
}

fn arg(flag: &'static Flag) -> Arg {
    let arg = Arg::new(flag.name)
        .long(flag.name)
        .action(ArgAction::Set)
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

    #[test]
    fn variables_follow_from_names() {
        for (flag, expected) in [
            ("redis-addr", "REDIS_ADDR"),
            ("redis-pass-file", "REDIS_PASS_FILE"),
            ("read-redis-addr", "REDIS_ADDR_READ"),
            ("read-redis-server-name", "REDIS_SERVER_NAME_READ"),
            ("write-redis-tls", "REDIS_TLS_WRITE"),
            ("read-mode", "READ_MODE"),
            ("write-connections", "WRITE_CONNECTIONS"),
            ("admin-listen", "ADMIN_LISTEN"),
        ] {
            assert_eq!(variable(flag), expected);
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
