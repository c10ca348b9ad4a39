//! Servers of others that stand before an API such as this one, where they are installed.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::{env, fs};

use super::process::Process;
use super::{PATIENCE, eventually, free_port};

/// Starts `program` with this configuration, in which `PORT` and `FOLDER` are put; `None`: it is
/// not installed.
pub fn peer(
    program: &str,
    arguments: &[&str],
    configuration: &str,
) -> Option<(Process, SocketAddr)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let Some(found) = folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
    else {
        println!("SKIPPED: {program} is not installed (Debian: apt-get install {program})");
        return None;
    };
    // Removed by the system: the server's last word may come after the test's.
    let folder = tempfile::tempdir().expect("a folder").keep();
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let text = configuration
        .replace("PORT", &addr.port().to_string())
        .replace("FOLDER", &folder.display().to_string());
    let file = folder.join("configuration");
    fs::write(&file, text).expect("it can be written");
    let mut command = Command::new(found);
    command.args(arguments).arg(&file).current_dir(&folder);
    let process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    eventually(PATIENCE, "the other server listens", || {
        TcpStream::connect(addr).is_ok()
    });
    Some((process, addr))
}
