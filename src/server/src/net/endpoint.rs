//! Where a Redis server is and how to log in to it: plain data, filled by `config`, read by `dial`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The address of a Redis server, as given; a name is resolved at each connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host:port`; the host is a name or an IP address, without brackets.
    Tcp { host: String, port: u16 },
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
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself: only for the bytes of a login.
    pub fn reveal(&self) -> &str {
        &self.0
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
    None,
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

/// One Redis server and everything needed to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Address,
    pub username: Option<String>,
    pub password: Password,
    /// Database number; 0 sends no `SELECT`.
    pub database: u32,
    /// `None`: plaintext.
    pub tls: Option<TlsOptions>,
}

/// A worker's connections to one server, and their limits.
#[derive(Clone, Debug)]
pub struct SetOptions {
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
