//! Whether a replica still replicates from the address that its master's name has.
//!
//! A replica is given an address, since Redis looks a name up in the thread that answers its reads.
//! So somebody else has to see that the name has moved.
//!
//! It decides on what it is given, and does no I/O.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::net::session::Value;

/// A link that is up is only left after the name was without its address for this long: name
/// servers with many addresses hand out a few at a time.
const MOVED: Duration = Duration::from_secs(30);

/// After a link was down for this long another address of the name is tried. Above `repl-timeout`
/// of our manifests, within which a dead master is noticed.
const UNREACHED: Duration = Duration::from_secs(15);

/// What `ROLE` says. <https://redis.io/docs/latest/commands/role/>
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It has no master.
    Master,
    Replica(Link),
}

/// A replica's link to its master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub host: String,
    pub port: u16,
    /// It is connected, or receives the data.
    pub is_up: bool,
}

impl Role {
    /// `None`: no answer to `ROLE`.
    pub fn of(reply: &Value) -> Option<Role> {
        let Value::List(items) = reply else {
            return None;
        };
        match items.as_slice() {
            [Value::Text(role), ..] if role == "master" => Some(Role::Master),
            [
                Value::Text(role),
                Value::Text(host),
                Value::Integer(port),
                Value::Text(state),
                ..,
            ] if role == "slave" => Some(Role::Replica(Link {
                host: host.clone(),
                port: u16::try_from(*port).ok()?,
                is_up: matches!(state.as_str(), "connected" | "sync"),
            })),
            _ => None,
        }
    }
}

impl Link {
    /// The address, where it is one and no name.
    fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip.to_canonical(), self.port))
    }
}

/// Watches the link of one replica.
pub(super) struct Watch {
    host: String,
    port: u16,
    of: Option<(String, u16)>,
    /// Since when the name is without the link's address.
    absent_since: Option<Instant>,
    /// Since when the link is down.
    down_since: Option<Instant>,
}

impl Watch {
    /// `host`, which may be an address, is the master's name.
    pub fn new(host: &str, port: u16) -> Self {
        Watch {
            host: host.to_owned(),
            port,
            of: None,
            absent_since: None,
            down_since: None,
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the replica should replicate from instead: the name's present addresses are
    /// `addresses`, its link is `link`. `None`: nowhere else.
    pub fn judge(
        &mut self,
        link: &Link,
        addresses: &[SocketAddr],
        now: Instant,
    ) -> Option<SocketAddr> {
        let of = Some((link.host.clone(), link.port));
        if self.of != of {
            (self.of, self.absent_since, self.down_since) = (of, None, None);
        }
        // It was given the name, and looks it up itself.
        if link.host.eq_ignore_ascii_case(&self.host) && link.port == self.port {
            return None;
        }
        let current = link.address();
        let is_current =
            |address: &SocketAddr| current.is_some_and(|current| same(*address, current));
        let place = addresses.iter().position(is_current);
        let absent = since(&mut self.absent_since, place.is_none(), now);
        let down = since(&mut self.down_since, !link.is_up, now);
        match (place, absent, down) {
            (None, _, Some(_)) => addresses.first().copied(),
            (None, Some(absent), None) if absent >= MOVED => addresses.first().copied(),
            (Some(place), _, Some(down)) if down >= UNREACHED && addresses.len() > 1 => {
                self.down_since = None;
                addresses.get((place + 1) % addresses.len()).copied()
            }
            _ => None,
        }
    }
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip().to_canonical() == other.ip() && one.port() == other.port()
}

/// How long something has been so.
fn since(start: &mut Option<Instant>, is_so: bool, now: Instant) -> Option<Duration> {
    match is_so {
        true => Some(now.duration_since(*start.get_or_insert(now))),
        false => {
            *start = None;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(host: &str, is_up: bool) -> Link {
        Link {
            host: host.to_owned(),
            port: 6379,
            is_up,
        }
    }

    fn addresses(ips: &[&str]) -> Vec<SocketAddr> {
        let addresses = ips.iter().map(|ip| (ip.parse::<IpAddr>().unwrap(), 6379));
        addresses.map(SocketAddr::from).collect()
    }

    /// What is said at these seconds, each with the link and the name's addresses.
    #[track_caller]
    fn check(looks: &[(u64, Link, &[&str], Option<&str>)]) {
        let (mut watch, start) = (Watch::new("master.example", 6379), Instant::now());
        for (second, link, ips, expected) in looks {
            let now = start + Duration::from_secs(*second);
            let moved = watch.judge(link, &addresses(ips), now);
            let moved = moved.map(|address| address.ip().to_string());
            assert_eq!(moved.as_deref(), *expected, "at {second} s");
        }
    }

    #[test]
    fn a_link_at_the_names_address_stays() {
        check(&[
            (0, link("10.0.0.1", true), &["10.0.0.1"], None),
            (5, link("10.0.0.1", false), &["10.0.0.1"], None),
            (500, link("10.0.0.1", false), &["10.0.0.1"], None),
            (505, link("::ffff:10.0.0.1", false), &["10.0.0.1"], None),
        ]);
    }

    #[test]
    fn a_link_that_is_down_follows_the_name_at_once() {
        check(&[
            (0, link("10.0.0.1", false), &["10.0.0.1"], None),
            (5, link("10.0.0.1", false), &["10.0.0.2"], Some("10.0.0.2")),
            (10, link("10.0.0.2", false), &["10.0.0.2"], None),
        ]);
        check(&[(
            0,
            link("old.example", false),
            &["10.0.0.2"],
            Some("10.0.0.2"),
        )]);
    }

    #[test]
    fn a_link_that_is_up_follows_when_the_name_has_moved_for_good() {
        check(&[
            (0, link("10.0.0.1", true), &["10.0.0.2"], None),
            (29, link("10.0.0.1", true), &["10.0.0.3"], None),
            // A name with many addresses: that of the link was only left out.
            (31, link("10.0.0.1", true), &["10.0.0.3", "10.0.0.1"], None),
            (35, link("10.0.0.1", true), &["10.0.0.2"], None),
            (64, link("10.0.0.1", true), &["10.0.0.2"], None),
            (65, link("10.0.0.1", true), &["10.0.0.2"], Some("10.0.0.2")),
        ]);
    }

    #[test]
    fn an_address_that_is_not_reached_gives_way_to_the_next() {
        let both: &[&str] = &["::1", "127.0.0.1"];
        check(&[
            (0, link("::1", false), both, None),
            (15, link("::1", false), both, Some("127.0.0.1")),
            (20, link("127.0.0.1", false), both, None),
            (25, link("127.0.0.1", true), both, None),
            (30, link("127.0.0.1", false), both, None),
            (45, link("127.0.0.1", false), both, Some("::1")),
        ]);
    }

    #[test]
    fn a_replica_that_has_the_name_looks_it_up_itself() {
        check(&[(0, link("Master.example", false), &["10.0.0.2"], None)]);
    }

    #[test]
    fn roles() {
        let text = |text: &str| Value::Text(text.to_owned());
        let replica = |state: &str| {
            let items = vec![
                text("slave"),
                text("10.0.0.1"),
                Value::Integer(6379),
                text(state),
                Value::Integer(-1),
            ];
            Role::of(&Value::List(items))
        };
        for (state, is_up) in [
            ("connected", true),
            ("sync", true),
            ("connect", false),
            ("connecting", false),
            ("handshake", false),
        ] {
            assert_eq!(replica(state), Some(Role::Replica(link("10.0.0.1", is_up))));
        }
        let master = vec![text("master"), Value::Integer(0), Value::List(Vec::new())];
        assert_eq!(Role::of(&Value::List(master)), Some(Role::Master));
        assert_eq!(Role::of(&Value::List(vec![text("sentinel")])), None);
        assert_eq!(Role::of(&Value::Null), None);
    }
}
