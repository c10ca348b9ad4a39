//! Master and replica: which program, and its configuration.

use std::env;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::certs::Certs;

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
pub(super) fn find_program(given: Option<&Path>) -> Result<PathBuf, Error> {
    match given {
        Some(path) if path.components().count() > 1 => {
            // The child runs in another folder.
            let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            is_program(&file)
                .then_some(file)
                .ok_or_else(|| Error::NotAProgram(path.to_owned()))
        }
        Some(name) => on_path(name).ok_or_else(|| Error::NotAProgram(name.to_owned())),
        None => {
            let mut names = PROGRAMS.iter().map(Path::new);
            names.find_map(on_path).ok_or(Error::NoServer)
        }
    }
}

fn on_path(name: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
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
    fn program_is_looked_for() {
        let missing = find_program(Some(Path::new("/nowhere/redis-server")));
        assert!(matches!(missing, Err(Error::NotAProgram(_))), "{missing:?}");
        // A folder can be "executed" as far as its mode says.
        let folder = find_program(Some(Path::new("/")));
        assert!(matches!(folder, Err(Error::NotAProgram(_))), "{folder:?}");
        let shell = find_program(Some(Path::new("sh"))).expect("every Unix has a shell");
        assert!(shell.is_absolute());
    }

    #[test]
    fn paths_are_quoted() {
        assert_eq!(quoted(Path::new("/a b/\"c\"\\d")), r#""/a b/\"c\"\\d""#);
    }
}
