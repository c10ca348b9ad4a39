//! What Redis means by an error reply.

/// The kinds of error reply that a client treats apart.
///
/// The kind is the first word of the text, the [error prefix]. Where older servers say `ERR` for
/// what later got a word of its own, the beginning of the message decides.
///
/// [error prefix]: https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// `LOADING`: the server reads its data set from disk or from its master.
    Loading,
    /// `MASTERDOWN`: a replica without its master that is set not to serve stale data.
    MasterDown,
    /// `READONLY`: a write came to a replica, as after a failover.
    ReadOnly,
    /// `NOAUTH`: no login yet.
    NoAuth,
    /// `WRONGPASS`: unknown user or wrong password; `ERR invalid password` before Redis 6.
    WrongPass,
    /// `NOPERM`: the user may not run this command or touch this key.
    NoPerm,
    /// `OOM`: over `maxmemory`, and nothing may be evicted.
    Oom,
    /// `MISCONF`: the server can't save its data, and is set to refuse writes then.
    MisConf,
    /// `BUSY`: a script or function blocks the server.
    Busy,
    /// `DENIED`: protected mode. Sent unasked to a new connection, which is then closed.
    Denied,
    /// `MOVED`, `ASK`, `CROSSSLOT`, `CLUSTERDOWN`, `TRYAGAIN`: the server runs in cluster mode.
    Moved,
    /// `WRONGTYPE`: the key holds another type than the command is for.
    WrongType,
    /// `NOPROTO`: the server does not speak the protocol version that `HELLO` asked for.
    NoProto,
    /// `ERR unknown command`: too old a server, or a proxy, or a renamed command.
    UnknownCommand,
    /// `ERR max number of clients`: sent unasked to a new connection, which is then closed.
    MaxClients,
    /// Anything else. Among it is a login where the server has no password set
    /// (`ERR AUTH <password> called without any password configured`): the password is not wrong,
    /// the configuration is, and the text says how.
    Other,
}

impl ErrorKind {
    /// The kind of an error reply, by its text. Words count as Redis writes them, in capitals.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let end = text.iter().position(u8::is_ascii_whitespace);
        let (word, message) = text.split_at(end.unwrap_or(text.len()));
        match word {
            b"LOADING" => Self::Loading,
            b"MASTERDOWN" => Self::MasterDown,
            b"READONLY" => Self::ReadOnly,
            b"NOAUTH" => Self::NoAuth,
            b"WRONGPASS" => Self::WrongPass,
            b"NOPERM" => Self::NoPerm,
            b"OOM" => Self::Oom,
            b"MISCONF" => Self::MisConf,
            b"DENIED" => Self::Denied,
            b"BUSY" => Self::Busy,
            b"MOVED" | b"ASK" | b"CROSSSLOT" | b"CLUSTERDOWN" | b"TRYAGAIN" => Self::Moved,
            b"WRONGTYPE" => Self::WrongType,
            b"NOPROTO" => Self::NoProto,
            b"ERR" if message.starts_with(b" unknown command") => Self::UnknownCommand,
            b"ERR" if message.starts_with(b" max number of clients") => Self::MaxClients,
            b"ERR" if message.starts_with(b" invalid password") => Self::WrongPass,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::too_many_lines, reason = "one table of cases")]
    fn kinds_of_texts_as_servers_send_them() {
        let check = |text: &str, kind| assert_eq!(ErrorKind::of(text.as_bytes()), kind, "{text}");
        check(
            "LOADING Redis is loading the dataset in memory",
            ErrorKind::Loading,
        );
        check(
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            ErrorKind::MasterDown,
        );
        check(
            "READONLY You can't write against a read only replica.",
            ErrorKind::ReadOnly,
        );
        check("NOAUTH Authentication required.", ErrorKind::NoAuth);
        check(
            "WRONGPASS invalid username-password pair or user is disabled.",
            ErrorKind::WrongPass,
        );
        check("ERR invalid password", ErrorKind::WrongPass);
        check(
            "NOPERM User app has no permissions to run the 'hello' command",
            ErrorKind::NoPerm,
        );
        check(
            "OOM command not allowed when used memory > 'maxmemory'.",
            ErrorKind::Oom,
        );
        check("MISCONF Errors writing to the AOF file", ErrorKind::MisConf);
        check(
            "DENIED Redis is running in protected mode because protected mode is enabled",
            ErrorKind::Denied,
        );
        check("BUSY Redis is busy running a script.", ErrorKind::Busy);
        check("MOVED 3999 127.0.0.1:6381", ErrorKind::Moved);
        check("ASK 3999 127.0.0.1:6381", ErrorKind::Moved);
        check("CLUSTERDOWN Hash slot not served", ErrorKind::Moved);
        check(
            "CROSSSLOT Keys in request don't hash to the same slot",
            ErrorKind::Moved,
        );
        check(
            "TRYAGAIN Multiple keys request during rehashing of slot",
            ErrorKind::Moved,
        );
        check(
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            ErrorKind::WrongType,
        );
        check("NOPROTO unsupported protocol version", ErrorKind::NoProto);
        check(
            "ERR unknown command 'HELLO', with args beginning with: '3' ",
            ErrorKind::UnknownCommand,
        );
        check("ERR max number of clients reached", ErrorKind::MaxClients);
        check(
            "ERR max number of clients + cluster connections reached",
            ErrorKind::MaxClients,
        );
        check(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
            ErrorKind::Other,
        );
        check(
            "ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.",
            ErrorKind::Other,
        );
        for text in ["", " ", "ERR", "ERR syntax error", "BUSYKEY x", "loading"] {
            check(text, ErrorKind::Other);
        }
        check("LOADING", ErrorKind::Loading);
        check("LOADING\ta", ErrorKind::Loading);
    }
}
