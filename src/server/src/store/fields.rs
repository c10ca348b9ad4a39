//! The limit on fields: before a write, the master is asked whether the hash has room for it.
//!
//! Nothing is locked between the question and the write, so writers at the same moment may exceed
//! the limit by their number. It guards against a client that invents fields without end, which
//! land in the memory of the master and of every replica; it is no exact quota.

use std::rc::Rc;

use super::HASH;
use super::waiter::Answer;
use super::writes::{Progress, Waiter, WriteError, Writes};
use crate::net::Link;
use redis_api_wire::conn::{Error, Refusal, Verdict, printable};
use redis_api_wire::resp::{self, ErrorKind, Reply};

/// What became of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    Is(i64),
    Refused { kind: ErrorKind, text: String },
    Lost,
    WrongReply,
}

impl Writes {
    /// Asks the master whether a write of `field` would leave the hash with at most `max` fields.
    ///
    /// Both questions, `HEXISTS` and `HLEN`, leave in one write. They change nothing, so they are
    /// asked again when the connection is lost, as long as the caller lets it.
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
        loop {
            report(Progress::Waiting);
            let link = self.link().await?;
            let asked = self
                .ask(&link, &[b"HEXISTS", HASH.as_bytes(), field])
                .and_then(|exists| Ok((exists, self.ask(&link, &[b"HLEN", HASH.as_bytes()])?)));
            let (exists, fields) = match asked {
                Ok(answers) => answers,
                Err(Refusal::NotReady) => {
                    link.admit(false);
                    continue;
                }
                Err(Refusal::Full) => return Err(WriteError::Shed),
            };
            report(Progress::Checking);
            let (Some(exists), Some(fields)) =
                (known(exists.wait().await)?, known(fields.wait().await)?)
            else {
                continue;
            };
            let has_room = exists != 0 || u64::try_from(fields).is_ok_and(|fields| fields < max);
            return has_room.then_some(()).ok_or(WriteError::NoRoom(max));
        }
    }

    fn ask(
        &self,
        link: &Rc<Link<Waiter>>,
        command: &[&[u8]],
    ) -> Result<Rc<Answer<Count>>, Refusal> {
        let answer = Answer::new(1);
        let waiter = Waiter::Count(answer.clone());
        match link.enqueue(waiter, self.now(), |out| resp::command(out, command)) {
            Ok(()) => Ok(answer),
            Err((_, refusal)) => Err(refusal),
        }
    }

    /// What a reply to one of the questions says, and whether the connection may go on.
    pub(super) fn count(&self, reply: Reply<'_>) -> (Count, Verdict) {
        match reply.plain() {
            Reply::Integer(number) => (Count::Is(number), Verdict::Continue),
            Reply::Error(text) => {
                let kind = ErrorKind::of(text);
                let text = printable(text);
                self.count_error(kind);
                let refused = Count::Refused {
                    kind,
                    text: text.clone(),
                };
                (refused, self.verdict(kind, text))
            }
            _ => {
                let confused = Error::Confused("HEXISTS or HLEN was answered with no number");
                (Count::WrongReply, Verdict::Close(confused))
            }
        }
    }
}

/// The number, or `None` if the question is to be asked again.
fn known(count: Count) -> Result<Option<i64>, WriteError> {
    match count {
        Count::Is(number) => Ok(Some(number)),
        Count::Lost => Ok(None),
        Count::Refused { kind, text } => Err(WriteError::NotChecked { kind, text }),
        Count::WrongReply => Err(WriteError::WrongCount),
    }
}
