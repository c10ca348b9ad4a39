//! Names of headless Services, looked up over and over.
//!
//! The resolver is hickory's, not the system's: it takes every address of an answer whatever its
//! size (over TCP once UDP has cut it), never blocks a thread, and can be pointed at a name server
//! of a test's. It reads `/etc/resolv.conf` for servers and search domains, and `/etc/hosts`.
//!
//! Invariants: nothing is cached, since a cached answer is what this must not see; a lookup has an
//! end; one that fails changes nothing but the trouble that is told. All addresses are of one
//! family, IPv4 where there is any: a dual-stack Service names each pod once in either, and who is
//! asked at both counts twice.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::Error;

/// How often a name is looked up.
const EVERY: Duration = Duration::from_secs(1);

/// For one question to one server: those in a cluster answer within milliseconds.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// For a name with all its search domains and servers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A host's name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// An IPv6 address has no brackets here.
    pub host: String,
    /// The same for all addresses of the name.
    pub port: u16,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Those of the last lookup that did not fail.
    pub addresses: Arc<[SocketAddr]>,
    /// What is wrong with the last lookup, in a sentence.
    pub trouble: Option<String>,
}

/// Looks names up until it is dropped.
#[derive(Debug)]
pub(super) struct Names {
    server: Option<SocketAddr>,
    lookups: JoinSet<()>,
}

impl Names {
    /// By this name server, or by those of the system.
    pub fn new(server: Option<SocketAddr>) -> Names {
        Names {
            server,
            lookups: JoinSet::new(),
        }
    }

    /// What is known of `name`, from now on. An IP address is its own answer.
    ///
    /// # Errors
    /// The system has no usable list of name servers.
    pub fn watch(&mut self, name: Name) -> Result<watch::Receiver<Answer>, Error> {
        let (answers, answer) = watch::channel(Answer::default());
        if let Ok(ip) = name.host.parse::<IpAddr>() {
            answers.send_replace(Answer {
                addresses: [SocketAddr::new(ip, name.port)].into(),
                trouble: None,
            });
            return Ok(answer);
        }
        let resolver = Resolver::new(self.server).map_err(|error| {
            Error::Missing(format!(
                "no name server is known to look {name} up: {error}; see /etc/resolv.conf, or give \
                 --dns-server"
            ))
        })?;
        self.lookups.spawn(look_up(resolver, name, answers));
        Ok(answer)
    }
}

/// Finds the addresses of one family.
struct Resolver {
    v4: TokioResolver,
    v6: TokioResolver,
}

impl Resolver {
    fn new(server: Option<SocketAddr>) -> Result<Resolver, NetError> {
        Ok(Resolver {
            v4: resolver(server, LookupIpStrategy::Ipv4Only)?,
            v6: resolver(server, LookupIpStrategy::Ipv6Only)?,
        })
    }

    /// Those of IPv4, or those of IPv6 where it is certain that there are none. hickory's own
    /// strategies take the second family also when the question for the first one has failed.
    async fn addresses(&self, host: &str) -> Result<BTreeSet<IpAddr>, NetError> {
        for resolver in [&self.v4, &self.v6] {
            match resolver.lookup_ip(host).await {
                Ok(found) if found.iter().next().is_some() => return Ok(found.iter().collect()),
                Ok(_) => {}
                // That there is none is an answer: all have been scaled away, or the name is wrong.
                Err(error) if error.is_no_records_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(BTreeSet::new())
    }
}

fn resolver(
    server: Option<SocketAddr>,
    strategy: LookupIpStrategy,
) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut to| {
                to.port = server.port();
                to
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let ResolverOpts { ndots, .. } = *builder.options_mut();
    let mut options = ResolverOpts::default();
    options.ndots = ndots;
    options.ip_strategy = strategy;
    options.timeout = QUERY_TIMEOUT;
    options.attempts = 1;
    options.cache_size = 0;
    options.edns0 = true;
    *builder.options_mut() = options;
    builder.build()
}

async fn look_up(resolver: Resolver, name: Name, answers: watch::Sender<Answer>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_good = None;
    loop {
        ticks.tick().await;
        let looked_up = match timeout(LOOKUP_TIMEOUT, resolver.addresses(&name.host)).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {LOOKUP_TIMEOUT:?}")),
        };
        let answer = next(
            &answers.borrow(),
            &name,
            looked_up,
            last_good,
            Instant::now(),
        );
        if answer.trouble.is_none() {
            last_good = Some(Instant::now());
        }
        tell(&name, &answers.borrow(), &answer);
        answers.send_replace(answer);
    }
}

/// What is known after one more lookup.
fn next(
    before: &Answer,
    name: &Name,
    looked_up: Result<BTreeSet<IpAddr>, String>,
    last_good: Option<Instant>,
    now: Instant,
) -> Answer {
    match looked_up {
        Ok(ips) => Answer {
            trouble: ips.is_empty().then(|| {
                format!("{name} has no address; check the name, and that something runs behind it")
            }),
            addresses: ips
                .into_iter()
                .map(|ip| SocketAddr::new(ip, name.port))
                .collect(),
        },
        Err(error) => {
            let rest = match last_good {
                None => "no answer yet".to_owned(),
                Some(at) => {
                    let age = now.saturating_duration_since(at).as_secs();
                    format!("the last answer, {age} s old, is used")
                }
            };
            Answer {
                addresses: before.addresses.clone(),
                trouble: Some(format!("{name} can't be looked up ({error}): {rest}")),
            }
        }
    }
}

/// Logs what has changed.
fn tell(name: &Name, before: &Answer, now: &Answer) {
    match (&before.trouble, &now.trouble) {
        (None, Some(trouble)) => tracing::warn!("{trouble}"),
        (Some(_), None) => tracing::info!("{name} has {} addresses", now.addresses.len()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        Name {
            host: "bots".into(),
            port: 8081,
        }
    }

    #[test]
    fn a_failure_keeps_the_last_answer_and_says_so() {
        let now = Instant::now();
        let ips = BTreeSet::from(
            ["10.0.0.2", "10.0.0.1", "fd00::1"]
                .map(|ip| ip.parse::<IpAddr>().expect("an IP address")),
        );
        let good = next(&Answer::default(), &name(), Ok(ips), None, now);
        let expected = ["10.0.0.1:8081", "10.0.0.2:8081", "[fd00::1]:8081"];
        let shown: Vec<String> = good.addresses.iter().map(SocketAddr::to_string).collect();
        assert_eq!(shown, expected);
        assert_eq!(good.trouble, None);

        let later = now + Duration::from_secs(7);
        let failed = next(&good, &name(), Err("refused".into()), Some(now), later);
        assert_eq!(failed.addresses, good.addresses);
        let trouble = failed.trouble.expect("there is trouble");
        assert!(
            trouble.contains("bots:8081 can't be looked up (refused)"),
            "{trouble}"
        );
        assert!(trouble.contains("7 s old"), "{trouble}");
    }

    #[test]
    fn no_address_is_an_answer() {
        let before = Answer {
            addresses: ["10.0.0.1:8081".parse().expect("an address")].into(),
            trouble: None,
        };
        let none = next(&before, &name(), Ok(BTreeSet::new()), None, Instant::now());
        assert!(none.addresses.is_empty());
        assert!(none.trouble.is_some());
    }
}
