//! Writes to the master, each with an honest outcome.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::confirm::confirm;
use super::key::HashName;
use super::master::{Master, MasterOwner};
use super::room;
use super::waiter::Answer;
use super::write_error::{Progress, WriteError};
use super::write_reply::{HsetReply, WriteWaiter};
use crate::metrics;
use crate::net::{Owner, Set};
use crate::turn::Turn;
use redis_api_wire::conn::Refusal;
use redis_api_wire::resp::{self, ErrorKind};

/// How to write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// The hash that is written.
    pub hash: HashName,
    /// Replicas that must have a write before it is a success; 0: the master's word is enough.
    pub replicas: u64,
}

/// The write side of one worker.
pub struct Writes {
    options: WriteOptions,
    master: Rc<Master>,
}

impl Writes {
    /// The write side over these links, which [`owner`](Self::owner) is to be told of.
    pub fn new(
        options: WriteOptions,
        address: String,
        set: Set<WriteWaiter>,
        turn: Rc<Turn>,
        metrics: Arc<metrics::Worker>,
    ) -> Self {
        Writes {
            options,
            master: Rc::new(Master::new(address, set, turn, metrics)),
        }
    }

    /// Whom the links' drivers tell what arrives.
    pub fn owner(&self) -> Rc<dyn Owner<WriteWaiter>> {
        Rc::new(MasterOwner(Rc::downgrade(&self.master)))
    }

    /// Why there is no connection to the master, in words.
    pub fn trouble(&self) -> String {
        self.master.trouble()
    }

    /// Asks the master for the CPU time it has used, for the metrics.
    pub fn ask_cpu(&self) {
        self.master.ask_cpu();
    }

    /// Asks the master whether a write of `field` would leave the hash with at most `max` fields.
    ///
    /// # Errors
    /// There is no room, or no answer; the write was not sent.
    ///
    /// # Cancel safety
    /// Dropping it abandons the replies.
    pub async fn has_room(
        &self,
        field: &[u8],
        max: u64,
        report: &impl Fn(Progress),
    ) -> Result<(), WriteError> {
        room::has_room(&self.master, &self.options.hash, field, max, report).await
    }

    /// Stores `value` in a field of the hash; `Ok` only after the master said that it is done, and
    /// so many replicas that they have it as [`WriteOptions`] asks for.
    ///
    /// Waits for a connection as long as the caller lets it, and for replicas until a moment before
    /// `deadline`. To end it then is the caller's task, who is told by `report` how far the write
    /// has come.
    ///
    /// # Errors
    /// See [`WriteError`].
    ///
    /// # Cancel safety
    /// Dropping it abandons the reply, not a command that was handed to a connection.
    pub async fn set(
        &self,
        field: &[u8],
        value: &[u8],
        deadline: Instant,
        report: &impl Fn(Progress),
    ) -> Result<(), WriteError> {
        let (master, wanted) = (&*self.master, self.options.replicas);
        let hash = self.options.hash.as_bytes();
        let mut refusals = 0;
        report(Progress::Waiting);
        loop {
            let link = master.link().await?;
            let connection = master.confirmations().connection(&link);
            let answer = Answer::new(1);
            let waiter = WriteWaiter::Hset(answer.clone());
            let sent = link.enqueue(waiter, master.now(), |out| {
                resp::command(out, &[b"HSET", hash, field, value]);
            });
            match sent {
                Ok(()) => {}
                Err((_, Refusal::NotReady)) => {
                    link.admit(false);
                    continue;
                }
                Err((_, Refusal::Full)) => return Err(WriteError::Shed),
            }
            report(Progress::Sent);
            match answer.wait().await {
                HsetReply::Done if wanted == 0 => return Ok(()),
                HsetReply::Done => {
                    return confirm(master, &link, connection, wanted, deadline, report).await;
                }
                HsetReply::NotSent => report(Progress::Waiting),
                HsetReply::Refused {
                    kind: ErrorKind::ReadOnly,
                    ..
                } if refusals < master.links() => {
                    refusals += 1;
                    report(Progress::ReadOnly);
                }
                HsetReply::Refused { kind, text } => {
                    return Err(WriteError::Refused { kind, text });
                }
                HsetReply::Lost(why) => return Err(WriteError::Lost(why)),
                HsetReply::WrongReply => return Err(WriteError::WrongReply),
            }
        }
    }
}

#[cfg(test)]
mod tests;
