//! How far a write has come, and why it did not succeed.

use std::time::Duration;

use redis_api_wire::resp::ErrorKind;

/// Why a write did not succeed, and so what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Too many writes wait already. Not sent.
    Shed,
    /// The master answered with an error. Not done.
    Refused {
        /// By its first word.
        kind: ErrorKind,
        /// In the master's words.
        text: String,
    },
    /// The connection ended between sending and reply: it may be done or not.
    Lost(String),
    /// A reply of another type than the command's. Who knows.
    WrongReply,
    /// Done on the master, but too few replicas had it in time.
    TooFew {
        /// Replicas that had it when they were last counted.
        confirmed: u64,
        /// Replicas that must have it.
        wanted: u64,
        /// How long they were waited for.
        within: Duration,
    },
    /// Done on the master, which did not let us wait for replicas.
    WaitRefused {
        /// By its first word.
        kind: ErrorKind,
        /// In the master's words.
        text: String,
    },
    /// Done on the master; why it is not known which replicas have it.
    Unconfirmed(String),
    /// The hash has this many fields or more, and the write would add one. Not sent.
    NoRoom(u64),
    /// The master answered with an error when asked for room. Not sent.
    NotChecked {
        /// By its first word.
        kind: ErrorKind,
        /// In the master's words.
        text: String,
    },
    /// The same, with a reply of another type. Not sent.
    WrongCount,
}

/// How far a write has come; read when its deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Waits for a connection; certainly not sent.
    Waiting,
    /// Waits for word whether the hash has room for it; certainly not sent.
    Checking,
    /// Handed to a connection: its fate is unknown until the reply.
    Sent,
    /// Was refused with `READONLY`, certainly not done, and waits to be sent once more.
    ReadOnly,
    /// Done on the master, and waits for replicas.
    Written {
        /// How many had it when they were last counted.
        confirmed: Option<u64>,
        /// How many must have it.
        wanted: u64,
    },
}
