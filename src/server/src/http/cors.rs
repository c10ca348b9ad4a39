//! Which web pages may use the API: the headers of cross-origin sharing.
//!
//! The rules are the [Fetch standard]'s. Credentials (cookies) are never allowed: there are none.
//!
//! [Fetch standard]: https://fetch.spec.whatwg.org/#http-cors-protocol

use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderMap, HeaderValue, ORIGIN, VARY};
use url::Url;

/// The pages, by their origin, that a browser lets read our answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Every page: the answer is the same for all, and so is its header.
    #[default]
    Any,
    /// None but those of our own origin: no header tells of sharing.
    Nobody,
    /// Pages of these origins.
    Listed(Box<[HeaderValue]>),
}

impl Cors {
    /// Reads `*`, `none`, or origins with commas between.
    ///
    /// # Errors
    /// What would have been accepted, and what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "*" => return Ok(Cors::Any),
            "none" => return Ok(Cors::Nobody),
            _ => {}
        }
        let mut origins: Vec<HeaderValue> = Vec::new();
        let mut wrong: Vec<String> = Vec::new();
        for item in text.split(',') {
            match HeaderValue::from_str(item).ok().filter(|_| is_origin(item)) {
                None => wrong.push(format!("{item:?} is not an origin")),
                Some(origin) if origins.contains(&origin) => {
                    wrong.push(format!("{item:?} is listed twice"));
                }
                Some(origin) => origins.push(origin),
            }
        }
        if wrong.is_empty() {
            return Ok(Cors::Listed(origins.into()));
        }
        Err(format!(
            "*, none, or a comma-separated list of origins as browsers send them \
             (https://example.com or http://localhost:3000: lower case, no path, no default \
             port); {}",
            wrong.join(", ")
        ))
    }

    /// Where the request's `Origin` stands in the list; `None` for every request where there is no
    /// list.
    pub fn position(&self, request: &HeaderMap) -> Option<u32> {
        let Cors::Listed(origins) = self else {
            return None;
        };
        let origin = request.get(ORIGIN)?;
        let position = origins.iter().position(|listed| listed == origin)?;
        u32::try_from(position).ok()
    }

    /// Adds the headers that every answer has, to a request of which
    /// [`position`](Self::position) is known.
    pub fn apply(&self, position: Option<u32>, response: &mut HeaderMap) {
        match self {
            Cors::Any => {
                response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Cors::Nobody => {}
            Cors::Listed(origins) => {
                // To all, so that no cache gives one page the answer of another.
                response.insert(VARY, HeaderValue::from_static("Origin"));
                if let Some(origin) = position.and_then(|position| origins.get(position as usize)) {
                    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
    }
}

/// Whether a browser can send this as an `Origin`: scheme, host and, unless it is the scheme's own,
/// port, in the one form that it has there ([RFC 6454] section 6.2).
///
/// [RFC 6454]: https://www.rfc-editor.org/rfc/rfc6454
fn is_origin(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let Some(host) = url.host_str() else {
        return false;
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let port = url.port().map(|port| format!(":{port}"));
    // Whatever else is in the text makes it differ from these three.
    let origin = format!("{}://{host}{}", url.scheme(), port.unwrap_or_default());
    !host.is_empty()
        && host.bytes().all(letter)
        && !host.bytes().any(|byte| byte.is_ascii_uppercase())
        && origin == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_origins() {
        let listed = |origins: &[&'static str]| {
            let values = origins
                .iter()
                .map(|origin| HeaderValue::from_static(origin));
            Ok(Cors::Listed(values.collect()))
        };
        let check =
            |text: &str, expected: Result<Cors, String>| assert_eq!(Cors::parse(text), expected);
        check("*", Ok(Cors::Any));
        check("none", Ok(Cors::Nobody));
        for origin in [
            "https://example.com",
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:8443",
            "https://xn--mnchen-3ya.example",
            "capacitor://localhost",
            "chrome-extension://abcdefghij",
        ] {
            check(origin, listed(&[origin]));
        }
        check("https://a,https://b", listed(&["https://a", "https://b"]));
    }

    #[test]
    fn what_no_browser_sends_is_named() {
        for wrong in [
            "",
            "null",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/a",
            "https://example.com?",
            "https://example.com#",
            "https://user@example.com",
            "https://Example.com",
            "HTTPS://example.com",
            "https://example.com:443",
            "http://example.com:080",
            "https://*.example.com",
            "https://m\u{fc}nchen.example",
            "app://Host",
            "file:///",
            " https://example.com",
            "NONE",
            "none,https://a",
            "*,https://a",
            "https://a,",
            "https://a,https://a",
        ] {
            let error = Cors::parse(wrong).expect_err(wrong);
            let item = wrong.split(',').find(|item| error.contains(item));
            assert!(item.is_some(), "{wrong}: {error}");
        }
        let error = Cors::parse("https://a/,https://b,nope,https://b").expect_err("it is wrong");
        let parts = [
            "\"https://a/\" is not an origin",
            "\"nope\" is not an origin",
            "\"https://b\" is listed twice",
        ];
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}
