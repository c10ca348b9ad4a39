//! From an endpoint to a byte stream: name lookup, TCP or Unix socket, TLS. Login is `conn`'s.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::credentials::Material;
use super::dial_error::DialError;
use super::endpoint::{Address, Endpoint, Secret, TlsOptions};
use super::resolve::Resolver;
use super::tls::{self, TlsMaterial};
use crate::turn::Turn;
use redis_api_wire::conn::Login;

/// The kernel probes a silent peer after this long, and then this often, so that a peer that
/// vanished without a word is noticed even while no command is in flight and our own `PING` is off.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Sent data that stays unacknowledged for this long resets the connection (`TCP_USER_TIMEOUT`, RFC
/// 5482). Without it Linux retransmits for about 15 minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A byte stream. A trait object: one indirect call beside each system call is not measurable.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// The transport of one connection.
pub type Stream = Box<dyn Transport>;

/// What to log in with.
pub fn login(endpoint: &Endpoint, password: Option<&Secret>, client_name: &str) -> Login {
    Login {
        username: endpoint.username.clone(),
        password: password.map(|secret| secret.reveal().to_owned()),
        client_name: client_name.to_owned(),
        database: endpoint.database,
        skip_hello: false,
    }
}

/// Connects to the endpoint by `deadline`, trying every address of its name. `material` is that of
/// the endpoint, `clock` the one that `deadline` is of.
///
/// # Errors
/// See [`DialError`].
///
/// # Cancel safety
/// Dropping it closes whatever was opened.
pub async fn dial(
    endpoint: &Endpoint,
    material: &Material,
    resolver: &Resolver,
    clock: &Turn,
    deadline: Instant,
) -> Result<Stream, DialError> {
    dial_showing(endpoint, material, resolver, clock, deadline, &mut |_| {}).await
}

/// Like [`dial`]; `secured` is shown the session of TLS, if there is one, once it stands.
///
/// # Errors
/// See [`DialError`].
pub async fn dial_showing(
    endpoint: &Endpoint,
    material: &Material,
    resolver: &Resolver,
    clock: &Turn,
    deadline: Instant,
    secured: &mut dyn FnMut(&rustls::ClientConnection),
) -> Result<Stream, DialError> {
    match &endpoint.address {
        Address::Unix(path) => dial_unix(path, deadline).await,
        Address::Tcp { host, port } => {
            let tcp = dial_tcp(host, *port, resolver, clock, deadline).await?;
            match (&endpoint.tls, &material.tls) {
                (Some(options), Some(material)) => {
                    dial_tls(tcp, host, options, material, deadline, secured).await
                }
                // Never plaintext where TLS is asked for.
                (Some(_), None) => Err(DialError::TlsFile(tls::TlsError::Versions(
                    rustls::Error::General("its files were not read".to_owned()),
                ))),
                (None, _) => Ok(Box::new(tcp)),
            }
        }
    }
}

async fn dial_unix(path: &std::path::Path, deadline: Instant) -> Result<Stream, DialError> {
    let connect = tokio::net::UnixStream::connect(path);
    match timeout_at(deadline, connect).await {
        Err(_) => Err(DialError::Timeout("connecting")),
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(DialError::Connect {
            target: format!("unix://{}", path.display()),
            error,
        }),
    }
}

async fn dial_tcp(
    host: &str,
    port: u16,
    resolver: &Resolver,
    clock: &Turn,
    deadline: Instant,
) -> Result<TcpStream, DialError> {
    let lookup = timeout_at(deadline, resolver.lookup(host, port)).await;
    let addresses = lookup
        .map_err(|_| DialError::Timeout("resolving the name"))?
        .map_err(|error| DialError::Lookup {
            host: host.to_owned(),
            error,
        })?;
    let mut last = DialError::Timeout("connecting");
    for (index, address) in addresses.iter().enumerate() {
        // An address that swallows packets must not eat the time of those behind it.
        let now = Instant::from_std(clock.clock());
        let left = deadline.saturating_duration_since(now);
        let share = left / (addresses.len() - index) as u32;
        match timeout_at(now + share, connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                last = DialError::Connect {
                    target: address.to_string(),
                    error,
                };
            }
            Err(_) => {
                let error = io::Error::from(io::ErrorKind::TimedOut);
                last = DialError::Connect {
                    target: address.to_string(),
                    error,
                };
            }
        }
    }
    Err(last)
}

/// Opens a TCP connection to one address, with the options of all of ours.
///
/// # Errors
/// The system's.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A turn's commands leave in one write: Nagle could only hold it back.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

async fn dial_tls(
    tcp: TcpStream,
    host: &str,
    options: &TlsOptions,
    material: &TlsMaterial,
    deadline: Instant,
    secured: &mut dyn FnMut(&rustls::ClientConnection),
) -> Result<Stream, DialError> {
    let (connector, name) = tls::connector(material, options, host).map_err(DialError::TlsFile)?;
    let handshake = timeout_at(deadline, connector.connect(name, tcp)).await;
    match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => {
            secured(stream.get_ref().1);
            Ok(Box::new(tls::Records::new(stream)))
        }
        Err(error) => Err(DialError::Tls(tls::Failure::of(error))),
    }
}

/// Looks, by a second handshake, whether the server's key is of a kind that isn't supported, where
/// `error` leaves that open. Otherwise it is `error` again.
///
/// # Cancel safety
/// Dropping it closes whatever was opened.
pub async fn look_closer(
    error: DialError,
    endpoint: &Endpoint,
    resolver: &Resolver,
    clock: &Turn,
    deadline: Instant,
) -> DialError {
    let (Address::Tcp { host, port }, Some(options)) = (&endpoint.address, &endpoint.tls) else {
        return error;
    };
    if !matches!(&error, DialError::Tls(failure) if failure.hides_the_certificate()) {
        return error;
    }
    let name = options.server_name.as_deref().unwrap_or(host);
    let (Ok(name), Ok(tcp)) = (
        tls::server_name(name),
        dial_tcp(host, *port, resolver, clock, deadline).await,
    ) else {
        return error;
    };
    match timeout_at(deadline, tls::unsupported_key(tcp, name)).await {
        Ok(Ok(Some(algorithm))) => DialError::Tls(tls::Failure::UnsupportedKey(algorithm)),
        _ => error,
    }
}
