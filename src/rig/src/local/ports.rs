//! Free ports for the rig.
//!
//! A port is looked at and let go, so another program can take it before the child binds it: then
//! the child ends, and its own message says so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use super::Error;

/// How far from a taken port the first substitute is: `6379` becomes `16379`, easy to recognise,
/// and below 32768, where Linux begins to hand out ports for outgoing connections.
const STEP: u16 = 10_000;

/// Substitutes that are tried.
const TRIES: u16 = 100;

/// Gives out ports, each one once.
#[derive(Debug, Default)]
pub(super) struct Ports {
    given: Vec<u16>,
}

impl Ports {
    /// `port` on the loopback, or a free one instead.
    pub fn loopback(&mut self, port: u16) -> Result<SocketAddr, Error> {
        self.near(Ipv4Addr::LOCALHOST.into(), port)
    }

    /// `addr`; if it is taken and has the port `default`, a free one instead.
    pub fn listen(&mut self, addr: SocketAddr, default: u16) -> Result<SocketAddr, Error> {
        if addr.port() == default {
            return self.near(addr.ip(), default);
        }
        let bound = probe(addr).map_err(|source| Error::Listen { addr, source })?;
        self.given.push(bound.port());
        Ok(bound)
    }

    fn near(&mut self, ip: IpAddr, port: u16) -> Result<SocketAddr, Error> {
        let others = (0..TRIES).map(|n| port.saturating_add(STEP).saturating_add(n));
        for candidate in std::iter::once(port).chain(others) {
            if self.given.contains(&candidate) {
                continue;
            }
            let addr = SocketAddr::new(ip, candidate);
            match probe(addr) {
                Ok(bound) => {
                    self.given.push(candidate);
                    return Ok(bound);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(Error::Listen { addr, source }),
            }
        }
        Err(Error::NoFreePort(port))
    }
}

/// The address with the port that the system gives: the same unless that is 0.
fn probe(addr: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(addr)?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_default_gets_a_substitute() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
        let addr = taken.local_addr().expect("it is bound");
        let mut ports = Ports::default();
        let other = ports
            .listen(addr, addr.port())
            .expect("one of them is free");
        assert_ne!(other, addr);
        assert!(TcpListener::bind(other).is_ok(), "{other} is taken too");
        let error = ports
            .listen(addr, 1)
            .expect_err("it was asked for, and is taken");
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
    }

    #[test]
    fn no_port_is_given_twice() {
        let mut ports = Ports::default();
        let first = ports.loopback(12_345).expect("one of them is free");
        let second = ports.loopback(12_345).expect("one of them is free");
        assert_ne!(first, second);
    }

    #[test]
    fn port_zero_is_resolved() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let addr = Ports::default()
            .listen(any, 8080)
            .expect("the loopback has free ports");
        assert_ne!(addr.port(), 0);
    }
}
