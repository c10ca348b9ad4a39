//! The commands that `sync-auth` sends, and what their refusals mean.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::acl::{self, User};
use super::master::Role;
use crate::net::session::{Session, Value};
use redis_api_wire::conn::{Error, printable};
use redis_api_wire::resp::ErrorKind;

/// For one reply. Above what a fork, or a container throttled to a few percent of a core, takes.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The server that is kept equal.
pub(super) struct Server {
    session: Session,
}

/// An error reply, with the right that the command needs. Its `Display` ends with the cure.
#[derive(Debug)]
pub(super) struct Refusal {
    kind: ErrorKind,
    text: String,
    right: &'static str,
}

impl Refusal {
    /// The same, without this secret and what was cut off a long one.
    pub fn without(mut self, secret: &str) -> Self {
        let secret = printable(secret.as_bytes());
        self.text = self.text.replace(&secret, "…");
        let start: String = secret.chars().take(4).collect();
        if self.text.contains(&start) {
            self.text = "refused (what the server said is not shown: it holds a secret)".to_owned();
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { kind, text, right } = self;
        f.write_str(text)?;
        match kind {
            ErrorKind::NoPerm => write!(f, "; grant {right} to the user of --redis-user"),
            ErrorKind::UnknownCommand => f.write_str(
                "; the server is too old, or rename-command took it away: give it back for this",
            ),
            _ => Ok(()),
        }
    }
}

/// What a command came to: the outer error is the connection's, the inner one the server's.
type Outcome<T> = Result<Result<T, Refusal>, Error>;

impl Server {
    pub fn new(session: Session) -> Self {
        Server { session }
    }

    /// Whether the connection stands. An error reply will do.
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.ask(&["PING"]).await.map(drop)
    }

    /// `CONFIG SET`: all at once, or one after the other where the server (Redis 6.2) takes one at
    /// a time.
    pub async fn set(&mut self, settings: &[(&str, &str)]) -> Outcome<()> {
        const RIGHT: &str = "+config|set (before Redis 7 +config)";
        let mut words = vec!["CONFIG", "SET"];
        words.extend(settings.iter().flat_map(|(name, value)| [name, value]));
        let Err(refusal) = self.command(&words, RIGHT).await? else {
            return Ok(Ok(()));
        };
        if settings.len() == 1 || refusal.kind != ErrorKind::Other {
            return Ok(Err(refusal));
        }
        for (name, value) in settings {
            let one = ["CONFIG", "SET", name, value];
            if let Err(refusal) = self.command(&one, RIGHT).await? {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    /// Makes a user what the file says, in one step; connections that stand go on. An inner error
    /// is in words, without any rule.
    pub async fn set_user(&mut self, user: &User) -> Result<Result<(), String>, Error> {
        let mut words = vec!["ACL", "SETUSER", &user.name, "reset"];
        words.extend(user.rules.iter().map(String::as_str));
        let Err(refusal) = self.command(&words, "+acl|setuser").await? else {
            return Ok(Ok(()));
        };
        Ok(Err(match refusal.kind {
            ErrorKind::Other => match acl::without_rules(&refusal.text, &user.rules) {
                Some(text) => format!("{text}; correct this rule of its line"),
                None => "a rule of its line is wrong (what the server said is not shown: it may \
                         hold a password)"
                    .to_owned(),
            },
            _ => refusal.to_string(),
        }))
    }

    /// Deletes the users that are not `wanted`, and names them.
    pub async fn delete_leavers(&mut self, wanted: &[User], own: &str) -> Outcome<Vec<String>> {
        let names = match self.command(&["ACL", "USERS"], "+acl|users").await? {
            Ok(Value::List(names)) => names,
            Ok(_) => return Err(Error::Confused("the reply to ACL USERS is not a list")),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let names: Vec<&str> = names.iter().filter_map(Value::text).collect();
        let leavers = acl::leavers(&names, wanted, own);
        if !leavers.is_empty() {
            let words: Vec<&str> = ["ACL", "DELUSER"]
                .into_iter()
                .chain(leavers.clone())
                .collect();
            if let Err(refusal) = self.command(&words, "+acl|deluser").await? {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(leavers.into_iter().map(String::from).collect()))
    }

    pub async fn role(&mut self) -> Outcome<Role> {
        Ok(match self.command(&["ROLE"], "+role").await? {
            Ok(reply) => Ok(Role::of(&reply).ok_or(Error::Confused(
                "the reply to ROLE names neither a master nor a replica",
            ))?),
            Err(refusal) => Err(refusal),
        })
    }

    pub async fn replicate_from(&mut self, master: SocketAddr) -> Outcome<()> {
        let (host, port) = (master.ip().to_string(), master.port().to_string());
        let words = ["REPLICAOF", &host, &port];
        Ok(self.command(&words, "+replicaof").await?.map(drop))
    }

    async fn command(&mut self, words: &[&str], right: &'static str) -> Outcome<Value> {
        let (kind, text) = match self.ask(words).await? {
            Value::Error { kind, text } => (kind, text),
            value => return Ok(Ok(value)),
        };
        let text = match kind {
            // It would repeat the arguments.
            ErrorKind::UnknownCommand => {
                format!("unknown command {}", words.first().unwrap_or(&""))
            }
            _ => text,
        };
        Ok(Err(Refusal { kind, text, right }))
    }

    async fn ask(&mut self, words: &[&str]) -> Result<Value, Error> {
        let end = Instant::now() + REPLY_TIMEOUT;
        self.session.ask(words, REPLY_TIMEOUT, end).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_the_cure_and_no_secret() {
        let check = |kind, text: &str, expected: &str| {
            let refusal = Refusal {
                kind,
                text: text.to_owned(),
                right: "+role",
            };
            assert_eq!(refusal.without("geheim").to_string(), expected);
        };
        check(
            ErrorKind::NoPerm,
            "NOPERM no",
            "NOPERM no; grant +role to the user of --redis-user",
        );
        check(
            ErrorKind::Other,
            "ERR Invalid argument 'geheim'",
            "ERR Invalid argument '…'",
        );
        check(
            ErrorKind::Other,
            "ERR Invalid argument 'gehe",
            "refused (what the server said is not shown: it holds a secret)",
        );
        let unknown = Refusal {
            kind: ErrorKind::UnknownCommand,
            text: "ERR unknown command".to_owned(),
            right: "",
        };
        assert!(unknown.to_string().contains("rename-command"));
    }
}
