//! Waiting until replicas have a write: `WAIT` behind `HSET`, on the same connection.
//!
//! `WAIT` answers how many replicas have confirmed all that its own connection wrote before it, at
//! the latest after a timeout, and holds up everything behind it on that connection until then.
//! <https://redis.io/docs/latest/commands/wait/>
//!
//! Invariants:
//! - No write is put behind a `WAIT`: its connection takes none until the answer is there. Those that
//!   have come meanwhile are not sent, and go together then.
//! - So every write on a connection is before the `WAIT` that is under way there, and may share its
//!   answer.
//! - A `WAIT` never goes to another connection than its write: there it would count something else.
//! - It is asked for short [slices](SLICE) of time, again and again until the write's deadline: so
//!   that other writes get their turn, and that it is known at the deadline how many have confirmed.
//!
//! Non-goal: a choice of replicas. Redis counts any, in our case the sidecars of pods too.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::waiter::Answer;
use super::writes::{Progress, Waiter, WriteError, Writes};
use crate::net::Link;
use redis_api_wire::conn::{Error, Refusal, Verdict, printable};
use redis_api_wire::resp::{self, ErrorKind, Reply};

/// How long one `WAIT` may last. A server that is idle looks at its clock each 100 ms only (`hz
/// 10`), so that it may be so much more.
const SLICE: Duration = Duration::from_millis(50);

/// What is kept of a write's time for the way of the last answer.
const MARGIN: Duration = Duration::from_millis(10);

/// What became of one `WAIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// So many replicas have it.
    By(u64),
    Refused {
        kind: ErrorKind,
        text: String,
    },
    /// No answer will come, for this reason.
    Lost(String),
}

/// What is known of one link.
#[derive(Default)]
struct Line {
    /// Counts its connections.
    connection: Cell<u64>,
    waiting: RefCell<Option<Rc<Answer<Confirmed>>>>,
}

/// The `WAIT`s under way on the links of one set.
#[derive(Default)]
pub struct Confirmations(Vec<Line>);

/// A connection that a write went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection(u64);

impl Confirmations {
    /// For so many links.
    pub fn new(links: usize) -> Self {
        Confirmations((0..links).map(|_| Line::default()).collect())
    }

    /// The connection that the link has now.
    pub fn connection(&self, link: &Link<Waiter>) -> Connection {
        Connection(
            self.0
                .get(link.index())
                .map_or(0, |line| line.connection.get()),
        )
    }

    /// The link has another connection than before, or none.
    pub fn changed(&self, link: &Link<Waiter>) {
        if let Some(line) = self.0.get(link.index()) {
            line.connection.set(line.connection.get() + 1);
            line.waiting.take();
        }
    }

    /// Whether a `WAIT` is under way.
    pub fn any(&self) -> bool {
        self.0.iter().any(|line| line.waiting.borrow().is_some())
    }

    /// The answer to the `WAIT` under way on this connection, which is sent if there is none yet.
    fn ask(
        &self,
        link: &Link<Waiter>,
        connection: Connection,
        now: Instant,
        replicas: u64,
        timeout: Duration,
    ) -> Result<Rc<Answer<Confirmed>>, &'static str> {
        let line = self.0.get(link.index());
        let line = line.filter(|line| Connection(line.connection.get()) == connection);
        let line = line.ok_or("there is another connection now")?;
        if let Some(answer) = &*line.waiting.borrow() {
            return Ok(answer.clone());
        }
        let answer = Answer::new(1);
        let (replicas, timeout) = (replicas.to_string(), timeout.as_millis().to_string());
        link.enqueue(Waiter::Wait(answer.clone()), now, |out| {
            resp::command(out, &[b"WAIT", replicas.as_bytes(), timeout.as_bytes()]);
        })
        .map_err(|(_, refusal)| match refusal {
            Refusal::NotReady => "the connection is gone",
            Refusal::Full => "too many commands await their answer",
        })?;
        link.admit(false);
        *line.waiting.borrow_mut() = Some(answer.clone());
        Ok(answer)
    }

    /// The answer is there: the link takes writes again.
    fn answered(&self, link: &Link<Waiter>) {
        if let Some(line) = self.0.get(link.index()) {
            line.waiting.take();
        }
        link.admit(true);
    }
}

impl Writes {
    /// Waits until enough replicas have what was written on this connection.
    pub(super) async fn confirm(
        &self,
        link: &Link<Waiter>,
        connection: Connection,
        deadline: Instant,
        report: &impl Fn(Progress),
    ) -> Result<(), WriteError> {
        let wanted = self.replicas();
        let since = self.now();
        let mut confirmed = None;
        loop {
            report(Progress::Written { confirmed, wanted });
            let now = self.now();
            let left = deadline.saturating_duration_since(now);
            match confirmed {
                Some(confirmed) if left <= MARGIN => {
                    let within = now - since;
                    return Err(WriteError::TooFew {
                        confirmed,
                        wanted,
                        within,
                    });
                }
                _ => {}
            }
            // Never 0 ms: that is no timeout at all.
            let slice = left
                .saturating_sub(MARGIN)
                .clamp(Duration::from_millis(1), SLICE);
            let confirmations = self.confirmations();
            let answer = confirmations
                .ask(link, connection, now, wanted, slice)
                .map_err(|why| WriteError::Unconfirmed(why.to_owned()))?;
            match answer.wait().await {
                Confirmed::By(replicas) if replicas >= wanted => return Ok(()),
                Confirmed::By(replicas) => confirmed = Some(replicas),
                Confirmed::Refused { kind, text } => {
                    return Err(WriteError::WaitRefused { kind, text });
                }
                Confirmed::Lost(why) => return Err(WriteError::Unconfirmed(why)),
            }
        }
    }

    /// Takes in the answer to a `WAIT`.
    pub(super) fn on_wait(
        &self,
        link: &Link<Waiter>,
        answer: &Answer<Confirmed>,
        reply: Reply<'_>,
    ) -> Verdict {
        let (confirmed, verdict) = match reply.plain() {
            Reply::Integer(replicas) => {
                let replicas = u64::try_from(replicas).unwrap_or(0);
                (Confirmed::By(replicas), Verdict::Continue)
            }
            Reply::Error(text) => {
                let kind = ErrorKind::of(text);
                let text = printable(text);
                self.count_error(kind);
                let verdict = self.verdict(kind, text.clone());
                (Confirmed::Refused { kind, text }, verdict)
            }
            _ => {
                let what = "WAIT was answered with no number";
                let verdict = Verdict::Close(Error::Confused(what));
                (Confirmed::Lost(what.to_owned()), verdict)
            }
        };
        if verdict == Verdict::Continue {
            self.confirmations().answered(link);
            // Before those who have waited: they ask again, and would close it to the others.
            self.wake_waiting();
        }
        answer.resolve(confirmed);
        verdict
    }
}
