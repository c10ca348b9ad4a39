//! The environment of the processes that the rig starts: a few variables of our own, no others.
//!
//! Go programs, vegeta among them, read many. `HTTP_PROXY` sends the whole load to a proxy unless
//! the target is the loopback, so that the figures are those of the proxy; `GODEBUG` changes how
//! names are looked up and which version of HTTP is spoken; `GOGC`, `GOMEMLIMIT` and `GOMAXPROCS`
//! change how much the generator can do. A measurement must be the same on every machine, so none
//! of them gets through. Nor do our own, which may hold secrets.

use std::env;
use std::process::Command;

/// What a child gets if we have it.
const PASSED_ON: [&str; 7] = [
    // To find programs, and files of their users.
    "PATH",
    "HOME",
    // What it prints, and in which language.
    "LANG",
    "TERM",
    "RUST_BACKTRACE",
    // Which certificates it trusts: the only way to attack a server with a private CA. They change
    // whether a connection is accepted, not where it goes.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Gives `command` this environment.
pub(crate) fn clean(command: &mut Command) {
    command.env_clear();
    for name in PASSED_ON {
        if let Some(value) = env::var_os(name) {
            command.env(name, value);
        }
    }
}
