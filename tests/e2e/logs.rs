//! The log: one line an event whatever a server says, sums instead of floods, and no secret in it
//! or in anything else that is said.

mod stalled;

use std::fs;
use std::process::{Command, Stdio};

use crate::support::api::Builder;
use crate::support::{Act, Api, Fake, PATIENCE, eventually, free_port, request, try_request};

/// Of one kind, written before counting begins.
const AT_ONCE: usize = 5;

/// No part of it is a word that the program says.
const SECRET: &str = "Geheim-4711-Xyzzy";

fn on(fake: &Fake) -> Builder {
    let addr = fake.addr().to_string();
    Api::serve().args(["--workers", "1", "--redis-addr", &addr])
}

/// Stops the process, and gives its log once it has `count` lines with `end`, the last ones.
#[track_caller]
fn whole_log(mut api: Api, end: &str, count: usize) -> Vec<String> {
    api.stop();
    eventually(PATIENCE, &format!("{count} lines with {end:?}"), || {
        let log = api.log();
        let found = log.iter().filter(|line| line.contains(end)).count();
        if found == count {
            return Ok(log);
        }
        Err(log.join("\n"))
    })
}

#[test]
fn redis_that_is_down_does_not_flood_the_log() {
    let addr = format!("127.0.0.1:{}", free_port());
    let api = Api::serve()
        .args(["--workers", "2", "--drain-delay", "0s"])
        .args(["--redis-addr", &addr])
        .start();
    let connects = |role: &str| {
        let name = format!("redis_api_redis_connects_total{{role=\"{role}\"}}");
        api.metric(&name).unwrap_or(0.0)
    };
    let attempts = 4 * AT_ONCE;
    eventually(PATIENCE * 2, "many attempts", || {
        ["read", "write"]
            .map(connects)
            .into_iter()
            .all(|n| n >= attempts as f64)
    });
    // One for each role, at the end.
    let log = whole_log(api, " times in the last ", 2);
    for role in ["read", "write"] {
        let lines: Vec<_> = log
            .iter()
            .filter(|line| line.contains(&format!("{role} {addr}: ")))
            .collect();
        assert!(lines.len() <= AT_ONCE + 1, "{lines:?}");
        let (sum, first) = lines.split_last().expect("it was said");
        assert!(
            first.iter().all(|line| !line.contains("repeated")),
            "{lines:?}"
        );
        let repeated = sum
            .split_once("(repeated ")
            .and_then(|(_, rest)| rest.split_once(" times in the last "))
            .and_then(|(number, _)| number.parse::<usize>().ok());
        // The last attempt may have been on its way.
        assert!(repeated >= Some(attempts - AT_ONCE - 2), "{sum}");
    }
}

#[test]
fn json_lines_all_parse_and_name_role_and_address() {
    let fake = Fake::start();
    let api = on(&fake)
        .args(["--drain-delay", "0s", "--log-level", "debug"])
        .env("REDIS_API_LOG_FORMAT", "json")
        .start();
    fake.welcome(b"-ERR max number of clients \"reached\"\t\r\n");
    fake.hang_up();
    api.wait_log("raise the server's maxclients", PATIENCE);
    let log = whole_log(api, "drained", 1);
    let events: Vec<serde_json::Value> = log
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for event in &events {
        for name in ["timestamp", "level", "message", "thread"] {
            assert!(event[name].is_string(), "no {name}: {event}");
        }
    }
    let find = |word: &str| {
        let said = |event: &&serde_json::Value| {
            event["message"].as_str().is_some_and(|m| m.contains(word))
        };
        events
            .iter()
            .find(said)
            .unwrap_or_else(|| panic!("no {word:?} in {log:?}"))
    };
    let addr = fake.addr().to_string();
    let version = format!("redis-api {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(find(&version)["level"], "INFO");
    let configuration = find("configuration");
    assert_eq!(configuration["read"], addr.as_str());
    assert_eq!(configuration["write_tls"], false);
    assert_eq!(configuration["workers"], "1");
    assert_eq!(find("connecting")["level"], "DEBUG");
    let down = find("raise the server's maxclients");
    assert_eq!(
        (&down["level"], &down["address"]),
        (&"WARN".into(), &addr.as_str().into())
    );
    assert!(down["role"] == "read" || down["role"] == "write", "{down}");
    assert!(
        down["wait_ms"].is_u64() && down["error"].is_string(),
        "{down}"
    );
}

#[test]
fn other_subcommands_take_the_format_too() {
    for (subcommand, args, word) in [
        ("helloworld", &["--drain-delay=0s"][..], "listening on"),
        (
            "local",
            &["--redis-server=/nowhere/redis"],
            "/nowhere/redis",
        ),
    ] {
        if subcommand == "local" && !cfg!(feature = "rig") {
            continue;
        }
        let api = Api::subcommand(subcommand);
        let api = api
            .args(args.iter().copied())
            .arg("--log-format=json")
            .start();
        let line = api.wait_log(word, PATIENCE);
        let event: serde_json::Value = serde_json::from_str(&line).expect(&line);
        assert!(
            event["message"].as_str().is_some_and(|m| m.contains(word)),
            "{line}"
        );
    }
}

#[test]
fn servers_words_forge_no_line() {
    let words = "ERR foo\nINFO forged\r2026-01-01T00:00:00Z  INFO forged\u{1b}[1A\u{85}INFO forged";
    let bulk = format!("!{}\r\n{words}\r\n", words.len()).into_bytes();
    let simple = b"-ERR foo\nINFO forged\r\n".to_vec();
    for (reply, word) in [(bulk, "foo"), (simple, "malformed reply")] {
        for format in ["text", "json"] {
            let fake = Fake::start();
            let reply = reply.clone();
            fake.script(move |_| Act::Send(reply.clone()));
            let api = on(&fake)
                .args(["--drain-delay=0s", "--log-format", format])
                .start();
            api.wait_log(word, PATIENCE);
            let log = whole_log(api, "drained", 1);
            assert!(log.iter().any(|line| line.contains(word)), "{log:?}");
            for line in &log {
                let head = if format == "text" {
                    "20"
                } else {
                    "{\"timestamp\":\"20"
                };
                assert!(line.starts_with(head), "{log:?}");
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn requests_log_nothing() {
    let fake = Fake::start();
    let mut api = on(&fake).args(["--log-level", "debug"]).start();
    api.wait_ready(PATIENCE);
    api.wait_log("ready", PATIENCE);
    eventually(PATIENCE, "writes work", || {
        api.post("/", "{\"value\":1}").status == 200
    });
    let before = api.log();
    for _ in 0..50 {
        for (method, path, body, status) in [
            ("GET", "/", "", 200),
            ("GET", "/a/b", "", 404),
            ("PUT", "/", "", 405),
            ("POST", "/", "{\"value\":2}", 200),
            ("POST", "/", "{", 400),
        ] {
            let response = request(api.addr(), method, path, &[], body.as_bytes());
            assert_eq!(response.status, status, "{method} {path}");
        }
    }
    assert_eq!(api.log(), before);
}

/// A server that lets nobody in and repeats what it was told.
fn gossip() -> Fake {
    let fake = Fake::start();
    fake.script(|command| {
        let (name, args) = command
            .split_first()
            .map_or(("", &[][..]), |(n, a)| (n.as_str(), a));
        let told = match name {
            "HELLO" | "AUTH" if args.len() < 6 => {
                let args: Vec<_> = args.iter().map(|arg| format!("'{arg}' ")).collect();
                format!(
                    "-ERR unknown command '{name}', with args beginning with: {}\r\n",
                    args.concat()
                )
            }
            "HELLO" => format!("-WRONGPASS {} is not it\r\n", args.join(" ")),
            _ => "-NOAUTH Authentication required.\r\n".to_owned(),
        };
        Act::Send(told.into_bytes())
    });
    fake
}

/// Starts `serve` so, waits for its failure, and searches all that is said for the secret.
#[track_caller]
fn check_silent(args: &[String], environment: &[(&str, String)], is_warned: bool) {
    for (format, level) in [("text", "debug"), ("json", "debug"), ("text", "info")] {
        let mut builder = Api::serve().args(["--workers=1", "--drain-delay=0s"]);
        builder = builder.args(args.iter().map(String::as_str));
        builder = builder.args(["--log-format", format, "--log-level", level]);
        for (name, value) in environment {
            builder = builder.env(name, value);
        }
        let mut api = builder.start();
        api.wait_log("next attempt in", PATIENCE);
        let mut said = Vec::new();
        // What comes from a file, other processes can't see.
        if !is_warned && environment.is_empty() {
            let pid = api.process().pid();
            for name in ["cmdline", "environ"] {
                let bytes = fs::read(format!("/proc/{pid}/{name}")).expect("the process runs");
                said.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        for path in ["/readyz", "/metrics", "/livez"] {
            let response = try_request(api.admin(), "GET", path, &[], b"");
            said.push(response.expect("the admin port answers").text());
        }
        said.push(api.get("/").text());
        said.push(api.post("/", "{\"value\":1}").text());
        let log = whole_log(api, "drained", 1);
        let warned = log.iter().any(|line| {
            line.contains("shows in `ps`")
                && line.contains("REDIS_PASS")
                && line.contains("-pass-file")
        });
        assert_eq!(warned, is_warned, "{log:?}");
        said.extend(log);
        for text in said {
            assert!(!text.contains(SECRET), "{args:?} {environment:?}: {text}");
        }
    }
}

#[test]
fn secrets_are_said_nowhere() {
    let fake = gossip();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("password");
    fs::write(&file, format!("{SECRET}\n")).expect("our folder is writable");
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    let address = flag("redis-addr", &fake.addr().to_string());
    let url = |scheme: &str, user: &str| format!("{scheme}://{user}:{SECRET}@{}", fake.addr());
    let env = |name: &'static str, value: &str| [(name, value.to_owned())];

    check_silent(&[address.clone(), flag("redis-pass", SECRET)], &[], true);
    let role = flag("write-redis-pass", SECRET);
    check_silent(&[address.clone(), flag("redis-user", "u"), role], &[], true);
    check_silent(&[flag("redis-addr", &url("redis", "u"))], &[], true);
    check_silent(&[flag("redis-addr", &url("rediss", ""))], &[], true);
    check_silent(&[], &env("REDIS_ADDR", &url("redis", "")), false);
    check_silent(
        std::slice::from_ref(&address),
        &env("REDIS_PASS", SECRET),
        false,
    );
    let pass_file = flag("redis-pass-file", &file.display().to_string());
    let token_file = flag("write-token-file", &file.display().to_string());
    check_silent(&[address, pass_file, token_file], &[], false);
    // No such server, and no such name.
    let nowhere = format!("redis://:{SECRET}@127.0.0.1:{}", free_port());
    check_silent(&[], &env("REDIS_ADDR", &nowhere), false);
    let nameless = format!("redis://:{SECRET}@nowhere.invalid:6379");
    check_silent(&[], &env("REDIS_ADDR", &nameless), false);
}

/// What is wrong with the command line is said before there is a log, and `--help` says defaults.
#[test]
fn secrets_are_not_in_help_or_refusals() {
    let bad = format!("redis://u:{SECRET}@host:port");
    for (args, status) in [
        (&["serve", "--help"][..], 0),
        (&["serve", "-h"], 0),
        (&["serve"], 2),
        (&["serve", "--log-format=json"], 2),
        (&["serve", "--log-level=loud"], 2),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_redis-api"))
            .args(args)
            .env_clear()
            .envs([
                ("REDIS_ADDR", &*bad),
                ("REDIS_PASS", SECRET),
                ("REDIS_PASS_READ", SECRET),
            ])
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(status), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}
