//! What vegeta is asked to do: its command line, and the target in its JSON format.
//!
//! Method, URL, headers and body are data in JSON and never words of a line or of a command, so
//! that no character in them can mean something else, and none shows in `ps`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;
use url::Url;

/// What a body may have at most, in bytes: vegeta holds it once, and one copy goes out with each
/// request.
pub const BODY_MAX: u64 = 16 << 20;

/// How to attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Requests to send.
    pub rate: Rate,
    /// For one request, from its send to the end of its response.
    pub timeout: Duration,
    /// Idle connections that are kept; `None`: all.
    pub connections: Option<usize>,
    /// 0: without limit.
    pub max_connections: usize,
    /// At the start.
    pub workers: usize,
    /// Workers at most; when all wait, less is sent than asked for.
    pub max_workers: usize,
    /// Connections are used again.
    pub keep_alive: bool,
    /// Zero: a name is looked up once.
    pub dns_ttl: Duration,
    /// Sent with each request as `X-Vegeta-Attack`; a valid value of a header.
    pub name: String,
}

/// `count` requests each `per_seconds` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many requests.
    pub count: u64,
    /// The time for them, in seconds.
    pub per_seconds: u64,
}

impl Rate {
    /// Requests a second.
    pub fn per_second(self) -> f64 {
        self.count as f64 / self.per_seconds as f64
    }
}

/// As vegeta writes it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}s", self.count, self.per_seconds)
    }
}

/// What to attack. All but host and port may hold a secret, and none is shown.
#[derive(Clone)]
pub struct Target {
    /// Where to; may hold a password.
    pub url: Url,
    /// The method of each request.
    pub method: Method,
    /// Headers of each request; a name may be there several times.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of each request.
    pub body: Body,
}

/// The body of each request.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// None.
    Empty,
    /// This text.
    Text(String),
    /// Read at the start.
    File(PathBuf),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({} {})", self.method, self.place())
    }
}

impl Target {
    /// Scheme, host and port.
    pub fn place(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The one line of a file of targets.
    ///
    /// # Errors
    /// None: every part can be written as JSON.
    pub fn line(&self, body: &[u8]) -> serde_json::Result<String> {
        let mut headers = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            headers
                .entry(canonical(name.as_str()))
                .or_default()
                .push(value);
        }
        #[derive(Serialize)]
        struct Line<'a> {
            method: &'a str,
            url: &'a str,
            header: std::collections::BTreeMap<String, Vec<String>>,
            #[serde(skip_serializing_if = "String::is_empty")]
            body: String,
        }
        let line = Line {
            method: self.method.as_str(),
            url: self.url.as_str(),
            header: headers,
            body: STANDARD.encode(body),
        };
        Ok(serde_json::to_string(&line)? + "\n")
    }
}

/// A header's name as Go writes it. vegeta takes names from JSON as they are, and Go finds `Host`
/// and `User-Agent` only by this form.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + &rest.to_ascii_lowercase()
    });
    parts.collect::<Vec<_>>().join("-")
}

/// The arguments of vegeta that attacks, with the target on its standard input.
pub(super) fn arguments(attack: &Attack, cpus: usize) -> Vec<String> {
    let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
    // vegeta's own limit: as good as none.
    const ALL: usize = 10_000;
    let connections = match (attack.connections, attack.max_connections) {
        (Some(connections), _) => connections,
        (None, 0) => ALL,
        (None, max) => max,
    };
    let mut arguments = vec!["-cpus".into(), cpus.to_string(), "attack".into()];
    for (flag, value) in [
        ("name", attack.name.clone()),
        ("format", "json".into()),
        ("targets", "stdin".into()),
        ("rate", attack.rate.to_string()),
        ("duration", "0".into()),
        ("timeout", milliseconds(attack.timeout)),
        ("workers", attack.workers.to_string()),
        ("max-workers", attack.max_workers.to_string()),
        ("connections", connections.to_string()),
        ("max-connections", attack.max_connections.to_string()),
        // 0 would count no bytes, and without it each body is kept whole.
        ("max-body", "4KB".into()),
        ("dns-ttl", milliseconds(attack.dns_ttl)),
        ("keepalive", attack.keep_alive.to_string()),
    ] {
        arguments.push(format!("-{flag}={value}"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(headers: &[(&str, &str)]) -> Target {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
            (name, value)
        });
        Target {
            url: Url::parse("http://user:hunter2@h:1/a?b=c").expect("it is a URL"),
            method: Method::POST,
            headers: headers.collect(),
            body: Body::Empty,
        }
    }

    #[test]
    fn target_is_one_line_of_json() {
        let line = target(&[
            ("host", "example.com"),
            ("x-a", "1, 2 \"3\" é"),
            ("X-A", "b"),
        ])
        .line(b"{\"value\":\n1}")
        .expect("it can be written");
        assert_eq!(
            line,
            "{\"method\":\"POST\",\"url\":\"http://user:hunter2@h:1/a?b=c\",\
             \"header\":{\"Host\":[\"example.com\"],\"X-A\":[\"1, 2 \\\"3\\\" é\",\"b\"]},\
             \"body\":\"eyJ2YWx1ZSI6CjF9\"}\n"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", target(&[("authorization", "hunter2")]));
        assert_eq!(text, "Target(POST http://h:1)");
    }

    #[test]
    fn arguments_are_those_of_vegeta() {
        let mut attack = Attack {
            rate: Rate {
                count: 5,
                per_seconds: 2,
            },
            timeout: Duration::from_secs(2),
            connections: None,
            max_connections: 256,
            workers: 64,
            max_workers: 4096,
            keep_alive: true,
            dns_ttl: Duration::from_secs(5),
            name: "bot-0".into(),
        };
        let line = arguments(&attack, 2).join(" ");
        assert_eq!(
            line,
            "-cpus 2 attack -name=bot-0 -format=json -targets=stdin -rate=5/2s -duration=0 \
             -timeout=2000ms -workers=64 -max-workers=4096 -connections=256 -max-connections=256 \
             -max-body=4KB -dns-ttl=5000ms -keepalive=true"
        );
        attack.max_connections = 0;
        let line = arguments(&attack, 2).join(" ");
        assert!(
            line.contains("-connections=10000 -max-connections=0"),
            "{line}"
        );
    }
}
