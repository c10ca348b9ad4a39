//! Master and replica: which program, and its configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::certs::Certs;
use super::{Error, program};

/// The names of the server, in the order of preference.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// For both: on the loopback, in the foreground, nothing on disk, and no pause before a replica's
/// first synchronisation (5 s by default, to gather several).
const COMMON: &str = "\
bind 127.0.0.1
daemonize no
logfile \"\"
save \"\"
appendonly no
repl-diskless-sync yes
repl-diskless-sync-delay 0
tls-auth-clients no
";

/// The program to run: `given`, or the first on PATH.
pub(super) fn find_server(given: Option<&Path>) -> Result<PathBuf, Error> {
    match given {
        Some(name) => program::find(name).ok_or_else(|| Error::NotAProgram(name.to_owned())),
        None => {
            let mut names = PROGRAMS.iter().map(Path::new);
            names.find_map(program::find).ok_or(Error::NoServer)
        }
    }
}

/// A master that speaks nothing but TLS.
pub(super) fn master(addr: SocketAddr, certs: &Certs, password: &str) -> String {
    let port = addr.port();
    format!(
        "{COMMON}port 0\ntls-port {port}\nrequirepass {password}\n{}",
        tls_files(certs)
    )
}

/// A plaintext replica that follows `master` over TLS, and can't come back with old data: nothing
/// of a synchronisation stays on disk.
pub(super) fn replica(
    addr: SocketAddr,
    master: SocketAddr,
    certs: &Certs,
    password: &str,
) -> String {
    format!(
        "{COMMON}port {}\nreplicaof {} {}\nmasterauth {password}\ntls-replication yes\n\
         rdb-del-sync-files yes\n{}",
        addr.port(),
        master.ip(),
        master.port(),
        tls_files(certs),
    )
}

fn tls_files(certs: &Certs) -> String {
    format!(
        "tls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}\n",
        quoted(&certs.ca),
        quoted(&certs.cert),
        quoted(&certs.key),
    )
}

/// A path as one word of the configuration file.
fn quoted(path: &Path) -> String {
    let text = path
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted() {
        assert_eq!(quoted(Path::new("/a b/\"c\"\\d")), r#""/a b/\"c\"\\d""#);
    }
}
