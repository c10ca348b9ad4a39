//! Whether a read server may answer: what `INFO` says of it, and the rule.
//!
//! A replica that restarted while its master was away answers nil, or the value of an old dump, as
//! if it were the truth. `HELLO`, `PING` and `ROLE` don't tell; only `INFO replication` does:
//! `master_link_down_since_seconds` is -1 while the process has never been in sync.
//! <https://redis.io/docs/latest/commands/info/>

use std::time::Duration;

/// Which servers may answer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRole {
    /// A replica that was in sync once, or a master.
    Any,
    /// Only a replica: a master at the read address is a mistake.
    Replica,
}

/// What `INFO replication` says that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    pub is_replica: bool,
    pub link_up: bool,
    /// -1: never in sync since the process started. Absent while the link is up.
    pub link_down_seconds: Option<i64>,
    pub last_io_seconds: Option<i64>,
    /// Bytes received from the master and not yet applied; servers before 7.0 don't say.
    pub lag_bytes: Option<i64>,
}

impl Replication {
    pub fn parse(info: &[u8]) -> Self {
        let number = |name| number(info, name);
        let lag = match (
            number("slave_read_repl_offset"),
            number("slave_repl_offset"),
        ) {
            (Some(received), Some(applied)) => Some(received.saturating_sub(applied).max(0)),
            _ => None,
        };
        Replication {
            is_replica: value(info, "role") == Some(b"slave"),
            link_up: value(info, "master_link_status") == Some(b"up"),
            link_down_seconds: number("master_link_down_since_seconds"),
            // -1 while the link is down: no figure.
            last_io_seconds: number("master_last_io_seconds_ago").filter(|age| *age >= 0),
            lag_bytes: lag,
        }
    }
}

/// `loading:1` in `INFO persistence`: the data set is being read in. `None` if it doesn't say.
pub fn is_loading(info: &[u8]) -> Option<bool> {
    value(info, "loading").map(|text| text != b"0")
}

/// User and system CPU time of the server process, from `INFO cpu`.
pub fn cpu(info: &[u8]) -> Option<Duration> {
    let seconds = |name| {
        std::str::from_utf8(value(info, name)?)
            .ok()?
            .parse::<f64>()
            .ok()
    };
    let total = seconds("used_cpu_user")? + seconds("used_cpu_sys")?;
    Duration::try_from_secs_f64(total).ok()
}

/// Why the server may not answer reads; `None` if it may.
pub fn trouble(loading: Option<bool>, state: &Replication, role: ReadRole) -> Option<&'static str> {
    match loading {
        Some(false) => {}
        Some(true) => return Some("is loading its data set"),
        None => return Some("does not say in INFO persistence whether it is loading"),
    }
    if !state.is_replica {
        return match role {
            ReadRole::Any => None,
            ReadRole::Replica => {
                Some("is a master, and --read-role replica asks for a replica: check its replicaof")
            }
        };
    }
    let synced = state.link_up || state.link_down_seconds.is_some_and(|age| age >= 0);
    if synced {
        return None;
    }
    Some(
        "has never been in sync with its master since it started (usual causes: the master is away \
         or refuses PSYNC, as managed services do; a wrong masterauth; a newer RDB version)",
    )
}

/// The value of the line `name:value`.
fn value<'a>(info: &'a [u8], name: &str) -> Option<&'a [u8]> {
    info.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.strip_prefix(name.as_bytes())?.strip_prefix(b":")
    })
}

fn number(info: &[u8], name: &str) -> Option<i64> {
    std::str::from_utf8(value(info, name)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: &[u8] = b"# Replication\r\nrole:slave\r\nmaster_link_status:up\r\n\
        master_last_io_seconds_ago:3\r\nslave_read_repl_offset:120\r\nslave_repl_offset:100\r\n";
    const DOWN: &[u8] = b"role:slave\r\nmaster_link_status:down\r\n\
        master_last_io_seconds_ago:-1\r\nmaster_link_down_since_seconds:7\r\n";
    const NEVER: &[u8] = b"role:slave\r\nmaster_link_status:down\r\n\
        master_link_down_since_seconds:-1\r\n";
    const MASTER: &[u8] = b"# Replication\r\nrole:master\r\nconnected_slaves:0\r\n";

    #[test]
    fn what_info_says() {
        let up = Replication::parse(UP);
        assert!(up.is_replica && up.link_up);
        assert_eq!((up.last_io_seconds, up.lag_bytes), (Some(3), Some(20)));
        let down = Replication::parse(DOWN);
        assert_eq!(
            (down.link_down_seconds, down.last_io_seconds),
            (Some(7), None)
        );
        assert_eq!(
            is_loading(b"# Persistence\r\nloading:0\r\nasync_loading:1\r\n"),
            Some(false)
        );
        assert_eq!(is_loading(b"loading:1\r\n"), Some(true));
        assert_eq!(is_loading(b""), None);
        let cpu = cpu(b"used_cpu_sys:1.25\r\nused_cpu_user:0.5\r\n");
        assert_eq!(cpu, Some(Duration::from_millis(1750)));
    }

    #[test]
    fn who_may_answer() {
        let check = |info: &[u8], loading, role, usable: bool| {
            let verdict = trouble(loading, &Replication::parse(info), role);
            assert_eq!(verdict.is_none(), usable, "{verdict:?}");
        };
        let loaded = Some(false);
        check(UP, loaded, ReadRole::Any, true);
        check(UP, loaded, ReadRole::Replica, true);
        check(DOWN, loaded, ReadRole::Any, true);
        check(NEVER, loaded, ReadRole::Any, false);
        check(MASTER, loaded, ReadRole::Any, true);
        check(MASTER, loaded, ReadRole::Replica, false);
        check(UP, Some(true), ReadRole::Any, false);
        check(UP, None, ReadRole::Any, false);
        check(b"role:slave\r\n", loaded, ReadRole::Any, false);
    }
}
