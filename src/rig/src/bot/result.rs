//! One line of `vegeta encode`: a result in JSON. Pure.
//!
//! What is not needed (body, headers, URL) is skipped where it stands; texts are borrowed from the
//! line unless they hold an escape.

use std::borrow::Cow;

use serde::Deserialize;

use crate::window::parse_time;

/// What is kept of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// When it was sent, in ns since 1970.
    pub sent_ns: u64,
    pub latency_ns: u64,
    /// The status; 0: no response.
    pub code: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// In the words of Go; empty: fine.
    pub error: Cow<'a, str>,
}

/// The members that are read, as vegeta names them.
#[derive(Deserialize)]
struct Line<'a> {
    code: u16,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    latency: i64,
    bytes_out: u64,
    bytes_in: u64,
    #[serde(borrow)]
    error: Cow<'a, str>,
}

/// The result in a line; `None` if it holds none.
pub fn parse(line: &[u8]) -> Option<Outcome<'_>> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    Some(Outcome {
        sent_ns: parse_time(&line.timestamp)?,
        // Go's clock for it is monotonic: never below zero, but its type allows it.
        latency_ns: line.latency.try_into().unwrap_or(0),
        code: line.code,
        bytes_in: line.bytes_in,
        bytes_out: line.bytes_out,
        error: line.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_vegeta_are_read() {
        let line = br#"{"attack":"a","seq":0,"code":200,"timestamp":"2026-11-23T04:14:44.190717353Z","latency":2109041,"bytes_out":3,"bytes_in":16,"error":"","body":"eyJjdXJyZW50IjoxMi41fQ==","method":"GET","url":"http://127.0.0.1:18977/","headers":{"Content-Type":["application/json"],"Content-Length":["16"]}}"#;
        let outcome = parse(line).expect("it is a result");
        let expected = Outcome {
            // `date -d 2026-11-23T04:14:44Z +%s`
            sent_ns: 1_795_407_284_190_717_353,
            latency_ns: 2_109_041,
            code: 200,
            bytes_in: 16,
            bytes_out: 3,
            error: Cow::Borrowed(""),
        };
        assert_eq!(outcome, expected);
        assert!(matches!(outcome.error, Cow::Borrowed(_)));
    }

    #[test]
    fn escapes_in_errors_are_undone() {
        let line = br#"{"attack":"","seq":1,"code":0,"timestamp":"2026-11-23T05:14:45+01:00","latency":408199,"bytes_out":0,"bytes_in":0,"error":"Get \"http://127.0.0.1:1/\": dial tcp 0.0.0.0:0-\u003e127.0.0.1:1: connect: connection refused","body":null,"method":"GET","url":"http://127.0.0.1:1/","headers":null}"#;
        let outcome = parse(line).expect("it is a result");
        assert_eq!(outcome.sent_ns, 1_795_407_285_000_000_000);
        assert_eq!(outcome.code, 0);
        assert_eq!(
            outcome.error,
            r#"Get "http://127.0.0.1:1/": dial tcp 0.0.0.0:0->127.0.0.1:1: connect: connection refused"#
        );
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "{}",
            "null",
            "x",
            r#"{"code":200}"#,
            r#"{"code":70000,"timestamp":"2026-11-23T04:14:44Z","latency":1,"bytes_out":0,"bytes_in":0,"error":""}"#,
            r#"{"code":200,"timestamp":"yesterday","latency":1,"bytes_out":0,"bytes_in":0,"error":""}"#,
            r#"{"code":200,"timestamp":"1960-01-01T00:00:00Z","latency":1,"bytes_out":0,"bytes_in":0,"error":""}"#,
            r#"{"code":200,"timestamp":"2026-11-23T04:14:44Z","latency":1,"bytes_out":0,"bytes_in":0,"error":""#,
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
