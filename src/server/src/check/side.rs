//! One role, from its address to the server's settings: the order of questions. The judgements are
//! in the modules beside it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{Instant, timeout_at};

use super::Options;
use super::connect::{self, Attempt};
use super::info::Info;
use super::report::{Report, Role, Verdict};
use super::rights::{self, Command, Right};
use super::server;
use crate::metrics::{self, RoleMetrics};
use crate::net::endpoint::{Address, SetOptions};
use crate::net::session::{OpenError, Opening, Session, Value};
use crate::net::{Credentials, Resolver, dial};
use redis_api_wire::conn::Error;

/// The name shown by `CLIENT LIST` while the check runs.
const CLIENT_NAME: &str = "redis-api-check";

/// A name may have hundreds of addresses; so many are tried.
const MAX_ADDRESSES: usize = 8;

/// The sections of `INFO` that are judged.
const SECTIONS: [&str; 5] = ["server", "clients", "memory", "persistence", "replication"];

/// A reply may take this many request timeouts.
const PATIENCE: u32 = 5;

/// What a role is examined with.
pub(super) struct RoleCheck<'a> {
    pub role: Role,
    pub set: &'a SetOptions,
    pub options: &'a Options,
    /// Connections that one process opens to this server.
    pub per_pod: usize,
    pub resolver: &'a Resolver,
    /// When the whole run must be over.
    pub end: Instant,
}

impl RoleCheck<'_> {
    /// Examines the role; what the server said of itself, if it did.
    pub async fn examine(&self, report: &mut Report) -> Option<Info> {
        if let Address::Tcp { host, port } = &self.set.endpoint.address
            && !self.reach(host, *port, report).await
        {
            return None;
        }
        let session = match self.open().await {
            Ok(session) => session,
            Err(error) => {
                let (name, verdict) = connect::failure(&error, &self.set.endpoint);
                report.add(self.role, name, verdict);
                return None;
            }
        };
        let mut asked = Questions {
            side: self,
            session,
        };
        match asked.everything(report).await {
            Ok(info) => info,
            Err(error) => {
                let cure = "check whether the server hangs or was restarted (its log, SLOWLOG)";
                let verdict = Verdict::fail(format!("the connection ended: {error}"), cure);
                report.add(self.role, "connection", verdict);
                None
            }
        }
    }

    async fn open(&self) -> Result<Session, OpenError> {
        // Nothing is counted here, but credentials count.
        let uncounted = RoleMetrics::new(Arc::default(), metrics::Side::Read);
        let credentials = Credentials::new("check", uncounted);
        let deadline = self.connect_deadline();
        let opening = Opening {
            set: self.set,
            credentials: &credentials,
            client_name: CLIENT_NAME,
            resolver: self.resolver,
            clock: &Rc::default(),
            wall_clock: SystemTime::now,
        };
        Session::open(opening, deadline).await
    }

    fn connect_deadline(&self) -> Instant {
        self.end.min(Instant::now() + self.set.connect_timeout)
    }

    /// Name and addresses; whether one of them can be connected to.
    async fn reach(&self, host: &str, port: u16, report: &mut Report) -> bool {
        let started = Instant::now();
        let lookup = self.resolver.lookup(host, port);
        let looked_up = timeout_at(self.connect_deadline(), lookup).await;
        let looked_up = looked_up.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let verdict = connect::name(host, &looked_up, started.elapsed());
        report.add(self.role, "name", verdict);
        let Ok(addresses) = looked_up else {
            return false;
        };
        let deadline = self.connect_deadline();
        let mut attempts: Vec<Attempt> = Vec::new();
        for (tried, address) in addresses.iter().take(MAX_ADDRESSES).enumerate() {
            let started = Instant::now();
            let left = deadline.saturating_duration_since(started);
            let share = left / (addresses.len().min(MAX_ADDRESSES) - tried) as u32;
            let outcome = timeout_at(started + share, dial::connect(*address)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            attempts.push((*address, outcome.map(|_| started.elapsed())));
        }
        let verdict = connect::tcp(&attempts, &self.set.endpoint.sources.address);
        report.add(self.role, "connect", verdict);
        attempts.iter().any(|(_, outcome)| outcome.is_ok())
    }
}

/// A role whose server is asked.
struct Questions<'a> {
    side: &'a RoleCheck<'a>,
    session: Session,
}

impl Questions<'_> {
    /// All questions, in turn. What the server says of itself, if it may be asked.
    async fn everything(&mut self, report: &mut Report) -> Result<Option<Info>, Error> {
        let (role, endpoint) = (self.side.role, &self.side.set.endpoint);
        if let (Some(secured), Some(options)) = (&self.session.secured, &endpoint.tls) {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.map_or(0, |now| now.as_secs().cast_signed());
            report.add(role, "tls", connect::tls(secured, options, now));
        } else if !endpoint.address.is_local() {
            let verdict = Verdict::warn(
                "plaintext to another host: password and data can be read on the way",
                format!("turn TLS on by rediss:// or {}", endpoint.sources.tls),
            );
            report.add(role, "tls", verdict);
        }
        let me = self.ask(&["ACL", "WHOAMI"]).await?;
        let user = match (me.text(), &endpoint.username) {
            (Some(user), _) => user.to_string(),
            (None, Some(user)) => user.clone(),
            (None, None) => "default".to_string(),
        };
        let Session { greeting, took, .. } = self.session;
        let verdict = connect::login(greeting, &user, endpoint, took);
        report.add(role, "login", verdict);
        self.rights(&user, report).await?;

        let info = match self.info().await? {
            Ok(info) => info,
            Err(refusal) => {
                report.add(role, "server", rights::no_info(&refusal, &user, role));
                return Ok(None);
            }
        };
        report.add(role, "server", server::version(&info));
        self.settings(&info, report).await?;
        Ok(Some(info))
    }

    /// What the server says of itself, or as many sections of it as this user may see: a rule can
    /// grant single ones (`+info|replication`). An `Err` is what it says to `INFO` instead.
    async fn info(&mut self) -> Result<Result<Info, Value>, Error> {
        let refusal = match self.ask(&["INFO"]).await? {
            Value::Text(all) => return Ok(Ok(Info(all))),
            other => other,
        };
        let mut seen = String::new();
        for section in SECTIONS {
            if let Value::Text(text) = self.ask(&["INFO", section]).await? {
                seen += &text;
            }
        }
        Ok(match seen.is_empty() {
            true => Err(refusal),
            false => Ok(Info(seen)),
        })
    }

    async fn ask(&mut self, words: &[&str]) -> Result<Value, Error> {
        let timeout = self
            .side
            .options
            .process
            .request_timeout
            .saturating_mul(PATIENCE);
        self.session.ask(words, timeout, self.side.end).await
    }

    async fn rights(&mut self, user: &str, report: &mut Report) -> Result<(), Error> {
        let commands = match self.side.role {
            Role::Read => rights::of_read(),
            _ => rights::of_write(&self.side.options.api),
        };
        let rules = self.ask(&["ACL", "GETUSER", user]).await?;
        let anybody = rights::knows_no_users(&rules, self.session.greeting.hello);
        let mut found = Vec::new();
        for command in commands {
            let right = match self.right(&command, user, &rules).await? {
                Right::Unknown if anybody => Right::Granted,
                right => right,
            };
            found.push((command, right));
        }
        let (all, remote) = (
            rights::may_all(&rules),
            !self.side.set.endpoint.address.is_local(),
        );
        let hash = &self.side.options.api.reads.hash;
        let verdict = rights::judge((user, hash), &found, all, remote);
        report.add(self.side.role, "rights", verdict);
        Ok(())
    }

    async fn right(
        &mut self,
        command: &Command,
        user: &str,
        rules: &Value,
    ) -> Result<Right, Error> {
        let hash = &self.side.options.api.reads.hash;
        let words = command.words(hash);
        if command.harmless {
            return Ok(rights::tried(&self.ask(&words).await?));
        }
        let words = [&["ACL", "DRYRUN", user], &words[..]].concat();
        Ok(match rights::dry_run(&self.ask(&words).await?) {
            Right::Unknown => rights::by_rules(rules, command, hash),
            known => known,
        })
    }

    /// State of the server, and its settings as far as they matter and may be seen.
    async fn settings(&mut self, info: &Info, report: &mut Report) -> Result<(), Error> {
        let side = self.side;
        let max = self.setting("maxclients").await?;
        let per_pod = side.per_pod as u64;
        let remote = !side.set.endpoint.address.is_local();
        let max = max.and_then(|text| text.parse().ok());
        let clients = server::clients(info, max, per_pod, remote);
        if side.role == Role::Read {
            report.add(
                side.role,
                "state",
                server::read_state(info, side.options.api.reads.role),
            );
            report.add(side.role, "clients", clients);
            return Ok(());
        }
        report.add(side.role, "state", server::write_state(info));
        report.add(side.role, "clients", clients);
        report.add(side.role, "memory", server::memory(info));
        let save = self.setting("save").await?;
        let verdict = server::persistence(info, save.as_deref());
        report.add(side.role, "persistence", verdict);
        if let Some(max_stale) = side.options.api.reads.max_stale {
            let period = self.setting("repl-ping-replica-period").await?;
            let period = period.and_then(|text| text.parse().ok());
            report.add(side.role, "pings", server::ping_period(period, max_stale));
        }
        Ok(())
    }

    /// A setting of the server; `None` where `CONFIG` is refused.
    async fn setting(&mut self, name: &str) -> Result<Option<String>, Error> {
        let reply = self.ask(&["CONFIG", "GET", name]).await?;
        Ok(reply.member(name).and_then(Value::text).map(String::from))
    }
}
