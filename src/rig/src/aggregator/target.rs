//! Who is to be asked, and under which name it is shown.

use std::cmp::Ordering;
use std::net::SocketAddr;

use hyper::Uri;
use hyper::http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};

/// One bot or pod. Ordered by its address: IP addresses by number, before names.
#[derive(Clone, Debug)]
pub struct Target {
    socket: Option<SocketAddr>,
    address: String,
    uri: Uri,
}

impl Target {
    /// At an address from DNS; an IPv6 address is bracketed, as URLs want it.
    ///
    /// # Errors
    /// The path is none.
    pub(super) fn at(socket: SocketAddr, path: &'static str) -> Result<Target, InvalidUri> {
        let address = socket.to_string();
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(Authority::try_from(address.as_str())?);
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        Ok(Target {
            socket: Some(socket),
            address,
            // Cannot fail: scheme, authority and path are there.
            uri: Uri::from_parts(parts).unwrap_or_default(),
        })
    }

    /// At a URL that somebody gave. Shown without what goes without saying.
    pub fn of(uri: Uri) -> Target {
        let plain = uri.scheme() == Some(&Scheme::HTTP) && uri.path() == "/";
        let address = match uri.authority() {
            Some(authority) if plain && uri.query().is_none() => authority.to_string(),
            _ => uri.to_string(),
        };
        Target {
            socket: address.parse().ok(),
            address,
            uri,
        }
    }

    /// As people read it: `10.0.0.7:8081`, `[fd00::7]:8081`, `bot-7:8081`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    fn rank(&self) -> (bool, Option<SocketAddr>, &str) {
        (self.socket.is_none(), self.socket, &self.address)
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Target) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Target) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Target {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_shown_short_and_asked_in_full() {
        fn check(target: &Target, address: &str, uri: &str) {
            assert_eq!(target.address(), address);
            assert_eq!(target.uri().to_string(), uri);
        }
        let at = |text: &str| {
            let socket = text.parse().expect("a socket address");
            Target::at(socket, "/metrics").expect("a path")
        };
        check(
            &at("10.0.0.7:9090"),
            "10.0.0.7:9090",
            "http://10.0.0.7:9090/metrics",
        );
        check(
            &at("[fd00::7]:80"),
            "[fd00::7]:80",
            "http://[fd00::7]:80/metrics",
        );
        let of = |text: &'static str| Target::of(Uri::from_static(text));
        check(
            &of("http://bot-7:8081/"),
            "bot-7:8081",
            "http://bot-7:8081/",
        );
        check(&of("https://bot-7/"), "https://bot-7/", "https://bot-7/");
        check(
            &of("http://h:1/bot?x=1"),
            "http://h:1/bot?x=1",
            "http://h:1/bot?x=1",
        );
    }

    #[test]
    fn addresses_are_in_the_order_of_their_numbers() {
        let of = |text: &str| Target::of(text.parse().expect("a URL"));
        let mut targets = [
            of("http://bot-1:8081/"),
            of("http://10.0.0.10:8081/"),
            of("http://10.0.0.9:8081/"),
        ];
        targets.sort();
        let order: Vec<&str> = targets.iter().map(Target::address).collect();
        assert_eq!(order, ["10.0.0.9:8081", "10.0.0.10:8081", "bot-1:8081"]);
        assert_eq!(of("http://10.0.0.9:8081"), targets[0]);
    }
}
