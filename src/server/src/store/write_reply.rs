//! What the master says to each command of a write, and who waits to be told.

use std::rc::Rc;

use super::waiter::Answer;
use redis_api_wire::conn::{Error, Fate, Verdict, printable};
use redis_api_wire::resp::{ErrorKind, Reply};

/// What became of one `HSET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HsetReply {
    Done,
    Refused { kind: ErrorKind, text: String },
    NotSent,
    Lost(String),
    WrongReply,
}

/// What became of one `WAIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReply {
    /// So many replicas have it.
    Confirmed(u64),
    Refused {
        kind: ErrorKind,
        text: String,
    },
    /// No answer will come, for this reason.
    Lost(String),
}

/// What became of one `HEXISTS` or `HLEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountReply {
    Is(i64),
    Refused { kind: ErrorKind, text: String },
    Lost,
    WrongReply,
}

/// Who waits for a reply on a link to the master.
pub enum WriteWaiter {
    Hset(Rc<Answer<HsetReply>>),
    /// All whose writes one `WAIT` covers.
    Wait(Rc<Answer<WaitReply>>),
    Count(Rc<Answer<CountReply>>),
    /// `INFO cpu`.
    Cpu,
}

impl WriteWaiter {
    /// The connection ended before the reply.
    pub fn lose(self, fate: Fate, error: &Error) {
        match self {
            WriteWaiter::Hset(answer) => answer.resolve(match fate {
                Fate::NotSent => HsetReply::NotSent,
                Fate::Unknown => HsetReply::Lost(error.to_string()),
            }),
            WriteWaiter::Wait(answer) => answer.resolve(WaitReply::Lost(error.to_string())),
            WriteWaiter::Count(answer) => answer.resolve(CountReply::Lost),
            WriteWaiter::Cpu => {}
        }
    }
}

/// A reply that should be a number, and is not.
pub enum NoNumber {
    /// The master's error.
    Refused { kind: ErrorKind, text: String },
    /// Another type: not ours, perhaps; then neither is any reply that follows.
    WrongType,
}

/// The number that all commands of a write are answered with.
pub fn number(reply: Reply<'_>) -> Result<i64, NoNumber> {
    match reply.plain() {
        Reply::Integer(number) => Ok(number),
        Reply::Error(text) => Err(NoNumber::Refused {
            kind: ErrorKind::of(text),
            text: printable(text),
        }),
        _ => Err(NoNumber::WrongType),
    }
}

/// What an error reply means for its connection.
///
/// `READONLY`: a failover made this server a replica; a new connection resolves the name again.
/// `NOAUTH`: only a new login can help.
pub fn verdict(kind: ErrorKind, text: &str) -> Verdict {
    match kind {
        ErrorKind::ReadOnly | ErrorKind::NoAuth => Verdict::Finish(Error::Unusable {
            kind,
            text: text.to_owned(),
        }),
        _ => Verdict::Continue,
    }
}
