//! Where a Redis server is and how to log in to it: plain data, filled by `config`, read by `dial`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The address of a Redis server, as given; a name is resolved at each connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; the host is a name or an IP address, without brackets.
    Tcp {
        /// Where to connect to, and what its certificate is for.
        host: String,
        /// The port there.
        port: u16,
    },
    /// `unix:///path`.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A secret text. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself: only for the bytes of a login.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is odd about the text, and likely an accident of whatever wrote it.
    pub fn flaw(&self) -> Option<Flaw> {
        if self.0.starts_with('\u{feff}') {
            Some(Flaw::ByteOrderMark)
        } else if self.0.ends_with(['\n', '\r']) {
            Some(Flaw::Newline)
        } else {
            None
        }
    }
}

/// What is odd about a secret. Shown without the secret, as the rest of a sentence about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// As `echo` writes it.
    Newline,
    /// As some editors write it.
    ByteOrderMark,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::Newline => "ends with a newline",
            Flaw::ByteOrderMark => "begins with a byte order mark",
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    None,
    /// It was given as a value.
    Given(Secret),
    /// Read at each connect; loses one trailing newline.
    File(PathBuf),
}

/// How to verify the server, and who we are to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// PEM file of the CAs to trust; without it the built-in Mozilla roots.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate chain, for servers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the key to `cert_file`.
    pub key_file: Option<PathBuf>,
    /// The name to verify and to send as SNI instead of the address' host.
    pub server_name: Option<String>,
}

impl Address {
    /// On this host: a Unix socket, a loopback address, or `localhost`.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            Address::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

/// What gave an endpoint its settings, in the operator's words (`--redis-ca-file`, `REDIS_PASS
/// (environment)`): an error names by them what to change. What was not given is named by the flag
/// that gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The address.
    pub address: String,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
    /// What turned TLS on.
    pub tls: String,
    /// The file of the CAs.
    pub ca_file: String,
    /// The file of our certificate.
    pub cert_file: String,
    /// The file of our key.
    pub key_file: String,
    /// The name to verify.
    pub server_name: String,
}

impl Sources {
    /// The flags that begin with `prefix`, such as `--write-redis`.
    pub fn of_flags(prefix: &str) -> Self {
        let flag = |name: &str| format!("{prefix}-{name}");
        Sources {
            address: flag("addr"),
            user: flag("user"),
            password: flag("pass-file"),
            tls: flag("tls"),
            ca_file: flag("ca-file"),
            cert_file: flag("cert-file"),
            key_file: flag("key-file"),
            server_name: flag("server-name"),
        }
    }
}

impl Default for Sources {
    fn default() -> Self {
        Sources::of_flags("--redis")
    }
}

/// One Redis server and everything needed to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Whom to log in as; `None`: the server's default user.
    pub username: Option<String>,
    /// What to log in with.
    pub password: Password,
    /// Database number; 0 sends no `SELECT`.
    pub database: u32,
    /// `None`: plaintext.
    pub tls: Option<TlsOptions>,
    /// What gave all these, for errors.
    pub sources: Sources,
}

/// A worker's connections to one server, and their limits.
#[derive(Clone, Debug)]
pub struct SetOptions {
    /// The server.
    pub endpoint: Endpoint,
    /// Connections per worker, at least 1.
    pub connections: usize,
    /// One deadline for name, TCP, TLS and login.
    pub connect_timeout: Duration,
    /// Stall rule: a connection whose oldest unanswered command is older than this is closed.
    pub stall_timeout: Duration,
    /// An idle connection is asked `PING` this often.
    pub ping_interval: Duration,
    /// Unanswered commands per connection; more are refused.
    pub max_in_flight: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_odd_about_a_secret() {
        let check = |text: &str, flaw| assert_eq!(Secret::new(text).flaw(), flaw, "{text:?}");
        check("geheim", None);
        check(" ge heim ", None);
        check("geheim\n", Some(Flaw::Newline));
        check("geheim\r\n", Some(Flaw::Newline));
        check("\u{feff}geheim", Some(Flaw::ByteOrderMark));
        check("", None);
    }
}
