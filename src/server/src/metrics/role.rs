//! What one worker counts about Redis: its connection sets, and the replica as it sees it.

use super::Cell;
use redis_api_wire::resp::ErrorKind;

/// What went wrong with a command or a connection: the values of the label `kind`.
///
/// The first ones are error replies, by the word that Redis puts first; the others are failures of
/// the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorLabel {
    /// `LOADING`: the server reads its data set from disk.
    Loading,
    /// `MASTERDOWN`: the replica's link is down and it may not serve stale data.
    Masterdown,
    /// `READONLY`: a write went to a replica.
    Readonly,
    /// `NOAUTH`: the server wants a password.
    Noauth,
    /// `WRONGPASS`: wrong user or password.
    Wrongpass,
    /// `NOPERM`: the user lacks a right.
    Noperm,
    /// `OOM`: the server is over its memory limit.
    Oom,
    /// `BUSY`: a script blocks the server.
    Busy,
    /// `MOVED`: the server is in cluster mode.
    Moved,
    /// `WRONGTYPE`: the key holds another type.
    Wrongtype,
    /// Any other error reply.
    Other,
    /// No connection: name resolution, or refused.
    Connect,
    /// The TLS handshake failed, or the server refused our certificate after it.
    Tls,
    /// Connecting or logging in took too long.
    Timeout,
    /// An established connection ended.
    Lost,
    /// The server sent what RESP does not allow, or a reply that nothing awaited.
    Protocol,
    /// The server stopped answering.
    Stalled,
}

impl ErrorLabel {
    /// Every kind, in the order of declaration.
    pub const ALL: [ErrorLabel; 17] = [
        ErrorLabel::Loading,
        ErrorLabel::Masterdown,
        ErrorLabel::Readonly,
        ErrorLabel::Noauth,
        ErrorLabel::Wrongpass,
        ErrorLabel::Noperm,
        ErrorLabel::Oom,
        ErrorLabel::Busy,
        ErrorLabel::Moved,
        ErrorLabel::Wrongtype,
        ErrorLabel::Other,
        ErrorLabel::Connect,
        ErrorLabel::Tls,
        ErrorLabel::Timeout,
        ErrorLabel::Lost,
        ErrorLabel::Protocol,
        ErrorLabel::Stalled,
    ];

    /// The label of an error reply.
    pub fn of(kind: ErrorKind) -> ErrorLabel {
        match kind {
            ErrorKind::Loading => ErrorLabel::Loading,
            ErrorKind::MasterDown => ErrorLabel::Masterdown,
            ErrorKind::ReadOnly => ErrorLabel::Readonly,
            ErrorKind::NoAuth => ErrorLabel::Noauth,
            ErrorKind::WrongPass => ErrorLabel::Wrongpass,
            ErrorKind::NoPerm => ErrorLabel::Noperm,
            ErrorKind::Oom => ErrorLabel::Oom,
            ErrorKind::Busy => ErrorLabel::Busy,
            ErrorKind::Moved => ErrorLabel::Moved,
            ErrorKind::WrongType => ErrorLabel::Wrongtype,
            ErrorKind::MaxClients
            | ErrorKind::MisConf
            | ErrorKind::Denied
            | ErrorKind::NoProto
            | ErrorKind::UnknownCommand
            | ErrorKind::Other => ErrorLabel::Other,
        }
    }

    /// The value of the label `kind`.
    pub fn label(self) -> &'static str {
        match self {
            ErrorLabel::Loading => "loading",
            ErrorLabel::Masterdown => "masterdown",
            ErrorLabel::Readonly => "readonly",
            ErrorLabel::Noauth => "noauth",
            ErrorLabel::Wrongpass => "wrongpass",
            ErrorLabel::Noperm => "noperm",
            ErrorLabel::Oom => "oom",
            ErrorLabel::Busy => "busy",
            ErrorLabel::Moved => "moved",
            ErrorLabel::Wrongtype => "wrongtype",
            ErrorLabel::Other => "other",
            ErrorLabel::Connect => "connect",
            ErrorLabel::Tls => "tls",
            ErrorLabel::Timeout => "timeout",
            ErrorLabel::Lost => "lost",
            ErrorLabel::Protocol => "protocol",
            ErrorLabel::Stalled => "stalled",
        }
    }
}

/// What one worker counts about its connection set to one server.
#[derive(Debug, Default)]
pub struct Role {
    /// Commands sent.
    pub commands: Cell,
    /// Attempts to connect, successful or not.
    pub connects: Cell,
    /// Connections that are logged in (a gauge).
    pub connections: Cell,
    /// When the oldest of the password and certificate files in use was last read, in seconds since
    /// 1970. Unknown before the first, and without such files.
    pub credentials_read: Reading,
    /// 1 while such a file is unusable and its last good content stays in use (a gauge).
    pub credentials_stale: Cell,
    /// CPU time that the server itself has used, user and system, in microseconds, as `INFO` says
    /// it. 0 while it has not said so.
    pub cpu_micros: Cell,
    errors: [Cell; ErrorLabel::ALL.len()],
}

impl Role {
    /// Counts a failure.
    pub fn error(&self, kind: ErrorLabel) {
        if let Some(count) = self.errors.get(kind as usize) {
            count.add(1);
        }
    }

    /// Failures of one kind so far.
    pub fn errors(&self, kind: ErrorLabel) -> u64 {
        self.errors.get(kind as usize).map_or(0, Cell::get)
    }
}

/// A gauge that may be unknown, which is not the same as 0.
///
/// One number holds both (the value plus one, 0 for unknown), so that no reader sees a state
/// between the two.
#[derive(Debug, Default)]
pub struct Reading(Cell);

impl Reading {
    /// Sets the value; `None`: it is not known (any more).
    pub fn set(&self, value: Option<u64>) {
        self.0.set(value.map_or(0, |value| value.saturating_add(1)));
    }

    /// The value, if known.
    pub fn get(&self) -> Option<u64> {
        self.0.get().checked_sub(1)
    }
}

/// The replica as one worker last saw it through its own connection.
#[derive(Debug, Default)]
pub struct Replica {
    /// 1 while its answers may be used, 0 else; unlike the others never unknown.
    pub usable: Cell,
    /// 1 while the link to its master is up, 0 while it is down. Unknown for a master.
    pub link_up: Reading,
    /// Seconds since the link went down. Unknown while it is up.
    pub link_down_seconds: Reading,
    /// Seconds since the master was last heard of. Unknown while the link is down.
    pub last_io_seconds: Reading,
    /// Bytes of the master's stream that the replica has yet to process.
    pub lag_bytes: Reading,
}

impl Replica {
    /// Forgets everything: for a worker that has lost sight of the replica.
    pub fn forget(&self) {
        self.usable.set(0);
        self.link_up.set(None);
        self.link_down_seconds.set(None);
        self.last_io_seconds.set(None);
        self.lag_bytes.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_its_own_cell_and_label() {
        let labels: HashSet<_> = ErrorLabel::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), ErrorLabel::ALL.len());
        for kind in ErrorLabel::ALL {
            let role = Role::default();
            role.error(kind);
            for other in ErrorLabel::ALL {
                assert_eq!(
                    role.errors(other),
                    u64::from(other == kind),
                    "{kind:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn zero_is_not_unknown() {
        let reading = Reading::default();
        assert_eq!(reading.get(), None);
        reading.set(Some(0));
        assert_eq!(reading.get(), Some(0));
        reading.set(Some(7));
        assert_eq!(reading.get(), Some(7));
        reading.set(None);
        assert_eq!(reading.get(), None);
    }
}
