//! What is started, and where: by flags, and by what is missing or taken.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use super::{Rig, START_PATIENCE, UP, address, quiet, starting};
use crate::support::process::find_program;
use crate::support::{Api, PATIENCE, eventually};

#[test]
fn rig_without_load_has_no_bot() {
    let rig = quiet();
    assert!(rig.line("vegetaserver").is_none(), "{:?}", rig.api.log());
    for name in ["master", "replica", "api", "updater", "aggregator"] {
        assert!(rig.line(name).is_some(), "{name}: {:?}", rig.api.log());
    }
    let log = rig.api.log();
    let find = |start: &str| log.iter().position(|line| line.starts_with(start));
    let dashboard = find("Dashboard: http://").expect("its address is told");
    assert!(Some(dashboard) < find("The rig's data folder"), "{log:?}");
    assert_eq!(rig.page("/livez").status, 200);
    rig.api.wait_log("load state=off served=", PATIENCE);
    let line = rig.api.wait_log("process name=replica", PATIENCE);
    assert!(line.contains(" memory_mib="), "{line}");
    assert!(!line.contains("cpu_us_per_request"), "too few: {line}");
}

#[test]
fn naive_rig_reads_from_the_master() {
    let rig = Rig::start(Api::subcommand("local").args(["--no-load", "--topology", "naive"]));
    assert!(rig.line("replica").is_none(), "{:?}", rig.api.log());
    let line = rig.line("api").expect("it was started");
    assert!(line.contains("reads from the master"), "{line}");
    // No replication: what was written is there at once. The updater writes too.
    eventually(PATIENCE, "the posted value is read", || {
        let posted = rig.api.post("/EUR", r#"{"value":12.5}"#);
        assert_eq!(posted.status, 200, "{}", posted.text());
        rig.api.get("/EUR").text() == r#"{"current":12.5}"#
    });
    let servers = fs::read_dir(rig.folder.path())
        .expect("our folder can be read")
        .flatten()
        .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten())
        .filter(|entry| entry.path().join("redis.conf").exists());
    assert_eq!(servers.count(), 1);
}

#[test]
fn missing_vegeta_is_told_with_the_cure() {
    let programs = tempfile::tempdir().expect("a temporary folder can be made");
    let server = find_program(&["redis-server", "valkey-server"]).expect("there is one");
    symlink(server, programs.path().join("redis-server")).expect("our folder is writable");
    let path = programs.path().display().to_string();
    let rig = Rig::start(Api::subcommand("local").env("PATH", &path));
    let line = rig.api.wait_log("THERE IS NO LOAD", PATIENCE);
    let cure = "go install github.com/tsenart/vegeta/v12@v12.13.0";
    assert!(line.contains(cure) && line.contains("make setup"), "{line}");
    assert!(rig.line("vegetaserver").is_none());
    assert_eq!(rig.api.get("/").status, 200);

    let mut api = Api::subcommand("local")
        .args(["--vegeta", "/nowhere/vegeta"])
        .start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(1));
    api.wait_log("--vegeta /nowhere/vegeta", PATIENCE);
}

#[test]
fn taken_default_ports_are_left_alone() {
    let defaults = [8080, 8081, 8082, 6379, 6380];
    let _one_at_a_time = starting();
    // Either we take them, or somebody else has.
    let _taken: Vec<_> = defaults
        .iter()
        .filter_map(|port| TcpListener::bind(("127.0.0.1", *port)).ok())
        .collect();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let api = Api::subcommand("local")
        .env("TMPDIR", &folder.path().display().to_string())
        .args(["--rate", "20"])
        .listen_on(([127, 0, 0, 1], 8080).into())
        .start();
    api.wait_log(UP, START_PATIENCE);
    let log = api.log();
    let find = |name: &str| {
        let mut lines = log.iter();
        lines
            .find(|line| line.starts_with(name) && line.contains("(process "))
            .expect("it was started")
    };
    for name in ["api", "vegetaserver", "aggregator"] {
        let address = address(find(name));
        assert!(!defaults.contains(&address.port()), "{name} on {address}");
    }
    for name in ["master", "replica"] {
        let line = find(name);
        let is_default = [":6379 ", ":6380 "].iter().any(|port| line.contains(port));
        assert!(!is_default, "{line}");
    }
}

#[test]
fn missing_server_is_told_with_the_cure() {
    let empty = tempfile::tempdir().expect("a temporary folder can be made");
    let path = empty.path().display().to_string();
    let mut api = Api::subcommand("local").env("PATH", &path).start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(1));
    api.wait_log("apt-get install redis-server", PATIENCE);

    let mut api = Api::subcommand("local")
        .args(["--redis-server", "/nowhere/redis"])
        .start();
    assert_eq!(api.wait_exit(PATIENCE).code(), Some(1));
    api.wait_log("--redis-server /nowhere/redis", PATIENCE);
}

#[test]
fn another_rig_that_starts_is_waited_for_and_holds_no_error_up() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    let name = SocketAddr::from_abstract_name("redis-api-local-start").expect("a short name");
    // That of another test's rig ends soon.
    let _turn = eventually(START_PATIENCE, "it is our turn", || {
        UnixListener::bind_addr(&name).map_err(|error| error.to_string())
    });
    let mut waiting = Api::subcommand("local").start();
    waiting.wait_log("Another rig is starting", PATIENCE / 2);
    let mut api = Api::subcommand("local")
        .args(["--redis-server", "/nowhere/redis"])
        .start();
    assert_eq!(api.wait_exit(PATIENCE / 2).code(), Some(1));
    waiting.term();
    assert_eq!(waiting.wait_exit(PATIENCE / 2).code(), Some(0));
}

#[test]
fn api_that_is_not_ready_is_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = folder.path().join("server");
    // The rig sees that the replica is in sync; the API may not see whether it is loading.
    let script = "#!/bin/sh\n\
        grep -q replicaof \"$1\" || exec redis-server \"$@\"\n\
        exec redis-server \"$@\" --user default on nopass '~*' +@all -info '+info|replication'\n";
    fs::write(&server, script).expect("our folder is writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&server, mode).expect("our file can be made a program");
    let _one_at_a_time = starting();
    let mut api = Api::subcommand("local")
        .args(["--no-load", "--redis-server"])
        .arg(server.display().to_string())
        .start();
    let status = api.wait_exit(3 * PATIENCE);
    assert_eq!(status.code(), Some(1), "{:?}", api.log());
    api.wait_log("api was not ready within", PATIENCE);
    api.wait_log("redis-api check says of it:", PATIENCE);
    let line = api.wait_log("FAIL  read     state", PATIENCE);
    assert!(
        line.contains("INFO persistence") && line.contains("+info"),
        "{line}"
    );
    api.wait_log("OK    write    login", PATIENCE);
}
