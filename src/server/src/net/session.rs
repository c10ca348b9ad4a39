//! One connection, asked one command at a time: the login, TLS and state machine of `serve`,
//! without its driver.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustls::ClientConnection;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::credentials::Credentials;
use super::dial::{self, Stream};
use super::dial_error::{DialError, explain_login, failed_login};
use super::driver::LIMITS;
use super::endpoint::{Endpoint, Flaw, SetOptions};
use super::explanation::Explanation;
use super::resolve::Resolver;
use crate::turn::Turn;
use redis_api_wire::conn::{self, Conn, Error, Event, Greeting, Verdict};
use redis_api_wire::resp::{self, ErrorKind, Reply};

/// A reply that outlives its buffer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Error {
        kind: ErrorKind,
        text: String,
    },
    /// An array or set; a map as its keys and values in turn.
    List(Vec<Value>),
    /// Nothing, or of a type that no command here is answered with.
    Null,
}

impl Value {
    fn of(reply: Reply<'_>) -> Self {
        match reply.plain() {
            Reply::Error(text) => Value::Error {
                kind: ErrorKind::of(text),
                text: conn::printable(text),
            },
            Reply::Integer(number) => Value::Integer(number),
            Reply::Array(elements) | Reply::Set(elements) => {
                Value::List(elements.map(Value::of).collect())
            }
            Reply::Map(pairs) => {
                let flat = pairs.flat_map(|(key, value)| [key, value]);
                Value::List(flat.map(Value::of).collect())
            }
            other => match other.as_text() {
                Some(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                None => Value::Null,
            },
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value behind a key of a map.
    pub fn member(&self, key: &str) -> Option<&Value> {
        let Value::List(items) = self else {
            return None;
        };
        let mut pairs = items.chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [name, value] if name.text() == Some(key) => Some(value),
            _ => None,
        })
    }
}

/// What the TLS handshake came to.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// As rustls names it: `TLSv1_3`.
    pub version: String,
    /// As the server sent them, its own first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Secured {
    fn of(tls: &ClientConnection) -> Self {
        Secured {
            version: tls
                .protocol_version()
                .map_or_else(String::new, |version| format!("{version:?}")),
            chain: tls.peer_certificates().unwrap_or_default().to_vec(),
        }
    }
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum OpenError {
    Dial(DialError),
    /// The connection ended before login was done.
    Login {
        error: Error,
        /// What is odd about the password.
        flaw: Option<Flaw>,
        /// The server may be one that knows no `HELLO`.
        closed_at_hello: bool,
    },
}

impl OpenError {
    /// What happened at this server, and what to do about it.
    pub fn explain(&self, endpoint: &Endpoint) -> Explanation {
        match self {
            OpenError::Dial(error) => error.explain(endpoint),
            OpenError::Login { error, flaw, .. } => explain_login(endpoint, *flaw, error),
        }
    }
}

/// What a session is made with.
pub(crate) struct Opening<'a> {
    pub set: &'a SetOptions,
    pub credentials: &'a Credentials,
    /// Shown by `CLIENT LIST`.
    pub client_name: &'a str,
    pub resolver: &'a Resolver,
    /// The clock that deadlines are of.
    pub clock: &'a Rc<Turn>,
    /// The calendar's clock, for the age of files.
    pub wall_clock: fn() -> SystemTime,
}

/// A connection that is logged in.
pub(crate) struct Session {
    clock: Rc<Turn>,
    stream: Stream,
    conn: Conn<()>,
    /// What the server said to `HELLO`.
    pub greeting: Greeting,
    /// `None`: plaintext.
    pub secured: Option<Secured>,
    /// From the dial to the end of login.
    pub took: Duration,
}

impl Session {
    /// Connects and logs in by `deadline`, as `serve` does: once more without `HELLO` where the
    /// server closes the connection at it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(opening: Opening<'_>, deadline: Instant) -> Result<Session, OpenError> {
        let Opening {
            set,
            resolver,
            clock,
            ..
        } = opening;
        match Session::attempt(&opening, deadline, false).await {
            Err(OpenError::Login {
                closed_at_hello: true,
                ..
            }) => Session::attempt(&opening, deadline, true).await,
            Err(OpenError::Dial(error)) => Err(OpenError::Dial(
                dial::look_closer(error, &set.endpoint, resolver, clock, deadline).await,
            )),
            other => other,
        }
    }

    async fn attempt(
        opening: &Opening<'_>,
        deadline: Instant,
        skip_hello: bool,
    ) -> Result<Session, OpenError> {
        let Opening {
            set,
            credentials,
            client_name,
            resolver,
            clock,
            wall_clock,
        } = opening;
        let started = clock.clock();
        let material = credentials
            .read(&set.endpoint, resolver, deadline, wall_clock())
            .await
            .map_err(OpenError::Dial)?;
        let mut login = dial::login(&set.endpoint, material.password.as_ref(), client_name);
        login.skip_hello = skip_hello;
        let mut secured = None;
        let mut show = |tls: &ClientConnection| secured = Some(Secured::of(tls));
        let endpoint = &set.endpoint;
        let stream = dial::dial_showing(endpoint, &material, resolver, clock, deadline, &mut show);
        let stream = stream.await.map_err(OpenError::Dial)?;
        let options = conn::Options {
            stall_timeout: set.stall_timeout,
            ping_interval: set.ping_interval,
            max_in_flight: 1,
            limits: LIMITS,
        };
        let now = clock.clock();
        let mut session = Session {
            clock: Rc::clone(clock),
            stream,
            conn: Conn::new(options, login, deadline.into_std(), now),
            greeting: Greeting::default(),
            secured,
            took: Duration::ZERO,
        };
        let outcome = timeout_at(deadline, session.log_in(set)).await;
        if let Err(error) = outcome.unwrap_or(Err(Error::LoginTimeout)) {
            let closed = matches!(error, Error::Closed | Error::Io(_));
            return Err(OpenError::Login {
                closed_at_hello: closed && session.conn.awaits_hello(),
                flaw: credentials.flaw(),
                error,
            });
        }
        session.took = session.clock.clock() - started;
        Ok(session)
    }

    async fn log_in(&mut self, set: &SetOptions) -> Result<(), Error> {
        while !self.conn.is_ready() {
            self.send().await?;
            let received = self.stream.read_buf(self.conn.input()).await;
            let received = received.map_err(|error| failed_login(&set.endpoint, error))?;
            self.take_in(received)?;
        }
        Ok(())
    }

    /// Sends a command and waits for its reply, for `timeout` at most and not past `end`. After an
    /// error of the connection every later call fails too.
    ///
    /// # Errors
    /// Why the connection is of no more use; an error reply is a [`Value`].
    pub async fn ask(
        &mut self,
        words: &[&str],
        timeout: Duration,
        end: Instant,
    ) -> Result<Value, Error> {
        let started = self.clock.clock();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let command = |out: &mut _| resp::command(out, &words);
        self.conn
            .enqueue((), started, command)
            .map_err(|_| Error::Closed)?;
        let deadline = end.min(Instant::from_std(started + timeout));
        let outcome = timeout_at(deadline, self.reply()).await;
        outcome.unwrap_or_else(|_| Err(Error::Stalled(self.clock.clock() - started)))
    }

    async fn reply(&mut self) -> Result<Value, Error> {
        self.send().await?;
        loop {
            let received = self.stream.read_buf(self.conn.input()).await;
            let received = received.map_err(|error| Error::Io(error.to_string()))?;
            if let Some(value) = self.take_in(received)? {
                return Ok(value);
            }
        }
    }

    async fn send(&mut self) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::Io(error.to_string());
        while !self.conn.output().is_empty() {
            let written = self.stream.write(self.conn.output()).await;
            match written.map_err(failed)? {
                0 => return Err(Error::Closed),
                n => self.conn.sent(n),
            }
        }
        self.stream.flush().await.map_err(failed)
    }

    fn take_in(&mut self, received: usize) -> Result<Option<Value>, Error> {
        if received == 0 {
            return Err(Error::Closed);
        }
        let (mut value, mut greeting) = (None, self.greeting);
        let now = self.clock.clock();
        self.conn.on_input(now, |event| {
            match event {
                Event::Ready(hello) => greeting = hello,
                Event::Reply((), reply) => value = Some(Value::of(reply)),
                Event::Push(_) => {}
            }
            Verdict::Continue
        })?;
        self.greeting = greeting;
        Ok(value)
    }
}
