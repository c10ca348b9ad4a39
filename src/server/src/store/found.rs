//! What a read finds, or why it finds nothing, and who waits to be told.

use std::rc::Rc;

use bytes::Bytes;

use super::probe::{Question, ReadCommand};
use super::value::Unfit;
use super::waiter::Answer;
use redis_api_wire::conn::printable;
use redis_api_wire::resp::{ErrorKind, Reply};

/// Why a read has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// No link is usable.
    Unavailable,
    /// The connection ended before the reply.
    Lost,
    /// A window or a batch is full: load is shed.
    Shed,
    /// No replica is usable, and as many reads as allowed wait for the master: load is shed.
    FallbackFull,
    /// Redis answered with an error.
    Refused {
        /// By its first word.
        kind: ErrorKind,
        /// In the server's words.
        text: Rc<str>,
    },
    /// What is stored is not of the kind that values are to be.
    Unfit {
        /// Where, if several fields were asked for.
        field: Option<Rc<str>>,
        /// What is wrong with it.
        why: Unfit,
    },
    /// A reply of a type that the command doesn't have.
    WrongReply(&'static str),
}

impl ReadError {
    /// For an error reply.
    pub(super) fn refused(text: &[u8]) -> Self {
        ReadError::Refused {
            kind: ErrorKind::of(text),
            text: printable(text).into(),
        }
    }

    /// For a reply that is no value: Redis' error, or one of the wrong type.
    pub(super) fn wrong_type(command: ReadCommand, reply: Reply<'_>) -> Self {
        match reply {
            Reply::Error(text) => ReadError::refused(text),
            _ => ReadError::WrongReply(match command {
                ReadCommand::Hget => "the reply to HGET is not text",
                ReadCommand::Hmget => "the reply to HMGET is not a list of texts",
            }),
        }
    }
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `None` for a field that isn't there.
    pub body: Option<Bytes>,
    /// How old the data of the replica that answered may be, in seconds: while its link to the
    /// master is down, or when it has not heard of it for longer than usual.
    pub age: Option<u32>,
}

/// What was found, or why there is nothing.
pub(super) type ReadResult = Result<Found, ReadError>;

/// A field whose value is to be kept, if nothing was dropped since its command was written.
pub struct Wanted {
    /// Its name.
    pub field: Box<[u8]>,
    /// How often was dropped before.
    pub generation: u64,
}

/// Who waits for a reply on a read link.
pub enum ReadWaiter {
    /// All who joined one `HGET`.
    Field(Rc<Answer<ReadResult>>),
    /// The same, and what is to be kept of its reply.
    Tracked(Rc<Answer<ReadResult>>, Box<Wanted>),
    /// One `HMGET`, the names it asked for, and how often was dropped before.
    Many(Rc<Answer<ReadResult>>, Box<[Box<[u8]>]>, u64),
    Probe(Question),
    /// `CLIENT TRACKING`: on, or off.
    Tracking(bool),
    /// `CLIENT LIST TYPE master`: by which connection a replica follows its master.
    Upstream,
}

impl ReadWaiter {
    /// The connection ended before the reply.
    pub(super) fn lose(self) {
        match self {
            ReadWaiter::Field(answer)
            | ReadWaiter::Tracked(answer, _)
            | ReadWaiter::Many(answer, ..) => {
                answer.resolve(Err(ReadError::Lost));
            }
            ReadWaiter::Probe(_) | ReadWaiter::Tracking(_) | ReadWaiter::Upstream => {}
        }
    }
}
