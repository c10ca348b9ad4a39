//! Whether a read server is usable: what it is asked, what `INFO` says of it, and the rule.
//!
//! It is asked what the service asks: a server may be in sync and yet refuse every read
//! (`replica-serve-stale-data no`, cluster mode without slots, an ACL without the hash).
//!
//! A replica that restarted while its master was away answers nil, or the value of an old dump, as
//! if it were the truth. `HELLO`, `PING` and `ROLE` don't tell; only `INFO replication` does:
//! `master_link_down_since_seconds` is -1 while the process has never been in sync.
//! <https://redis.io/docs/latest/commands/info/>
//!
//! One that restarted with its last dump, and goes on where that ends (a partial resync), has its
//! link up before it has applied what it missed. Until it has come as far as it was seen to be, it
//! is not usable: its answers would go back in time, and nothing else tells.

use std::fmt;
use std::time::Duration;

use redis_api_wire::resp::ErrorKind;

/// Which servers are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRole {
    /// A replica that was in sync once, or a master.
    Any,
    /// Only a replica: a master at the read address is a mistake.
    Replica,
}

/// What a server is asked each second, in this order. Sections of `INFO` are asked for one by one:
/// several in one command need Redis 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `INFO persistence`: is it loading?
    Persistence,
    /// `HGET`: does it answer what the service asks?
    Read,
    /// `INFO replication`, by whose reply the link is judged: what it said before is known then.
    Replication,
    /// `INFO cpu`.
    Cpu,
}

/// Whether this error reply to a read says that the server can answer no read of the hash: then
/// none is sent there until its answer to [`Question::Read`] is good again. `NOPERM` concerns the
/// hash only if it came for `HGET`: a user may be granted that, and not `HMGET`.
pub fn concerns_server(kind: ErrorKind, command: ReadCommand) -> bool {
    match kind {
        ErrorKind::Loading | ErrorKind::MasterDown | ErrorKind::Moved => true,
        ErrorKind::NoPerm => command == ReadCommand::Hget,
        _ => false,
    }
}

/// By which command a read is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCommand {
    /// One field.
    Hget,
    /// Several.
    Hmget,
}

/// What `INFO replication` says that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// It says what it is at all: what stands behind a proxy may not.
    pub says_role: bool,
    /// It follows another server. That has many names: `slave`, in KeyDB `active-replica` too, in
    /// Dragonfly `replica`.
    pub is_replica: bool,
    /// Its link to the master is up.
    pub link_up: bool,
    /// -1: never in sync since the process started. Absent while the link is up.
    pub link_down_seconds: Option<i64>,
    /// Since something last came from the master; absent while the link is down.
    pub last_io_seconds: Option<i64>,
    /// Bytes received from the master and not yet applied; servers before 7.0 don't say.
    pub lag_bytes: Option<i64>,
    /// Seconds for which nothing had come from the master when the link was last seen up. `INFO`
    /// has forgotten that once the link is down; whoever asks each second has not.
    pub silent_before: u32,
    /// What of the master's data it has applied; servers before 4.0 don't say.
    pub position: Option<Position>,
    /// The farthest that it was seen before.
    pub farthest: Option<Position>,
}

/// A place in the stream of a master's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which stream: it has another name after a failover, or a restart of the master.
    stream: [u8; 40],
    /// Bytes of it.
    offset: i64,
}

impl Position {
    fn parse(info: &[u8]) -> Option<Position> {
        Some(Position {
            stream: value(info, "master_replid")?.try_into().ok()?,
            offset: number(info, "slave_repl_offset")?,
        })
    }

    /// Whether this is an earlier place of the same stream.
    pub fn is_before(&self, other: &Position) -> bool {
        self.stream == other.stream && self.offset < other.offset
    }
}

impl Replication {
    /// Whether it was seen with newer data: a replica that has restarted with its last dump, or
    /// another one that lags.
    fn is_behind_itself(&self) -> bool {
        let both = self.position.zip(self.farthest);
        both.is_some_and(|(position, farthest)| position.is_before(&farthest))
    }

    /// Reads the text of `INFO replication`. What it does not say stays unknown.
    pub fn parse(info: &[u8]) -> Self {
        let number = |name| number(info, name);
        let role = value(info, "role");
        let lag = match (
            number("slave_read_repl_offset"),
            number("slave_repl_offset"),
        ) {
            (Some(received), Some(applied)) => Some(received.saturating_sub(applied).max(0)),
            _ => None,
        };
        Replication {
            says_role: role.is_some(),
            is_replica: role.is_some_and(|role| role != b"master"),
            link_up: value(info, "master_link_status") == Some(b"up"),
            link_down_seconds: number("master_link_down_since_seconds"),
            // -1 while the link is down: no figure.
            last_io_seconds: number("master_last_io_seconds_ago").filter(|age| *age >= 0),
            lag_bytes: lag,
            silent_before: 0,
            position: Position::parse(info),
            farthest: None,
        }
    }
}

/// Data this old, in seconds, is nothing to tell of while the link is up: it is how often a master
/// that has nothing else to say pings its replicas by default (`repl-ping-replica-period`).
const USUAL_AGE: u32 = 10;

impl Replication {
    /// How old the replica's data may be, in whole seconds: since when it has last heard of its
    /// master. `link_up` alone would not do: the link to a master that hangs, or is cut off, stays
    /// up for `repl-timeout` (60 s by default). When it goes down at last, its time of being down
    /// begins at 0: what went before is added, or the data would seem young again. `None`: a
    /// master's data has no age, or the server does not say.
    pub fn age(&self) -> Option<u32> {
        if !self.is_replica {
            return None;
        }
        let (since, before) = if self.link_up {
            (self.last_io_seconds?, 0)
        } else {
            (self.link_down_seconds?, self.silent_before)
        };
        let since = (since >= 0).then(|| u32::try_from(since).unwrap_or(u32::MAX));
        since.map(|since| since.saturating_add(before))
    }

    /// The age, where readers are to be told of it: while the link is down, or when it is higher
    /// than usual.
    pub fn shown_age(&self) -> Option<u32> {
        self.age().filter(|age| !self.link_up || *age > USUAL_AGE)
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

/// Which servers are usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// By their role.
    pub role: ReadRole,
    /// Data older than this is not answered; `None`: whatever its age.
    pub max_stale: Option<Duration>,
}

impl Rule {
    /// Why the server may not answer reads; `None` if it may.
    pub fn trouble(&self, loading: Option<bool>, state: &Replication) -> Option<Trouble> {
        match loading {
            Some(false) => {}
            Some(true) => return Some(Trouble::Loading),
            None => return Some(Trouble::LoadingUnknown),
        }
        if !state.says_role {
            return Some(Trouble::RoleUnknown);
        }
        if !state.is_replica {
            return (self.role == ReadRole::Replica).then_some(Trouble::Master);
        }
        let synced = state.link_up || state.link_down_seconds.is_some_and(|age| age >= 0);
        if !synced {
            return Some(Trouble::NeverSynced);
        }
        // While the link is down, the age says how old the data is, and nothing else will come.
        if state.link_up && state.is_behind_itself() {
            return Some(Trouble::Behind);
        }
        let limit = self.max_stale?;
        match state.age() {
            None => Some(Trouble::AgeUnknown),
            Some(age) if Duration::from_secs(age.into()) > limit => Some(Trouble::Stale {
                age,
                limit,
                link_up: state.link_up,
            }),
            Some(_) => None,
        }
    }
}

/// Why a server may not answer reads; the text goes behind its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Loading,
    /// `INFO persistence` does not say.
    LoadingUnknown,
    /// `INFO replication` does not say whether it is a master or a replica.
    RoleUnknown,
    /// A master where only a replica will do.
    Master,
    NeverSynced,
    /// It follows its master again, and has not caught up with what it had before.
    Behind,
    /// A replica that does not say how old its data is, where there is a limit to that.
    AgeUnknown,
    /// Its data is older than allowed; the age in seconds.
    Stale {
        age: u32,
        limit: Duration,
        link_up: bool,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Loading => "is loading its data set",
            Trouble::LoadingUnknown => "does not say in INFO persistence whether it is loading",
            Trouble::RoleUnknown => {
                "does not say in INFO replication whether it is a master or a replica"
            }
            Trouble::Master => {
                "is a master, and --read-role replica asks for a replica: check its replicaof"
            }
            Trouble::NeverSynced => {
                "has never been in sync with its master since it started (usual causes: the \
                 master is away or refuses PSYNC, as managed services do; a wrong masterauth; a \
                 newer RDB version)"
            }
            Trouble::Behind => {
                "is still catching up: it has restarted with older data than it has answered \
                 before, or is another replica that lags"
            }
            Trouble::AgeUnknown => {
                "does not say in INFO replication how old its data is, and --max-stale limits that"
            }
            Trouble::Stale {
                age,
                limit,
                link_up,
            } => {
                let why = if *link_up {
                    "nothing has come from its master since, though the link is up"
                } else {
                    "its link to the master is down"
                };
                let limit = limit.as_secs_f64();
                return write!(
                    f,
                    "has data that is {age} s old, and --max-stale allows {limit} s: {why}"
                );
            }
        })
    }
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
        let check = |info: &[u8], loading, role, expected: Option<Trouble>| {
            let rule = Rule {
                role,
                max_stale: None,
            };
            let state = Replication::parse(info);
            assert_eq!(rule.trouble(loading, &state), expected, "{state:?}");
        };
        let loaded = Some(false);
        check(UP, loaded, ReadRole::Any, None);
        check(UP, loaded, ReadRole::Replica, None);
        check(DOWN, loaded, ReadRole::Any, None);
        check(NEVER, loaded, ReadRole::Any, Some(Trouble::NeverSynced));
        check(MASTER, loaded, ReadRole::Any, None);
        check(MASTER, loaded, ReadRole::Replica, Some(Trouble::Master));
        check(UP, Some(true), ReadRole::Any, Some(Trouble::Loading));
        check(UP, None, ReadRole::Any, Some(Trouble::LoadingUnknown));
        let silent = b"role:slave\r\n";
        check(silent, loaded, ReadRole::Any, Some(Trouble::NeverSynced));
        let wordless = b"# Replication\r\nconnected_slaves:0\r\n";
        for role in [ReadRole::Any, ReadRole::Replica] {
            check(wordless, loaded, role, Some(Trouble::RoleUnknown));
            check(b"", loaded, role, Some(Trouble::RoleUnknown));
        }
    }

    #[test]
    fn a_replica_is_one_by_any_name() {
        for name in ["slave", "replica", "active-replica"] {
            let info = format!("role:{name}\r\nmaster_link_status:down\r\n");
            let state = Replication::parse(info.as_bytes());
            assert!(state.is_replica, "{name}");
            let rule = Rule {
                role: ReadRole::Any,
                max_stale: None,
            };
            let trouble = rule.trouble(Some(false), &state);
            assert_eq!(trouble, Some(Trouble::NeverSynced), "{name}");
        }
        assert!(!Replication::parse(MASTER).is_replica);
    }

    fn replica(link_up: bool, last_io: Option<i64>, down_since: Option<i64>) -> Replication {
        Replication {
            says_role: true,
            is_replica: true,
            link_up,
            link_down_seconds: down_since,
            last_io_seconds: last_io,
            lag_bytes: None,
            silent_before: 0,
            position: None,
            farthest: None,
        }
    }

    #[test]
    fn a_replica_that_went_back_in_time_answers_nothing_until_it_has_caught_up() {
        let at = |stream: char, offset: i64| {
            let stream = stream.to_string().repeat(40);
            let info = format!("master_replid:{stream}\r\nslave_repl_offset:{offset}\r\n");
            Position::parse(info.as_bytes())
        };
        let check = |link_up, position, farthest, expected| {
            let state = Replication {
                position,
                farthest,
                ..replica(link_up, Some(0), Some(1))
            };
            let rule = Rule {
                role: ReadRole::Any,
                max_stale: None,
            };
            assert_eq!(rule.trouble(Some(false), &state), expected, "{state:?}");
        };
        assert!(at('a', 7).is_some());
        check(true, at('a', 7), at('a', 9), Some(Trouble::Behind));
        check(true, at('a', 9), at('a', 9), None);
        check(true, at('a', 10), at('a', 9), None);
        // Another stream can't be compared, nor a server that doesn't say.
        check(true, at('b', 7), at('a', 9), None);
        check(true, None, at('a', 9), None);
        check(true, at('a', 7), None, None);
        // Its age is told.
        check(false, at('a', 7), at('a', 9), None);
    }

    #[test]
    fn how_old_the_data_is_and_who_is_told() {
        let check = |state: Replication, age, shown| {
            assert_eq!((state.age(), state.shown_age()), (age, shown), "{state:?}");
        };
        check(replica(true, Some(0), None), Some(0), None);
        check(replica(true, Some(10), None), Some(10), None);
        check(replica(true, Some(11), None), Some(11), Some(11));
        check(replica(true, None, None), None, None);
        check(replica(false, None, Some(0)), Some(0), Some(0));
        check(replica(false, Some(30), Some(7)), Some(7), Some(7));
        check(replica(false, None, Some(-1)), None, None);
        check(
            replica(false, None, Some(1 << 40)),
            Some(u32::MAX),
            Some(u32::MAX),
        );
        check(Replication::parse(MASTER), None, None);
        let timed_out = Replication {
            silent_before: 60,
            ..replica(false, None, Some(1))
        };
        check(timed_out, Some(61), Some(61));
        let heard_again = Replication {
            silent_before: 60,
            ..replica(true, Some(0), None)
        };
        check(heard_again, Some(0), None);
    }

    #[test]
    fn data_past_its_limit_is_not_answered() {
        let limit = Duration::from_millis(3500);
        let trouble = |limit, state: Replication| {
            let rule = Rule {
                role: ReadRole::Any,
                max_stale: Some(limit),
            };
            rule.trouble(Some(false), &state)
        };
        let check = |state: Replication, expected: Option<Trouble>| {
            assert_eq!(trouble(limit, state), expected, "{state:?}");
        };
        let stale = |age, link_up| {
            Some(Trouble::Stale {
                age,
                limit,
                link_up,
            })
        };
        check(replica(true, Some(3), None), None);
        check(replica(true, Some(4), None), stale(4, true));
        check(replica(false, None, Some(3)), None);
        check(replica(false, None, Some(4)), stale(4, false));
        check(replica(true, None, None), Some(Trouble::AgeUnknown));
        check(replica(false, None, Some(-1)), Some(Trouble::NeverSynced));
        check(Replication::parse(MASTER), None);
        let as_old_as_allowed = replica(true, Some(4), None);
        assert_eq!(trouble(Duration::from_secs(4), as_old_as_allowed), None);
        let text = stale(4, false).map(|trouble| trouble.to_string());
        assert_eq!(
            text.as_deref(),
            Some(
                "has data that is 4 s old, and --max-stale allows 3.5 s: its link to the master is \
                 down"
            )
        );
    }
}
