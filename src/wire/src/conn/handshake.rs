//! Login: `HELLO 3` with `AUTH` and `SETNAME`, or RESP2 with `AUTH` where the server can't, then
//! `SELECT`.
//!
//! RESP2 is tried only where the server has no `HELLO` (unknown command, `NOPROTO`, or `NOPERM`
//! naming `hello`): a fallback on any other error would hide a wrong password, and a server whose
//! default user needs none would then serve us as a stranger.
//! <https://redis.io/docs/latest/commands/hello/>

use bytes::BytesMut;

use super::error::Error;
use crate::resp::{self, ErrorKind, Reply};

/// Who we are to the server.
#[derive(Clone, Default)]
pub struct Login {
    pub username: Option<String>,
    pub password: Option<String>,
    /// Shown by `CLIENT LIST`.
    pub client_name: String,
    /// Database number; 0 sends no `SELECT`.
    pub database: u32,
}

/// What the server said of itself at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// 3, or 2 after the fallback.
    pub protocol: u8,
}

/// The step whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Hello,
    Auth,
    SetName,
    Select,
}

/// What to do after a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next login command was written.
    Continue,
    Done(Greeting),
}

/// The login in progress. Each step is sent after the reply to the one before.
pub struct Handshake {
    login: Login,
    step: Step,
    greeting: Greeting,
}

impl Handshake {
    /// Writes the first command to `out`.
    pub fn start(login: Login, out: &mut BytesMut) -> Self {
        let name = login.client_name.as_bytes();
        match credentials(&login) {
            None => resp::command(out, &[b"HELLO", b"3", b"SETNAME", name]),
            Some((user, password)) => {
                let user = user.unwrap_or("default").as_bytes();
                let args: [&[u8]; 7] = [
                    b"HELLO",
                    b"3",
                    b"AUTH",
                    user,
                    password.as_bytes(),
                    b"SETNAME",
                    name,
                ];
                resp::command(out, &args);
            }
        }
        Handshake {
            login,
            step: Step::Hello,
            greeting: Greeting { protocol: 3 },
        }
    }

    /// Takes the reply to the step in progress and writes the next command, if any, to `out`.
    ///
    /// # Errors
    /// The server refused the login, or answered with something that is no answer to it.
    pub fn on_reply(&mut self, reply: Reply<'_>, out: &mut BytesMut) -> Result<Progress, Error> {
        match (self.step, reply.plain()) {
            (Step::Hello, Reply::Error(text)) if lacks_hello(text) => {
                self.greeting.protocol = 2;
                Ok(self.auth(out))
            }
            // A name is a courtesy to whoever reads CLIENT LIST: a server without it serves as
            // well.
            (Step::SetName, Reply::Error(_)) => Ok(self.select(out)),
            (_, Reply::Error(text)) => Err(self.refused(text)),
            (Step::Hello, Reply::Map(_) | Reply::Array(_)) => Ok(self.select(out)),
            (Step::Hello, _) => Err(Error::LoginConfused("the answer to HELLO is no map")),
            (Step::Auth, Reply::Simple(b"OK")) => Ok(self.set_name(out)),
            (Step::SetName, Reply::Simple(b"OK")) => Ok(self.select(out)),
            (Step::Select, Reply::Simple(b"OK")) => Ok(Progress::Done(self.greeting)),
            (Step::Auth | Step::SetName | Step::Select, _) => Err(Error::LoginConfused(
                "the answer to a login command is not OK",
            )),
        }
    }

    /// The refusal in the server's words, but for the password: one that doesn't know a command
    /// repeats what came behind it, to a length of its own.
    fn refused(&self, text: &[u8]) -> Error {
        let words = String::from_utf8_lossy(text);
        let words = words.split(", with args").next().unwrap_or_default();
        let words = match self.login.password.as_deref() {
            None | Some("") => words.to_owned(),
            Some(password) => words.replace(password, "…"),
        };
        Error::Login {
            kind: ErrorKind::of(text),
            text: super::printable(words.as_bytes()),
        }
    }

    fn auth(&mut self, out: &mut BytesMut) -> Progress {
        match credentials(&self.login) {
            None => return self.set_name(out),
            Some((None, password)) => resp::command(out, &[b"AUTH", password.as_bytes()]),
            Some((Some(user), password)) => {
                resp::command(out, &[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
        }
        self.step = Step::Auth;
        Progress::Continue
    }

    fn set_name(&mut self, out: &mut BytesMut) -> Progress {
        resp::command(
            out,
            &[b"CLIENT", b"SETNAME", self.login.client_name.as_bytes()],
        );
        self.step = Step::SetName;
        Progress::Continue
    }

    fn select(&mut self, out: &mut BytesMut) -> Progress {
        if self.login.database == 0 {
            return Progress::Done(self.greeting);
        }
        let database = self.login.database.to_string();
        resp::command(out, &[b"SELECT", database.as_bytes()]);
        self.step = Step::Select;
        Progress::Continue
    }
}

/// User and password to log in with. A user without a password is one whom the server lets in with
/// any (`nopass`).
fn credentials(login: &Login) -> Option<(Option<&str>, &str)> {
    match (&login.username, &login.password) {
        (None, None) => None,
        (user, password) => Some((user.as_deref(), password.as_deref().unwrap_or(""))),
    }
}

fn lacks_hello(text: &[u8]) -> bool {
    match ErrorKind::of(text) {
        ErrorKind::UnknownCommand | ErrorKind::NoProto => true,
        ErrorKind::NoPerm => text
            .to_ascii_lowercase()
            .windows(b"hello".len())
            .any(|window| window == b"hello"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: Option<&str>, password: Option<&str>, database: u32) -> Login {
        Login {
            username: user.map(String::from),
            password: password.map(String::from),
            client_name: "n".into(),
            database,
        }
    }

    fn words(out: &mut BytesMut) -> String {
        let bytes = out.split();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split("\r\n")
            .filter(|line| !line.starts_with(['*', '$']))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Plays the server's replies and gives what was sent, and how it ended.
    fn play(login: Login, replies: &[Reply<'_>]) -> (Vec<String>, Result<Option<u8>, Error>) {
        let mut out = BytesMut::new();
        let mut handshake = Handshake::start(login, &mut out);
        let mut sent = vec![words(&mut out)];
        for reply in replies {
            match handshake.on_reply(*reply, &mut out) {
                Ok(Progress::Continue) => sent.push(words(&mut out)),
                Ok(Progress::Done(greeting)) => return (sent, Ok(Some(greeting.protocol))),
                Err(error) => return (sent, Err(error)),
            }
        }
        (sent, Ok(None))
    }

    fn map() -> Reply<'static> {
        decoded(b"%1\r\n+proto\r\n:3\r\n")
    }

    fn decoded(bytes: &'static [u8]) -> Reply<'static> {
        resp::Decoder::new(resp::Limits::default())
            .decode(bytes)
            .unwrap()
            .unwrap()
            .reply
    }

    #[test]
    fn hello_carries_the_credentials() {
        let (sent, end) = play(login(None, Some("p"), 0), &[map()]);
        assert_eq!(sent, ["HELLO 3 AUTH default p SETNAME n "]);
        assert_eq!(end, Ok(Some(3)));
        let (sent, end) = play(
            login(Some("u"), Some("p"), 7),
            &[map(), Reply::Simple(b"OK")],
        );
        assert_eq!(sent, ["HELLO 3 AUTH u p SETNAME n ", "SELECT 7 "]);
        assert_eq!(end, Ok(Some(3)));
        let (sent, _) = play(login(None, None, 0), &[map()]);
        assert_eq!(sent, ["HELLO 3 SETNAME n "]);
    }

    #[test]
    fn resp2_is_tried_only_where_hello_is_missing() {
        let ok = Reply::Simple(b"OK");
        for text in [
            &b"ERR unknown command 'HELLO', with args beginning with: '3'"[..],
            b"NOPROTO unsupported protocol version",
            b"NOPERM User u has no permissions to run the 'hello' command",
        ] {
            let (sent, end) = play(
                login(Some("u"), Some("p"), 0),
                &[Reply::Error(text), ok, ok],
            );
            assert_eq!(sent[1..], ["AUTH u p ", "CLIENT SETNAME n "]);
            assert_eq!(end, Ok(Some(2)));
        }
        let (sent, _) = play(
            login(None, Some("p"), 0),
            &[Reply::Error(b"NOPROTO x"), ok, ok],
        );
        assert_eq!(sent[1..], ["AUTH p ", "CLIENT SETNAME n "]);
        for text in [
            &b"WRONGPASS invalid username-password pair or user is disabled."[..],
            b"NOAUTH HELLO must be called with the client already authenticated",
            b"NOPERM User u has no permissions to run the 'info' command",
            b"ERR max number of clients reached",
            b"DENIED Redis is running in protected mode",
        ] {
            let (sent, end) = play(login(Some("u"), Some("p"), 0), &[Reply::Error(text)]);
            assert_eq!(sent.len(), 1, "nothing more is sent after {text:?}");
            assert!(matches!(end, Err(Error::Login { .. })), "{end:?}");
        }
    }

    #[test]
    fn a_wrong_password_in_resp2_ends_it_and_a_refused_name_does_not() {
        let no_hello = Reply::Error(b"ERR unknown command `HELLO`");
        let wrong = Reply::Error(b"WRONGPASS no");
        let (_, end) = play(login(None, Some("p"), 0), &[no_hello, wrong]);
        assert!(matches!(
            end,
            Err(Error::Login {
                kind: ErrorKind::WrongPass,
                ..
            })
        ));
        let (_, end) = play(login(None, None, 0), &[no_hello, Reply::Error(b"ERR no")]);
        assert_eq!(end, Ok(Some(2)));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_password() {
        #[track_caller]
        fn check(words: &'static [u8], expected: &str) {
            let replies = [Reply::Error(b"NOPROTO x"), Reply::Error(words)];
            let (_, end) = play(login(Some("u"), Some("geheim"), 0), &replies);
            let Err(Error::Login { text, .. }) = end else {
                panic!("{end:?}");
            };
            assert_eq!(text, expected);
        }
        check(
            b"ERR unknown command 'AUTH', with args beginning with: 'u' 'gehei",
            "ERR unknown command 'AUTH'",
        );
        check(b"ERR who is u with geheim?", "ERR who is u with …?");
    }

    #[test]
    fn an_answer_of_the_wrong_type_ends_it() {
        let (_, end) = play(login(None, None, 0), &[Reply::Integer(1)]);
        assert!(matches!(end, Err(Error::LoginConfused(_))));
        let (_, end) = play(login(None, None, 1), &[map(), Reply::Null]);
        assert!(matches!(end, Err(Error::LoginConfused(_))));
    }
}
