//! The way to a server: its name, its addresses, TLS, login; and what a failure of each means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::certificate::Certificate;
use super::report::Verdict;
use super::session::{OpenError, Secured};
use crate::net::DialError;
use crate::net::endpoint::{Password, TlsOptions};
use redis_api_wire::conn::Error;
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

fn unreachable(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!(
            "start the server, let it listen on this address (its `bind` and `port`), or correct \
             {flag}"
        ),
        io::ErrorKind::TimedOut => format!(
            "correct {flag}, or let packets through: firewall, NetworkPolicy, security group"
        ),
        _ => format!("correct {flag}, or the network"),
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
            format!("{found}; {} days are left", (until - now).max(0) / 86_400),
            "renew the certificate, and see why that didn't happen by itself",
        ),
        _ => Verdict::ok(found),
    }
}

/// Why there is no session: the step at which it failed, and the verdict.
pub(super) fn failure(error: &OpenError, prefix: &str) -> (&'static str, Verdict) {
    match error {
        OpenError::Dial(error) => {
            let found = error.to_string();
            match error {
                DialError::Lookup { .. } => ("name", Verdict::fail(found, "correct the name")),
                DialError::Connect { error, .. } => {
                    let cure = unreachable(error, &format!("{prefix}-addr"));
                    ("connect", Verdict::fail(found, cure))
                }
                DialError::Tls(text) => ("tls", with_own_cure(text)),
                DialError::Secret { .. } => (
                    "login",
                    Verdict::fail(found, format!("mount it, or correct {prefix}-pass-file")),
                ),
                DialError::Timeout(_) => (
                    "connect",
                    Verdict::fail(found, "see whether the server or the network hangs"),
                ),
            }
        }
        OpenError::Login { error, hint } => login_failure(error, hint, prefix),
    }
}

fn login_failure(error: &Error, hint: &str, prefix: &str) -> (&'static str, Verdict) {
    let fail = |cure: String| match error {
        // The text without the cure that `Display` adds: there is a better one here.
        Error::Login { text, .. } => Verdict::fail(format!("login refused: {text}"), cure),
        _ => Verdict::fail(error.to_string(), cure),
    };
    let verdict = match error {
        Error::Login { kind, .. } => fail(match kind {
            ErrorKind::NoAuth => format!("give {prefix}-pass-file"),
            ErrorKind::WrongPass => {
                format!("correct {prefix}-user, or what {prefix}-pass-file holds")
            }
            ErrorKind::NoPerm => "grant it to the user (README, \"Least rights in Redis\")".into(),
            ErrorKind::MaxClients => {
                "raise the server's maxclients, or run fewer workers or connections".into()
            }
            ErrorKind::Loading => "wait until it has loaded its data".into(),
            _ => "look into the server's log".into(),
        }),
        Error::LoginTimeout => fail(
            "the server accepts connections and does not answer: see whether it hangs (its CPU, \
             disk, log), or is stopped"
                .into(),
        ),
        Error::Closed | Error::Io(_) | Error::Malformed(_) if !hint.is_empty() => {
            return ("tls", with_own_cure(&format!("{error}{hint}")));
        }
        Error::Io(text) if text.starts_with("TLS ") => return ("tls", with_own_cure(text)),
        Error::Closed => fail("look into the server's log; it may be full, or forbid us".into()),
        _ => fail(format!(
            "see that {prefix}-addr is that of a Redis or Valkey server"
        )),
    };
    ("login", verdict)
}

/// A text of the TLS layer, which ends with its cure behind a colon.
fn with_own_cure(text: &str) -> Verdict {
    match text.rsplit_once(": ") {
        Some((found, cure)) if !found.ends_with("failed") => Verdict::fail(found, cure),
        _ => Verdict::fail(text, "look into the server's log"),
    }
}

/// A login that was let in.
pub(super) fn login(protocol: u8, user: &str, password: &Password, took: Duration) -> Verdict {
    let secret = match password {
        Password::None => "without a password",
        Password::Given(_) => "by the password given",
        Password::File(_) => "by the password file",
    };
    let found = format!(
        "RESP{protocol} as {user} {secret}, in {} all in all",
        ms(took)
    );
    if protocol < 3 {
        return Verdict::warn(
            found,
            "run Redis 6 or newer, or grant +hello: without it a login takes more round trips",
        );
    }
    Verdict::ok(found)
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Status;

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

    #[test]
    fn failures_of_tls_end_with_their_cure() {
        let check_text = |text: &str, found: &str, cure: &str| {
            let (step, verdict) = failure(&OpenError::Dial(DialError::Tls(text.into())), "--x");
            assert_eq!(step, "tls");
            assert_eq!(verdict.found, found);
            assert_eq!(verdict.cure.as_deref(), Some(cure));
        };
        check_text(
            "TLS handshake with h failed: the server's certificate has expired: renew it",
            "TLS handshake with h failed: the server's certificate has expired",
            "renew it",
        );
        check_text(
            "TLS handshake with h failed: what",
            "TLS handshake with h failed: what",
            "look into the server's log",
        );
    }

    #[test]
    fn failures_of_login() {
        let judge = |error, hint| failure(&OpenError::Login { error, hint }, "--write-redis");
        let refused = |kind, text: &str| Error::Login {
            kind,
            text: text.into(),
        };
        let (step, verdict) = judge(refused(ErrorKind::WrongPass, "WRONGPASS no"), "");
        assert_eq!(
            (step, verdict.found.as_str()),
            ("login", "login refused: WRONGPASS no")
        );
        check(verdict, Status::Fail, "", "--write-redis-pass-file");
        let (_, verdict) = judge(refused(ErrorKind::MaxClients, "ERR max number"), "");
        check(verdict, Status::Fail, "ERR max number", "raise");
        let (_, verdict) = judge(Error::LoginTimeout, "");
        check(verdict, Status::Fail, "in time", "hangs");
        let (step, verdict) = judge(Error::Closed, "; perhaps only TLS: give rediss://");
        assert_eq!(step, "tls");
        check(verdict, Status::Fail, "perhaps only TLS", "give rediss://");
    }

    #[test]
    fn logins() {
        let took = Duration::from_micros(1_500);
        let judge = |protocol| login(protocol, "u", &Password::File("f".into()), took);
        let found = "RESP3 as u by the password file, in 1.5 ms";
        check(judge(3), Status::Ok, found, "");
        check(judge(2), Status::Warn, "RESP2 as u", "+hello");
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
            "29 days are left",
            "renew",
        );
        check(judge(until + 1), Status::Warn, "0 days are left", "renew");
    }
}
