//! The main messages that a person sees, as they are: `tests/e2e/messages.txt`. A change of wording
//! fails here, and shows in review.
//!
//! To accept what the program says now:
//!
//! ```text
//! UPDATE_EXPECT=1 cargo test --locked --test e2e messages::
//! ```
//!
//! What differs from run to run (ports, paths, times, versions) is replaced by a word in capitals.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use expect_test::expect_file;

use crate::support::api::Builder;
use crate::support::{Act, Api, Fake, free_port, request};

/// For what must happen soon, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const SUBCOMMANDS: [&str; 9] = [
    "serve",
    "helloworld",
    "check",
    "sync-auth",
    "vegetaserver",
    "aggregator",
    "updater",
    "local",
    "ramp",
];

#[test]
fn they_read_as_in_the_file() {
    let mut all = String::from(
        "The main messages that a person sees. Written by tests/e2e/messages.rs, which says how to \
         accept a change.\n",
    );
    section(&mut all, "redis-api --help", &run(&["--help"]));
    let heads = SUBCOMMANDS.map(|name| head(&run(&[name, "--help"])));
    section(
        &mut all,
        "--help of each subcommand: its head",
        &heads.join("\n\n"),
    );
    section(&mut all, "A wrong command line", &refused_commands());
    section(&mut all, "serve: from start to end", &life());
    section(&mut all, "serve: why it does not start", &failed_starts());
    section(&mut all, "check: a server that can't be used", &checks());
    section(&mut all, "HTTP: errors of requests", &refused_requests());
    section(&mut all, "HTTP: what Redis' errors become", &redis_errors());
    section(&mut all, "/readyz and the metrics' HELP", &admin());
    expect_file!["messages.txt"].assert_eq(&all);
}

fn section(all: &mut String, title: &str, text: &str) {
    let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    write!(all, "\n==== {title}\n\n{}\n", lines.join("\n")).expect("a String takes all");
}

/// What the command prints: on stderr, if there is nothing on stdout.
fn run(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_redis-api"))
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let bytes = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    stable(&String::from_utf8(bytes).expect("it is UTF-8"))
}

/// Up to the first empty line but one: what it is, and its usage.
fn head(help: &str) -> String {
    let mut parts = help.split("\n\n");
    let parts: Vec<_> = parts.by_ref().take(2).collect();
    parts.join("\n").trim_end().to_owned()
}

/// Puts words in capitals in place of what differs from run to run.
fn stable(text: &str) -> String {
    let text = after_each(text, "127.0.0.1:", "PORT");
    let text = after_each(&text, "listen backlog: ", "N");
    let text = after_each(&text, "redis-api 0.", "VERSION");
    let text = text.replace("redis-api 0.VERSION", "redis-api VERSION");
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(String::from).collect();
        for at in 1..words.len() {
            let unit = words[at].trim_end_matches([',', ';', ')', ':', '.']);
            let is_number = words[at - 1].trim_start_matches('(').parse::<f64>().is_ok();
            if is_number && unit == "ms" {
                words[at - 1] = "N".to_owned();
            }
        }
        lines.push(words.join(" ").trim_end().to_owned());
    }
    lines.join("\n")
}

/// `word` in place of the number (with its points) that stands behind each `mark`.
fn after_each(text: &str, mark: &str, word: &str) -> String {
    let mut parts = text.split(mark);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        // A point that ends a sentence is not the number's.
        let taken = &part[..part.len() - rest.len()];
        let point = if taken.ends_with('.') { "." } else { "" };
        out += &format!(
            "{mark}{}{point}{rest}",
            if taken.is_empty() { "" } else { word }
        );
    }
    out
}

/// The lines of a log without their times, each once: how often one tries is chance.
fn log(lines: &[String]) -> String {
    let mut told: Vec<String> = Vec::new();
    for line in lines {
        let rest = line.split_once(' ').map_or("", |(_, rest)| rest);
        let line = stable(rest);
        if !told.contains(&line) {
            told.push(line);
        }
    }
    // Both roles connect at the same time: read comes first here.
    let is_of = |line: &String, role: &str| line.contains(&format!(" {role} 127.0.0.1"));
    let of_roles = told.extract_if(.., |line| is_of(line, "read") || is_of(line, "write"));
    let mut of_roles: Vec<_> = of_roles.collect();
    of_roles.sort_by_key(|line| is_of(line, "write"));
    let at = told.iter().position(|line| line.contains("received"));
    told.splice(at.unwrap_or(told.len())..at.unwrap_or(told.len()), of_roles);
    told.join("\n")
}

fn refused_commands() -> String {
    let cases: [&[&str]; 17] = [
        &[],
        &["sevre"],
        &["serve", "--nope"],
        &["serve", "--raed-redis-addr=localhost"],
        &["serve", "stray"],
        &["serve", "--listen"],
        &["serve", "--workers=1", "--workers=2"],
        &["serve", "--workers", "-1"],
        &["serve", "--workers=many"],
        &["serve", "--request-timeout=5"],
        &["serve", "--max-body=big"],
        &["serve", "--listen=8080x"],
        &["serve", "--redis-addr=localhost:99999"],
        &["serve", "--read-mode=fast"],
        &["serve", "--fields=a,b/c"],
        &["serve", "--cors-origin=example.org"],
        &["check", "--rate=1"],
    ];
    let mut out = String::new();
    for args in cases {
        let said = run(args);
        write!(
            out,
            "$ redis-api {}\n{}\n\n",
            args.join(" "),
            said.trim_end()
        )
        .unwrap();
    }
    out
}

/// A server that answers, and drops its connections once; then SIGTERM.
fn life() -> String {
    let redis = Fake::start();
    let mut api = Api::serve()
        .arg(format!("--redis-addr={}", redis.addr()))
        .args(["--workers=1", "--drain-delay=0s"])
        .descriptors(1024)
        .start();
    api.wait_log("INFO ready", SOON);
    redis.hang_up();
    for role in ["read", "write"] {
        api.wait_log(&format!("{role} {}: the server closed", redis.addr()), SOON);
    }
    api.wait_ready(SOON);
    api.stop();
    log(&api.log())
}

/// What one that ends by itself says at last.
fn failed_starts() -> String {
    let nobody = format!("--redis-addr=127.0.0.1:{}", free_port());
    let last_words = |api: Builder| {
        let mut api = api.arg("--workers=1").arg(&nobody).start();
        api.wait_exit(SOON);
        let lines = api.log();
        let errors = lines.iter().filter(|line| line.contains(" ERROR "));
        log(&errors.cloned().collect::<Vec<_>>())
    };
    let lines = [
        last_words(Api::serve().arg("--redis-wait=1s")),
        last_words(Api::serve().arg("--write-token-file=/no/such/token")),
        last_words(Api::serve().arg("--write-token-file=/dev/null")),
        last_words(
            Api::serve()
                .without_admin()
                .arg("--admin-listen=203.0.113.1:1"),
        ),
    ];
    lines.join("\n")
}

/// The lines of `check` about the read side that name what is wrong.
fn check(addr: &str, more: &[&str]) -> String {
    let mut args = vec!["check", "--connect-timeout=2s"];
    let addr = format!("--redis-addr={addr}");
    args.push(&addr);
    args.extend(more);
    let said = run(&args);
    let mut out = String::new();
    let mut shown = false;
    for line in said.lines() {
        let is_finding = ["OK", "WARN", "FAIL"]
            .iter()
            .any(|word| line.starts_with(word));
        if is_finding {
            shown = line.starts_with("FAIL") && line.split_whitespace().nth(1) == Some("read");
        }
        if shown {
            writeln!(out, "{line}").unwrap();
        }
    }
    if out.is_empty() { said } else { out }
}

fn checks() -> String {
    let mut out = check(&format!("127.0.0.1:{}", free_port()), &[]);
    out += &check("unix:///no/such/socket", &[]);
    let redis = Fake::start();
    let addr = redis.addr().to_string();
    out += &check(&addr, &["--redis-tls", "--redis-ca-file=/no/such/ca.pem"]);
    for refusal in [
        "-NOAUTH Authentication required.",
        "-WRONGPASS invalid username-password pair or user is disabled.",
        "-ERR max number of clients reached",
        "-LOADING Redis is loading the dataset in memory",
        "-DENIED Redis is running in protected mode",
    ] {
        let line = format!("{refusal}\r\n").into_bytes();
        redis.script(move |_| Act::Send(line.clone()));
        out += &check(&addr, &["--redis-pass=secret"]);
    }
    redis.script(|_| Act::Behave);
    redis.welcome(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    out += &check(&addr, &[]);
    out
}

type Request = (&'static str, &'static str, &'static str);

fn said((method, path, body): Request, api: &Api) -> String {
    let response = request(api.addr(), method, path, &[], body.as_bytes());
    let (status, text) = (response.status, stable(&response.text()));
    format!("{method} {path} {body}\n  {status} {text}\n")
}

fn refused_requests() -> String {
    let redis = Fake::start();
    let serve = |more: &[&str]| {
        let mut api = Api::serve()
            .arg(format!("--redis-addr={}", redis.addr()))
            .args(["--workers=1"])
            .args(more.iter().copied())
            .start();
        api.wait_ready(SOON);
        api
    };
    let api = serve(&["--max-body=64"]);
    let cases: [Request; 10] = [
        ("GET", "/a/b", ""),
        ("GET", "/?fields=", ""),
        ("GET", "/?fields=a,b%2Fc", ""),
        ("DELETE", "/", ""),
        ("POST", "/", "{"),
        ("POST", "/", "{}"),
        ("POST", "/", "{\"value\":\"1\"}"),
        ("POST", "/", "{\"value\":1e999}"),
        ("POST", "/", "[]"),
        (
            "POST",
            "/",
            "{\"value\":1,\"more\":\"............................................\"}",
        ),
    ];
    let mut out: String = cases.iter().map(|case| said(*case, &api)).collect();
    redis.script(|command| match command[0].as_str() {
        "HGET" | "HSET" if command.iter().any(|word| word == "slow") => Act::Silence(Vec::new()),
        _ => Act::Behave,
    });
    out += &said(("GET", "/slow", ""), &api);
    out += &said(("POST", "/slow", "{\"value\":1}"), &api);
    drop(api);
    redis.script(|_| Act::Behave);
    out += "\n--read-only\n";
    out += &said(("POST", "/", "{\"value\":1}"), &serve(&["--read-only"]));
    out += "\n--fields=EUR\n";
    out += &said(("GET", "/USD", ""), &serve(&["--fields=EUR"]));
    let token = Api::serve();
    let file = token.file("token", "secret");
    let file = format!("--write-token-file={}", file.display());
    out += "\n--write-token-file\n";
    out += &said(("POST", "/", "{\"value\":1}"), &serve(&[&file]));
    out
}

/// A read and a write that Redis answers by each error.
fn redis_errors() -> String {
    let mut out = String::new();
    for reply in [
        "$3\r\nabc",
        "+OK",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
        "-NOPERM User default has no permissions to run this command",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-LOADING Redis is loading the dataset in memory",
        "-BUSY Redis is busy running a script.",
        "-OOM command not allowed when used memory > 'maxmemory'.",
        "-READONLY You can't write against a read only replica.",
        "-MISCONF Errors writing to the AOF file",
        "-ERR odd",
    ] {
        let redis = Fake::start();
        let mut api = Api::serve()
            .arg(format!("--redis-addr={}", redis.addr()))
            .args(["--workers=1"])
            .start();
        api.wait_ready(SOON);
        let line = format!("{reply}\r\n").into_bytes();
        redis.script(move |command| match command[0].as_str() {
            "HGET" | "HSET" if command.iter().any(|word| word == "x") => Act::Send(line.clone()),
            _ => Act::Behave,
        });
        writeln!(out, "{}", reply.escape_default()).unwrap();
        let write = said(("POST", "/x", "{\"value\":1}"), &api);
        let read = said(("GET", "/x", ""), &api);
        out += &[read, write].concat();
    }
    out
}

fn admin() -> String {
    let nobody = format!("--redis-addr=127.0.0.1:{}", free_port());
    let mut api = Api::serve().args([nobody.as_str(), "--workers=1"]).start();
    api.wait_live(SOON);
    api.wait_log("read 127.0.0.1", SOON);
    let ready = request(api.admin(), "GET", "/readyz", &[], b"");
    let read = said(("GET", "/", ""), &api);
    let write = said(("POST", "/", "{\"value\":1}"), &api);
    let metrics = request(api.admin(), "GET", "/metrics", &[], b"").text();
    let help = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "));
    let help: Vec<_> = help.collect();
    let ready = format!("{} {}", ready.status, stable(&ready.text()));
    format!("{ready}\n{read}{write}\n{}", help.join("\n"))
}
