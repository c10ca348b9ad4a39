//! The body of a POST: `{"value":12.5}`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// The finite number in a posted body. Extra members are ignored; of two named `value` the last
/// counts.
///
/// # Errors
/// In words, what is wrong with the body.
pub fn value(body: &[u8]) -> Result<f64, String> {
    // The whole body: the parser by itself does not look into members that are ignored.
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the body is not valid UTF-8: {error}"))?;
    let Posted(value) = serde_json::from_str(text).map_err(|error| {
        format!("the body is not a JSON object like {{\"value\":12.5}}: {error}")
    })?;
    match value {
        None => Err("the body has no member \"value\"".to_owned()),
        // The parser has already refused a number that is not a finite double.
        Some(Value::Number(number)) => number
            .as_f64()
            .filter(|number| number.is_finite())
            .ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

fn wrong() -> String {
    "the member \"value\" is not a finite number".to_owned()
}

struct Posted(Option<Value>);

impl<'de> Deserialize<'de> for Posted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Posted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Posted, A::Error> {
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

    #[test]
    fn numbers_to_the_bit() {
        let check = |body: &str, expected: f64| {
            assert_eq!(
                value(body.as_bytes()).map(f64::to_bits),
                Ok(expected.to_bits()),
                "{body}"
            );
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
            let outcome = value(body);
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
        assert_eq!(value(ignored.as_bytes()), Ok(1.0));
        let posted = format!("{{\"value\":{}}}", deep(100_000));
        assert!(value(posted.as_bytes()).is_err());
    }
}
