//! The task of one link: connects, moves bytes both ways, connects again.
//!
//! One task drives both directions of a connection: a server that stops reading until its replies
//! are read can't deadlock it. All commands of one turn leave in one `write`, since the task runs
//! behind the requests that woke it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::credentials::Credentials;
use super::dial::{self, Stream};
use super::dial_error::DialError;
use super::endpoint::{Address, Endpoint, SetOptions};
use super::link::{Link, Owner};
use super::resolve::Resolver;
use super::tls;
use crate::metrics::{self, ErrorLabel};
use crate::turn::Turn;
use redis_api_wire::conn::{self, Conn, Error, Event, Verdict, backoff};
use redis_api_wire::resp::{DecodeError, Limits};

/// Reads in one poll of the task, so that a server that never stops talking can't starve the
/// worker.
const MAX_READS: usize = 16;

/// A connection that stood this long counts as a success: the next wait starts small again.
const SETTLED: Duration = Duration::from_secs(2);

/// Longest wait between attempts.
const CAP: Duration = Duration::from_secs(10);
/// The same for a server on this host, where no other host's clients can be drowned.
const CAP_LOCAL: Duration = Duration::from_secs(1);

/// What one reply may cost us: enough for `INFO` and for the longest `HMGET` of numbers, with a
/// wide margin, and little enough that a server gone mad can't take the pod's memory.
pub const LIMITS: Limits = Limits {
    depth: 8,
    elements: 4096,
    line_len: 64 * 1024,
    bulk_len: 1 << 20,
    reply_len: 4 << 20,
};

/// The first byte of a TLS alert: its content type (RFC 8446 §5.1).
const TLS_ALERT: u8 = 21;

/// What a connection has yet to send.
#[derive(Default)]
struct Outgoing {
    /// The transport has bytes that it may still hold back.
    unflushed: bool,
    /// The commands have waited for a look at the sockets.
    waited: bool,
}

impl Outgoing {
    /// Whether the commands should wait for the runtime's next look at the sockets; once.
    ///
    /// At 64 busy connections this brings 17 requests to a command instead of 13, and saves a
    /// fifth of Redis' work (tuning/README.md). Where few share a command it would only cost a
    /// system call, and is left out.
    fn may_wait<W>(&mut self, link: &Link<W>) -> bool {
        let waiting = |conn: &mut Conn<W>| !conn.output().is_empty();
        self.waited = link.is_crowded() && !self.waited && link.with(waiting).unwrap_or(false);
        self.waited
    }
}

/// What a driver needs beside its link and owner.
pub struct Driver {
    pub options: Rc<SetOptions>,
    pub client_name: String,
    /// Names the role in log lines: `read` or `write`.
    pub role: &'static str,
    pub resolver: Resolver,
    pub turn: Rc<Turn>,
    pub metrics: metrics::RoleOf,
    /// Shared by the drivers of a set.
    pub credentials: Rc<Credentials>,
    pub random: fastrand::Rng,
}

impl Driver {
    /// Keeps the link connected; never returns.
    pub async fn run<W: 'static>(mut self, link: Rc<Link<W>>, owner: Rc<dyn Owner<W>>) {
        let cap = if self.options.endpoint.address.is_local() {
            CAP_LOCAL
        } else {
            CAP
        };
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let Ended { why, logged_in } = self.once(&link, &owner).await;
            failures = failures_after(failures, logged_in, started.elapsed());
            let wait = backoff::full_jitter(failures, cap, self.random.f64());
            let address = &self.options.endpoint.address;
            let wait_ms = wait.as_millis() as u64;
            tracing::warn!(
                role = self.role,
                %address,
                error = %why,
                wait_ms,
                "{} {address}: {why}; next attempt in {wait_ms} ms",
                self.role,
            );
            owner.down(&link, &why);
            sleep(wait).await;
        }
    }

    /// Serves the link over one stream to its end, logged in without credentials.
    pub(super) async fn run_over<W: 'static>(
        self,
        stream: Stream,
        link: Rc<Link<W>>,
        owner: Rc<dyn Owner<W>>,
    ) {
        let deadline = Instant::now() + self.options.connect_timeout;
        let login = conn::Login::default();
        let ended = self.connection(stream, login, deadline, &link, &owner);
        owner.down(&link, &ended.await.why);
    }

    /// One connection from dial to end.
    async fn once<W: 'static>(&mut self, link: &Rc<Link<W>>, owner: &Rc<dyn Owner<W>>) -> Ended {
        let deadline = Instant::now() + self.options.connect_timeout;
        let address = &self.options.endpoint.address;
        tracing::debug!(role = self.role, %address, "{} {address}: connecting", self.role);
        self.metrics.role().connects.add(1);
        match self.dial(deadline).await {
            Ok((stream, login)) => self.connection(stream, login, deadline, link, owner).await,
            Err(error) => {
                self.metrics.role().error(failure_of_dial(&error));
                Ended {
                    why: error.to_string(),
                    logged_in: false,
                }
            }
        }
    }

    /// One connection over `stream`, from login, which must be done by `deadline`, to its end.
    async fn connection<W: 'static>(
        &self,
        stream: Stream,
        login: conn::Login,
        deadline: Instant,
        link: &Rc<Link<W>>,
        owner: &Rc<dyn Owner<W>>,
    ) -> Ended {
        let options = conn::Options {
            stall_timeout: self.options.stall_timeout,
            ping_interval: self.options.ping_interval,
            max_in_flight: self.options.max_in_flight,
            limits: LIMITS,
        };
        let now = Instant::now().into_std();
        link.open(Conn::new(options, login, deadline.into_std(), now));
        let error = self.drive(stream, link, owner).await;
        self.metrics.role().error(failure_of_conn(&error));
        let mut logged_in = false;
        if let Some(conn) = link.take() {
            logged_in = conn.is_ready();
            if logged_in {
                self.metrics.role().connections.sub(1);
            }
            for (waiter, fate) in conn.end() {
                owner.lost(waiter, fate, &error);
            }
        }
        let hint = if logged_in {
            ""
        } else {
            hint(&self.options.endpoint, &error)
        };
        Ended {
            why: format!("{error}{hint}"),
            logged_in,
        }
    }

    async fn dial(&self, deadline: Instant) -> Result<(Stream, conn::Login), DialError> {
        let endpoint = &self.options.endpoint;
        let material = self.credentials.read(endpoint, SystemTime::now())?;
        let login = dial::login(endpoint, material.password.as_ref(), &self.client_name);
        let stream = dial::dial(endpoint, &material, &self.resolver, deadline).await?;
        Ok((stream, login))
    }

    /// Moves bytes until the connection ends; why it did.
    async fn drive<W: 'static>(
        &self,
        mut stream: Stream,
        link: &Rc<Link<W>>,
        owner: &Rc<dyn Owner<W>>,
    ) -> Error {
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut outgoing = Outgoing::default();
        poll_fn(|cx| {
            link.listen(cx.waker());
            match self.advance(cx, &mut stream, link, owner, timer.as_mut(), &mut outgoing) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(error),
            }
        })
        .await
    }

    /// Goes as far as the socket lets it.
    fn advance<W: 'static>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        link: &Rc<Link<W>>,
        owner: &Rc<dyn Owner<W>>,
        mut timer: Pin<&mut Sleep>,
        outgoing: &mut Outgoing,
    ) -> Result<(), Error> {
        for _ in 0..MAX_READS {
            if outgoing.may_wait(link) {
                // Wakes this task after the runtime's next look at the sockets.
                let _ = pin!(yield_now()).poll(cx);
            } else if let Err(error) = write(cx, stream, link, &mut outgoing.unflushed) {
                // The reason may be there to be read: an alert, sent before the server closed.
                return match self.read(cx, stream, link, owner) {
                    Err(alert @ Error::Tls(_)) => Err(alert),
                    _ => Err(error),
                };
            }
            let received = match self.read(cx, stream, link, owner) {
                Err(error @ Error::Unfit { .. }) => {
                    self.read_rest(cx, stream, link, owner);
                    return Err(error);
                }
                other => other?,
            };
            let beaten = self.beat(cx, link, timer.as_mut())?;
            if !received && !beaten {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Reads once and hands the replies out; whether anything came.
    fn read<W: 'static>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        link: &Rc<Link<W>>,
        owner: &Rc<dyn Owner<W>>,
    ) -> Result<bool, Error> {
        let outcome = link.with(|conn| {
            let polled = pin!(stream.read_buf(conn.input())).poll(cx);
            match polled {
                Poll::Pending => return Ok((false, None)),
                Poll::Ready(Err(error)) if !conn.is_ready() => {
                    return Err(failed_login(&self.options.endpoint, &error));
                }
                Poll::Ready(Err(error)) => return Err(ended(&error)),
                Poll::Ready(Ok(0)) => return Err(Error::Closed),
                Poll::Ready(Ok(_)) => {}
            }
            let mut greeting = None;
            conn.on_input(self.turn.now(), |event| match event {
                Event::Reply(waiter, reply) => owner.reply(link, waiter, reply),
                Event::Push(push) => {
                    owner.push(link, push);
                    Verdict::Continue
                }
                Event::Ready(hello) => {
                    // Before what has come with the greeting, which may end the connection.
                    self.metrics.role().connections.add(1);
                    greeting = Some(hello);
                    Verdict::Continue
                }
            })?;
            Ok((true, greeting))
        });
        let (received, greeting) = outcome.unwrap_or(Err(Error::Closed))?;
        if let Some(greeting) = greeting {
            owner.ready(link, greeting);
        }
        Ok(received)
    }

    /// Hands out the replies that have arrived behind one that makes the connection useless: a
    /// command that the server has refused is not lost.
    fn read_rest<W: 'static>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        link: &Rc<Link<W>>,
        owner: &Rc<dyn Owner<W>>,
    ) {
        // There can't be more replies than that, and a read that brings none is the last.
        for _ in 0..link.in_flight() {
            match self.read(cx, stream, link, owner) {
                Ok(true) | Err(Error::Unfit { .. }) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Runs the connection's one timer; whether it had something to do.
    ///
    /// The timer is moved only forward to an earlier deadline or when it fires: with traffic the
    /// deadline moves with every reply, and following it would cost a timer operation each.
    fn beat<W>(
        &self,
        cx: &mut Context<'_>,
        link: &Link<W>,
        mut timer: Pin<&mut Sleep>,
    ) -> Result<bool, Error> {
        let deadline = link.with(|conn| conn.deadline()).ok_or(Error::Closed)?;
        let deadline = Instant::from_std(deadline);
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        let mut acted = false;
        while timer.as_mut().poll(cx).is_ready() {
            // The real clock: a turn that lasted must not let a stalled connection pass for a young
            // one.
            let now = Instant::now();
            link.with(|conn| conn.on_timer(now.into_std()))
                .unwrap_or(Err(Error::Closed))?;
            let next = link.with(|conn| conn.deadline()).ok_or(Error::Closed)?;
            timer
                .as_mut()
                .reset(Instant::from_std(next).max(now + Duration::from_millis(1)));
            acted = true;
        }
        Ok(acted)
    }
}

/// How an attempt to connect, or the connection that it made, ended.
struct Ended {
    why: String,
    logged_in: bool,
}

/// Failures in a row, after an attempt that lasted so long, connection included.
fn failures_after(failures: u32, logged_in: bool, lasted: Duration) -> u32 {
    // The time alone says nothing: a server that hangs costs a whole deadline at each attempt.
    if logged_in && lasted >= SETTLED {
        0
    } else {
        failures.saturating_add(1)
    }
}

/// Gives the transport what it takes of the commands written so far.
fn write<W>(
    cx: &mut Context<'_>,
    stream: &mut Stream,
    link: &Link<W>,
    unflushed: &mut bool,
) -> Result<(), Error> {
    link.with(|conn| {
        while !conn.output().is_empty() {
            link.begin_flush();
            match Pin::new(&mut *stream).poll_write(cx, conn.output()) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(Error::Closed),
                Poll::Ready(Ok(n)) => {
                    conn.sent(n);
                    *unflushed = true;
                }
                Poll::Ready(Err(error)) => return Err(ended(&error)),
            }
        }
        // TLS keeps records of its own until it is flushed; for a plain socket this is no system
        // call.
        if *unflushed {
            match Pin::new(&mut *stream).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => *unflushed = false,
                Poll::Ready(Err(error)) => return Err(ended(&error)),
            }
        }
        Ok(())
    })
    .unwrap_or(Err(Error::Closed))
}

/// What may have to be changed where a login ended so, as the end of a sentence: a port for TLS has
/// no words in plaintext. It closes the connection, or sends a TLS alert.
pub fn hint(endpoint: &Endpoint, error: &Error) -> &'static str {
    let wordless = match error {
        Error::Closed | Error::Io(_) => true,
        Error::Malformed(DecodeError::UnknownType(byte)) => *byte == TLS_ALERT,
        _ => false,
    };
    match (&endpoint.address, &endpoint.tls) {
        (Address::Tcp { .. }, None) if wordless => {
            "; perhaps it speaks only TLS on this port: give rediss:// or --redis-tls"
        }
        _ => "",
    }
}

/// What reading failed with before login was done. With TLS 1.3 a server refuses our certificate
/// only now.
pub fn failed_login(endpoint: &Endpoint, error: &io::Error) -> Error {
    let of_tls = error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>());
    match (&endpoint.address, &endpoint.tls) {
        (Address::Tcp { host, .. }, Some(options)) if of_tls => {
            Error::Tls(tls::explain(error, host, options))
        }
        _ => ended(error),
    }
}

/// What reading or writing failed with. A server that dies says no goodbye in TLS: that is an end
/// like any other, which rustls tells with a link to its own manual.
fn ended(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Closed,
        _ => Error::Io(error.to_string()),
    }
}

fn failure_of_dial(error: &DialError) -> ErrorLabel {
    match error {
        DialError::Tls(_) => ErrorLabel::Tls,
        DialError::Timeout(_) => ErrorLabel::Timeout,
        DialError::Lookup { .. } | DialError::Connect { .. } | DialError::Secret { .. } => {
            ErrorLabel::Connect
        }
    }
}

fn failure_of_conn(error: &Error) -> ErrorLabel {
    match error {
        Error::Closed | Error::Io(_) => ErrorLabel::Lost,
        Error::Tls(_) => ErrorLabel::Tls,
        Error::Malformed(_) | Error::Stray(_) | Error::LoginConfused(_) | Error::Confused(_) => {
            ErrorLabel::Protocol
        }
        Error::Stalled(_) => ErrorLabel::Stalled,
        Error::LoginTimeout => ErrorLabel::Timeout,
        Error::Login { kind, .. } | Error::Unfit { kind, .. } => ErrorLabel::of(*kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_without_goodbye_is_an_end() {
        // What rustls gives for it.
        let text = "peer closed connection without sending TLS close_notify: https://docs.rs/…";
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        assert_eq!(ended(&error), Error::Closed);
        let error = io::Error::other("reset");
        assert_eq!(ended(&error), Error::Io("reset".to_owned()));
    }

    #[test]
    fn only_a_connection_that_stood_is_a_success() {
        let check = |logged_in, seconds, expected| {
            let lasted = Duration::from_secs(seconds);
            assert_eq!(failures_after(3, logged_in, lasted), expected);
        };
        check(true, 2, 0);
        check(true, 1, 4);
        // A server that hangs: the deadline to connect, longer than it takes to count as stable.
        check(false, 5, 4);
        check(false, 0, 4);
        assert_eq!(failures_after(u32::MAX, false, Duration::ZERO), u32::MAX);
    }
}
