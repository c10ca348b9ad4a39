//! Addresses of HTTP servers.

use hyper::Uri;

use crate::config::values::Values;

/// What would have been accepted.
const EXPECTED: &str = "http://HOST[:PORT][/PATH] or https://…, without user and password";

/// The URL of a flag that must be given; `what` says what is there. A wrong one is not shown: it
/// may hold a password.
pub(super) fn required(values: &mut Values<'_>, flag: &str, what: &str) -> Option<Uri> {
    if values.given(flag).is_none() {
        let variable = crate::config::environment::variable(flag);
        let error = format!("--{flag} or {variable} is missing: {what}, {EXPECTED}");
        values.errors.push(error);
        return None;
    }
    optional(values, flag)?
}

/// The URL of a flag, if it is given and not empty. The outer `None`: it is wrong.
pub(super) fn optional(values: &mut Values<'_>, flag: &str) -> Option<Option<Uri>> {
    let Some(given) = values.given(flag) else {
        return Some(None);
    };
    match given.text.to_str().and_then(parse) {
        Some(uri) => Some(Some(uri)),
        None => {
            let error = format!(
                "{}: is not valid (value not shown); expected {EXPECTED}",
                given.name
            );
            values.errors.push(error);
            None
        }
    }
}

/// `None`: it is none, or has more in it than an address.
pub(super) fn parse(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    // `http` takes a port of any number of digits, and none after a colon.
    let port = authority.as_str().rsplit_once(':').map(|(_, port)| port);
    let port_fits = authority.as_str().ends_with(']')
        || port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (is_http && is_plain && port_fits).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: Option<&str>| {
            let found = parse(text).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        };
        check("http://localhost:8080/", Some("http://localhost:8080/"));
        check("http://localhost:8080", Some("http://localhost:8080/"));
        check("https://api.example/EUR", Some("https://api.example/EUR"));
        check("http://[::1]:8080/", Some("http://[::1]:8080/"));
        check("http://[::1]/", Some("http://[::1]/"));
        for wrong in [
            "",
            "localhost:8080",
            "localhost",
            "/",
            "http://",
            "http:///x",
            "http://:8080/",
            "ftp://localhost/",
            "redis://localhost/",
            "http://user:geheim@localhost/",
            "http://geheim@localhost/",
            "http://localhost:0/",
            "http://localhost:65536/",
            "http://localhost:/",
            "http://local host/",
        ] {
            check(wrong, None);
        }
    }
}
