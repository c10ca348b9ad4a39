//! Why a connection ended, and what became of the commands that were on it.

use std::fmt;
use std::time::Duration;

use crate::resp::{DecodeError, ErrorKind};

/// Why a connection ended. The text says what happened; the caller adds the server's address, and
/// what to do: it knows by which settings that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The server closed the connection.
    Closed,
    /// Reading or writing failed; the operating system's words.
    Io(String),
    /// TLS ended before login was done, such as by a server that refuses our certificate.
    Tls {
        /// What happened.
        cause: String,
        /// What to do about it.
        cure: String,
    },
    /// Bytes that are not RESP, or beyond our limits.
    Malformed(DecodeError),
    /// A reply while none was awaited, with its text if it was an error.
    Stray(Option<String>),
    /// A reply of a type that its command doesn't have; what it was. Replies and commands may be
    /// out of step.
    Confused(&'static str),
    /// The oldest command has waited this long for its reply.
    Stalled(Duration),
    /// Login was not done in time.
    LoginTimeout,
    /// The server refused the login, or asks for one.
    Login {
        /// Of the error reply.
        kind: ErrorKind,
        /// The server's words.
        text: String,
    },
    /// The server refused the user name, as servers before Redis 6 do; its words.
    NoUserNames(String),
    /// A reply that is not one to a login command; what it was.
    LoginConfused(&'static str),
    /// We ended it after this error reply: what the server says makes it of no use to us.
    Unusable {
        /// Of the error reply.
        kind: ErrorKind,
        /// The server's words.
        text: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => f.write_str("the server closed the connection"),
            Error::Io(text) => f.write_str(text),
            Error::Tls { cause, .. } => f.write_str(cause),
            Error::Malformed(error) => {
                write!(f, "malformed reply: {error}; is this a Redis server?")
            }
            Error::Stray(None) => f.write_str("unsolicited reply from the server"),
            Error::Stray(Some(text)) => write!(f, "unsolicited error from the server: {text}"),
            Error::Confused(what) => write!(
                f,
                "{what}: its replies may be out of step with our commands; is this a Redis server?"
            ),
            Error::Stalled(waited) => write!(
                f,
                "no reply for {} ms: the server or the network hangs",
                waited.as_millis()
            ),
            Error::LoginTimeout => f.write_str("login was not answered in time"),
            Error::Login { text, .. } => write!(f, "login refused: {text}"),
            Error::NoUserNames(text) => write!(
                f,
                "login refused: this server knows no user names (Redis before 6): {text}"
            ),
            Error::LoginConfused(what) => write!(f, "login failed: {what}"),
            Error::Unusable { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Whether a command on a lost connection can have reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not one of its bytes was given to the transport.
    NotSent,
    /// At least one byte was: it may have been carried out.
    Unknown,
}

/// Why a command was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not logged in, or closed.
    NotReady,
    /// The in-flight window or the write buffer is full.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_happened() {
        check(Error::Closed, "the server closed the connection");
        check(Error::Io("broken pipe".into()), "broken pipe");
        let tls = Error::Tls {
            cause: "bad certificate".into(),
            cure: "renew it".into(),
        };
        check(tls, "bad certificate");
        check(
            Error::Malformed(DecodeError::LineEnd),
            "malformed reply: a line does not end in CRLF; is this a Redis server?",
        );
        check(Error::Stray(None), "unsolicited reply from the server");
        check(
            Error::Stray(Some("ERR full".into())),
            "unsolicited error from the server: ERR full",
        );
        check(
            Error::Confused("the reply to HGET is not text"),
            "the reply to HGET is not text: its replies may be out of step with our commands; \
             is this a Redis server?",
        );
        check(
            Error::Stalled(Duration::from_millis(1_500)),
            "no reply for 1500 ms: the server or the network hangs",
        );
        check(Error::LoginTimeout, "login was not answered in time");
        check(
            Error::LoginConfused("the reply to HELLO is not a map"),
            "login failed: the reply to HELLO is not a map",
        );
    }

    #[test]
    fn an_error_reply_is_told_in_its_own_words() {
        let (kind, text) = (ErrorKind::NoAuth, "NOAUTH log in".to_owned());
        check(
            Error::Login {
                kind,
                text: text.clone(),
            },
            "login refused: NOAUTH log in",
        );
        check(Error::Unusable { kind, text }, "NOAUTH log in");
        check(
            Error::NoUserNames("ERR wrong number".into()),
            "login refused: this server knows no user names (Redis before 6): ERR wrong number",
        );
    }
}
