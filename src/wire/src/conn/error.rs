//! Why a connection ended, and what became of the commands that were on it.

use std::fmt;
use std::time::Duration;

use crate::resp::{DecodeError, ErrorKind};

/// Why a connection ended. The text says what happened and, where there is one, the cure; the
/// caller adds the server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The server closed the connection.
    Closed,
    /// Reading or writing failed; the operating system's words.
    Io(String),
    /// TLS ended before login was done, such as by a server that refuses our certificate; in words.
    Tls(String),
    /// Bytes that are no RESP, or beyond our limits.
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
    Login { kind: ErrorKind, text: String },
    /// The login was answered by something that is no answer to it.
    LoginConfused(&'static str),
    /// We ended it after this error reply: what the server says makes it of no use to us.
    Unfit { kind: ErrorKind, text: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Closed => f.write_str("the server closed the connection"),
            Error::Io(text) | Error::Tls(text) => f.write_str(text),
            Error::Malformed(error) => {
                write!(f, "malformed reply: {error}; is this a Redis server?")
            }
            Error::Stray(None) => f.write_str("a reply came while none was awaited"),
            Error::Stray(Some(text)) => write!(f, "the server said without being asked: {text}"),
            Error::Confused(what) => write!(
                f,
                "{what}: its replies may be out of step with our commands; is this a Redis server?"
            ),
            Error::Stalled(waited) => write!(
                f,
                "no reply for {} ms: the server or the way to it hangs",
                waited.as_millis()
            ),
            Error::LoginTimeout => f.write_str("login was not answered in time"),
            Error::Login { kind, text } => write!(f, "login refused: {text}{}", cure(*kind)),
            Error::LoginConfused(what) => write!(f, "login failed: {what}"),
            Error::Unfit { kind, text } => write!(f, "{text}{}", cure(*kind)),
        }
    }
}

/// What the reader can do about an error reply that ends a connection, as the end of a sentence.
fn cure(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NoAuth => "; this server wants a password: give --…-redis-pass-file",
        ErrorKind::WrongPass => "; check the user name and the password file",
        ErrorKind::NoPerm => "; grant it to this user (README, \"Least rights in Redis\")",
        ErrorKind::MaxClients => "; raise maxclients, or run fewer workers or connections",
        ErrorKind::Moved => "; cluster mode is not supported: use a server without it",
        ErrorKind::ReadOnly => "; the name is resolved again to find the new master",
        _ => "",
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
        check(Error::Tls("bad certificate".into()), "bad certificate");
        check(
            Error::Malformed(DecodeError::LineEnd),
            "malformed reply: a line does not end in CRLF; is this a Redis server?",
        );
        check(Error::Stray(None), "a reply came while none was awaited");
        check(
            Error::Stray(Some("ERR full".into())),
            "the server said without being asked: ERR full",
        );
        check(
            Error::Confused("HGET was answered with no text"),
            "HGET was answered with no text: its replies may be out of step with our commands; \
             is this a Redis server?",
        );
        check(
            Error::Stalled(Duration::from_millis(1_500)),
            "no reply for 1500 ms: the server or the way to it hangs",
        );
        check(Error::LoginTimeout, "login was not answered in time");
        check(
            Error::LoginConfused("the answer to HELLO is no map"),
            "login failed: the answer to HELLO is no map",
        );
    }

    #[test]
    fn an_error_reply_is_told_with_its_cure() {
        let check = |kind, cure: &str| {
            let text = "WORD words".to_owned();
            let (login, unfit) = (
                Error::Login { kind, text },
                Error::Unfit {
                    kind,
                    text: "W".into(),
                },
            );
            check(login, &format!("login refused: WORD words{cure}"));
            check(unfit, &format!("W{cure}"));
        };
        check(
            ErrorKind::NoAuth,
            "; this server wants a password: give --…-redis-pass-file",
        );
        check(
            ErrorKind::WrongPass,
            "; check the user name and the password file",
        );
        check(
            ErrorKind::NoPerm,
            "; grant it to this user (README, \"Least rights in Redis\")",
        );
        check(
            ErrorKind::MaxClients,
            "; raise maxclients, or run fewer workers or connections",
        );
        check(
            ErrorKind::Moved,
            "; cluster mode is not supported: use a server without it",
        );
        check(
            ErrorKind::ReadOnly,
            "; the name is resolved again to find the new master",
        );
        check(ErrorKind::Loading, "");
        check(ErrorKind::Other, "");
    }
}
