//! Where everything of the rig listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ports::Ports;
use super::{ADMIN_PORT, DASHBOARD_PORT, Error, LISTEN_PORT, Options};

/// The replica takes the port where `serve` looks for Redis by default.
const REPLICA_PORT: u16 = 6379;
const MASTER_PORT: u16 = 6380;
const BOT_PORT: u16 = 8081;

/// An address for each child that listens, whether it is started or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub master: SocketAddr,
    pub replica: SocketAddr,
    pub api: SocketAddr,
    pub admin: SocketAddr,
    pub bot: SocketAddr,
    pub dashboard: SocketAddr,
}

impl Places {
    /// Only those of the options may be beyond the loopback.
    pub fn choose(options: &Options) -> Result<Places, Error> {
        let mut ports = Ports::default();
        Ok(Places {
            api: ports.listen(options.listen, LISTEN_PORT)?,
            admin: ports.listen(options.admin_listen, ADMIN_PORT)?,
            dashboard: ports.listen(options.dashboard_listen, DASHBOARD_PORT)?,
            bot: ports.loopback(BOT_PORT)?,
            replica: ports.loopback(REPLICA_PORT)?,
            master: ports.loopback(MASTER_PORT)?,
        })
    }
}

/// An address to connect to: a wildcard is reached by the loopback.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_reached_by_the_loopback() {
        let check = |addr: &str, expected: &str| {
            let addr: SocketAddr = addr.parse().expect("an address");
            assert_eq!(reachable(addr).to_string(), expected);
        };
        check("0.0.0.0:1", "127.0.0.1:1");
        check("[::]:1", "[::1]:1");
        check("192.0.2.1:1", "192.0.2.1:1");
    }
}
