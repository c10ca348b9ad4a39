//! `redis-api check`: against servers with each fault, what it says, and what it never sends.

mod tls;

use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::process::Process;
use crate::support::{Act, Certs, Fake, Redis, free_port};

const PASSWORD: &str = "geheim-hunter2";

/// The longest that a check may take.
const LONGEST: Duration = Duration::from_secs(30);

/// What a check said.
struct Said {
    status: Option<i32>,
    text: String,
    findings: Vec<Value>,
    took: Duration,
}

/// Runs the check with `--format json` and nothing in its environment.
#[track_caller]
fn check(args: &[&str]) -> Said {
    check_with(args, &[])
}

/// The same with these variables.
#[track_caller]
fn check_with(args: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut said = run_with(&[args, &["--format=json"]].concat(), variables);
    said.findings = match serde_json::from_str(&said.text) {
        Ok(Value::Array(findings)) => findings,
        other => panic!("{other:?}: {}", said.text),
    };
    for finding in &said.findings {
        let has_cure = finding["cure"]
            .as_str()
            .is_some_and(|cure| !cure.is_empty());
        assert_eq!(has_cure, finding["status"] != "OK", "{finding}");
    }
    let failed = said.findings.iter().any(|found| found["status"] == "FAIL");
    assert_eq!(said.status, Some(i32::from(failed)), "{}", said.text);
    said
}

#[track_caller]
fn run(args: &[&str]) -> Said {
    run_with(args, &[])
}

#[track_caller]
fn run_with(args: &[&str], variables: &[(&str, &str)]) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let output = folder.path().join("output");
    let file = File::create(&output).expect("our folder is writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-api"));
    command.arg("check").args(args).env_clear();
    command.envs(variables.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null());
    let started = Instant::now();
    let status = Process::spawn(&mut command).wait_exit(LONGEST);
    Said {
        status: status.code(),
        text: fs::read_to_string(output).expect("it is UTF-8"),
        findings: Vec::new(),
        took: started.elapsed(),
    }
}

impl Said {
    /// Checks the finding of this role and name.
    #[track_caller]
    fn has(&self, role: &str, name: &str, status: &str, words: &str) {
        let mut found = self.findings.iter();
        let finding = found.find(|found| found["role"] == role && found["name"] == name);
        let Some(finding) = finding else {
            panic!("no {role} {name} in {}", self.text);
        };
        assert_eq!(finding["status"], status, "{finding}");
        assert!(finding.to_string().contains(words), "{words:?}: {finding}");
    }

    #[track_caller]
    fn has_not(&self, role: &str, status: &str) {
        let mut found = self.findings.iter();
        let bad = found.find(|found| found["role"] == role && found["status"] == status);
        assert!(bad.is_none(), "{bad:?}");
    }
}

/// The flags of a role for this server.
fn flags(role: &str, redis: &Redis) -> Vec<String> {
    let mut flags = vec![format!("--{role}-redis-addr={}", redis.addr())];
    if let Some(ca) = redis.ca() {
        flags.push(format!("--{role}-redis-tls"));
        flags.push(format!("--{role}-redis-ca-file={}", ca.display()));
    }
    if let Some(password) = redis.password() {
        flags.push(format!("--{role}-redis-pass={password}"));
    }
    flags
}

#[track_caller]
fn check_pair(read: &Redis, write: &Redis, more: &[&str]) -> Said {
    let flags = [flags("read", read), flags("write", write)].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    check(&[&flags, more].concat())
}

/// A check of both roles at one server.
#[track_caller]
fn check_one(redis: &Redis, more: &[&str]) -> Said {
    check_pair(redis, redis, more)
}

/// Commands that a server has counted, tried ones included.
fn commands(redis: &Redis) -> Vec<String> {
    let stats = redis.cli(&["INFO", "commandstats"]);
    let names = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"));
    let names = names.filter_map(|line| line.split(':').next());
    names.map(String::from).collect()
}

#[test]
fn all_is_well_and_nothing_was_written() {
    let certs = Certs::new();
    let master = Redis::builder().tls(&certs).password(PASSWORD);
    let master = master.config("appendonly yes").start();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    master.cli(&["HSET", "currency", "current-value", "12.5"]);
    for redis in [&master, &replica] {
        assert_eq!(redis.cli(&["CONFIG", "RESETSTAT"]), "OK");
    }
    let said = check_pair(&replica, &master, &["--read-role=replica"]);
    assert_eq!(said.status, Some(0), "{}", said.text);
    for role in ["read", "write", "both"] {
        said.has_not(role, "WARN");
    }
    said.has("read", "login", "OK", "RESP3 as default without a password");
    said.has("read", "rights", "OK", "hget, hmget, info");
    said.has("read", "state", "OK", "replica in sync");
    said.has(
        "write",
        "tls",
        "OK",
        "TLSv1.3; CN=redis-api test server by CN=redis-api test CA",
    );
    said.has("write", "rights", "OK", "hset");
    said.has("write", "state", "OK", "1 replicas");
    said.has("write", "persistence", "OK", "append-only");
    said.has("write", "clients", "OK", "of maxclients");
    said.has("both", "pair", "OK", " follows ");
    for name in ["cores", "files", "backlog"] {
        assert!(said.text.contains(&format!("\"{name}\"")), "{}", said.text);
    }
    assert!(!said.text.contains(PASSWORD), "{}", said.text);

    let single = ["hello", "auth", "ping", "info", "hget", "hmget"];
    let parts = [
        "client|setname",
        "acl|whoami",
        "acl|getuser",
        "acl|dryrun",
        "config|get",
    ];
    // What the replica, and the test's own client, send.
    let others = ["replconf", "psync", "config|resetstat"];
    let known = [&single[..], &parts, &others].concat();
    for name in commands(&master).into_iter().chain(commands(&replica)) {
        assert!(known.contains(&name.as_str()), "{name}");
    }
    assert!(
        commands(&replica).contains(&"hget".to_string()),
        "rights to read are tried"
    );
    assert!(commands(&master).contains(&"acl|dryrun".to_string()));
    assert_eq!(master.cli(&["HGET", "currency", "current-value"]), "12.5");
}

#[test]
fn text_has_a_line_each() {
    let redis = Redis::start_plain();
    let said = run(&["--redis-addr", &redis.addr().to_string()]);
    assert_eq!(said.status, Some(0), "{}", said.text);
    assert!(said.text.lines().count() > 10, "{}", said.text);
    for line in said.text.lines() {
        assert!(
            ["OK    ", "WARN  ", "FAIL  "]
                .iter()
                .any(|word| line.starts_with(word)),
            "{line}"
        );
        assert_eq!(line.contains("; cure: "), !line.starts_with("OK"), "{line}");
    }
    let bad = run(&["--format=xml"]);
    assert_eq!((bad.status, bad.text.as_str()), (Some(2), ""));
}

#[test]
fn one_server_for_both_is_the_naive_topology() {
    let redis = Redis::start_plain();
    let said = check_one(&redis, &["--workers=3", "--read-connections=2"]);
    said.has("both", "pair", "WARN", "one server");
    said.has("write", "clients", "OK", "9 of them would be ours");
    said.has("write", "persistence", "WARN", "wipes every replica");
    let said = check_one(&redis, &["--read-role=replica"]);
    said.has("read", "state", "FAIL", "is a master");
    let other = Redis::start_plain();
    let said = check_pair(&other, &redis, &[]);
    said.has("both", "pair", "WARN", "two masters");
}

#[test]
fn nothing_listens() {
    let addr = format!("localhost:{}", free_port());
    let said = check(&["--redis-addr", &addr]);
    said.has("read", "name", "OK", "127.0.0.1");
    for role in ["read", "write"] {
        said.has(role, "connect", "FAIL", "start the server");
    }
    let said = check(&["--redis-addr=unix:///nowhere/redis.sock"]);
    said.has("write", "connect", "FAIL", "/nowhere/redis.sock");
    let said = check(&[
        "--redis-addr=no-such-name.invalid:1",
        "--connect-timeout=2s",
    ]);
    said.has("read", "name", "FAIL", "no-such-name.invalid");
}

#[test]
fn one_role_fails_and_the_other_is_checked() {
    let master = Redis::builder().password(PASSWORD).start();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    let read = format!("--read-redis-addr={}", replica.addr());
    let write = format!("--write-redis-addr={}", master.addr());
    let said = check(&[&read, &write, "--write-redis-pass=hunter3"]);
    said.has_not("read", "FAIL");
    said.has("write", "login", "FAIL", "WRONGPASS");
    said.has("write", "login", "FAIL", "--write-redis-pass");
    assert!(!said.text.contains("hunter3"), "{}", said.text);
    let said = check(&[&read, &write]);
    said.has("write", "login", "FAIL", "NOAUTH");
    let said = check(&[&read, &write, "--write-redis-pass-file=/nowhere/password"]);
    said.has("write", "login", "FAIL", "/nowhere/password");
    said.has("process", "file", "FAIL", "/nowhere/password");
    // The write side at a replica.
    let said = check_one(&replica, &[]);
    said.has("write", "state", "FAIL", "give the master's address");
}

#[test]
fn rights_of_users() {
    let redis = Redis::start_plain();
    let user = |rules: &str| {
        let rules: Vec<&str> = rules.split(' ').collect();
        assert_eq!(redis.cli(&["ACL", "DELUSER", "u"]).len(), 1);
        let words = [&["ACL", "SETUSER", "u", "on", ">p"], &rules[..]].concat();
        assert_eq!(redis.cli(&words), "OK");
        check_one(&redis, &["--redis-user=u", "--redis-pass=p"])
    };
    // What the README grants to both, and nothing else.
    let least = "~currency +hello +auth +ping +client|setname +info +hget +hmget +hset";
    let said = user(least);
    said.has("read", "rights", "OK", "hget, hmget, info");
    said.has("write", "rights", "WARN", "can't be seen");
    said.has("write", "rights", "WARN", "+acl|dryrun");
    assert_eq!(said.status, Some(0), "{}", said.text);

    let said = user(&format!("{least} +acl|whoami +acl|dryrun"));
    said.has("write", "rights", "OK", "user u may run hset");
    let said = user(&format!("{least} +acl|getuser"));
    said.has("write", "rights", "OK", "user u may run hset");
    let said = user(&format!("{least} -hset +acl|dryrun"));
    said.has("write", "rights", "FAIL", "ACL SETUSER u ~currency +hset");
    let said = user(&format!("{least} -hset +acl|getuser"));
    said.has("write", "rights", "FAIL", "ACL SETUSER u ~currency +hset");
    let said = user(&format!("{least} resetkeys ~other +acl|dryrun"));
    said.has("read", "rights", "FAIL", "hget, hmget");
    said.has("write", "rights", "FAIL", "hset");
    let said = user(&format!("{least} -hget"));
    said.has("read", "rights", "FAIL", "may not run hget");
    let said = user(&format!("{least} -info"));
    said.has("read", "rights", "FAIL", "may not run info");
    said.has("read", "server", "FAIL", "+info");
}

/// A command that is renamed away can't be granted.
#[test]
fn commands_that_are_renamed_away() {
    let redis = Redis::builder().config("rename-command INFO \"\"").start();
    let said = check_one(&redis, &[]);
    said.has("read", "server", "FAIL", "rename-command");
    said.has("read", "rights", "FAIL", "the server has no info");
    said.has("write", "server", "WARN", "rename-command");
    assert!(!said.text.contains("ACL SETUSER"), "{}", said.text);
    let redis = Redis::builder().config("rename-command HGET \"\"").start();
    let said = check_one(&redis, &[]);
    said.has("read", "rights", "FAIL", "the server has no hget");
}

/// As `echo pw | base64` makes it of a Kubernetes Secret.
#[test]
fn secrets_that_are_odd() {
    let redis = Redis::builder().password(PASSWORD).start();
    let addr = redis.addr().to_string();
    for (before, behind, words) in [
        ("", "\n", "ends with a newline"),
        ("\u{feff}", "", "begins with a byte order mark"),
    ] {
        let secret = format!("{before}{PASSWORD}{behind}");
        let said = check_with(&["--redis-addr", &addr], &[("REDIS_PASS_WRITE", &secret)]);
        said.has("write", "login", "FAIL", words);
        said.has("write", "login", "FAIL", "REDIS_PASS_WRITE (environment)");
        let mut flags = said
            .findings
            .iter()
            .filter(|found| found["name"] == "flags");
        let is_said = flags.any(|found| found.to_string().contains(words));
        assert!(is_said, "{}", said.text);
        assert!(!said.text.contains(PASSWORD), "{}", said.text);
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("pw");
        // One newline is cut.
        fs::write(&path, format!("{secret}\n")).expect("our folder is writable");
        let path = path.display().to_string();
        let said = check(&["--redis-addr", &addr, "--redis-pass-file", &path]);
        said.has("read", "login", "FAIL", words);
        said.has("read", "login", "FAIL", &path);
    }
}

#[test]
fn pipe_as_password_file() {
    let redis = Redis::builder().password(PASSWORD).start();
    let addr = redis.addr().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe can be made");
    let flag = format!("--redis-pass-file={}", path.display());
    let said = check(&["--redis-addr", &addr, &flag]);
    said.has("read", "login", "FAIL", "NOAUTH");
    said.has("process", "file", "WARN", "is a pipe");
    assert!(said.took < LONGEST, "{:?}", said.took);
}

#[test]
fn replica_that_never_was_in_sync() {
    let master = Redis::start_plain();
    let line = format!("replicaof 127.0.0.1 {}", free_port());
    let replica = Redis::builder().config(&line).start();
    let said = check_pair(&replica, &master, &[]);
    said.has("read", "state", "FAIL", "never been in sync");
}

#[test]
fn replica_of_another_master() {
    let (one, two) = (Redis::start_plain(), Redis::start_plain());
    let replica = Redis::builder().replica_of(&one).start();
    replica.wait_synced();
    let said = check_pair(&replica, &two, &[]);
    said.has("both", "pair", "WARN", "another data set");
}

#[test]
fn loading_server() {
    let fake = Fake::start();
    fake.script(|command| match command[0].as_str() {
        "INFO" => {
            let info = "redis_version:7.0.15\r\nloading:1\r\nrole:slave\r\n";
            Act::Send(format!("${}\r\n{info}\r\n", info.len()).into_bytes())
        }
        "HELLO" => Act::Behave,
        _ => Act::Send(b"-LOADING Redis is loading the dataset in memory\r\n".to_vec()),
    });
    let said = check(&["--redis-addr", &fake.addr().to_string()]);
    said.has("read", "state", "FAIL", "loading its data set");
    said.has_not("both", "FAIL");
}

#[test]
fn cluster_mode() {
    // Its own default, 10,000 above the other, is in the range of outgoing connections.
    let bus = format!("cluster-port {}", free_port());
    let redis = Redis::builder()
        .config("cluster-enabled yes")
        .config(&bus)
        .start();
    check_one(&redis, &[]).has("read", "server", "FAIL", "cluster-enabled no");
}

#[test]
fn full_server() {
    let redis = Redis::builder().config("maxclients 1").start();
    let held = TcpStream::connect(redis.addr()).expect("it listens");
    let said = check_one(&redis, &[]);
    said.has("read", "login", "FAIL", "max number of clients");
    said.has("write", "login", "FAIL", "raise the server's maxclients");
    drop(held);
}

#[test]
fn whatever_hangs_the_check_ends() {
    let mut redis = Redis::start_plain();
    redis.freeze();
    let said = check_one(&redis, &["--connect-timeout=1h"]);
    said.has("read", "login", "FAIL", "hangs");
    said.has("write", "login", "FAIL", "hangs");
    said.has("process", "cores", "OK", "workers");
    assert!(said.took < LONGEST, "{:?}", said.took);
    redis.thaw();

    // Hangs in the middle.
    let fake = Fake::start();
    fake.script(|command| match command[0].as_str() {
        "INFO" => Act::Silence(Vec::new()),
        _ => Act::Behave,
    });
    let addr = fake.addr().to_string();
    let said = check(&["--redis-addr", &addr, "--request-timeout=50ms"]);
    said.has("read", "connection", "FAIL", "no reply for");
}
