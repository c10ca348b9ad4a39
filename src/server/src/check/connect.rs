//! The way to a server: its name, its addresses, TLS, login; and what a failure of each means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::certificate::Certificate;
use super::report::Verdict;
use crate::net::endpoint::{Endpoint, Password, TlsOptions};
use crate::net::session::{OpenError, Secured};
use crate::net::{DialError, explain_login, suggests_tls, unreachable};
use redis_api_wire::conn::{Error, Greeting, Hello};
use redis_api_wire::resp::ErrorKind;

/// A lookup this slow is felt at each reconnect; a resolver's own retry takes 5 s.
const SLOW_LOOKUP: Duration = Duration::from_secs(1);

/// Renewals are automatic or forgotten: in the last month one of both shows.
const SOON_SECONDS: i64 = 30 * 86_400;

/// What a TCP connection to one address came to.
pub(super) type Attempt = (SocketAddr, Result<Duration, io::Error>);

/// The lookup of a name.
pub(super) fn name(host: &str, looked_up: &io::Result<Vec<SocketAddr>>, took: Duration) -> Verdict {
    let addresses = match looked_up {
        Ok(addresses) => addresses,
        Err(error) => {
            return Verdict::fail(
                format!("can't resolve {host}: {error}"),
                "correct the name, or the resolver's configuration (/etc/resolv.conf, dnsConfig)",
            );
        }
    };
    let list: Vec<_> = addresses.iter().map(|addr| addr.ip().to_string()).collect();
    let found = format!("{host}: {} in {}", list.join(", "), ms(took));
    if took >= SLOW_LOOKUP {
        return Verdict::warn(
            found,
            "end the name with a dot, or set ndots:2, so that no search list is tried",
        );
    }
    Verdict::ok(found)
}

/// TCP to all addresses of a name. `flag` is the one that gave the address.
pub(super) fn tcp(attempts: &[Attempt], flag: &str) -> Verdict {
    let shown = |(addr, outcome): &Attempt| match outcome {
        Ok(took) => format!("{addr} connected in {}", ms(*took)),
        Err(error) => format!("{addr}: {error}"),
    };
    let found: Vec<_> = attempts.iter().map(shown).collect();
    let found = found.join(", ");
    let good = attempts.iter().find(|(_, outcome)| outcome.is_ok());
    let bad = attempts.iter().find(|(_, outcome)| outcome.is_err());
    match (good, bad) {
        (Some(_), None) => Verdict::ok(found),
        (Some((good, _)), Some((bad, _))) => Verdict::warn(
            found,
            format!(
                "let the server listen on {} too, or give {good} by {flag}",
                bad.ip()
            ),
        ),
        (None, Some((_, Err(error)))) => Verdict::fail(found, unreachable(error, flag)),
        (None, _) => Verdict::fail(
            "there is no address to connect to",
            format!("correct {flag}"),
        ),
    }
}

/// A session that stands: the chain that the server showed. `now` is in seconds since the epoch.
pub(super) fn tls(secured: &Secured, options: &TlsOptions, now: i64) -> Verdict {
    let roots = match &options.ca_file {
        Some(path) => path.display().to_string(),
        None => "the built-in Mozilla roots".to_string(),
    };
    let own = match &options.cert_file {
        Some(path) => format!("client certificate {}", path.display()),
        None => "no client certificate".to_string(),
    };
    let chain: Vec<_> = secured
        .chain
        .iter()
        .filter_map(|der| Certificate::parse(der))
        .collect();
    let shown = |certificate: &Certificate| {
        let Certificate {
            subject,
            issuer,
            expires,
            ..
        } = certificate;
        format!("{subject} by {issuer} until {expires}")
    };
    let list: Vec<_> = chain.iter().map(shown).collect();
    let found = format!(
        "{}; {}; trusted by {roots}; {own}",
        secured.version.replace('_', "."),
        list.join(", ")
    );
    match chain.iter().map(|certificate| certificate.not_after).min() {
        Some(until) if until - now < SOON_SECONDS => Verdict::warn(
            format!("{found}; {} days left", (until - now).max(0) / 86_400),
            "renew the certificate, and find out why it was not renewed automatically",
        ),
        _ => Verdict::ok(found),
    }
}

/// Why there is no session: the step at which it failed, and the verdict.
pub(super) fn failure(error: &OpenError, endpoint: &Endpoint) -> (&'static str, Verdict) {
    let (step, explained) = match error {
        OpenError::Dial(error) => {
            let step = match error {
                DialError::Lookup { .. } => "name",
                DialError::Connect { .. } | DialError::Timeout(_) => "connect",
                DialError::Tls(_) | DialError::TlsFile(_) => "tls",
                DialError::Secret { .. } => "login",
            };
            (step, error.explain(endpoint))
        }
        OpenError::Login { error, flaw, .. } => {
            let of_tls = matches!(error, Error::Tls { .. }) || suggests_tls(endpoint, error);
            let step = if of_tls { "tls" } else { "login" };
            (step, explain_login(endpoint, *flaw, error))
        }
    };
    let cure = explained.cure;
    let cure = cure.unwrap_or_else(|| "look at the server's log".to_string());
    (step, Verdict::fail(explained.cause, cure))
}

/// A login that was let in.
pub(super) fn login(
    greeting: Greeting,
    user: &str,
    endpoint: &Endpoint,
    took: Duration,
) -> Verdict {
    let secret = match &endpoint.password {
        Password::None => "without a password".to_string(),
        Password::Given(_) | Password::File(_) => {
            format!("by the password of {}", endpoint.sources.password)
        }
    };
    let found = format!(
        "RESP{} as {user} {secret}, in {} in total",
        greeting.protocol,
        ms(took)
    );
    let cure = match greeting.hello {
        Hello::Accepted => return Verdict::ok(found),
        Hello::Refused(ErrorKind::NoPerm) => "grant +hello to the user",
        Hello::Refused(_) => "run Redis 6 or newer, and a proxy before it that knows HELLO",
        Hello::Skipped => {
            "the server, or a proxy before it, closes at HELLO: use one that knows it"
        }
    };
    Verdict::warn(
        format!("{found}; the login takes more round trips without HELLO"),
        cure,
    )
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Status;
    use crate::net::endpoint::{Address, Sources};

    #[track_caller]
    fn check(verdict: Verdict, status: Status, found: &str, cure: &str) {
        assert_eq!(verdict.status, status, "{verdict:?}");
        assert!(verdict.found.contains(found), "{verdict:?}");
        assert!(
            verdict.cure.as_deref().unwrap_or("").contains(cure),
            "{verdict:?}"
        );
    }

    #[test]
    fn names() {
        let both = || {
            Ok(vec![
                "[::1]:1".parse().unwrap(),
                "127.0.0.1:1".parse().unwrap(),
            ])
        };
        let quick = Duration::from_millis(1);
        let found = "localhost: ::1, 127.0.0.1 in 1.0 ms";
        check(name("localhost", &both(), quick), Status::Ok, found, "");
        check(
            name("h", &both(), SLOW_LOOKUP),
            Status::Warn,
            "1000.0 ms",
            "ndots",
        );
        let error = Err(io::Error::other("no such name"));
        check(
            name("h", &error, quick),
            Status::Fail,
            "can't resolve h: no such name",
            "correct",
        );
    }

    #[test]
    fn addresses() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let good = |text| (addr(text), Ok(Duration::from_millis(2)));
        let bad = |text, kind: io::ErrorKind| (addr(text), Err(kind.into()));
        let refused = io::ErrorKind::ConnectionRefused;
        let flag = "--read-redis-addr";
        let check = |attempts: &[Attempt], status, found, cure| {
            check(tcp(attempts, flag), status, found, cure);
        };
        check(
            &[good("127.0.0.1:1")],
            Status::Ok,
            "127.0.0.1:1 connected in 2.0 ms",
            "",
        );
        check(
            &[bad("[::1]:1", refused), good("127.0.0.1:1")],
            Status::Warn,
            "[::1]:1: connection refused",
            "listen on ::1 too, or give 127.0.0.1:1 by --read-redis-addr",
        );
        check(
            &[bad("[::1]:1", refused)],
            Status::Fail,
            "refused",
            "start the server",
        );
        let silent = io::ErrorKind::TimedOut;
        check(
            &[bad("[::1]:1", silent)],
            Status::Fail,
            "[::1]:1",
            "firewall",
        );
        check(&[], Status::Fail, "no address", flag);
    }

    fn endpoint(password: Password) -> Endpoint {
        Endpoint {
            address: Address::Tcp {
                host: "h".into(),
                port: 1,
            },
            username: None,
            password,
            database: 0,
            tls: None,
            sources: Sources::of_flags("--write-redis"),
        }
    }

    #[test]
    fn each_failure_has_its_step() {
        let judge = |error| failure(&error, &endpoint(Password::None));
        let login = |error| OpenError::Login {
            error,
            flaw: None,
            closed_at_hello: false,
        };
        let check_step = |error, expected, found, cure| {
            let (step, verdict) = judge(error);
            assert_eq!(step, expected);
            check(verdict, Status::Fail, found, cure);
        };
        check_step(
            login(Error::Login {
                kind: ErrorKind::WrongPass,
                text: "WRONGPASS no".into(),
            }),
            "login",
            "login refused: WRONGPASS no",
            "--write-redis-pass-file",
        );
        check_step(login(Error::LoginTimeout), "login", "in time", "hangs");
        check_step(
            login(Error::Tls {
                cause: "the cause".into(),
                cure: "the cure".into(),
            }),
            "tls",
            "the cause",
            "the cure",
        );
        check_step(
            login(Error::Closed),
            "tls",
            "perhaps it speaks only TLS",
            "give rediss://",
        );
        check_step(
            OpenError::Dial(DialError::Timeout("connecting")),
            "connect",
            "connecting",
            "hangs",
        );
    }

    #[test]
    fn logins() {
        let took = Duration::from_micros(1_500);
        let judge = |protocol, hello| {
            let greeting = Greeting { protocol, hello };
            login(greeting, "u", &endpoint(Password::File("f".into())), took)
        };
        let found = "RESP3 as u by the password of --write-redis-pass-file, in 1.5 ms";
        check(judge(3, Hello::Accepted), Status::Ok, found, "");
        let refused = |kind| judge(2, Hello::Refused(kind));
        let resp2 = "RESP2 as u";
        check(refused(ErrorKind::NoPerm), Status::Warn, resp2, "+hello");
        check(refused(ErrorKind::Other), Status::Warn, resp2, "Redis 6");
        check(judge(2, Hello::Skipped), Status::Warn, resp2, "closes");
    }

    #[test]
    fn chains() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["h".to_string()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2027, 2, 28);
        let certificate = params.self_signed(&key).unwrap();
        let secured = Secured {
            version: "TLSv1_3".into(),
            chain: vec![certificate.der().clone()],
        };
        let judge = |now| tls(&secured, &TlsOptions::default(), now);
        // 2027-02-28, by `date -u`.
        let until = 1_803_772_800;
        let found = "TLSv1.3; CN=rcgen self signed cert by CN=rcgen self signed cert until \
                     2027-02-28; trusted by the built-in Mozilla roots; no client certificate";
        check(judge(until - SOON_SECONDS), Status::Ok, found, "");
        check(
            judge(until - SOON_SECONDS + 1),
            Status::Warn,
            "29 days left",
            "renew",
        );
        check(judge(until + 1), Status::Warn, "0 days left", "renew");
    }
}
