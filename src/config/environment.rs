//! The variables of the environment: their names, and those that nobody knows.
//!
//! The flags of the talk and of the rig have variables of the same name (`REDIS_ADDR`, `LISTEN`,
//! `TARGET_URL`). All others begin with `REDIS_API_`: names such as `WINDOW`, `TIMEOUT` or
//! `LOG_LEVEL` belong to others. An unknown `REDIS_API_…` is an error, since a mistyped guard must
//! not open writes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::subcommands::SUBCOMMANDS;

const PREFIX: &str = "REDIS_API_";

/// Flags outside the levels of Redis servers whose variables have no prefix.
const PLAIN: &[&str] = &[
    "listen",
    "admin-listen",
    "target-url",
    "attack-rate",
    "vegeta",
    "vegeta-servers",
    "vegeta-dns",
    "api-url",
    "api-admin-dns",
];

/// What stands behind `redis-`, `read-redis-` or `write-redis-` where it is about a Redis server.
const OF_A_SERVER: &[&str] = &[
    "addr",
    "user",
    "pass",
    "pass-file",
    "tls",
    "ca-file",
    "cert-file",
    "key-file",
    "server-name",
];

/// How alike two names must be (Jaro similarity, 0 to 1) for one to be proposed for the other; as
/// clap has it for flags.
const ALIKE: f64 = 0.8;

/// The variable of a flag: its name in capitals with `_` for `-`, behind the prefix; a role's
/// prefix becomes a suffix (`read-redis-addr`: `REDIS_ADDR_READ`).
pub(super) fn variable(flag: &str) -> String {
    let capitals = |name: &str| name.to_ascii_uppercase().replace('-', "_");
    for (prefix, suffix) in [
        ("redis-", ""),
        ("read-redis-", "_READ"),
        ("write-redis-", "_WRITE"),
    ] {
        if let Some(rest) = flag.strip_prefix(prefix)
            && OF_A_SERVER.contains(&rest)
        {
            return format!("REDIS_{}{suffix}", capitals(rest));
        }
    }
    match PLAIN.contains(&flag) {
        true => capitals(flag),
        false => format!("{PREFIX}{}", capitals(flag)),
    }
}

/// The variables that a process was started with.
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// All given, such as [`std::env::vars_os`].
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Environment(variables.into_iter().collect())
    }

    /// The value of a variable, if it is set; it may be empty.
    pub(super) fn get(&self, variable: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(variable)).map(OsString::as_os_str)
    }

    /// A sentence about each variable with our prefix that belongs to no flag of any subcommand.
    pub(super) fn unknown(&self) -> Vec<String> {
        let ours = self.0.keys().filter_map(|name| name.to_str());
        let ours: Vec<&str> = ours.filter(|name| name.starts_with(PREFIX)).collect();
        if ours.is_empty() {
            return Vec::new();
        }
        let flags = SUBCOMMANDS.iter().flat_map(super::flag::Subcommand::groups);
        let flags = flags.flat_map(|group| group.flags);
        let known: Vec<String> = flags.map(|flag| variable(flag.name)).collect();
        ours.into_iter()
            .filter(|name| !is_of_kubernetes(name) && !known.iter().any(|known| known == name))
            .map(|name| unknown(name, &known))
            .collect()
    }
}

fn unknown(name: &str, known: &[String]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro(bare(name), bare(known)), known))
        .filter(|(alike, _)| *alike > ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match nearest {
        Some((_, nearest)) => {
            format!("unknown variable {name} (environment); did you mean {nearest}?")
        }
        None => format!("unknown variable {name} (environment)"),
    }
}

/// What tells one variable from another.
fn bare(variable: &str) -> &str {
    variable.strip_prefix(PREFIX).unwrap_or(variable)
}

/// Whether Kubernetes sets this variable in each pod, for a Service whose name begins with
/// `redis-api`: see "Environment variables" in
/// <https://kubernetes.io/docs/concepts/services-networking/service/>.
fn is_of_kubernetes(name: &str) -> bool {
    const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
    if name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.ends_with("_PORT")
    {
        return true;
    }
    // `…_PORT_8080_TCP`, and the same with `_PROTO`, `_PORT` or `_ADDR` behind it.
    let Some((_, rest)) = name.split_once("_PORT_") else {
        return false;
    };
    let mut words = rest.split('_');
    let port = words.next().unwrap_or_default();
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port && words.next().is_some_and(|word| PROTOCOLS.contains(&word))
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
            ("redis-wait", "REDIS_API_REDIS_WAIT"),
            ("read-mode", "REDIS_API_READ_MODE"),
            ("write-connections", "REDIS_API_WRITE_CONNECTIONS"),
            ("admin-listen", "ADMIN_LISTEN"),
            ("workers", "REDIS_API_WORKERS"),
        ] {
            assert_eq!(variable(flag), expected);
        }
    }

    #[test]
    fn unknown_variables_are_named_with_the_nearest_known() {
        let check = |name: &str, expected: Option<&str>| {
            let environment = Environment::new([(name.into(), "hunter2".into())]);
            let found = environment.unknown();
            assert_eq!(found.first().map(String::as_str), expected, "{name}");
        };
        check(
            "REDIS_API_READ_ONYL",
            Some(
                "unknown variable REDIS_API_READ_ONYL (environment); did you mean \
                 REDIS_API_READ_ONLY?",
            ),
        );
        check(
            "REDIS_API_XYZZY",
            Some("unknown variable REDIS_API_XYZZY (environment)"),
        );
        for fine in [
            "REDIS_API_READ_ONLY",
            "READ_ONYL",
            "REDIS_APIARY",
            "REDIS_API_SERVICE_HOST",
            "REDIS_API_SERVICE_PORT",
            "REDIS_API_SERVICE_PORT_HTTP",
            "REDIS_API_PORT",
            "REDIS_API_PORT_8080_TCP",
            "REDIS_API_PORT_8080_TCP_ADDR",
            "REDIS_API_ADMIN_SERVICE_HOST",
            "REDIS_API_ADMIN_PORT_9090_TCP_PROTO",
        ] {
            check(fine, None);
        }
    }
}
