//! Which web pages may use the API.

use super::VALUE;
use crate::support::{Api, Redis, Response, on_one_master, request};

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// Requests with every kind of outcome, by their status.
const REQUESTS: &[(&str, &str, &[u8], u16)] = &[
    ("GET", "/", b"", 200),
    ("HEAD", "/", b"", 200),
    ("GET", "/EUR", b"", 200),
    ("GET", "/?fields=EUR", b"", 200),
    ("GET", "/?fields=,", b"", 400),
    ("GET", "/missing", b"", 404),
    ("GET", "/a/b", b"", 404),
    ("PUT", "/", b"", 405),
    ("POST", "/", VALUE, 200),
    ("POST", "/", b"no JSON", 400),
    ("GET", "/bad", b"", 502),
    ("OPTIONS", "/", b"", 204),
];

fn start(redis: &Redis, args: &[&'static str]) -> Api {
    redis.cli(&[
        "HSET",
        "currency",
        "current-value",
        "1",
        "EUR",
        "2",
        "bad",
        "nan",
    ]);
    on_one_master(redis, |builder| builder.args(args.iter().copied()))
}

/// Sends every kind of request with this `Origin`, and hands each response to `check`.
fn each(api: &Api, origin: Option<&str>, check: impl Fn(&Response)) {
    let headers: Vec<_> = origin
        .map(|origin| ("Origin", origin))
        .into_iter()
        .collect();
    for (method, path, body, status) in REQUESTS {
        let response = request(api.addr(), method, path, &headers, body);
        assert_eq!(response.status, *status, "{method} {path}: {response:?}");
        check(&response);
    }
}

#[test]
fn every_page_may_read_by_default() {
    let redis = Redis::start_plain();
    for args in [&[][..], &["--cors-origin", "*"]] {
        let api = start(&redis, args);
        for origin in [None, Some("https://a.example"), Some("null")] {
            each(&api, origin, |response| {
                assert_eq!(response.header(ALLOW_ORIGIN), Some("*"));
                assert_eq!(response.header("Vary"), None);
            });
        }
    }
}

#[test]
fn listed_origins_are_echoed() {
    let redis = Redis::start_plain();
    let api = start(
        &redis,
        &[
            "--cors-origin=https://a.example,http://localhost:3000",
            "--cors-origin=https://b.example",
        ],
    );
    let check = |origin: Option<&str>, expected: Option<&str>| {
        each(&api, origin, |response| {
            assert_eq!(response.header(ALLOW_ORIGIN), expected, "{origin:?}");
            assert_eq!(response.header("Vary"), Some("Origin"), "{origin:?}");
        });
    };
    for origin in [
        "https://a.example",
        "http://localhost:3000",
        "https://b.example",
    ] {
        check(Some(origin), Some(origin));
    }
    for origin in [
        "",
        "null",
        "*",
        "http://a.example",
        "https://a.example/",
        "https://a.example:443",
        "https://A.example",
        "https://a.example.evil",
        "https://evil.a.example",
        "https://a.example,http://localhost:3000",
        "http://localhost",
    ] {
        check(Some(origin), None);
    }
    check(None, None);
    // On one connection, no answer has the origin of another.
    let mut connection = crate::support::Connection::open(api.addr()).expect("it listens");
    for origin in ["https://a.example", "https://evil", "https://b.example"] {
        let response = connection.request("GET", "/", &[("Origin", origin)], b"");
        let expected = (origin != "https://evil").then_some(origin);
        assert_eq!(response.header(ALLOW_ORIGIN), expected);
    }
}

#[test]
fn no_page_may_read_where_none_is_allowed() {
    let redis = Redis::start_plain();
    let api = start(&redis, &["--cors-origin", "none"]);
    for origin in [None, Some("https://a.example")] {
        each(&api, origin, |response| {
            let about = |name: &str| {
                let name = name.to_ascii_lowercase();
                name.starts_with("access-control-") || name == "vary"
            };
            assert!(
                !response.headers.iter().any(|(name, _)| about(name)),
                "{response:?}"
            );
        });
    }
    let response = request(api.addr(), "OPTIONS", "/", &[], b"");
    assert_eq!(response.header("Allow"), Some("GET, HEAD, POST, OPTIONS"));
}
