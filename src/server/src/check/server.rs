//! What is wrong with a server, judged by what it says of itself. Pure functions.

use std::time::Duration;

use super::info::Info;
use super::report::Verdict;
use crate::store::{ReadRole, Replication, Rule, is_loading};

/// The family and version that a server runs, and its mode.
pub(super) fn version(info: &Info) -> Verdict {
    let Some(server) = info.server() else {
        return Verdict::warn(
            "INFO gives no version",
            "check that this is Redis or Valkey and not a proxy",
        );
    };
    // Valkey has a name of its own for it, unless it is told to pass for Redis.
    let mode = info
        .value("redis_mode")
        .or_else(|| info.value("server_mode"));
    match mode {
        Some("cluster") => Verdict::fail(
            format!("{server} in cluster mode, which is not supported"),
            "use a server with `cluster-enabled no`",
        ),
        Some("sentinel") => Verdict::fail(
            format!("{server} as a Sentinel, which holds no data"),
            "give the address of the master or replica itself",
        ),
        _ if server.family == "Redis" && server.numbers < [6, 0, 0] => Verdict::warn(
            format!("{server}: no ACL, no TLS, no RESP3"),
            "run Redis 6 or newer, or Valkey",
        ),
        _ => Verdict::ok(format!("{server}, no cluster")),
    }
}

/// The read server: loading, role, link.
pub(super) fn read_state(info: &Info, role: ReadRole) -> Verdict {
    let text = info.0.as_bytes();
    let state = Replication::parse(text);
    // The age has a line of its own.
    let rule = Rule {
        role,
        max_stale: None,
    };
    if let Some(trouble) = rule.trouble(is_loading(text), &state) {
        let cure = match (is_loading(text), state.is_replica) {
            (Some(true), _) => "wait; reads are 503 until then".to_string(),
            (loading, _) if loading.is_none() || !state.says_role => {
                "grant +info to the user, or use Redis or Valkey without a proxy before it"
                    .to_string()
            }
            (_, true) => format!(
                "look at the log of this server: it follows {}",
                upstream(info)
            ),
            (_, false) => {
                "set its replicaof, or drop --read-role replica if that is meant".to_string()
            }
        };
        return Verdict::fail(format!("unusable: it {trouble}"), cure);
    }
    if !state.is_replica {
        return Verdict::ok("a master");
    }
    let (upstream, age) = (upstream(info), state.last_io_seconds);
    if !state.link_up {
        let down = state.link_down_seconds.unwrap_or_default();
        return Verdict::warn(
            format!(
                "usable, but its link to {upstream} has been down for {down} s: reads are \
                 getting stale"
            ),
            "bring the master back; the log of this replica says why it can't follow",
        );
    }
    let lag = state
        .lag_bytes
        .map_or_else(String::new, |lag| format!(", {lag} bytes behind"));
    // A master pings its replicas every 10 s unless told otherwise.
    match age {
        Some(age) if age > 10 => Verdict::warn(
            format!("link to {upstream} is up, but silent for {age} s"),
            "check the network to the master: a link that was cut stays up for its repl-timeout",
        ),
        _ => Verdict::ok(format!(
            "replica in sync with {upstream}, last heard from {} s ago{lag}",
            age.unwrap_or(0)
        )),
    }
}

fn upstream(info: &Info) -> String {
    let host = info.value("master_host").unwrap_or("?");
    let port = info.value("master_port").unwrap_or("?");
    redis_api_wire::conn::printable(format!("{host}:{port}").as_bytes())
}

/// The write server must be a master that is not loading.
pub(super) fn write_state(info: &Info) -> Verdict {
    if info.value("role").is_none() {
        let found = "whether it is a master can't be seen";
        return Verdict::warn(found, "grant +info to the user");
    }
    if Replication::parse(info.0.as_bytes()).is_replica {
        return Verdict::fail(
            format!("a replica of {}: it refuses writes", upstream(info)),
            "give the master's address",
        );
    }
    if is_loading(info.0.as_bytes()) == Some(true) {
        return Verdict::fail("is loading its data set", "wait; writes are 503 until then");
    }
    let replicas = info.value("connected_slaves").unwrap_or("?");
    Verdict::ok(format!("master, {replicas} replicas connected"))
}

/// Connections in use, and how many more pods of this kind fit. `max` is `maxclients` by `CONFIG
/// GET`, for servers whose `INFO` lacks it.
pub(super) fn clients(info: &Info, max: Option<u64>, per_pod: u64, remote: bool) -> Verdict {
    let used = info.number("connected_clients");
    let (Some(used), Some(max)) = (used, info.number("maxclients").or(max)) else {
        return Verdict::warn(
            "maxclients can't be seen",
            "grant +config|get, or compare pods × workers × connections with it yourself",
        );
    };
    let left = max.saturating_sub(used);
    let pods = left / per_pod.max(1);
    let found = if remote {
        format!("{used} of maxclients {max} in use; {per_pod} a pod, room for {pods} more pods")
    } else {
        format!("{used} of maxclients {max} in use; {per_pod} of them would be ours")
    };
    if left < per_pod || used.saturating_mul(10) >= max.saturating_mul(8) {
        return Verdict::warn(
            found,
            "raise maxclients, or run fewer workers or connections",
        );
    }
    Verdict::ok(found)
}

/// Memory of the master against its limit.
pub(super) fn memory(info: &Info) -> Verdict {
    let (Some(used), Some(max)) = (info.number("used_memory"), info.number("maxmemory")) else {
        return Verdict::ok("the server doesn't say");
    };
    let policy = info.value("maxmemory_policy").unwrap_or("noeviction");
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    if max == 0 {
        return Verdict::ok(format!("{} MiB, no maxmemory", mib(used)));
    }
    let found = format!("{} of maxmemory {} MiB, {policy}", mib(used), mib(max));
    if policy.starts_with("allkeys-") {
        return Verdict::warn(
            format!("{found}: the hash may be evicted as a whole"),
            "set maxmemory-policy to noeviction, or to a volatile- one",
        );
    }
    if used.saturating_mul(100) >= max.saturating_mul(95) {
        return Verdict::warn(
            format!("{found}: writes are, or soon will be, refused with OOM"),
            "raise maxmemory, or remove data",
        );
    }
    Verdict::ok(found)
}

/// Whether the master's data outlives a restart of it. `save` is the setting by `CONFIG GET`.
pub(super) fn persistence(info: &Info, save: Option<&str>) -> Verdict {
    const WIPED: &str = "a restart brings it back empty, and that wipes every replica";
    if info.value("aof_enabled") == Some("1") {
        return Verdict::ok("append-only file");
    }
    match save {
        Some("") => Verdict::warn(
            format!("neither append-only file nor snapshots: {WIPED}"),
            "set `appendonly yes` on the master, or never let it restart by itself",
        ),
        Some(save) => Verdict::ok(format!(
            "snapshots: save {}",
            redis_api_wire::conn::printable(save.as_bytes())
        )),
        None => Verdict::warn(
            format!(
                "no append-only file, and whether it saves snapshots can't be seen; if not, {WIPED}"
            ),
            "grant +config|get, or look at its `save` yourself",
        ),
    }
}

/// The master's pings are what a replica knows its age by: they must be denser than `max_stale`.
pub(super) fn ping_period(period: Option<u64>, max_stale: Duration) -> Verdict {
    match period {
        None => Verdict::warn(
            "repl-ping-replica-period can't be seen",
            "grant +config|get, or see that it is shorter than --max-stale by 2 s at least",
        ),
        Some(period) if Duration::from_secs(period + 2) > max_stale => Verdict::warn(
            format!("repl-ping-replica-period is {period} s: an idle master looks stale"),
            "set it lower, or --max-stale 2 s above it",
        ),
        Some(period) => Verdict::ok(format!("repl-ping-replica-period is {period} s")),
    }
}

/// Whether the read server can go on following the write server: same data, same family, and a
/// version that reads what the master sends.
pub(super) fn pair(read: &Info, write: &Info) -> Verdict {
    let same = |name| read.value(name).is_some() && read.value(name) == write.value(name);
    let state = Replication::parse(read.0.as_bytes());
    if same("run_id") {
        return Verdict::warn(
            "read and write side are one server: reads are as far away as writes, and adding pods \
             adds load to it",
            "read from a replica beside each pod (--read-redis-addr)",
        );
    }
    if read.value("role").is_none() {
        let found = "whether they belong together can't be seen";
        return Verdict::warn(found, "grant +info to the user of the read side");
    }
    if !state.is_replica {
        return Verdict::warn(
            "two masters: what is written to one is never read from the other",
            "set the replicaof of the read server to the write server",
        );
    }
    // Before Redis 4 a data set has no name.
    let is_named = read.value("master_replid").is_some() || write.value("master_replid").is_some();
    if state.link_up && is_named && !same("master_replid") {
        return Verdict::warn(
            format!(
                "the replica follows {}, another data set than the write side's",
                upstream(read)
            ),
            "set its replicaof to the write server",
        );
    }
    let (Some(replica), Some(master)) = (read.server(), write.server()) else {
        return Verdict::ok("versions can't be compared");
    };
    if replica.family == master.family && replica.numbers[..2] >= master.numbers[..2] {
        return Verdict::ok(format!("{replica} follows {master}"));
    }
    let synced = state.link_up || state.link_down_seconds.is_some_and(|age| age >= 0);
    let why = format!(
        "{replica} can't be relied on to follow {master}: it may refuse its snapshots (\"Can't \
         handle RDB format version\" in the replica's log)"
    );
    let cure = "run one family, and upgrade the replicas before the master";
    if synced {
        Verdict::warn(why, cure)
    } else {
        Verdict::fail(why, cure)
    }
}

#[cfg(test)]
mod tests;
