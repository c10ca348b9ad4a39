//! The `WAIT`s under way on the links to the master: `WAIT` behind `HSET`, on the same connection.
//!
//! `WAIT` answers how many replicas have confirmed all that its own connection wrote before it, at
//! the latest after a timeout, and holds up everything behind it on that connection until then.
//! <https://redis.io/docs/latest/commands/wait/>
//!
//! Invariants:
//! - No write is put behind a `WAIT`: its connection takes none until the answer is there. Those
//!   that have come meanwhile are not sent, and go together then.
//! - So every write on a connection is before the `WAIT` that is under way there, and may share its
//!   answer.
//! - A `WAIT` never goes to another connection than its write: there it would count something else.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::waiter::Answer;
use super::write_reply::{WaitReply, WriteWaiter};
use crate::net::Link;
use redis_api_wire::conn::Refusal;
use redis_api_wire::resp;

/// What is known of one link.
#[derive(Default)]
struct LinkWait {
    /// Counts its connections.
    connection: Cell<u64>,
    /// The `WAIT` under way.
    answer: RefCell<Option<Rc<Answer<WaitReply>>>>,
}

/// See the module. Of one set.
pub struct Confirmations(Box<[LinkWait]>);

/// A connection that a write went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection(u64);

impl Confirmations {
    /// For so many links.
    pub fn new(links: usize) -> Self {
        Confirmations((0..links).map(|_| LinkWait::default()).collect())
    }

    fn of(&self, link: &Link<WriteWaiter>) -> Option<&LinkWait> {
        self.0.get(link.index())
    }

    /// The connection that the link has now.
    pub fn connection(&self, link: &Link<WriteWaiter>) -> Connection {
        Connection(self.of(link).map_or(0, |wait| wait.connection.get()))
    }

    /// The link has another connection than before, or none.
    pub fn changed(&self, link: &Link<WriteWaiter>) {
        if let Some(wait) = self.of(link) {
            wait.connection.set(wait.connection.get() + 1);
            wait.answer.take();
        }
    }

    /// Whether a `WAIT` is under way.
    pub fn any(&self) -> bool {
        self.0.iter().any(|wait| wait.answer.borrow().is_some())
    }

    /// The answer to the `WAIT` under way on this connection, which is sent if there is none yet.
    ///
    /// # Errors
    /// Why there will be no answer.
    pub fn ask(
        &self,
        link: &Link<WriteWaiter>,
        connection: Connection,
        now: Instant,
        replicas: u64,
        timeout: Duration,
    ) -> Result<Rc<Answer<WaitReply>>, &'static str> {
        let wait = self.of(link);
        let wait = wait.filter(|wait| Connection(wait.connection.get()) == connection);
        let wait = wait.ok_or("the connection was lost, and there is a new one")?;
        if let Some(answer) = &*wait.answer.borrow() {
            return Ok(answer.clone());
        }
        let answer = Answer::new(1);
        let (replicas, timeout) = (replicas.to_string(), timeout.as_millis().to_string());
        link.enqueue(WriteWaiter::Wait(answer.clone()), now, |out| {
            resp::command(out, &[b"WAIT", replicas.as_bytes(), timeout.as_bytes()]);
        })
        .map_err(|(_, refusal)| match refusal {
            Refusal::NotReady => "the connection was lost",
            Refusal::Full => "too many commands await their replies",
        })?;
        link.admit(false);
        *wait.answer.borrow_mut() = Some(answer.clone());
        Ok(answer)
    }

    /// The answer is there: the link takes writes again.
    pub fn answered(&self, link: &Link<WriteWaiter>) {
        if let Some(wait) = self.of(link) {
            wait.answer.take();
        }
        link.admit(true);
    }
}
