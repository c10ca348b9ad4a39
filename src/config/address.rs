//! Addresses of Redis servers.
//!
//! An address may hold a password, also a malformed one (a forgotten `@`, an `@` or `#` that should
//! have been percent-encoded). So no error of this module holds any part of what it was given;
//! [`presentable`] says which addresses can be shown beside it, and is wrong only to the safe side.

use std::borrow::Cow;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use redis_api_server::{Address, Secret};

/// Where Redis listens unless told otherwise.
const DEFAULT_PORT: u16 = 6379;

/// The longest name that DNS can carry (RFC 1035 §2.3.4, as text).
const MAX_HOST_BYTES: usize = 253;

/// An address, and what else its URL said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedAddress {
    pub address: Address,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
    /// `rediss://`.
    pub tls: bool,
}

/// Parses `host:port`, `[v6]:port`, `redis[s]://[user[:pass]@]host[:port][/db]` or `unix:///path`.
///
/// # Errors
/// What is wrong, and nothing of the text itself.
pub(super) fn parse(text: &str) -> Result<ParsedAddress, Cow<'static, str>> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    // The URL standard drops tabs and newlines, which would quietly change a password.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("has white space or a control character in it; percent-encode it".into());
    }
    match text.split_once("://") {
        None => host_and_port(text).map(plain),
        Some((scheme, path)) if scheme.eq_ignore_ascii_case("unix") => {
            if !path.starts_with('/') || !Path::new(path).is_absolute() {
                return Err("has no absolute path after unix://".into());
            }
            Ok(plain(Address::Unix(PathBuf::from(path))))
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("redis") => redis_url(text, false),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("rediss") => redis_url(text, true),
        Some(_) => Err("has an unknown scheme".into()),
    }
}

/// What an address must look like, for error messages.
pub(super) const EXPECTED: &str =
    "host:port, [v6]:port, redis://[user[:pass]@]host[:port][/db], rediss://… or unix:///path";

/// Whether an address can be shown: only if it cannot hold a password however it was garbled.
/// That is a lone word, `scheme://word`, or `host:port` with a true port.
pub(super) fn presentable(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    // RFC 3986, section 3.1. What is none may be a user and a password with `://` in it.
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.chars().all(is_scheme)
        || rest.contains(['@', '%', '#', '?'])
        || rest.chars().any(char::is_control)
    {
        return false;
    }
    match rest.split_once(':') {
        None => true,
        Some((_, port)) => rest.len() == text.len() && port.parse::<u16>().is_ok(),
    }
}

fn plain(address: Address) -> ParsedAddress {
    ParsedAddress {
        address,
        username: None,
        password: None,
        database: 0,
        tls: false,
    }
}

/// Parses `host:port` or `[v6]:port`.
///
/// # Errors
/// As for [`parse`].
pub(super) fn host_and_port(text: &str) -> Result<Address, Cow<'static, str>> {
    let (host, port) = text.rsplit_once(':').ok_or("has no port")?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Err("has more than one colon; an IPv6 address needs brackets".into());
    }
    // `parse` takes a leading `+`.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("has a port that is not a number".into());
    }
    let port = port.parse().map_err(|_| "has a port outside 1 to 65535")?;
    tcp(bracketed.unwrap_or(host), bracketed.is_some(), port)
}

fn tcp(host: &str, bracketed: bool, port: u16) -> Result<Address, Cow<'static, str>> {
    if port == 0 {
        return Err("has a port outside 1 to 65535".into());
    }
    if bracketed && host.parse::<Ipv6Addr>().is_err() {
        return Err("has no IPv6 address in its brackets".into());
    }
    let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let name = host.strip_suffix('.').unwrap_or(host);
    if !bracketed
        && (name.is_empty() || name.len() > MAX_HOST_BYTES || !name.bytes().all(name_byte))
    {
        return Err("has no valid host name".into());
    }
    Ok(Address::Tcp {
        host: host.to_string(),
        port,
    })
}

fn redis_url(text: &str, tls: bool) -> Result<ParsedAddress, Cow<'static, str>> {
    // The parser's own errors hold nothing of the text: they are an enum of fixed sentences.
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a `?` or `#`, which it may not; percent-encode them in a password".into());
    }
    let host = url.host_str().ok_or("has no host")?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let port = url.port().unwrap_or(DEFAULT_PORT);
    let address = tcp(bracketed.unwrap_or(host), bracketed.is_some(), port)?;
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        text if text.starts_with('+') => return Err(BAD_DATABASE.into()),
        text => text.parse().map_err(|_| BAD_DATABASE)?,
    };
    let username = Some(decode(url.username())?).filter(|name| !name.is_empty());
    let password = url
        .password()
        .map(decode)
        .transpose()?
        .filter(|text| !text.is_empty());
    Ok(ParsedAddress {
        address,
        username,
        password: password.map(Secret::new),
        database,
        tls,
    })
}

const BAD_DATABASE: &str = "has a path that is not a database number";

fn decode(text: &str) -> Result<String, Cow<'static, str>> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| "has a user or password that is not valid UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp {
            host: host.to_string(),
            port,
        }
    }

    #[test]
    fn addresses_without_credentials() {
        fn check(text: &str, address: Address, database: u32, tls: bool) {
            let expected = ParsedAddress {
                database,
                tls,
                ..plain(address)
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        check("localhost:6379", tcp("localhost", 6379), 0, false);
        check("10.0.0.1:1", tcp("10.0.0.1", 1), 0, false);
        check("[::1]:6380", tcp("::1", 6380), 0, false);
        check(
            "master.example.:6379",
            tcp("master.example.", 6379),
            0,
            false,
        );
        check("redis://localhost", tcp("localhost", 6379), 0, false);
        check("redis://localhost/", tcp("localhost", 6379), 0, false);
        check("REDIS://localhost:1/3", tcp("localhost", 1), 3, false);
        check("redis://10.0.0.1:1", tcp("10.0.0.1", 1), 0, false);
        check("rediss://[fe80::1]:6380", tcp("fe80::1", 6380), 0, true);
        check(
            "rediss://master.example.",
            tcp("master.example.", 6379),
            0,
            true,
        );
        check("redis://@localhost", tcp("localhost", 6379), 0, false);
        check("redis://:@localhost", tcp("localhost", 6379), 0, false);
        check(
            "unix:///run/redis.sock",
            Address::Unix("/run/redis.sock".into()),
            0,
            false,
        );
        check(
            "unix:///a%20b@c",
            Address::Unix("/a%20b@c".into()),
            0,
            false,
        );
    }

    #[test]
    fn credentials_are_percent_decoded() {
        fn check(text: &str, username: Option<&str>, password: Option<&str>) {
            let parsed = parse(text).expect(text);
            assert_eq!(parsed.address, tcp("h", 6379), "{text}");
            assert_eq!(parsed.username.as_deref(), username, "{text}");
            assert_eq!(
                parsed.password.as_ref().map(Secret::reveal),
                password,
                "{text}"
            );
        }
        check("redis://u:p@h", Some("u"), Some("p"));
        check("redis://:p@h", None, Some("p"));
        check("redis://u@h", Some("u"), None);
        check("redis://u:@h", Some("u"), None);
        check("redis://a%40b:c%3A%2F%23%25@h", Some("a@b"), Some("c:/#%"));
        check("redis://:p=a+b@h", None, Some("p=a+b"));
        check("redis://:p:q@h", None, Some("p:q"));
        check("redis://:p@q@h", None, Some("p@q"));
        check("redis://:%C3%A9@h", None, Some("é"));
        check("redis://:é|^`@h", None, Some("é|^`"));
        check("redis://:100%@h", None, Some("100%"));
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in [
            "",
            "localhost",
            ":6379",
            "localhost:",
            "localhost:0",
            "localhost:65536",
            "localhost:+1",
            "::1:6379",
            "[::1]",
            "[::1:6379",
            "[localhost]:6379",
            "u:p@h:6379",
            "h/1:6379",
            "é:6379",
            " localhost:6379",
            "localhost:6379\n",
            "redis://",
            "redis:///0",
            "redis://h:x",
            "redis://h:0",
            "redis://h/x",
            "redis://h/+1",
            "redis://h/1/2",
            "redis://h/-1",
            "redis://h?db=1",
            "redis://h#1",
            "redis://:%FF@h",
            "redis://:a\tb@h",
            "redis://:a b@h",
            "valkey://h",
            "http://h",
            "://h",
            "unix://run/x",
            "unix://",
            "redis://h%20",
            "redis://ho%73t",
            "redis:h",
            "redis:/h",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_may_hold_a_password_is_not_presentable() {
        fn check(text: &str, expected: bool) {
            assert_eq!(presentable(text), expected, "{text}");
        }
        check("localhost", true);
        check("redis://localhost/x", true);
        check("localhost:0", true);
        check("unix://run/x", true);
        check("redis://u:secret@h", false);
        check("u:secret@h:6379", false);
        check("secret@h", false);
        check("redis://u:secret", false);
        check("redis://u:123456", false);
        check("redis://u:1/secret", false);
        check("u:secret", false);
        check("u:99999", false);
        check("redis:u:secret", false);
        check("redis:/u:secret", false);
        check("redis://u%3Asecret%40h", false);
        check("[::1:secret", false);
        check("u:secret@redis://h", false);
        check("secret@://h", false);
        check("u:secret://h", false);
        check("http2+x-y.z://h", true);
    }
}
