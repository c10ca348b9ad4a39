//! Errors in the words of Go to kinds that can be counted: without addresses, ports, names and
//! URLs, which make each one different. Pure.
//!
//! The words are those of Go's `net`, `net/http` and `crypto/tls`; what is not known stays as it
//! is, without the words that hold an address. An error of a status ("503 Service Unavailable") is
//! a kind already.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Longest kind, in bytes.
const KIND_MAX: usize = 120;

/// The kind of an error.
pub fn kind(error: &str) -> Cow<'_, str> {
    let error = without_request(error);
    if let Some(timeout) = timeout(error) {
        return Cow::Borrowed(timeout);
    }
    let kind = match operation(error) {
        Some((operation, rest)) => of_operation(operation, rest),
        None => without_addresses(error),
    };
    shortened(kind)
}

/// Without `Get "URL": `, which `net/http` puts in front.
fn without_request(error: &str) -> &str {
    let Some((method, rest)) = error.split_once(" \"") else {
        return error;
    };
    if !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return error;
    }
    // A quote within the URL is escaped, and a URL holds no space.
    match rest.split_once("\": ") {
        Some((url, cause)) if !url.contains(' ') => cause,
        _ => error,
    }
}

/// The deadline of `-timeout`, which Go words in some ways, and its own ones.
fn timeout(error: &str) -> Option<&'static str> {
    let is_deadline =
        error.contains("Client.Timeout") || error.contains("context deadline exceeded");
    if is_deadline {
        return Some(match error {
            _ if error.contains("awaiting headers") => "timeout: no response",
            _ if error.contains("reading body") => "timeout: body not complete",
            _ => "timeout",
        });
    }
    let known = [
        ("TLS handshake timeout", "timeout: TLS handshake"),
        ("timeout awaiting response headers", "timeout: no response"),
    ];
    let found = known.iter().find(|(words, _)| error.contains(words));
    found.map(|(_, kind)| *kind)
}

/// Splits an error of Go's `net`: `OPERATION NETWORK [SOURCE->]ADDRESS: CAUSE`.
fn operation(error: &str) -> Option<(&str, &str)> {
    let (head, cause) = error.split_once(": ")?;
    let (operation, _) = head.split_once(' ')?;
    matches!(operation, "dial" | "read" | "write").then_some((operation, cause))
}

fn of_operation<'a>(operation: &str, cause: &'a str) -> Cow<'a, str> {
    // `lookup NAME [on SERVER]: no such host`
    if cause.starts_with("lookup ") {
        let why = cause.rsplit_once(": ").map_or("", |(_, why)| why);
        return Cow::Owned(format!("lookup: {why}"));
    }
    // `connect: connection refused`: the system call that failed.
    let call = cause.split_once(": ").map_or("", |(call, _)| call);
    match call {
        "connect" | "read" | "write" | "readfrom" | "bind" | "socket" | "setsockopt" => {
            without_addresses(cause)
        }
        _ => Cow::Owned(format!("{operation}: {}", without_addresses(cause))),
    }
}

/// Without the words that hold an address or a URL.
fn without_addresses(text: &str) -> Cow<'_, str> {
    if !text.split(' ').any(holds_address) {
        return Cow::Borrowed(text);
    }
    let words = text.split(' ').filter(|word| !holds_address(word));
    Cow::Owned(words.collect::<Vec<_>>().join(" "))
}

fn holds_address(word: &str) -> bool {
    if word.contains("://") || word.contains("->") {
        return true;
    }
    let is_mark = |c: char| matches!(c, '"' | '\'' | ',' | ';' | '(' | ')');
    let word = word.trim_matches(is_mark).trim_end_matches(':');
    let is_host_and_port = || {
        word.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    word.parse::<SocketAddr>().is_ok()
        || (word.contains(['.', ':']) && word.parse::<IpAddr>().is_ok())
        || is_host_and_port()
}

fn shortened(kind: Cow<'_, str>) -> Cow<'_, str> {
    if kind.len() <= KIND_MAX {
        return kind;
    }
    // The first of these that is the end of a character.
    let mut heads = (0..=KIND_MAX).rev().filter_map(|end| kind.get(..end));
    Cow::Owned(format!("{}…", heads.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_hold_no_addresses() {
        let check = |error: &str, expected: &str| assert_eq!(kind(error), expected, "{error}");
        check("503 Service Unavailable", "503 Service Unavailable");
        check(
            r#"Get "http://127.0.0.1:1/": dial tcp 0.0.0.0:0->127.0.0.1:1: connect: connection refused"#,
            "connect: connection refused",
        );
        check(
            r#"Post "http://[::1]:8080/a?b=%22": dial tcp [::1]:8080: connect: connection refused"#,
            "connect: connection refused",
        );
        check(
            r#"Get "http://10.1.2.3:8080/": read tcp 10.0.0.1:48222->10.1.2.3:8080: read: connection reset by peer"#,
            "read: connection reset by peer",
        );
        check(
            r#"Get "http://10.1.2.3:8080/": write tcp 10.0.0.1:48222->10.1.2.3:8080: write: broken pipe"#,
            "write: broken pipe",
        );
        check(r#"Get "http://redis-api:8080/": EOF"#, "EOF");
        check("unexpected EOF", "unexpected EOF");
        check(
            r#"Get "http://redis-api/": dial tcp 10.1.2.3:80: i/o timeout"#,
            "dial: i/o timeout",
        );
        check(
            r#"Get "http://nowhere.invalid/": dial tcp: lookup nowhere.invalid on 10.0.0.10:53: no such host"#,
            "lookup: no such host",
        );
        check(
            r#"Get "http://a/": dial tcp: lookup a: Temporary failure in name resolution"#,
            "lookup: Temporary failure in name resolution",
        );
        check(
            r#"Get "http://a/": dial tcp 0.0.0.0:0->127.0.0.1:80: connect: cannot assign requested address"#,
            "connect: cannot assign requested address",
        );
        check(
            r#"Get "http://a/": dial tcp 127.0.0.1:80: socket: too many open files"#,
            "socket: too many open files",
        );
        check(
            r#"Get "http://a/": http: server closed idle connection"#,
            "http: server closed idle connection",
        );
        check(
            "tls: failed to verify certificate: x509: cannot validate certificate for 10.0.0.1 \
             because it doesn't contain any IP SANs",
            "tls: failed to verify certificate: x509: cannot validate certificate for because it \
             doesn't contain any IP SANs",
        );
        check("stopped after 10 redirects", "stopped after 10 redirects");
    }

    #[test]
    fn timeouts_are_told_apart() {
        let check = |error: &str, expected: &str| assert_eq!(kind(error), expected, "{error}");
        check(
            r#"Get "http://127.0.0.1:8080/": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"#,
            "timeout: no response",
        );
        check(
            r#"Get "http://127.0.0.1:8080/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)"#,
            "timeout: no response",
        );
        check(
            "context deadline exceeded (Client.Timeout or context cancellation while reading body)",
            "timeout: body not complete",
        );
        check(r#"Get "http://a/": context deadline exceeded"#, "timeout");
        check(
            r#"Get "https://a/": net/http: TLS handshake timeout"#,
            "timeout: TLS handshake",
        );
    }

    #[test]
    fn kinds_are_short() {
        let long = kind(&"é".repeat(KIND_MAX)).into_owned();
        assert!(long.len() <= KIND_MAX + '…'.len_utf8(), "{long}");
        assert!(long.ends_with('…'));
    }
}
