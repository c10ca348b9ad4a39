//! The flags by groups, each with its default and the reason for it.
//!
//! Those of the load rig's subcommands stand in the files that read them.

use super::flag::{Flag, Group, flag, list};

/// Why a flag is as it is: told once, where it is for both roles.
macro_rules! why {
    (both, $why:literal) => {
        $why
    };
    (role, $why:literal) => {
        "Default: as for both roles."
    };
}

/// The nine flags of one server: of `both` roles or of one `role`.
macro_rules! redis_flags {
    ($level:ident, $prefix:literal, $address:expr) => {
        &[
            flag(
                concat!($prefix, "-addr"),
                "ADDRESS",
                $address,
                "host:port, [v6]:port, redis[s]://[user[:pass]@]host[:port][/db] or unix:///path",
                why!(
                    $level,
                    "rediss:// turns TLS on. User and password of a URL are percent-decoded and \
                     belong to that address only; a password given so shows in `ps`."
                ),
            ),
            flag(
                concat!($prefix, "-user"),
                "NAME",
                None,
                "User to log in as",
                why!($level, "Without it, the server's `default` user."),
            ),
            flag(
                concat!($prefix, "-pass"),
                "PASSWORD",
                None,
                "Password; an empty one is none",
                why!(
                    $level,
                    "Shows in `ps` when given as a flag: prefer the variable or the file."
                ),
            ),
            flag(
                concat!($prefix, "-pass-file"),
                "FILE",
                None,
                "File that holds the password",
                why!(
                    $level,
                    "Read at each connect, so it can be rotated; one trailing newline is dropped."
                ),
            ),
            flag(
                concat!($prefix, "-tls"),
                "",
                None,
                "Speak TLS (as rediss:// does)",
                why!(
                    $level,
                    "Off by default. 1.2 or 1.3; the server's certificate is always verified."
                ),
            ),
            flag(
                concat!($prefix, "-ca-file"),
                "FILE",
                None,
                "PEM file of the CAs to trust",
                why!(
                    $level,
                    "Without it, the built-in Mozilla roots. Read at each connect."
                ),
            ),
            flag(
                concat!($prefix, "-cert-file"),
                "FILE",
                None,
                "PEM file of the client certificate chain, for servers that ask for one",
                why!($level, "Only together with its key."),
            ),
            flag(
                concat!($prefix, "-key-file"),
                "FILE",
                None,
                "PEM file of the client certificate's key",
                why!($level, "Only together with its certificate."),
            ),
            flag(
                concat!($prefix, "-server-name"),
                "NAME",
                None,
                "Name to verify and to send as SNI, instead of the address' host",
                why!(
                    $level,
                    "For certificates whose name differs from the host in the address."
                ),
            ),
        ]
    };
}

pub(super) const REDIS: Group = Group {
    heading: "Redis: both roles",
    flags: redis_flags!(both, "redis", Some("localhost:6379")),
};

/// The server that `sync-auth` keeps equal.
pub(super) const SYNC_REDIS: Group = Group {
    heading: "Redis: the server",
    flags: redis_flags!(both, "redis", Some("localhost:6379")),
};

pub(super) const READ_REDIS: Group = Group {
    heading: "Redis: read side",
    flags: redis_flags!(role, "read-redis", None),
};

pub(super) const WRITE_REDIS: Group = Group {
    heading: "Redis: write side",
    flags: redis_flags!(role, "write-redis", None),
};

const LISTEN_WHY: &str = "IP:port, [v6]:port or :port. [::] serves IPv4 too, and is 0.0.0.0 where \
    there is no IPv6.";

pub(super) const LISTEN: Group = Group {
    heading: "Listen",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("[::]:8080"),
            "Where the API listens",
            LISTEN_WHY,
        ),
        flag(
            "admin-listen",
            "ADDRESS",
            Some("[::]:9090"),
            "Where /livez, /readyz and /metrics listen",
            "A port of its own, so that it need not be reachable where the API is.",
        ),
    ],
};

pub(super) const HELLO_LISTEN: Group = Group {
    heading: "Listen",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("[::]:8080"),
            "Where it listens",
            LISTEN_WHY,
        ),
        flag(
            "admin-listen",
            "ADDRESS",
            None,
            "Where /livez, /readyz and /metrics listen",
            "Off unless given.",
        ),
    ],
};

pub(super) const READS: Group = Group {
    heading: "Reads",
    flags: &[
        flag(
            "read-mode",
            "MODE",
            Some("batch"),
            "batch: reads of one field that wait together share a reply; direct: one command each; \
             tracked: from memory until the replica says that the value changed",
            "batch and direct send the command after the request has arrived; batch asks the \
             replica less when many read the same field. tracked asks it only after a change; an \
             answer may be as old as the replica's message about a change takes.",
        ),
        flag(
            "tracked-max-bytes",
            "BYTES",
            Some("64MiB"),
            "Memory for values in tracked mode, for the whole process; the least read are evicted",
            "Enough for some 200,000 fields.",
        ),
        flag(
            "tracked-max-age",
            "DURATION",
            Some("10s"),
            "Read a value again after this long in tracked mode, changed or not; 0s: never",
            "A safety net in case a message is ever lost. It costs one command each time.",
        ),
        flag(
            "read-role",
            "ROLE",
            Some("any"),
            "any: read from a master or a replica; replica: only from a replica",
            "Use replica with a sidecar, so that one which has lost its configuration, and so thinks \
             it is a master, is not trusted.",
        ),
        flag(
            "max-stale",
            "DURATION",
            Some("0s"),
            "Answer no read from a replica whose data is older than this; 0s: whatever its age",
            "Off by default: a restart of the master would take all pods out at once. Checked once \
             a second. Keep the master's repl-ping-replica-period (10 s by default) well below it.",
        ),
        flag(
            "read-fallback",
            "WHERE",
            Some("none"),
            "master: read from the write address while no replica is usable; none: answer 503",
            "Off by default: pods that lose their replicas at the same time would all turn to the \
             one master. It takes one more connection to the master per worker.",
        ),
        flag(
            "fallback-max-in-flight",
            "N",
            Some("64"),
            "Reads that may wait for the master at once, for the whole process; more get 503",
            "At a round trip of 1 ms that is 64,000 reads a second; 100 pods together can queue \
             some 60 ms of work at the master. Divided among the workers, rounded up for each.",
        ),
    ],
};

pub(super) const WRITES: Group = Group {
    heading: "Writes",
    flags: &[flag(
        "write-wait",
        "N",
        Some("0"),
        "Replicas that must have a write before it is answered with 200; 0: none",
        "Any replicas count, those beside pods too. If too few have it within --request-timeout, the \
         answer is 504 although the master has the write. A connection takes no other write while \
         it waits: to write more at a time, raise --write-connections.",
    )],
};

pub(super) const ACCESS: Group = Group {
    heading: "Access",
    flags: &[
        flag(
            "read-only",
            "",
            None,
            "Refuse every POST with 405",
            "For pods that never need to write.",
        ),
        flag(
            "write-token-file",
            "FILE",
            None,
            "File with the token that a POST must have: `Authorization: Bearer TOKEN`, else 401",
            "Without it, anyone who can reach the port can write. Read again each second, so it can be \
             rotated; one trailing newline is dropped. If it becomes unusable, the last good token \
             stays valid.",
        ),
        list(flag(
            "fields",
            "NAMES",
            None,
            "The only fields to read or write, comma-separated; others are 404",
            "The field behind / is current-value: without it in the list, / is 404 too.",
        )),
        flag(
            "max-fields",
            "N",
            Some("0"),
            "A POST that would create more fields than this is 409; 0: no limit",
            "Keeps clients from filling the memory of the master and of every replica. The master \
             is asked before each write (one more round trip; rights: hexists, hlen), so writers \
             at the same moment may exceed the limit by their number.",
        ),
        list(flag(
            "cors-origin",
            "ORIGINS",
            Some("*"),
            "Pages that may use the API from a browser: *, none, or https://HOST[:PORT],…",
            "* suits values that are public. This doesn't protect writes: a page from elsewhere can \
             still send a simple POST. A token does (--write-token-file).",
        )),
    ],
};

pub(super) const LIMITS: Group = Group {
    heading: "Limits",
    flags: &[
        flag(
            "request-timeout",
            "DURATION",
            Some("400ms"),
            "The whole time a request may take, from the end of its headers",
            "A later reply is discarded. A Redis connection whose oldest command has been unanswered \
             for twice as long is closed.",
        ),
        flag(
            "max-body",
            "SIZE",
            Some("4KiB"),
            "Largest body of a POST, in bytes",
            "A posted number takes some 30 bytes; the rest is room for members that are ignored.",
        ),
        flag(
            "read-connections",
            "N",
            Some("1"),
            "Connections to the read side, per worker",
            "Commands are pipelined, so one is usually enough.",
        ),
        flag(
            "write-connections",
            "N",
            Some("1"),
            "Connections to the write side, per worker",
            "Each counts against the master's maxclients: pods x workers x this.",
        ),
        flag(
            "max-in-flight",
            "N",
            Some("8192"),
            "Unanswered commands per Redis connection; requests beyond that get 503",
            "Some 80 ms of work for a server that answers 100,000 a second: what waits behind more \
             than that is better refused.",
        ),
        flag(
            "connect-timeout",
            "DURATION",
            Some("5s"),
            "One deadline for name lookup, TCP, TLS and login",
            "Long enough to survive two lost SYNs, which are sent again after 1 and after 3 s.",
        ),
        flag(
            "ping-interval",
            "DURATION",
            Some("1s"),
            "Send PING this often on an idle Redis connection",
            "A dead peer is noticed within this plus twice the request timeout, at the cost of one \
             command a second per connection.",
        ),
        flag(
            "redis-wait",
            "DURATION",
            Some("5m"),
            "How long to wait for the read side at start before giving up; 0s: forever",
            "A new replica needs its first full synchronisation, a new node its network.",
        ),
    ],
};

pub(super) const CLIENTS: Group = Group {
    heading: "Clients",
    flags: &[
        flag(
            "header-timeout",
            "DURATION",
            Some("5s"),
            "A client that takes longer to send a request's head is disconnected; 0s: never",
            "A head is usually one packet, so only one that is lost and sent again takes a second.",
        ),
        flag(
            "idle-timeout",
            "DURATION",
            Some("120s"),
            "A connection without a request for this long is closed; 0s: never",
            "Longer than most clients and proxies keep idle connections (60 to 90 s), so that they \
             close first, and no request is sent into a connection that is being closed.",
        ),
        flag(
            "write-timeout",
            "DURATION",
            Some("10s"),
            "A client that reads nothing of its answers for this long is disconnected; 0s: never",
            "Long enough to survive several lost packets in a row. Until then such a client holds \
             some 200 KiB at most.",
        ),
        flag(
            "max-connection-age",
            "DURATION",
            Some("0s"),
            "On a connection older than this the next answer says Connection: close; 0s: never",
            "Lets new pods get their share of keep-alive clients after a scale-up. Varies by up to a \
             tenth per connection; an idle one is never closed for its age.",
        ),
        flag(
            "max-requests",
            "N",
            Some("16384"),
            "Requests in progress at the same time, per worker; more are refused with 503",
            "About what a worker answers in a sixth of a second: more would time out.",
        ),
        flag(
            "max-connections",
            "N",
            None,
            "Client connections of the whole process; a new client that gets no place within \
             --request-timeout (400ms in helloworld) is refused",
            "Default: the hard limit on file descriptors (ulimit -Hn), less some for Redis, the \
             admin port and files. An idle connection takes about 1 KiB of memory. Under \
             overload a lower limit keeps answers in time: about as many as can be answered within \
             --request-timeout.",
        ),
    ],
};

pub(super) const WORKERS: Flag = flag(
    "workers",
    "N",
    None,
    "Worker threads",
    "Default: one per core that the cgroup or affinity mask grants.",
);

pub(super) const PROCESS: Group = Group {
    heading: "Process",
    flags: &[
        WORKERS,
        flag(
            "pin",
            "",
            None,
            "Pin each worker to a core",
            "Off by default: it only helps on cores that nothing else uses.",
        ),
        flag(
            "wake-interval",
            "DURATION",
            Some("0s"),
            "Let a worker sleep this long (5ms at most) before it looks at its sockets, when that \
             collects two or more requests at once; 0s: never",
            "Off by default: it trades latency for CPU time. From some 2 / DURATION requests a \
             second per worker on, a request costs as little as half the CPU time and waits up to \
             this much longer. At lower rates, and when the worker is busy, nothing changes. Best \
             with --read-mode tracked.",
        ),
        flag(
            "drain-delay",
            "DURATION",
            Some("5s"),
            "After SIGTERM, keep serving this long; 0s: not at all",
            "Time for load balancers to learn that this process is going away.",
        ),
        flag(
            "drain-timeout",
            "DURATION",
            Some("10s"),
            "After that, give requests in flight this long to finish",
            "Together with the delay it must fit in the orchestrator's grace period (Kubernetes: 30 s). \
             A second signal ends the process at once, with exit status 1, since requests may be \
             lost.",
        ),
        flag(
            "drain-unready",
            "",
            None,
            "After SIGTERM, /readyz is 503 at once rather than after the drain delay",
            "For load balancers that go by the probe alone. Kubernetes takes a terminating pod out of \
             its Services by itself.",
        ),
    ],
};

pub(super) const LOG: Group = Group {
    heading: "Log",
    flags: &[
        flag(
            "log-format",
            "FORMAT",
            Some("text"),
            "text: lines for people; json: one object per line",
            "Both on stderr, one line per event. Repeated events are summed up once a minute.",
        ),
        flag(
            "log-level",
            "LEVEL",
            Some("info"),
            "The least severe level to log: error, warn, info or debug",
            "Requests are not logged at any level.",
        ),
    ],
};

pub(super) const CHECK: Group = Group {
    heading: "Check",
    flags: &[flag(
        "format",
        "FORMAT",
        Some("text"),
        "text: one line per finding; json: one array of role, name, status, found and cure",
        "The exit status is 1 if there is a FAIL; a WARN alone leaves it 0.",
    )],
};

pub(super) const SYNC_AUTH: Group = Group {
    heading: "What to keep in sync",
    flags: &[
        flag(
            "masterauth-file",
            "FILE",
            None,
            "File with the password that a replica logs in to its master with",
            "Set by CONFIG SET masterauth, so that the replica uses it when it next connects. One \
             trailing newline is dropped. All files here are read each second; if one is missing, \
             empty or broken, the server keeps what it has, and one warning is logged.",
        ),
        flag(
            "masteruser",
            "NAME",
            None,
            "User that a replica logs in to its master as",
            "Set together with the password. Without it, the server keeps the user it was started \
             with.",
        ),
        flag(
            "tls-ca-file",
            "FILE",
            None,
            "The server's tls-ca-cert-file",
            "An absolute path, which must be the same for the server. When the content of one of the \
             three files changes, CONFIG SET makes the server read all of them again. Open \
             connections are not affected.",
        ),
        flag(
            "tls-cert-file",
            "FILE",
            None,
            "The server's tls-cert-file",
            "Only together with its key.",
        ),
        flag(
            "tls-key-file",
            "FILE",
            None,
            "The server's tls-key-file",
            "Only together with its certificate.",
        ),
        flag(
            "acl-file",
            "FILE",
            None,
            "The server's aclfile: its users, one per line",
            "Each is set by ACL SETUSER, after a reset; users of the server that are not in the file \
             are deleted, except `default` and the one of --redis-user. (ACL LOAD would close the \
             connections of users that change.)",
        ),
        flag(
            "master-addr",
            "ADDRESS",
            None,
            "host:port of a replica's master: REPLICAOF follows the name's address",
            "Looked up every 5 s. A replica whose link is down follows at once; one whose link is up \
             follows once the name has not had its master's address for 30 s. A link that stays down \
             for 15 s tries the name's next address. A replica that was given the name itself is \
             left alone.",
        ),
    ],
};
