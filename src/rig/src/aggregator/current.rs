//! The value that the API serves, looked at once a second.

use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::board::Current;
use crate::client::Answer;

/// The longest answer that is read, in bytes: a text of 64 KiB, each byte of it escaped.
pub(super) const ANSWER_MAX: usize = 400 * 1024;

/// Longest value that is shown as it is, in characters: one line of a page.
const VALUE_MAX: usize = 64;

/// Longest text of the API's that is shown, in characters.
const TEXT_MAX: usize = 200;

/// What the API says: a value, or what is wrong.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    current: Option<&'a RawValue>,
    error: Option<String>,
}

/// `null` is a value.
fn given<'de, D: Deserializer<'de>>(current: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(current).map(Some)
}

/// Takes one look's answer in.
pub(super) fn look(current: &mut Current, answer: Result<Answer, String>, now_ms: u64) {
    match answer.and_then(|answer| value(&answer)) {
        Ok(value) => {
            if current.value.as_ref() != Some(&value) {
                current.value = Some(value);
                current.since_ms = Some(now_ms);
            }
            current.trouble = None;
        }
        Err(trouble) => current.trouble = Some(trouble),
    }
}

fn value(answer: &Answer) -> Result<Value, String> {
    let status = answer.status;
    let body: Result<Body<'_>, _> = serde_json::from_slice(&answer.body);
    match body {
        Ok(Body {
            current: Some(value),
            ..
        }) if status == StatusCode::OK => Ok(shown(value.get())),
        Ok(Body {
            error: Some(error), ..
        }) => {
            let text: String = error.chars().take(TEXT_MAX).collect();
            match status {
                StatusCode::OK => Err(text),
                _ => Err(format!("{}: {text}", status.as_u16())),
            }
        }
        Ok(_) => Err(format!("status {}, and no value", status.as_u16())),
        Err(error) => Err(format!(
            "status {}, and no JSON with a value: {error}",
            status.as_u16()
        )),
    }
}

/// A value as it is shown.
fn shown(json: &str) -> Value {
    if let Ok(number) = serde_json::from_str::<Number>(json) {
        return Value::Number(number);
    }
    let text = serde_json::from_str::<String>(json);
    let text = text.as_deref().unwrap_or(json);
    Value::String(match text.char_indices().nth(VALUE_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Result<Answer, String> {
        Ok(Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            body: body.into(),
        })
    }

    #[test]
    fn a_value_is_as_old_as_its_first_sight() {
        let mut current = Current::default();
        look(&mut current, answer(200, r#"{"current":12.5}"#), 1_000);
        look(&mut current, answer(200, r#"{"current":12.5}"#), 2_000);
        assert_eq!(current.value, Some(12.5.into()));
        assert_eq!(current.since_ms, Some(1_000));
        look(&mut current, answer(200, r#"{"current":0}"#), 3_000);
        assert_eq!(current.value, Some(0.into()));
        assert_eq!(current.since_ms, Some(3_000));
        assert_eq!(current.trouble, None);
    }

    #[test]
    fn trouble_keeps_the_last_value() {
        fn check(answer: Result<Answer, String>, expected: &str) {
            let mut current = Current {
                value: Some(1.into()),
                since_ms: Some(1_000),
                trouble: None,
            };
            look(&mut current, answer, 2_000);
            assert_eq!(current.value, Some(1.into()));
            assert_eq!(current.since_ms, Some(1_000));
            let trouble = current.trouble.expect(expected);
            assert!(trouble.contains(expected), "{trouble}");
        }
        check(
            answer(200, r#"{"error":"Not initialised"}"#),
            "Not initialised",
        );
        check(answer(503, r#"{"error":"no replica"}"#), "503: no replica");
        check(answer(503, r#"{"current":1}"#), "status 503");
        check(answer(200, r#"{"current":[1,]}"#), "no JSON with a value");
        check(answer(200, "Hello World!"), "no JSON with a value");
        check(answer(200, "{}"), "status 200, and no value");
        check(Err("no answer within 500ms".into()), "no answer within");
    }

    #[test]
    fn any_value_is_shown() {
        let check = |json: &str, expected: Value| assert_eq!(shown(json), expected, "{json}");
        check("12.50", 12.5.into());
        check("\"a \\\"b\\\"\"", "a \"b\"".into());
        check("\"1\"", "1".into());
        check("null", "null".into());
        check("1e999", "1e999".into());
        check("{\"b\":1,\"a\":2}", "{\"b\":1,\"a\":2}".into());
        let long = format!("\"{}\"", "é".repeat(VALUE_MAX + 1));
        check(&long, format!("{}…", "é".repeat(VALUE_MAX)).into());
        let mut current = Current::default();
        look(
            &mut current,
            Ok(Answer {
                status: StatusCode::OK,
                body: r#"{"current":null}"#.into(),
            }),
            1_000,
        );
        assert_eq!(current.value, Some("null".into()));
        assert_eq!(current.trouble, None);
    }
}
