use super::*;
use crate::net::endpoint::{Secret, Sources, TlsOptions};

#[test]
fn an_end_without_goodbye_is_an_end() {
    // What rustls gives for it.
    let text = "peer closed connection without sending TLS close_notify: https://docs.rs/…";
    let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
    assert_eq!(ended(&error), Error::Closed);
    let error = io::Error::other("reset");
    assert_eq!(ended(&error), Error::Io("reset".to_owned()));
}

fn endpoint(password: Password, tls: bool) -> Endpoint {
    Endpoint {
        address: Address::Tcp {
            host: "h".into(),
            port: 1,
        },
        username: None,
        password,
        database: 0,
        tls: tls.then(TlsOptions::default),
        sources: Sources {
            password: "REDIS_PASS_WRITE (environment)".into(),
            ..Sources::of_flags("--write-redis")
        },
    }
}

fn login(kind: ErrorKind, text: &str) -> Error {
    let text = text.to_owned();
    Error::Login { kind, text }
}

#[track_caller]
fn check(explained: &Explanation, cause: &str, cure: &str) {
    assert!(explained.cause.contains(cause), "{explained:?}");
    let found = explained.cure.as_deref().unwrap_or_default();
    assert!(found.contains(cure), "{explained:?}");
}

#[test]
fn a_cure_names_what_gave_the_setting() {
    let given = |text: &str| endpoint(Password::Given(Secret::new(text)), false);
    let wrong = login(ErrorKind::WrongPass, "WRONGPASS no");
    let explained = explain_login(&given("geheim"), None, &wrong);
    let cure = "(--write-redis-user) and the password (REDIS_PASS_WRITE (environment))";
    check(&explained, "login refused: WRONGPASS no", cure);
    for (text, flaw) in [
        ("geheim\n", "ends with a newline"),
        ("\u{feff}geheim", "begins with a byte order mark"),
    ] {
        let explained = explain_login(&given(text), None, &wrong);
        check(&explained, "WRONGPASS", flaw);
        check(&explained, "WRONGPASS", "REDIS_PASS_WRITE (environment)");
        assert!(!explained.to_string().contains("geheim"), "{explained}");
    }
    let file = endpoint(Password::File("/secret".into()), false);
    let explained = explain_login(&file, Some(Flaw::Newline), &wrong);
    check(&explained, "WRONGPASS", "/secret");
    let none = endpoint(Password::None, false);
    let explained = explain_login(&none, None, &login(ErrorKind::NoAuth, "NOAUTH no"));
    check(&explained, "NOAUTH", "requires a password: give REDIS_PASS");
    let explained = explain_login(&none, None, &Error::NoUserNames("ERR wrong".into()));
    check(&explained, "no user names", "drop --write-redis-user");
}

#[test]
fn what_a_port_for_tls_does_is_recognised() {
    let (plain, tls) = (
        endpoint(Password::None, false),
        endpoint(Password::None, true),
    );
    let alert = Error::Malformed(DecodeError::UnknownType(TLS_ALERT));
    for error in [Error::Closed, Error::Io("reset".into()), alert] {
        let explained = explain_login(&plain, None, &error);
        check(
            &explained,
            "only TLS on this port",
            "rediss:// in --write-redis-addr",
        );
        assert!(!suggests_tls(&tls, &error));
    }
    let garbage = Error::Malformed(DecodeError::UnknownType(b'H'));
    check(
        &explain_login(&plain, None, &garbage),
        "malformed reply",
        "--write-redis-addr is the address of a Redis",
    );
}

#[test]
fn what_the_server_says_decides_what_to_do() {
    let none = endpoint(Password::None, false);
    let check_kind = |kind, cure: &str| {
        check(
            &explain_login(&none, None, &login(kind, "WORD")),
            "WORD",
            cure,
        );
        let text = "WORD".to_owned();
        check(
            &explain_end(&none, &Error::Unusable { kind, text }),
            "WORD",
            cure,
        );
    };
    check_kind(ErrorKind::NoPerm, "grant it");
    check_kind(ErrorKind::MaxClients, "raise the server's maxclients");
    check_kind(ErrorKind::Moved, "cluster mode is not supported");
    check_kind(ErrorKind::ReadOnly, "resolved again");
    check_kind(ErrorKind::Loading, "wait");
    check_kind(ErrorKind::Denied, "protected-mode no");
    check_kind(ErrorKind::Other, "log");
    let stray = Error::Stray(Some("ERR max number of clients reached".into()));
    check(
        &explain_login(&none, None, &stray),
        "unsolicited",
        "maxclients",
    );
    check(
        &explain_login(&none, None, &Error::LoginTimeout),
        "in time",
        "hangs",
    );
    assert_eq!(explain_end(&none, &Error::Closed).cure, None);
}

#[test]
fn dials() {
    let none = endpoint(Password::None, false);
    let refused = DialError::Connect {
        target: "h:1".into(),
        error: io::ErrorKind::ConnectionRefused.into(),
    };
    check(
        &refused.explain(&none),
        "can't connect to h:1: connection refused",
        "start the server",
    );
    let lookup = DialError::Lookup {
        host: "h".into(),
        error: io::Error::other("no such name"),
    };
    check(
        &lookup.explain(&none),
        "can't resolve h: no such name",
        "--write-redis-addr",
    );
    let secret = DialError::Secret(SecretError {
        path: "/secret".into(),
        error: io::ErrorKind::NotFound.into(),
    });
    check(
        &secret.explain(&none),
        "the password file /secret",
        "mount it",
    );
}
