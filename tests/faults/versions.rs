//! Reads, writes, replication and TLS on other servers than the one on PATH.
//!
//! `FAULTS_SERVERS` names their binaries, with colons between them; without it, this looks at the
//! one on PATH. What a server can't do is said by `check`, in a sentence.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::record::write_line;
use crate::support::process::find_program;
use crate::support::{Api, Certs, PATIENCE, Redis, Writer, eventually, redis};

const SERVERS: &str = "FAULTS_SERVERS";

/// `Redis 7.0.15` or `Valkey 8.0.1`.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.expect("the server says its version");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let family = text.split(' ').next().unwrap_or_default().to_owned();
    let mut words = text.split(' ');
    let number = words.find_map(|word| word.strip_prefix("v="));
    format!("{family} {}", number.unwrap_or("?"))
}

/// A master and its replica.
fn pair(builder: &redis::Builder) -> (Redis, Redis) {
    // As `check` wants it.
    let master = builder.clone().config("appendonly yes");
    let master = master.unix_socket().start();
    let replica = builder.clone().unix_socket().replica_of(&master).start();
    replica.wait_synced();
    (master, replica)
}

/// What a client of the API relies on, from nothing stored to a replica that dies and comes back.
fn serves(api: Api, master: &Redis, replica: &mut Redis) {
    let mut api = api;
    api.wait_ready(PATIENCE);
    assert_eq!(api.get("/").text(), "{\"error\":\"Not initialised\"}");
    eventually(PATIENCE, "a write", || {
        let written = api.post("/", "{\"value\":12.5}");
        (written.status == 200)
            .then_some(())
            .ok_or_else(|| written.text())
    });
    let reads = |path: &str, body: &str| {
        eventually(PATIENCE, "the value is read", || {
            let read = api.get(path);
            (read.text() == body)
                .then_some(())
                .ok_or_else(|| read.text())
        });
    };
    reads("/", "{\"current\":12.5}");
    assert_eq!(api.post("/EUR", "{\"value\":0}").status, 200);
    reads("/EUR", "{\"current\":0}");
    reads("/?fields=EUR,USD", "{\"EUR\":0,\"USD\":null}");
    assert_eq!(api.get("/USD").status, 404);
    // Behind answers from memory, where the server can track.
    master.cli(&["HSET", "currency", "EUR", "1.5"]);
    reads("/EUR", "{\"current\":1.5}");

    let writer = Writer::start(api.addr(), "w");
    replica.kill();
    eventually(PATIENCE, "reads are refused", || {
        api.get("/EUR").status == 503
    });
    replica.restart();
    reads("/EUR", "{\"current\":1.5}");
    eventually(PATIENCE, "writes", || writer.posts().len() > 20);
    let posts = writer.check(master);
    assert!(posts.iter().all(|post| post.status == 200), "{posts:?}");
}

/// Its exit status, and what `check` says of the replica's kind that is not OK.
fn check(master: &Redis, replica: &Redis) -> (Option<i32>, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-api"));
    command.env_clear().arg("check");
    command.arg(format!("--read-redis-addr={}", replica.addr()));
    command.arg(format!("--write-redis-addr={}", master.addr()));
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(str::trim);
    let of_servers = |line: &&str| line.contains(" read ") && line.contains(" server ");
    let bad = lines.filter(|line| line.starts_with("WARN") || line.starts_with("FAIL"));
    (
        output.status.code(),
        bad.filter(of_servers).map(String::from).collect(),
    )
}

fn look_at(program: &Path) {
    let name = version(program);
    let plain = Redis::builder().program(program);
    let flags = ["--workers", "1", "--read-mode", "tracked"];

    let (master, mut replica) = pair(&plain);
    let (status, findings) = check(&master, &replica);
    assert_eq!(status, Some(0), "{findings:?}");
    let api = Api::serve()
        .read_from(&replica)
        .write_to(&master)
        .args(flags);
    let mut api = api.start();
    api.wait_ready(PATIENCE);
    let log = api.log().join("\n");
    let is_tracked = !log.contains("cannot track changes");
    serves(api, &master, &mut replica);

    let (master, mut replica) = pair(&plain);
    let unix = |redis: &Redis| format!("unix://{}", redis.socket().display());
    let api = Api::serve().args(flags).read_at(&unix(&replica), &replica);
    let api = api.write_at(&unix(&master), &master).start();
    serves(api, &master, &mut replica);

    let certs = Certs::new();
    let can_tls = has_tls(program, &certs);
    if can_tls {
        let (master, mut replica) = pair(&plain.tls(&certs));
        let api = Api::serve()
            .args(flags)
            .read_from(&replica)
            .write_to(&master);
        serves(api.start(), &master, &mut replica);
    }
    let yes = |is: bool| if is { "yes" } else { "no" };
    let said = match findings.as_slice() {
        [] => "nothing".to_owned(),
        findings => findings.join("; "),
    };
    let (tracked, tls) = (yes(is_tracked), if can_tls { "yes" } else { "it has none" });
    let line = format!("| {name} | yes | yes | {tls} | {tracked} | {said} |");
    eprintln!("{line}");
    write_line(&format!("| {name} |"), &line);
}

/// Whether the server takes `tls-port` at all: one that doesn't ends at once.
fn has_tls(program: &Path, certs: &Certs) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let pair = &certs.leaf;
    let mut command = Command::new(program);
    command.current_dir(folder.path()).args(["--port", "0"]);
    command.args(["--tls-port", &crate::support::free_port().to_string()]);
    command.arg("--tls-cert-file").arg(&pair.cert);
    command.arg("--tls-key-file").arg(&pair.key);
    command.arg("--tls-ca-cert-file").arg(&certs.ca);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = crate::support::process::Process::spawn(&mut command);
    crate::support::pass(std::time::Duration::from_millis(500));
    process.exit_status().is_none()
}

#[test]
fn serve_on_every_server() {
    let servers: Vec<PathBuf> = match env::var_os(SERVERS) {
        Some(list) => env::split_paths(&list).collect(),
        None => find_program(&["redis-server", "valkey-server"])
            .into_iter()
            .collect(),
    };
    assert!(!servers.is_empty(), "no server: run `make setup`");
    for server in servers {
        look_at(&server);
    }
}
