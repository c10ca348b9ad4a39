//! One post, and what its answer says.

use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use redis_api_server::token_file::TokenFile;
use serde::Deserialize;
use tokio::runtime::Handle;

use super::counts::Outcome;
use super::walk::Cents;
use crate::client::{Answer, Client, Error};

/// Longest answer that is read, in bytes: the API's are below 200.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Of another's text, the characters that are shown.
const SHOWN_CHARS: usize = 200;

/// For reading the token file, which is small. What takes longer is of use to a later post.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// Posts to one address.
pub(super) struct Poster {
    pub client: Client,
    pub api: Uri,
    pub timeout: Duration,
    pub token: Option<TokenFile>,
}

/// Why the value that the API serves is not known.
#[derive(Debug)]
pub(super) enum LookError {
    /// The API, or something else, answers otherwise.
    Status(StatusCode),
    NoAnswer(Error),
}

/// What the API answers, as far as it is of use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reply {
    current: Option<f64>,
    outcome: Option<String>,
    error: Option<String>,
}

impl Poster {
    /// Posts a value; what went wrong is a text without the token.
    pub async fn post(&mut self, value: Cents) -> (Outcome, String) {
        let token = match &mut self.token {
            Some(file) => bearer(file.renewed(&Handle::current(), READ_TIMEOUT).await),
            None => None,
        };
        let body = format!("{{\"value\":{value}}}");
        let answer = self
            .client
            .post(
                self.api.clone(),
                body,
                token.clone(),
                ANSWER_BYTES_MAX,
                self.timeout,
            )
            .await;
        match answer {
            Ok(answer) => judge(&answer, token.as_ref()),
            Err(error) => (outcome_of(&error), error.to_string()),
        }
    }

    /// The value that the API serves now; `None`: it has none yet.
    ///
    /// # Errors
    /// See [`LookError`].
    pub async fn look(&self) -> Result<Option<f64>, LookError> {
        let answer = self
            .client
            .ask(self.api.clone(), ANSWER_BYTES_MAX, self.timeout)
            .await
            .map_err(LookError::NoAnswer)?;
        match (answer.status, serde_json::from_slice::<Reply>(&answer.body)) {
            // Without a value the API says in a 200 that there is none yet.
            (StatusCode::OK, Ok(reply)) => Ok(reply.current),
            (status, _) => Err(LookError::Status(status)),
        }
    }
}

/// The header with a token ([RFC 6750] section 2.1).
///
/// [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750
fn bearer(token: &[u8]) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    // Its `Debug` then shows nothing.
    header.set_sensitive(true);
    Some(header)
}

fn outcome_of(error: &Error) -> Outcome {
    match error {
        Error::Late(_) => Outcome::Late,
        Error::Long(_) => Outcome::Unknown,
        Error::Lost {
            connected: false, ..
        } => Outcome::Unreachable,
        Error::Lost { .. } => Outcome::NoAnswer,
    }
}

/// What an answer says. One that does not name an outcome is not the API's own (a proxy's, say),
/// and leaves it open.
fn judge(answer: &Answer, token: Option<&HeaderValue>) -> (Outcome, String) {
    let reply: Reply = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status == StatusCode::OK && reply.current.is_some() {
        return (Outcome::Ok, String::new());
    }
    let outcome = match reply.outcome.as_deref() {
        Some("not-sent") => Outcome::NotSent,
        Some("refused") => Outcome::Refused,
        Some("applied") => Outcome::Applied,
        _ => Outcome::Unknown,
    };
    let said = reply.error.filter(|text| !repeats(text, token));
    let said: String = said.unwrap_or_default().chars().take(SHOWN_CHARS).collect();
    match said.is_empty() {
        true => (outcome, answer.status.to_string()),
        false => (outcome, format!("{}: {said}", answer.status)),
    }
}

/// Whether a text has the token in it: whoever answers may send back what it got.
fn repeats(text: &str, token: Option<&HeaderValue>) -> bool {
    let token = token.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
    token.is_some_and(|token| text.contains(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, outcome: Outcome, said: &str) {
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            body: body.to_owned().into(),
        };
        let token = bearer(b"geheim").expect("it can be sent");
        assert_eq!(token, "Bearer geheim");
        assert_eq!(format!("{token:?}"), "Sensitive");
        assert_eq!(
            judge(&answer, Some(&token)),
            (outcome, said.to_owned()),
            "{body}"
        );
    }

    #[test]
    fn an_answer_says_what_became_of_the_value() {
        check(200, r#"{"current":12.5}"#, Outcome::Ok, "");
        check(
            503,
            r#"{"error":"no connection","outcome":"not-sent"}"#,
            Outcome::NotSent,
            "503 Service Unavailable: no connection",
        );
        check(
            504,
            r#"{"error":"too late","outcome":"unknown"}"#,
            Outcome::Unknown,
            "504 Gateway Timeout: too late",
        );
        check(
            502,
            r#"{"error":"WRONGTYPE","outcome":"refused"}"#,
            Outcome::Refused,
            "502 Bad Gateway: WRONGTYPE",
        );
        check(
            504,
            r#"{"error":"0 of 1 replicas","outcome":"applied"}"#,
            Outcome::Applied,
            "504 Gateway Timeout: 0 of 1 replicas",
        );
    }

    #[test]
    fn answers_of_others_leave_it_open() {
        check(502, "<html>", Outcome::Unknown, "502 Bad Gateway");
        check(404, "", Outcome::Unknown, "404 Not Found");
        check(200, "Hello World!", Outcome::Unknown, "200 OK");
        check(200, "{}", Outcome::Unknown, "200 OK");
        check(302, "[]", Outcome::Unknown, "302 Found");
        check(
            500,
            r#"{"outcome":"sent?"}"#,
            Outcome::Unknown,
            "500 Internal Server Error",
        );
        check(
            500,
            r#"{"error":7}"#,
            Outcome::Unknown,
            "500 Internal Server Error",
        );
    }

    #[test]
    fn what_is_shown_is_short_and_has_no_token() {
        check(
            401,
            r#"{"error":"not geheim!","outcome":"not-sent"}"#,
            Outcome::NotSent,
            "401 Unauthorized",
        );
        let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(1_000));
        let shown = format!("500 Internal Server Error: {}", "é".repeat(200));
        check(500, &long, Outcome::Unknown, &shown);
    }

    #[test]
    fn only_what_was_not_stored_is_repeated() {
        let lost = |connected| Error::Lost {
            connected,
            text: String::new(),
        };
        let check = |error: &Error, repeat: bool| {
            assert_eq!(outcome_of(error).may_repeat(), repeat, "{error:?}");
        };
        check(&lost(false), true);
        check(&lost(true), false);
        check(&Error::Late(Duration::ZERO), false);
        check(&Error::Long(1), false);
    }
}
