//! Login: `HELLO 3` with `AUTH` and `SETNAME`, or RESP2 with `AUTH` where the server can't, then
//! `SELECT`.
//!
//! Each connection tries `HELLO` first. An error to it leads to RESP2, whatever its wording:
//! proxies and forks have many ways to say that they don't know it. Two kinds of errors end the
//! attempt instead: those about credentials, and those of a server that is full, closed to us, or
//! busy with something else. An error about credentials that isn't recognised does no harm: `AUTH`
//! must then be answered with OK, so no server serves us as a stranger.
//!
//! A server that closes the connection at `HELLO` can be asked again, on a new connection, without
//! it ([`Login::skip_hello`]).
//! <https://redis.io/docs/latest/commands/hello/>

use bytes::BytesMut;

use super::error::Error;
use crate::resp::{self, ErrorKind, Reply};

/// Who we are to the server.
#[derive(Clone, Default)]
pub struct Login {
    /// The user; `None`: the server's default user.
    pub username: Option<String>,
    /// The password; with neither user nor password there is no `AUTH`.
    pub password: Option<String>,
    /// Shown by `CLIENT LIST`.
    pub client_name: String,
    /// Database number; 0 sends no `SELECT`.
    pub database: u32,
    /// Sends neither `HELLO` nor `CLIENT`, for proxies that close the connection at a command that
    /// they don't know.
    pub skip_hello: bool,
}

/// What became of `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hello {
    /// The server speaks RESP3.
    #[default]
    Accepted,
    /// The server answered with this kind of error.
    Refused(ErrorKind),
    /// It was not sent.
    Skipped,
}

/// What the server said of itself at login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// 3, or 2 after the fallback.
    pub protocol: u8,
    /// Why there was a fallback, if there was one.
    pub hello: Hello,
}

/// The user that the server takes us for where none is named.
const DEFAULT_USER: &str = "default";

/// The step whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Hello,
    Auth,
    Ping,
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
        let mut handshake = Handshake {
            login,
            step: Step::Hello,
            greeting: Greeting {
                protocol: 3,
                hello: Hello::Accepted,
            },
        };
        if handshake.login.skip_hello {
            handshake.greeting = Greeting {
                protocol: 2,
                hello: Hello::Skipped,
            };
            handshake.auth(out);
        } else {
            handshake.hello(out);
        }
        handshake
    }

    /// The server has yet to answer `HELLO`.
    pub fn awaits_hello(&self) -> bool {
        self.step == Step::Hello
    }

    fn hello(&self, out: &mut BytesMut) {
        let name = self.login.client_name.as_bytes();
        match credentials(&self.login) {
            None => resp::command(out, &[b"HELLO", b"3", b"SETNAME", name]),
            Some((user, password)) => {
                let user = user.unwrap_or(DEFAULT_USER).as_bytes();
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
    }

    /// Takes the reply to the step in progress and writes the next command, if any, to `out`.
    ///
    /// # Errors
    /// The server refused the login, or answered with something that is no answer to it.
    pub fn on_reply(&mut self, reply: Reply<'_>, out: &mut BytesMut) -> Result<Progress, Error> {
        match (self.step, reply.plain()) {
            (Step::Hello, Reply::Error(text)) if lacks_hello(text) => {
                self.greeting = Greeting {
                    protocol: 2,
                    hello: Hello::Refused(ErrorKind::of(text)),
                };
                Ok(self.auth(out))
            }
            // A name is a courtesy to whoever reads CLIENT LIST: a server without it serves as
            // well.
            (Step::SetName, Reply::Error(text)) if lacks_command(text) => Ok(self.select(out)),
            (_, Reply::Error(text)) => Err(self.refused(text)),
            (Step::Hello, Reply::Map(_) | Reply::Array(_)) => Ok(self.select(out)),
            (Step::Hello, _) => Err(Error::LoginConfused("the reply to HELLO is not a map")),
            (Step::Auth, Reply::Simple(b"OK")) if self.login.skip_hello => Ok(self.select(out)),
            (Step::Auth, Reply::Simple(b"OK")) => Ok(self.set_name(out)),
            (Step::SetName, Reply::Simple(b"OK")) | (Step::Ping, Reply::Simple(b"PONG")) => {
                Ok(self.select(out))
            }
            (Step::Select, Reply::Simple(b"OK")) => Ok(Progress::Done(self.greeting)),
            (Step::Auth | Step::Ping | Step::SetName | Step::Select, _) => Err(
                Error::LoginConfused("the reply to a login command is not OK"),
            ),
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
        let words = super::printable(words.as_bytes());
        // `AUTH` took one word before Redis 6.
        if self.step == Step::Auth
            && self.user().is_some()
            && has_word(text, b"number of arguments")
        {
            return Error::NoUserNames(words);
        }
        Error::Login {
            kind: kind(text),
            text: words,
        }
    }

    /// The user to name in `AUTH`, which servers before Redis 6 take no user in.
    fn user(&self) -> Option<&str> {
        let user = self.login.username.as_deref();
        user.filter(|user| *user != DEFAULT_USER)
    }

    fn auth(&mut self, out: &mut BytesMut) -> Progress {
        let Some((_, password)) = credentials(&self.login) else {
            if !self.login.skip_hello {
                return self.set_name(out);
            }
            // The one command that every server and proxy knows.
            resp::command(out, &[b"PING"]);
            self.step = Step::Ping;
            return Progress::Continue;
        };
        match self.user() {
            None => resp::command(out, &[b"AUTH", password.as_bytes()]),
            Some(user) => resp::command(out, &[b"AUTH", user.as_bytes(), password.as_bytes()]),
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

/// Whether an error to `HELLO` means that the server, or this user, has none.
fn lacks_hello(text: &[u8]) -> bool {
    match kind(text) {
        ErrorKind::NoPerm => has_word(text, b"hello"),
        _ => lacks_command(text),
    }
}

/// Whether an error means that the command, rather than the whole server, is of no use to us.
fn lacks_command(text: &[u8]) -> bool {
    !matches!(
        kind(text),
        ErrorKind::WrongPass
            | ErrorKind::NoAuth
            | ErrorKind::MaxClients
            | ErrorKind::Loading
            | ErrorKind::Busy
            | ErrorKind::Denied
    )
}

/// The kind of an error reply to a login command, where it may be worded in any way.
fn kind(text: &[u8]) -> ErrorKind {
    const CREDENTIALS: [&[u8]; 3] = [b"invalid password", b"wrong password", b"username-password"];
    match ErrorKind::of(text) {
        ErrorKind::Other if CREDENTIALS.iter().any(|words| has_word(text, words)) => {
            ErrorKind::WrongPass
        }
        ErrorKind::Other if has_word(text, b"max number of clients") => ErrorKind::MaxClients,
        kind => kind,
    }
}

/// Whether the text has these words, which are in small letters.
fn has_word(text: &[u8], words: &[u8]) -> bool {
    text.to_ascii_lowercase()
        .windows(words.len())
        .any(|window| window == words)
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
            skip_hello: false,
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
    fn any_error_to_hello_that_is_not_about_us_leads_to_resp2() {
        let ok = Reply::Simple(b"OK");
        for text in [
            &b"ERR unknown command 'HELLO', with args beginning with: '3'"[..],
            b"NOPROTO unsupported protocol version",
            b"NOPERM User u has no permissions to run the 'hello' command",
            b"ERR Unknown command 'HELLO'",
            b"ERR unknown or unsupported command 'HELLO'",
            b"ERR unsupported command `hello`",
            b"unsupported command 'HELLO'",
            b"ERR unsupported operation now :HELLO",
            b"Unsupported operation 'hello'",
            b"ERR command 'HELLO' is not allowed",
            b"",
        ] {
            let (sent, end) = play(
                login(Some("u"), Some("p"), 0),
                &[Reply::Error(text), ok, ok],
            );
            assert_eq!(sent[1..], ["AUTH u p ", "CLIENT SETNAME n "]);
            assert_eq!(end, Ok(Some(2)));
        }
        for user in [None, Some("default")] {
            let (sent, _) = play(
                login(user, Some("p"), 0),
                &[Reply::Error(b"NOPROTO x"), ok, ok],
            );
            assert_eq!(sent[1..], ["AUTH p ", "CLIENT SETNAME n "]);
        }
    }

    #[test]
    fn errors_about_credentials_or_the_whole_server_end_it() {
        let check = |text: &'static [u8], expected| {
            let (sent, end) = play(login(Some("u"), Some("p"), 0), &[Reply::Error(text)]);
            assert_eq!(sent.len(), 1, "nothing more is sent after {text:?}");
            assert!(
                matches!(end, Err(Error::Login { kind, .. }) if kind == expected),
                "{end:?}"
            );
        };
        check(
            b"WRONGPASS invalid username-password pair or user is disabled.",
            ErrorKind::WrongPass,
        );
        check(b"ERR Invalid Password", ErrorKind::WrongPass);
        check(b"ERR: invalid password given", ErrorKind::WrongPass);
        check(
            b"NOAUTH HELLO must be called with the client already authenticated",
            ErrorKind::NoAuth,
        );
        check(b"ERR max number of clients reached", ErrorKind::MaxClients);
        check(
            b"ERR proxy: max number of clients is 10",
            ErrorKind::MaxClients,
        );
        check(b"LOADING Redis is loading", ErrorKind::Loading);
        check(b"BUSY Redis is busy running a script", ErrorKind::Busy);
        check(
            b"DENIED Redis is running in protected mode",
            ErrorKind::Denied,
        );
        check(b"NOPERM User u may not log in now", ErrorKind::NoPerm);
    }

    #[test]
    fn after_the_fallback_nothing_but_ok_lets_us_in() {
        let no_hello = || Reply::Error(b"Unsupported operation 'hello'");
        for (reply, expected) in [
            (Reply::Error(b"ERR no password is set"), "login refused"),
            (Reply::Simple(b"QUEUED"), "not OK"),
            (Reply::Null, "not OK"),
        ] {
            let (sent, end) = play(login(None, Some("p"), 0), &[no_hello(), reply]);
            assert_eq!(sent[1..], ["AUTH p "]);
            let error = end.expect_err("is refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
        // Nothing to log in with: the name tells who wants a login, or can't serve.
        for text in [
            &b"NOAUTH Authentication required."[..],
            b"LOADING wait",
            b"DENIED protected mode",
        ] {
            let (_, end) = play(login(None, None, 0), &[no_hello(), Reply::Error(text)]);
            assert!(matches!(end, Err(Error::Login { .. })), "{end:?}");
        }
    }

    #[test]
    fn a_user_name_for_a_server_that_knows_none_is_said() {
        let no_hello = Reply::Error(b"ERR unknown command `HELLO`, with args beginning with: ");
        let arity = Reply::Error(b"ERR wrong number of arguments for 'auth' command");
        let (_, end) = play(login(Some("u"), Some("p"), 0), &[no_hello, arity]);
        assert!(matches!(end, Err(Error::NoUserNames(_))), "{end:?}");
        let (_, end) = play(login(None, Some("p"), 0), &[no_hello, arity]);
        assert!(matches!(end, Err(Error::Login { .. })), "{end:?}");
    }

    #[test]
    fn without_hello_only_what_every_proxy_knows_is_sent() {
        let skipping = |user, password, database| Login {
            skip_hello: true,
            ..login(user, password, database)
        };
        let (ok, pong) = (Reply::Simple(b"OK"), Reply::Simple(b"PONG"));
        let (sent, end) = play(skipping(None, Some("p"), 0), &[ok]);
        assert_eq!((sent, end), (vec!["AUTH p ".to_owned()], Ok(Some(2))));
        let (sent, end) = play(skipping(None, None, 1), &[pong, ok]);
        assert_eq!(sent, ["PING ", "SELECT 1 "]);
        assert_eq!(end, Ok(Some(2)));
        let (_, end) = play(skipping(None, None, 0), &[Reply::Error(b"NOAUTH no")]);
        assert!(matches!(end, Err(Error::Login { .. })), "{end:?}");
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
