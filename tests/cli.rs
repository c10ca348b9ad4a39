//! The command line as a user meets it: the real binary, its streams and its exit status.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

use std::process::{Command, Output, Stdio};

const SECRET: &str = "hunter2";

/// Runs the binary with nothing in its environment but `environment`.
fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_redis-api"))
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is UTF-8")
}

#[test]
fn wrong_values_are_all_named_and_give_status_2() {
    let output = run(
        &[
            "serve",
            "--workers=0",
            "--request-timeout=soon",
            "--write-redis-key-file=key",
        ],
        &[
            ("REDIS_API_DRAIN_DELAY", "5"),
            ("REDIS_ADDR_READ", ""),
            ("REDIS_API_PIN", "1"),
        ],
    );
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty());
    for name in [
        "--workers",
        "--request-timeout",
        "--write-redis-key-file",
        "REDIS_API_DRAIN_DELAY (environment)",
        "REDIS_ADDR_READ (environment)",
        "REDIS_API_PIN (environment)",
    ] {
        assert!(stderr.contains(name), "{name} is not named:\n{stderr}");
    }
}

#[test]
fn wrong_words_give_status_2() {
    for args in [
        &[][..],
        &["sevre"],
        &["serve", "--no-such-flag"],
        &["serve", "stray"],
        &["serve", "--listen"],
        &["serve", "--workers=1", "--workers=2"],
        &["helloworld", "--redis-addr=localhost:1"],
        &["check", "--rate=1"],
    ] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{args:?}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn no_output_holds_a_password() {
    let addresses = [
        "redis://user:hunter2@",
        "redis://user:hunter2@host:port",
        "redis://user:hunter2@host:0",
        "redis://user:hunter2@host/db",
        "redis://user:hunter2@host/0?x=1",
        "redis://user:hunter2@ho st",
        "redis://user:hunter2",
        "redis://user:hunter2/0",
        "redis://user:1#hunter2@host",
        "redis://user:1/hunter2@host",
        "redis://user:1?hunter2@host",
        "redis://user:p@hunter2@host@:1x",
        "redis://user:%FFhunter2@host",
        "redis:user:hunter2@host",
        "redis:/user:hunter2@host",
        "rediss//user:hunter2@host",
        "valkey://user:hunter2@host",
        "http://:hunter2@host:6379",
        "user:hunter2@host:6379",
        "hunter2@host:6379",
        "host:hunter2",
        "host:6379:hunter2",
        "[::1]:hunter2",
        "[::1:hunter2]:6379",
        "unix://user:hunter2@/run/redis.sock",
        "user%3Ahunter2%40host",
        " redis://user:hunter2@host",
        "redis://user:hunter2\n@host",
    ];
    for address in addresses {
        for flag in ["redis-addr", "read-redis-addr", "write-redis-addr"] {
            let flag = format!("--{flag}={address}");
            check(&["serve", &flag], &[]);
        }
        for name in ["REDIS_ADDR", "REDIS_ADDR_READ", "REDIS_ADDR_WRITE"] {
            check(&["serve"], &[(name, address)]);
        }
        check(&["serve", address], &[]);
        check(&[address], &[]);
    }
    check(&["serve", "--redis-pass", "my", SECRET], &[]);
    check(
        &["serve", "--redis-pass=hunter2", "--redis-pass-file=f"],
        &[],
    );
    check(&["serve", "--redis-pass-file=f"], &[("REDIS_PASS", SECRET)]);
    check(
        &["serve", "--redis-addr=redis://:x@h"],
        &[("REDIS_PASS", SECRET)],
    );
    check(&["serve", "--redis-pasw=hunter2"], &[]);
    check(
        &["serve", "--redis-pass=hunter2", "--redis-pass=hunter2"],
        &[],
    );
    check(
        &["serve", "--redis-pass=hunter2", "--workers=0"],
        &[("REDIS_PASS_READ", SECRET)],
    );
    check(&["serve", "-phunter2"], &[]);

    #[track_caller]
    fn check(args: &[&str], environment: &[(&str, &str)]) {
        let output = run(args, environment);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{args:?} {environment:?}\n{stderr}"
        );
        assert!(
            !format!("{stdout}{stderr}").contains(SECRET),
            "{args:?} {environment:?}\n{stderr}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn help_lists_every_flag_and_variable_but_no_value_of_the_environment() {
    let environment = [
        "REDIS_PASS",
        "REDIS_PASS_READ",
        "REDIS_PASS_WRITE",
        "REDIS_ADDR",
        "LISTEN",
    ]
    .map(|name| (name, SECRET));
    let output = run(&["serve", "--help"], &environment);
    let help = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(!help.contains(SECRET));

    for (prefix, suffix) in [
        ("redis", ""),
        ("read-redis", "_READ"),
        ("write-redis", "_WRITE"),
    ] {
        for what in [
            "addr",
            "user",
            "pass",
            "pass-file",
            "tls",
            "ca-file",
            "cert-file",
            "key-file",
            "server-name",
        ] {
            let variable = what.to_uppercase().replace('-', "_");
            check(
                &help,
                &format!("{prefix}-{what}"),
                &format!("REDIS_{variable}{suffix}"),
            );
        }
    }
    for name in [
        "listen",
        "admin-listen",
        "read-mode",
        "read-role",
        "max-stale",
        "read-fallback",
        "fallback-max-in-flight",
        "write-wait",
        "read-only",
        "write-token-file",
        "fields",
        "max-fields",
        "cors-origin",
        "read-connections",
        "write-connections",
        "request-timeout",
        "max-body",
        "redis-wait",
        "connect-timeout",
        "ping-interval",
        "max-in-flight",
        "workers",
        "pin",
        "drain-delay",
        "drain-timeout",
        "drain-unready",
        "header-timeout",
        "idle-timeout",
        "write-timeout",
        "max-connection-age",
        "max-requests",
        "max-connections",
        "max-streams",
        "log-format",
        "log-level",
    ] {
        let variable = name.to_uppercase().replace('-', "_");
        let prefix = match name {
            "listen" | "admin-listen" => "",
            _ => "REDIS_API_",
        };
        check(&help, name, &format!("{prefix}{variable}"));
    }
    for heading in [
        "Listen:",
        "Redis: both roles:",
        "Redis: read side:",
        "Redis: write side:",
        "Reads:",
        "Writes:",
        "Access:",
        "Streams:",
        "Limits:",
        "Clients:",
        "Process:",
        "Log:",
    ] {
        assert!(
            help.lines().any(|line| line == heading),
            "no heading {heading}"
        );
    }

    #[track_caller]
    fn check(help: &str, flag: &str, variable: &str) {
        let named = help.lines().any(|line| {
            let word = line.split_whitespace().next().unwrap_or_default();
            word == format!("--{flag}") || word.starts_with(&format!("--{flag}["))
        });
        assert!(named, "--{flag} is not listed");
        let folded = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            folded.contains(&format!("[env: {variable}]")),
            "{variable} is not listed"
        );
    }
}

#[test]
fn version_is_the_crate_s() {
    let output = run(&["-V"], &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        format!("redis-api {}\n", env!("CARGO_PKG_VERSION"))
    );
}
