//! Flags of `aggregator`.

use std::net::{IpAddr, SocketAddr};

use super::url;
use crate::config::address;
use crate::config::common::listen;
use crate::config::flag::{Group, flag, list};
use crate::config::parsers::Expected;
use crate::config::values::Values;
use redis_api_rig::aggregator::{BOTS_MAX, Name, Options, Target};
use redis_api_server::Address;

pub(super) const AGGREGATOR: Group = Group {
    heading: "Aggregator",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("[::]:8082"),
            "Where its answers and pages are served",
            "Dual stack; 0.0.0.0 where there is no IPv6.",
        ),
        list(flag(
            "vegeta-servers",
            "ADDRESSES",
            None,
            "The load bots: URLs or host:port, comma-separated",
            "This or --vegeta-dns is required; both add up.",
        )),
        flag(
            "vegeta-dns",
            "NAME:PORT",
            None,
            "A name whose addresses are the load bots: that of a headless Service",
            "Looked up each second, so that bots come and go by scaling alone. Each of its IPv4 \
             addresses is a bot; where it has none, each of its IPv6 ones.",
        ),
        flag(
            "api-url",
            "URL",
            None,
            "The API, to show its value",
            "Looked at each second.",
        ),
        flag(
            "stream-url",
            "URL",
            None,
            "The API as browsers reach it, for its own stream on the currency page",
            "Not offered without. It may be another address than --api-url, which is the \
             aggregator's.",
        ),
        flag(
            "api-admin-dns",
            "NAME:PORT",
            None,
            "A name whose addresses are the API's pods, with their admin port",
            "Also a headless Service. Shows requests a second and CPU per request of each pod.",
        ),
        flag(
            "dns-server",
            "IP[:PORT]",
            None,
            "The name server that is asked for the two names",
            "Default: those of /etc/resolv.conf, with its search domains; this one is asked for \
             the names as they are.",
        ),
    ],
};

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let listen = listen(values, "listen");
    let bots = bots(values);
    let bots_name = optional(values, "vegeta-dns", name);
    let pods_name = optional(values, "api-admin-dns", name);
    let api = url::optional(values, "api-url");
    let stream = url::optional(values, "stream-url");
    let dns_server = optional(values, "dns-server", dns_server);
    if matches!((&bots, &bots_name), (Some(bots), Some(None)) if bots.is_empty()) {
        values.errors.push(
            "--vegeta-servers (VEGETA_SERVERS) and --vegeta-dns (VEGETA_DNS) are missing: give one, \
             where the load bots are"
                .to_owned(),
        );
    }
    let listen = listen?;
    Some(Options {
        listen: listen.address,
        listen_defaulted: listen.defaulted,
        bots: bots?,
        bots_name: bots_name?,
        pods_name: pods_name?,
        api: api?,
        stream: stream?,
        dns_server: dns_server?,
    })
}

/// A flag that may be left out. The outer `None`: it is wrong.
fn optional<T>(
    values: &mut Values<'_>,
    flag: &str,
    parse: impl FnOnce(&str) -> Result<T, Expected>,
) -> Option<Option<T>> {
    match values.given(flag) {
        None => Some(None),
        Some(_) => values.parsed(flag, parse).map(Some),
    }
}

/// `None`: at least one is wrong. A wrong one is not shown: it may hold a password.
fn bots(values: &mut Values<'_>) -> Option<Vec<Target>> {
    let Some(given) = values.given("vegeta-servers") else {
        return Some(Vec::new());
    };
    let text = given.text.to_str().unwrap_or_default();
    let bots: Vec<Option<Target>> = text.split(',').map(|text| bot(text.trim())).collect();
    let wrong = bots.iter().position(Option::is_none);
    let error = match wrong {
        Some(at) => format!(
            "{}: number {} of its {} addresses is not valid (value not shown); expected \
             http://HOST[:PORT][/PATH], https://…, host:port or [v6]:port",
            given.name,
            at + 1,
            bots.len()
        ),
        None if bots.len() > BOTS_MAX => format!(
            "{}: has {} addresses; one aggregator takes {BOTS_MAX}",
            given.name,
            bots.len()
        ),
        None => return Some(bots.into_iter().flatten().collect()),
    };
    values.errors.push(error);
    None
}

fn bot(text: &str) -> Option<Target> {
    let uri = match text.contains("://") {
        true => url::parse(text)?,
        false => {
            address::host_and_port(text).ok()?;
            url::parse(&format!("http://{text}/"))?
        }
    };
    Some(Target::of(uri))
}

fn name(text: &str) -> Result<Name, Expected> {
    match address::host_and_port(text) {
        Ok(Address::Tcp { host, port }) => Ok(Name { host, port }),
        _ => Err("name:port, such as vegetaserver:8081".to_owned()),
    }
}

fn dns_server(text: &str) -> Result<SocketAddr, Expected> {
    const PORT: u16 = 53;
    let ip = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT));
    let parsed = text.parse().ok().or_else(ip);
    parsed
        .filter(|address: &SocketAddr| address.port() > 0)
        .ok_or_else(|| "IP, IP:port or [v6]:port, such as 10.96.0.10".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::run;
    use crate::config::{Command, Exit, rig};

    fn parse(args: &[&str]) -> Result<Options, Exit> {
        let args = [&["aggregator"], args].concat();
        match run(&args, &[])?.command {
            Command::Rig(command) => match *command {
                rig::Command::Aggregator(options) => Ok(options),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bots_are_urls_or_addresses() {
        let check = |text: &str, expected: &[&str]| {
            let options = parse(&["--vegeta-servers", text]).expect(text);
            let addresses: Vec<&str> = options.bots.iter().map(Target::address).collect();
            assert_eq!(addresses, expected, "{text}");
        };
        check("localhost:8081", &["localhost:8081"]);
        check("http://localhost:8081", &["localhost:8081"]);
        check(
            "10.0.0.7:8081, [::1]:8081",
            &["10.0.0.7:8081", "[::1]:8081"],
        );
        check("https://bots.example/7", &["https://bots.example/7"]);
        let options = parse(&["--vegeta-servers=a:1", "--vegeta-servers=b:2"]).expect("a list");
        assert_eq!(options.bots.len(), 2);
    }

    #[test]
    fn names_and_name_servers() {
        let options = parse(&[
            "--vegeta-dns=bots.load:8081",
            "--api-admin-dns=[::1]:9090",
            "--dns-server=10.96.0.10",
        ])
        .expect("all is right");
        let name = |host: &str, port| {
            Some(Name {
                host: host.into(),
                port,
            })
        };
        assert_eq!(options.bots_name, name("bots.load", 8081));
        assert_eq!(options.pods_name, name("::1", 9090));
        assert_eq!(options.dns_server.map(|at| at.port()), Some(53));
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let args = [
            "--vegeta-servers=localhost:8081,http://user:geheim@bot/,x",
            "--vegeta-dns=http://bots:8081",
            "--api-url=localhost",
            "--api-admin-dns=api",
            "--dns-server=dns:53",
            "--listen=8082",
        ];
        let exit = parse(&args).expect_err("nothing of it is right");
        assert_eq!(exit.status, 2);
        for flag in args.iter().filter_map(|arg| arg.split('=').next()) {
            assert!(exit.text.contains(flag), "{flag}: {}", exit.text);
        }
        assert!(exit.text.contains("number 2 of its 3"), "{}", exit.text);
        assert!(!exit.text.contains("geheim"), "{}", exit.text);
    }

    #[test]
    fn bots_must_be_somewhere_and_not_too_many() {
        let exit = parse(&["--api-url=http://localhost/"]).expect_err("no bots");
        assert!(exit.text.contains("VEGETA_SERVERS") && exit.text.contains("VEGETA_DNS"));
        assert!(parse(&["--vegeta-servers="]).is_err());
        let many = vec!["h:1"; BOTS_MAX + 1].join(",");
        let exit = parse(&["--vegeta-servers", &many]).expect_err("too many");
        assert!(exit.text.contains("2049 addresses"), "{}", exit.text);
    }
}
