//! The task of one link: connects, serves the connection to its end, connects again.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::connection::Connection;
use super::credentials::Credentials;
use super::dial::{self, Stream};
use super::dial_error::{DialError, explain_end, explain_login};
use super::endpoint::{Address, SetOptions};
use super::link::OwnedLink;
use super::resolve::Resolver;
use crate::metrics::{self, ErrorLabel};
use crate::turn::Turn;
use redis_api_wire::conn::{self, Conn, Error, backoff};
use redis_api_wire::resp::{ErrorKind, Limits};

/// A connection that stood this long counts as a success: the next wait starts small again.
const SETTLED: Duration = Duration::from_secs(2);

/// Longest wait between attempts.
const CAP: Duration = Duration::from_secs(10);
/// The same for a server on this host, where no other host's clients can be drowned.
const CAP_LOCAL: Duration = Duration::from_secs(1);
/// The same while a name is not found, when no server is reached that could be drowned: a name that
/// is there again is a server that is there again.
const CAP_UNNAMED: Duration = Duration::from_secs(2);

/// What one reply may cost us: enough for `INFO` and for the longest `HMGET` of numbers, with a
/// wide margin, and little enough that a server gone mad can't take the pod's memory.
pub const LIMITS: Limits = Limits {
    depth: 8,
    elements: 4096,
    line_len: 64 * 1024,
    bulk_len: 1 << 20,
    reply_len: 4 << 20,
};

/// What a driver needs beside its link and owner. Time and randomness come from outside.
pub struct Driver {
    /// Where and how to connect, and the limits of a connection.
    pub options: Rc<SetOptions>,
    /// Shown by `CLIENT LIST`.
    pub client_name: String,
    /// Names the role in log lines: `read` or `write`.
    pub role: &'static str,
    /// Looks names up.
    pub resolver: Resolver,
    /// The worker's clock.
    pub turn: Rc<Turn>,
    /// The calendar's clock, for the age of files.
    pub wall_clock: fn() -> SystemTime,
    /// Where the role's counters are.
    pub metrics: metrics::RoleMetrics,
    /// Shared by the drivers of a set.
    pub credentials: Rc<Credentials>,
    /// For the jitter of the waits between attempts.
    pub random: fastrand::Rng,
}

impl Driver {
    /// Keeps the link connected; never returns.
    pub(super) async fn run<W: 'static>(mut self, owned: OwnedLink<W>) {
        let mut failures = 0;
        loop {
            let started = self.turn.clock();
            let ended = self.connect(&owned).await;
            failures = failures_after(failures, ended.logged_in, self.turn.clock() - started);
            let address = &self.options.endpoint.address;
            let cap = cap(address, ended.unnamed);
            let wait = backoff::full_jitter(failures, cap, self.random.f64());
            let why = ended.why;
            let wait_ms = wait.as_millis() as u64;
            tracing::warn!(
                role = self.role,
                %address,
                error = %why,
                wait_ms,
                "{} {address}: {why}; next attempt in {wait_ms} ms",
                self.role,
            );
            owned.owner.down(&owned.link, &why);
            self.turn.sleep_until(self.turn.clock() + wait).await;
        }
    }

    /// Serves the link over one stream to its end, logged in without credentials.
    pub(super) async fn run_over<W: 'static>(self, stream: Stream, owned: OwnedLink<W>) {
        let deadline = self.turn.clock() + self.options.connect_timeout;
        let login = conn::Login::default();
        let ended = self.serve(stream, login, deadline, &owned).await;
        owned.owner.down(&owned.link, &ended.why);
    }

    /// One connection from dial to end; two, if the server closed the first at `HELLO`.
    async fn connect<W: 'static>(&self, owned: &OwnedLink<W>) -> Ended {
        let deadline = self.turn.clock() + self.options.connect_timeout;
        let ended = self.attempt(false, deadline, owned).await;
        if ended.closed_at_hello {
            return self.attempt(true, deadline, owned).await;
        }
        ended
    }

    async fn attempt<W: 'static>(
        &self,
        skip_hello: bool,
        deadline: Instant,
        owned: &OwnedLink<W>,
    ) -> Ended {
        let address = &self.options.endpoint.address;
        tracing::debug!(role = self.role, %address, "{} {address}: connecting", self.role);
        self.metrics.role().connects.add(1);
        let dialled = {
            let _deadline = self.turn.deadline(deadline);
            self.dial(deadline).await
        };
        match dialled {
            Ok((stream, mut login)) => {
                login.skip_hello = skip_hello;
                self.serve(stream, login, deadline, owned).await
            }
            Err(error) => {
                self.metrics.role().error(failure_of_dial(&error));
                Ended {
                    why: error.explain(&self.options.endpoint).to_string(),
                    logged_in: false,
                    closed_at_hello: false,
                    unnamed: matches!(error, DialError::Lookup { .. }),
                }
            }
        }
    }

    /// One connection over `stream`, from login, which must be done by `deadline`, to its end.
    async fn serve<W: 'static>(
        &self,
        stream: Stream,
        login: conn::Login,
        deadline: Instant,
        owned: &OwnedLink<W>,
    ) -> Ended {
        let OwnedLink { link, owner } = owned;
        let endpoint = &self.options.endpoint;
        let options = conn::Options {
            stall_timeout: self.options.stall_timeout,
            ping_interval: self.options.ping_interval,
            max_in_flight: self.options.max_in_flight,
            limits: LIMITS,
        };
        link.open(Conn::new(options, login, deadline, self.turn.clock()));
        let connection = Connection::new(stream, owned, endpoint, &self.turn, &self.metrics);
        let error = connection.drive().await;
        self.metrics.role().error(failure_of_conn(&error));
        let (mut logged_in, mut closed_at_hello) = (false, false);
        if let Some(conn) = link.take() {
            logged_in = conn.is_ready();
            closed_at_hello = matches!(error, Error::Closed | Error::Io(_)) && conn.awaits_hello();
            if logged_in {
                self.metrics.role().connections.sub(1);
            }
            for (waiter, fate) in conn.end() {
                owner.lost(waiter, fate, &error);
            }
        }
        let endpoint = &self.options.endpoint;
        let why = if logged_in {
            explain_end(endpoint, &error)
        } else {
            explain_login(endpoint, self.credentials.flaw(), &error)
        };
        Ended {
            why: why.to_string(),
            logged_in,
            closed_at_hello,
            unnamed: false,
        }
    }

    async fn dial(&self, deadline: Instant) -> Result<(Stream, conn::Login), DialError> {
        let endpoint = &self.options.endpoint;
        let reading = self.credentials.read(
            endpoint,
            &self.resolver,
            deadline.into(),
            (self.wall_clock)(),
        );
        let material = reading.await?;
        let login = dial::login(endpoint, material.password.as_ref(), &self.client_name);
        let (resolver, clock) = (&self.resolver, &self.turn);
        let stream = dial::dial(endpoint, &material, resolver, clock, deadline.into()).await?;
        Ok((stream, login))
    }
}

/// How an attempt to connect, or the connection that it made, ended.
struct Ended {
    why: String,
    logged_in: bool,
    /// The server may be one that knows no `HELLO`.
    closed_at_hello: bool,
    /// Its name has no address.
    unnamed: bool,
}

/// The longest wait for a server at this address.
fn cap(address: &Address, unnamed: bool) -> Duration {
    match (address.is_local(), unnamed) {
        (true, _) => CAP_LOCAL,
        (false, true) => CAP_UNNAMED,
        (false, false) => CAP,
    }
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

fn failure_of_dial(error: &DialError) -> ErrorLabel {
    match error {
        DialError::Tls(_) | DialError::TlsFile(_) => ErrorLabel::Tls,
        DialError::Timeout(_) => ErrorLabel::Timeout,
        DialError::Lookup { .. } | DialError::Connect { .. } | DialError::Secret { .. } => {
            ErrorLabel::Connect
        }
    }
}

fn failure_of_conn(error: &Error) -> ErrorLabel {
    match error {
        Error::Closed | Error::Io(_) => ErrorLabel::Lost,
        Error::Tls { .. } => ErrorLabel::Tls,
        Error::Malformed(_) | Error::Stray(_) | Error::LoginConfused(_) | Error::Confused(_) => {
            ErrorLabel::Protocol
        }
        Error::Stalled(_) => ErrorLabel::Stalled,
        Error::LoginTimeout => ErrorLabel::Timeout,
        Error::NoUserNames(_) => ErrorLabel::of(ErrorKind::Other),
        Error::Login { kind, .. } | Error::Unusable { kind, .. } => ErrorLabel::of(*kind),
    }
}

#[cfg(test)]
mod tests;
