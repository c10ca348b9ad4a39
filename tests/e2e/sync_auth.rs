//! `sync-auth`: running Redis servers are told what mounted files say, and where their master is.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use crate::support::api::Builder;
use crate::support::files::{replace, text};
use crate::support::{Act, Api, Certs, Fake, PATIENCE, Redis, eventually, free_port};

/// Two lookups of a name that has two addresses, the first of which leads nowhere, and then some.
const MOVES: Duration = Duration::from_secs(60);

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn beside(redis: &Redis) -> Builder {
    let address = redis.addr().to_string();
    Api::subcommand("sync-auth")
        .without_listen()
        .args(["--redis-addr", &address])
}

fn with_file(builder: Builder, flag: &str, path: &Path) -> Builder {
    builder.arg(flag).arg(path.display().to_string())
}

/// Keeps the certificates of `redis` equal to the files it was started with.
fn with_certificates(redis: &Redis, certs: &Certs) -> Api {
    let builder = match redis.ca() {
        None => beside(redis),
        Some(_) => with_file(
            beside(redis).arg("--redis-tls"),
            "--redis-ca-file",
            &certs.ca,
        ),
    };
    let builder = with_file(builder, "--tls-ca-file", &certs.ca);
    let builder = with_file(builder, "--tls-cert-file", &certs.leaf.cert);
    with_file(builder, "--tls-key-file", &certs.leaf.key).start()
}

fn count(sync: &Api, what: &str) -> usize {
    let log = sync.log();
    log.iter().filter(|line| line.contains(what)).count()
}

#[track_caller]
fn wait_count(sync: &Api, what: &str, number: usize) {
    eventually(PATIENCE, &format!("{number} times {what:?}"), || {
        let found = count(sync, what);
        (found >= number).then_some(()).ok_or_else(|| sync.log())
    });
}

/// Neither what it logs nor what the system shows of it has any of these in it, and it has no
/// children.
#[track_caller]
fn check_silent_about(sync: &mut Api, secrets: &[&str]) {
    let pid = sync.process().pid();
    let of_process = |name: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).expect("the process runs");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let shown = [
        of_process("cmdline"),
        of_process("environ"),
        sync.log().join("\n"),
    ]
    .join("\n");
    assert!(shown.contains("sync-auth") && shown.contains("connected to"));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret:?} is in {shown}");
    }
    assert_eq!(of_process(&format!("task/{pid}/children")), "");
}

/// Has the replica connect anew, and waits for what is written then.
#[track_caller]
fn check_reconnects(master: &Redis, replica: &Redis, value: &str) {
    master.cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    check_replicates(master, replica, value);
}

#[track_caller]
fn check_replicates(master: &Redis, replica: &Redis, value: &str) {
    assert_eq!(master.cli(&["SET", "key", value]), "OK");
    eventually(PATIENCE, "the value is on the replica", || {
        let found = replica.cli(&["GET", "key"]);
        (found == value).then_some(()).ok_or_else(|| replica.log())
    });
}

#[track_caller]
fn wait_setting(redis: &Redis, name: &str, value: &str) {
    eventually(PATIENCE, &format!("{name} is {value}"), || {
        let found = redis.cli(&["CONFIG", "GET", name]);
        (found == format!("{name}\n{value}"))
            .then_some(())
            .ok_or(found)
    });
}

/// A master over TLS with the user `replica`, a replica that logs in as that, and its password file.
fn pair(certs: &Certs, folder: &TempDir) -> (Redis, Redis, PathBuf) {
    let master = Redis::builder().tls(certs).password("of the admin").start();
    let rules = ["on", ">one-geheim", "+psync", "+replconf", "+ping"];
    master.cli(&[&["ACL", "SETUSER", "replica"], &rules[..]].concat());
    let replica = Redis::builder()
        .replica_of(&master)
        .config("masteruser replica")
        .config("masterauth one-geheim")
        .start();
    replica.wait_synced();
    let file = folder.path().join("password");
    replace(&file, "one-geheim\n");
    (master, replica, file)
}

#[test]
fn password_changes_on_master_and_replica_without_a_gap() {
    let (certs, folder) = (Certs::new(), folder());
    let (master, mut replica, file) = pair(&certs, &folder);
    let builder = with_file(beside(&replica), "--masterauth-file", &file);
    let mut sync = builder.args(["--masteruser", "replica"]).start();
    sync.wait_log("masterauth set", PATIENCE);

    master.cli(&["ACL", "SETUSER", "replica", ">two-geheim"]);
    replace(&file, "two-geheim\n");
    wait_setting(&replica, "masterauth", "two-geheim");
    master.cli(&["ACL", "SETUSER", "replica", "<one-geheim"]);
    check_reconnects(&master, &replica, "1");

    // A server that was restarted has its old settings again.
    replica.restart();
    wait_setting(&replica, "masterauth", "two-geheim");
    check_replicates(&master, &replica, "2");
    wait_count(&sync, "masterauth set", 3);

    // Of no use: the server keeps what it has.
    replace(&file, "\n");
    sync.wait_log("is empty; put the password there", PATIENCE);
    fs::remove_file(&file).expect("it is there");
    mkfifo(&file, Mode::S_IRWXU).expect("our folder is writable");
    sync.wait_log("is not a regular file", PATIENCE);
    check_reconnects(&master, &replica, "3");
    replace(&file, "two-geheim");
    check_silent_about(&mut sync, &["geheim"]);
    assert_eq!(sync.stop().code(), Some(0));
}

#[test]
fn ca_and_certificates_change_and_replication_goes_on() {
    let (old, new) = (Certs::new(), Certs::new());
    let master = Redis::builder().tls(&old).start();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    let of_master = with_certificates(&master, &old);
    let mut of_replica = with_certificates(&replica, &old);
    let mut number = 0;
    let mut wait_set = || {
        number += 1;
        wait_count(&of_master, "certificates set", number);
        wait_count(&of_replica, "certificates set", number);
    };
    wait_set();

    replace(&old.ca, &(text(&old.ca) + &text(&new.ca)));
    wait_set();
    check_reconnects(&master, &replica, "1");

    // Half a certificate, for as long as it takes to be seen. (redis-cli would show it to the master.)
    let whole = text(&new.leaf.cert);
    replace(&old.leaf.cert, &whole[..whole.len() / 2]);
    for sync in [&of_master, &of_replica] {
        sync.wait_log("certificates not set", PATIENCE);
    }
    replica.cli(&["CLIENT", "KILL", "TYPE", "master"]);
    replica.wait_synced();
    replace(&old.leaf.key, &text(&new.leaf.key));
    replace(&old.leaf.cert, &whole);
    wait_set();
    check_reconnects(&master, &replica, "2");

    replace(&old.ca, &text(&new.ca));
    wait_set();
    check_reconnects(&master, &replica, "3");
    assert_eq!(count(&of_replica, "certificates not set"), 1);
    let key = text(&new.leaf.key);
    let line = key.lines().nth(1).expect("it has several lines").to_owned();
    check_silent_about(&mut of_replica, &[&line]);
}

/// A connection to Redis that is logged in.
struct Client(TcpStream);

impl Client {
    fn login(redis: &Redis, user: &str, password: &str) -> Client {
        let stream = TcpStream::connect(redis.addr()).expect("it listens");
        let timeout = stream.set_read_timeout(Some(PATIENCE));
        timeout.expect("the timeout is above zero");
        let mut client = Client(stream);
        assert_eq!(client.ask(&format!("AUTH {user} {password}")), "+OK\r\n");
        client
    }

    /// The reply to an inline command; nothing at the end of the connection.
    fn ask(&mut self, command: &str) -> String {
        let mut reply = [0; 256];
        let sent = self.0.write_all(format!("{command}\r\n").as_bytes());
        let received = sent.and_then(|()| self.0.read(&mut reply)).unwrap_or(0);
        String::from_utf8_lossy(&reply[..received]).into_owned()
    }
}

/// Who one is after a login: `default` if it was refused.
fn logged_in_as(redis: &Redis, user: &str, password: &str) -> String {
    redis.cli(&["--user", user, "--pass", password, "ACL", "WHOAMI"])
}

#[test]
fn users_change_and_their_connections_stand() {
    let folder = folder();
    let file = folder.path().join("users.acl");
    let rights = "~* +@all";
    let api = |passwords: &str| format!("user api on {passwords} {rights}\n");
    let gone = format!("user gone on >gone-geheim {rights}\n");
    replace(&file, &(api(">one-geheim") + &gone));
    let redis = Redis::builder()
        .config(&format!("aclfile \"{}\"", file.display()))
        .start();
    let mut sync = with_file(beside(&redis), "--acl-file", &file).start();
    sync.wait_log("users set: api, gone", PATIENCE);
    let mut standing = Client::login(&redis, "api", "one-geheim");
    let mut leaving = Client::login(&redis, "gone", "gone-geheim");

    replace(&file, &(api(">one-geheim >two-geheim") + &gone));
    eventually(PATIENCE, "the new password is taken", || {
        logged_in_as(&redis, "api", "two-geheim") == "api"
    });
    assert_eq!(logged_in_as(&redis, "api", "one-geheim"), "api");

    let new = format!("user new on >new-geheim {rights}\n");
    replace(&file, &(api(">two-geheim") + &new));
    sync.wait_log("users deleted: gone", PATIENCE);
    assert_eq!(logged_in_as(&redis, "api", "one-geheim"), "default");
    assert_eq!(logged_in_as(&redis, "new", "new-geheim"), "new");
    assert_eq!(standing.ask("PING"), "+PONG\r\n");
    assert_eq!(leaving.ask("PING"), "", "its user is gone");
    assert_eq!(count(&sync, "users set: gone"), 0);

    // A password with a blank in it: what the server says would show it.
    replace(&file, &(api(">a geheim") + &new));
    let line = sync.wait_log("user api not set", PATIENCE);
    assert!(line.contains("modifier number 3"), "{line}");
    replace(&file, "geheim");
    sync.wait_log("line 1 does not begin with `user`", PATIENCE);
    assert_eq!(logged_in_as(&redis, "api", "two-geheim"), "api");
    assert_eq!(standing.ask("PING"), "+PONG\r\n");
    check_silent_about(&mut sync, &["geheim"]);
}

#[test]
fn replica_follows_the_address_of_its_masters_name() {
    let mut old = Redis::start_plain();
    // Whichever of them `localhost` is here.
    let new = Redis::builder().config("bind 127.0.0.1 -::1").start();
    let replica = Redis::builder().replica_of(&old).start();
    replica.wait_synced();
    let name = format!("localhost:{}", new.port());
    let sync = beside(&replica).args(["--master-addr", &name]).start();
    sync.wait_log("connected to", PATIENCE);
    old.kill();
    eventually(MOVES, "it replicates from the new one", || {
        let port = replica.info("replication", "master_port");
        let status = replica.info("replication", "master_link_status");
        let is_there = port == Some(new.port().to_string()) && status.as_deref() == Some("up");
        is_there.then_some(()).ok_or_else(|| sync.log())
    });
    sync.wait_log("replicates from", PATIENCE);
    check_replicates(&new, &replica, "1");
}

#[test]
fn master_stays_a_master() {
    let redis = Redis::start_plain();
    let address = format!("127.0.0.1:{}", free_port());
    let sync = beside(&redis).args(["--master-addr", &address]).start();
    sync.wait_log("the server is a master, and stays one", PATIENCE);
    assert_eq!(redis.info("replication", "role").as_deref(), Some("master"));
}

#[test]
fn missing_rights_are_told_once_with_the_cure() {
    let folder = folder();
    let redis = Redis::start_plain();
    redis.cli(&[
        "ACL",
        "SETUSER",
        "sync",
        "on",
        ">own-geheim",
        "+ping",
        "+hello",
    ]);
    let own = folder.path().join("own");
    replace(&own, "own-geheim");
    let file = folder.path().join("password");
    replace(&file, "geheim");
    let builder = with_file(beside(&redis), "--masterauth-file", &file);
    let builder = with_file(
        builder.args(["--redis-user", "sync"]),
        "--redis-pass-file",
        &own,
    );
    let mut sync = builder.start();
    let line = sync.wait_log("masterauth not set", PATIENCE);
    assert!(
        line.contains("NOPERM") && line.contains("grant +config|set"),
        "{line}"
    );
    replace(&file, "other-geheim");
    // A change is tried at once. The same failure is not told again.
    let refused = || redis.info("stats", "acl_access_denied_cmd");
    eventually(PATIENCE, "it is refused again", || {
        let number = refused().and_then(|number| number.parse::<u32>().ok());
        number.is_none_or(|number| number >= 2)
    });
    redis.cli(&["ACL", "SETUSER", "sync", "+config|set"]);
    replace(&file, "third-geheim");
    sync.wait_log("masterauth set", PATIENCE);
    assert_eq!(count(&sync, "masterauth not set"), 1);
    check_silent_about(&mut sync, &["geheim"]);
}

/// As Redis 6.2, which takes one setting at a time.
#[test]
fn server_that_takes_one_setting_at_a_time() {
    let fake = Fake::start();
    let settings = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&settings);
    fake.script(move |command| match command {
        [config, set, name, _] if config == "CONFIG" && set == "SET" => {
            told.lock().expect("no panic").push(name.clone());
            Act::Send(b"+OK\r\n".to_vec())
        }
        [config, ..] if config == "CONFIG" => {
            let reply = "-ERR Unknown subcommand or wrong number of arguments for 'SET'. Try CONFIG \
                         HELP.\r\n";
            Act::Send(reply.into())
        }
        _ => Act::Behave,
    });
    let folder = folder();
    let mut builder = Api::subcommand("sync-auth").without_listen();
    builder = builder.args(["--redis-addr", &fake.addr().to_string()]);
    for flag in ["--tls-ca-file", "--tls-cert-file", "--tls-key-file"] {
        let path = folder.path().join(flag);
        replace(&path, flag);
        builder = with_file(builder, flag, &path);
    }
    let sync = builder.start();
    sync.wait_log("certificates set", PATIENCE);
    let settings = settings.lock().expect("no panic");
    assert_eq!(
        *settings,
        ["tls-ca-cert-file", "tls-cert-file", "tls-key-file"]
    );
}

/// Redis repeats the arguments of a command that it doesn't know.
#[test]
fn server_without_the_commands_is_told_of_without_secrets() {
    let folder = folder();
    let redis = Redis::builder()
        .config("rename-command CONFIG \"\"")
        .config("rename-command ACL \"\"")
        .start();
    let password = folder.path().join("password");
    replace(&password, "geheim");
    let users = folder.path().join("users");
    replace(&users, "user a on >geheim");
    let builder = with_file(beside(&redis), "--masterauth-file", &password);
    let mut sync = with_file(builder, "--acl-file", &users).start();
    for line in ["masterauth not set", "user a not set", "users that are not"] {
        let line = sync.wait_log(line, PATIENCE);
        assert!(line.contains("rename-command"), "{line}");
    }
    check_silent_about(&mut sync, &["geheim"]);
}

#[test]
fn server_that_is_away_is_awaited_and_the_end_is_at_once() {
    let folder = folder();
    let mut redis = Redis::builder().unix_socket().start();
    let file = folder.path().join("password");
    replace(&file, "geheim");
    let address = format!("unix://{}", redis.socket().display());
    redis.stop();
    let builder = Api::subcommand("sync-auth").without_listen();
    let builder = with_file(
        builder.args(["--redis-addr", &address]),
        "--masterauth-file",
        &file,
    );
    let mut sync = builder.start();
    sync.wait_log("can't connect to unix://", PATIENCE);
    redis.restart();
    sync.wait_log("masterauth set", PATIENCE);
    assert_eq!(count(&sync, "can't connect to unix://"), 1);
    redis.restart();
    wait_count(&sync, "masterauth set", 2);
    redis.freeze();
    sync.wait_log("no reply for", PATIENCE);
    sync.term();
    assert_eq!(sync.wait_exit(Duration::from_secs(1)).code(), Some(0));
}
