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
                    "Read at each connect, so it can be rotated; loses one trailing newline."
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
                "PEM file of our certificate chain, for servers that ask for one",
                why!($level, "Only together with its key."),
            ),
            flag(
                concat!($prefix, "-key-file"),
                "FILE",
                None,
                "PEM file of the key to our certificate",
                why!($level, "Only together with its certificate."),
            ),
            flag(
                concat!($prefix, "-server-name"),
                "NAME",
                None,
                "Name to verify and to send as SNI, instead of the address' host",
                why!(
                    $level,
                    "For certificates that name the server otherwise than its address does."
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
            "Memory for values in tracked mode, of the whole process; the least read are evicted",
            "Some 200,000 fields.",
        ),
        flag(
            "tracked-max-age",
            "DURATION",
            Some("10s"),
            "Read a value again after this long in tracked mode, changed or not; 0s: never",
            "A safety net should a message ever be lost, for one command each time.",
        ),
        flag(
            "read-role",
            "ROLE",
            Some("any"),
            "any: a master is fit to read from; replica: only a replica is",
            "Give replica beside a sidecar, so that one which forgot its master is not believed.",
        ),
        flag(
            "max-stale",
            "DURATION",
            Some("0s"),
            "Answer no read from a replica whose data is older; 0s: whatever its age",
            "Off: one restart of the master would take all pods out at once. Checked each second. \
             Keep the master's repl-ping-replica-period (10 s by default) well below it.",
        ),
        flag(
            "read-fallback",
            "WHERE",
            Some("none"),
            "master: read from the write address while no replica may answer; none: answer 503",
            "Off: many pods that lose their replicas at once all come to the one master. It takes \
             one more connection to it per worker.",
        ),
        flag(
            "fallback-max-in-flight",
            "N",
            Some("64"),
            "Reads that may wait for the master at once, of the whole process; more get 503",
            "At a round trip of 1 ms that is 64,000 reads a second; 100 pods together make the \
             master wait some 60 ms. Divided by the workers, and rounded up for each.",
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
        "Any replicas, those beside pods too. Too few by --request-timeout: 504, though it is \
         written. A connection takes no other write while it waits: for many writes at a time raise \
         --write-connections.",
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
            "For pods that need not write.",
        ),
        flag(
            "write-token-file",
            "FILE",
            None,
            "File with the token that a POST must have: `Authorization: Bearer TOKEN`, else 401",
            "Without it, whoever reaches the port can write. Read again each second, so it can be \
             rotated; loses one trailing newline; one that turns bad keeps the last good token.",
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
            "A POST that would make more fields than this is 409; 0: no limit",
            "Fields without end would fill the master and every replica. Asked of the master \
             before each write (one more round trip; rights: hexists, hlen), so that writers at \
             the same moment may exceed it by their number.",
        ),
        list(flag(
            "cors-origin",
            "ORIGINS",
            Some("*"),
            "Pages that may use the API from a browser: *, none, or https://HOST[:PORT],…",
            "* suits values that are public. A page elsewhere can still send a simple POST: \
             what keeps it from writing is a token.",
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
            "A reply that comes later is thrown away. A Redis connection whose oldest command is \
             unanswered for twice as long is closed.",
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
            "Commands are pipelined, so one is enough for most.",
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
            "Unanswered commands per Redis connection; what exceeds it is refused with 503",
            "Some 80 ms of work for a server that answers 100,000 a second: more would grow old.",
        ),
        flag(
            "connect-timeout",
            "DURATION",
            Some("5s"),
            "One deadline for name lookup, TCP, TLS and login",
            "Outlasts two lost SYNs, which are sent again after 1 and after 3 s.",
        ),
        flag(
            "ping-interval",
            "DURATION",
            Some("1s"),
            "An idle Redis connection is asked PING this often",
            "A dead peer is then noticed within this and twice the request timeout; the cost is \
             one command a second per connection.",
        ),
        flag(
            "redis-wait",
            "DURATION",
            Some("5m"),
            "How long to wait for the read side at start, before giving up; 0s: for ever",
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
            "A request's head that takes longer ends its connection; 0s: never",
            "A head is one packet, so only a lost one sent again takes a second.",
        ),
        flag(
            "idle-timeout",
            "DURATION",
            Some("120s"),
            "A connection without a request for this long is closed; 0s: never",
            "Longer than most clients and proxies keep theirs (60 to 90 s), so that they close \
             first and none sends a request into a closing connection.",
        ),
        flag(
            "write-timeout",
            "DURATION",
            Some("10s"),
            "A client that takes nothing of its answers for this long is cut off; 0s: never",
            "Outlasts some lost packets in a row. Until then it holds some 200 KiB at most.",
        ),
        flag(
            "max-connection-age",
            "DURATION",
            Some("0s"),
            "Past this age the next answer says Connection: close; 0s: never",
            "Lets new pods get their share of keep-alive clients after a scale-up. Each connection \
             differs by up to a tenth; an idle one is never closed for its age.",
        ),
        flag(
            "max-requests",
            "N",
            Some("16384"),
            "Requests in progress at the same time, per worker; more are refused with 503",
            "About what a worker answers in a sixth of a second: more would run out of time.",
        ),
        flag(
            "max-connections",
            "N",
            None,
            "Client connections of the process; more wait in the kernel's backlog",
            "Default: the hard limit on file descriptors (ulimit -Hn), less some for Redis, the \
             admin port and files. An idle connection takes about 20 KiB of memory.",
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
            "Off by default: it gains only on cores that nothing else uses.",
        ),
        flag(
            "wake-interval",
            "DURATION",
            Some("0s"),
            "Let a worker sleep this long before it looks at its sockets, where that brings two or \
             more requests at once; up to 5ms; 0s: never",
            "Off: CPU time against latency. From some 2 / DURATION requests a second per worker on, \
             a request costs down to half as much and waits longer by this at most. Nothing changes \
             at lower rates, nor when the worker is busy. Best with --read-mode tracked.",
        ),
        flag(
            "drain-delay",
            "DURATION",
            Some("5s"),
            "After SIGTERM, keep serving this long; 0s: not at all",
            "Time for balancers to learn that this process goes away.",
        ),
        flag(
            "drain-timeout",
            "DURATION",
            Some("10s"),
            "After that, let requests in flight finish this long",
            "With the delay it must fit in the orchestrator's grace period (Kubernetes: 30 s). A \
             second signal ends it at once, with exit status 1, since requests may be lost.",
        ),
        flag(
            "drain-unready",
            "",
            None,
            "After SIGTERM, /readyz is 503 at once rather than after the drain delay",
            "For balancers that only look at the probe. Kubernetes takes an ending pod out by \
             itself.",
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
            "text: lines for people; json: one object a line",
            "Both on stderr, one line an event. Repeated events are summed up each minute.",
        ),
        flag(
            "log-level",
            "LEVEL",
            Some("info"),
            "The least severe level to log: error, warn, info or debug",
            "No level logs requests.",
        ),
    ],
};

pub(super) const CHECK: Group = Group {
    heading: "Check",
    flags: &[flag(
        "format",
        "FORMAT",
        Some("text"),
        "text: a line each; json: one array of role, name, status, found and cure",
        "Only a FAIL gives exit status 1; a WARN doesn't.",
    )],
};

pub(super) const SYNC_AUTH: Group = Group {
    heading: "Kept equal",
    flags: &[
        flag(
            "masterauth-file",
            "FILE",
            None,
            "File with the password that a replica logs in to its master with",
            "Set by CONFIG SET masterauth, so that a link that is lost comes back with it. Loses one \
             trailing newline. All files here are read each second; one that is missing, empty or \
             broken leaves the server with what it has, with one warning.",
        ),
        flag(
            "masteruser",
            "NAME",
            None,
            "User that a replica logs in to its master as",
            "Set together with the password. Without it: as the server was started.",
        ),
        flag(
            "tls-ca-file",
            "FILE",
            None,
            "The server's tls-ca-cert-file",
            "An absolute path, by which the server finds the file too. When the content of one of \
             the three changes, CONFIG SET has the server read all of them anew. Connections that \
             stand go on.",
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
            "The server's aclfile: its users, a line each",
            "Each is set by ACL SETUSER, after a reset; users of the server that are not in the \
             file are deleted, but for `default` and the one of --redis-user. ACL LOAD would end \
             the connections of users that change.",
        ),
        flag(
            "master-addr",
            "ADDRESS",
            None,
            "host:port of a replica's master: REPLICAOF follows the name's address",
            "Looked up every 5 s. A link that is down follows at once; one that is up when the name \
             has been without its address for 30 s. One that stays down for 15 s tries the name's \
             next address. A replica that was given the name itself is left alone.",
        ),
    ],
};
