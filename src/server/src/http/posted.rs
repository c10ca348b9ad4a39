//! The body of a POST: `{"value":12.5}`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::store::{MAX_VALUE, Unfit, ValueKind, check_json, compact, shortest};

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// In words, what is wrong with it.
    Wrong(String),
    /// The value is longer than may be stored.
    TooLong,
}

/// The value in a posted body, as it is to be stored: a finite number as the shortest text of the
/// same double, JSON without white space, a text as it is. Extra members are ignored; of two named
/// `value` the last counts.
///
/// # Errors
/// There is none, or it is of another kind.
pub fn value(kind: ValueKind, body: &[u8]) -> Result<String, Refusal> {
    // The whole body: the parser by itself does not look into members that are ignored.
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::Wrong(format!("the body is not valid UTF-8: {error}")))?;
    let Posted(value) = serde_json::from_str(text).map_err(|error| {
        let example = match kind {
            ValueKind::Number => "12.5",
            ValueKind::Json => "[12.5]",
            ValueKind::Text => "\"12.5\"",
        };
        Refusal::Wrong(format!(
            "the body is not a JSON object like {{\"value\":{example}}}: {error}"
        ))
    })?;
    let Some(value) = value.map(RawValue::get) else {
        return Err(wrong("the body has no member \"value\""));
    };
    match kind {
        ValueKind::Number => serde_json::from_str::<f64>(value)
            .ok()
            .filter(|number| number.is_finite())
            .map(shortest)
            .ok_or_else(|| wrong("the member \"value\" is not a finite number")),
        ValueKind::Json => {
            let value = compact(value);
            match check_json(value.as_bytes()) {
                Ok(()) => Ok(value),
                Err(Unfit::TooLong) => Err(Refusal::TooLong),
                Err(why) => Err(Refusal::Wrong(format!("the member \"value\" {why}"))),
            }
        }
        ValueKind::Text => match serde_json::from_str::<String>(value) {
            Ok(value) if value.len() > MAX_VALUE => Err(Refusal::TooLong),
            Ok(value) => Ok(value),
            Err(_) => Err(wrong(
                "the member \"value\" is not a string of Unicode text",
            )),
        },
    }
}

fn wrong(why: &str) -> Refusal {
    Refusal::Wrong(why.to_owned())
}

struct Posted<'t>(Option<&'t RawValue>);

impl<'de> Deserialize<'de> for Posted<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Posted<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Posted<'de>, A::Error> {
        let mut value = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == "value" {
                value = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Posted(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(body: &[u8]) -> Result<String, Refusal> {
        value(ValueKind::Number, body)
    }

    #[test]
    fn numbers_to_the_bit() {
        let check = |body: &str, expected: f64| {
            let stored = number(body.as_bytes()).expect("it is a number");
            let read: f64 = stored.parse().expect("it is a number");
            assert_eq!(read.to_bits(), expected.to_bits(), "{body}");
        };
        check("{\"value\":12.5}", 12.5);
        check(" {\"a\":[{}], \"value\" : -0 ,\"b\":null}\n", -0.0);
        check("{\"value\":-0.0}", -0.0);
        check("{\"value\":1,\"value\":2}", 2.0);
        check("{\"value\":\"x\",\"value\":2}", 2.0);
        check("{\"v\\u0061lue\":3}", 3.0);
        check("{\"value\":9007199254740993}", 9007199254740992.0);
        check(
            "{\"value\":123456789012345678901234567890}",
            123456789012345680000000000000.0,
        );
        check("{\"value\":0.1e-400}", 0.0);
        check("{\"value\":1.7976931348623157e308}", f64::MAX);
        check("{\"value\":5e-324}", 5e-324);
        check("{\"x\":1e999,\"value\":1}", 1.0);
    }

    #[test]
    fn everything_else_is_refused() {
        for body in [
            &b""[..],
            b"{",
            b"{}",
            b"[]",
            b"12.5",
            b"null",
            b"\"value\"",
            b"{\"value\":}",
            b"{\"value\":null}",
            b"{\"value\":true}",
            b"{\"value\":\"1\"}",
            b"{\"value\":[1]}",
            b"{\"value\":{}}",
            b"{\"value\":1e999}",
            b"{\"value\":-1e999}",
            b"{\"value\":NaN}",
            b"{\"value\":Infinity}",
            b"{\"value\":+1}",
            b"{\"value\":01}",
            b"{\"value\":1.}",
            b"{\"value\":.5}",
            b"{\"value\":0x10}",
            b"{\"value\":1}x",
            b"{\"value\":1}{}",
            b"{\"value\":1,}",
            b"{value:1}",
            b"{'value':1}",
            b"{\"Value\":1}",
            b"{\"value\":1",
            b"{\"a\":\"\xff\",\"value\":1}",
            b"\xef\xbb\xbf{\"value\":1}",
            b"{\"value\":2,\"value\":null}",
        ] {
            let outcome = number(body);
            assert!(
                outcome.is_err(),
                "{}: {outcome:?}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let ignored = format!("{{\"a\":{},\"value\":1}}", deep(100_000));
        assert_eq!(number(ignored.as_bytes()).as_deref(), Ok("1"));
        let posted = format!("{{\"value\":{}}}", deep(100_000));
        for kind in [ValueKind::Number, ValueKind::Json, ValueKind::Text] {
            assert!(value(kind, posted.as_bytes()).is_err());
        }
    }

    #[test]
    fn any_json_is_stored_without_its_white_space() {
        let check = |posted: &str, expected: &str| {
            let body = format!("{{\"a\": 1, \"value\": {posted} , \"b\":2}}");
            let stored = value(ValueKind::Json, body.as_bytes());
            assert_eq!(stored.as_deref(), Ok(expected));
        };
        check("null", "null");
        check("-0.0", "-0.0");
        check("1e999", "1e999");
        check("[ 1, 12.50,\n\"a  b\" ]", "[1,12.50,\"a  b\"]");
        check(
            "{\"b\": {\"a\" :1}, \"a\": \"\\u00e9\\\"\"}",
            "{\"b\":{\"a\":1},\"a\":\"\\u00e9\\\"\"}",
        );
        for (posted, why) in [
            ("{\"value\":{\"a\":1,\"a\":2}}", "same name"),
            ("{\"value\":[1,]}", "like {\"value\":[12.5]}"),
            ("{\"value\":nan}", "not a JSON object"),
            ("{}", "no member"),
        ] {
            let outcome = value(ValueKind::Json, posted.as_bytes());
            let is_named = matches!(&outcome, Err(Refusal::Wrong(text)) if text.contains(why));
            assert!(is_named, "{posted}: {outcome:?}");
        }
        let long = format!("{{\"value\":\"{}\"}}", "x".repeat(MAX_VALUE));
        for kind in [ValueKind::Json, ValueKind::Text] {
            let expected = match kind {
                ValueKind::Json => Err(Refusal::TooLong),
                _ => Ok("x".repeat(MAX_VALUE)),
            };
            assert_eq!(value(kind, long.as_bytes()), expected);
        }
    }

    #[test]
    fn a_text_is_a_string_and_nothing_else() {
        let text = |body: &str| value(ValueKind::Text, body.as_bytes());
        assert_eq!(text("{\"value\":\"\"}").as_deref(), Ok(""));
        let posted = text("{\"value\":\"\\u00e9 \\ud83d\\ude00\\n\\u0000 12\"}");
        assert_eq!(posted.as_deref(), Ok("\u{e9} \u{1f600}\n\0 12"));
        for wrong in ["12.5", "null", "[]", "{}", "true", "\"\\ud800\""] {
            let outcome = text(&format!("{{\"value\":{wrong}}}"));
            assert!(matches!(outcome, Err(Refusal::Wrong(_))), "{wrong}");
        }
        let long = format!("{{\"value\":\"{}\"}}", "x".repeat(MAX_VALUE + 1));
        assert_eq!(text(&long), Err(Refusal::TooLong));
    }
}
