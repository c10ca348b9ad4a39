//! What is refused, and how it is said.

use super::*;

#[test]
fn all_wrong_values_are_named_at_once() {
    let text = refused(
        &[
            "--listen=localhost:1",
            "--request-timeout=soon",
            "--workers=0",
            "--wake-interval=6ms",
            "--read-mode=fast",
            "--hash=a b",
            "--values=xml",
            "--max-body=4KB",
            "--read-redis-addr=nowhere",
            "--write-redis-cert-file=cert",
            "--connect-timeout=0s",
            "--fields=EUR,a/b,EUR",
            "--max-fields=-1",
            "--cors-origin=https://a/",
            "--cors-origin=https://b,https://b",
            "--cache-control=a\nb",
        ],
        &[
            ("REDIS_API_DRAIN_DELAY", "5"),
            ("REDIS_API_PIN", "yes"),
            ("REDIS_TLS_WRITE", "maybe"),
            ("REDIS_ADDR_WRITE", ""),
            ("REDIS_API_MAX_IN_FLIGHT", "0"),
            ("REDIS_SERVER_NAME", "a b"),
        ],
    );
    let expected = [
        "--listen: \"localhost:1\" is not valid; expected IP:port",
        "--request-timeout: \"soon\" is not valid; expected a duration",
        "--workers: \"0\" is not valid; expected a whole number from 1",
        "--wake-interval: \"6ms\" is not valid; expected a duration up to 5ms",
        "--hash: \"a b\" is not valid; expected the name of a hash: 1 to 512",
        "--values: \"xml\" is not valid; expected one of number, json, text",
        "--read-mode: \"fast\" is not valid; expected one of batch, direct",
        "--max-body: \"4KB\" is not valid; expected a size",
        "--read-redis-addr: \"nowhere\" has no port; expected host:port",
        "--write-redis-cert-file: has no key; give --write-redis-key-file too",
        "--connect-timeout: \"0s\" is not valid; expected a duration above zero",
        "--fields: \"EUR,a/b,EUR\" is not valid; expected a comma-separated list of names",
        "--max-fields: \"-1\" is not valid; expected a whole number from 0",
        "--cors-origin: \"https://a/,https://b,https://b\" is not valid; expected *, none",
        "--cache-control: \"a\\nb\" is not valid; expected directives",
        "REDIS_API_DRAIN_DELAY (environment): \"5\" is not valid; expected a duration",
        "REDIS_API_PIN (environment): \"yes\" is not valid; expected true or false",
        "REDIS_TLS_WRITE (environment): \"maybe\" is not valid; expected true or false",
        "REDIS_ADDR_WRITE (environment): \"\" is empty; expected host:port",
        "REDIS_API_MAX_IN_FLIGHT (environment): \"0\" is not valid; expected a whole number from 1",
        "REDIS_SERVER_NAME (environment): \"a b\" is not valid; expected a DNS name",
    ];
    for line in expected {
        assert_eq!(text.matches(line).count(), 1, "{line}\n{text}");
    }
    assert!(
        text.starts_with(&format!(
            "error: {} flags or values are wrong:\n",
            expected.len()
        )),
        "{text}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn contradictions_are_refused_by_name() {
    fn check(args: &[&str], environment: &[(&str, &str)], names: &[&str]) {
        let text = refused(args, environment);
        assert!(
            names.iter().all(|name| text.contains(name)),
            "{args:?}: {text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
    check(
        &["--redis-pass=hunter2", "--redis-pass-file=f"],
        &[],
        &["--redis-pass and --redis-pass-file"],
    );
    check(
        &["--read-redis-pass-file=f"],
        &[("REDIS_PASS_READ", "hunter2")],
        &["REDIS_PASS_READ (environment) and --read-redis-pass-file"],
    );
    check(
        &["--redis-addr=redis://:hunter2@h", "--redis-pass=hunter2"],
        &[],
        &["--redis-addr: has a password", "--redis-pass"],
    );
    check(
        &["--redis-addr=redis://u@h", "--redis-user=v"],
        &[],
        &["--redis-user"],
    );
    check(
        &["--redis-key-file=f"],
        &[],
        &["--redis-key-file", "--redis-cert-file"],
    );
    check(
        &[
            "--redis-cert-file=c",
            "--redis-key-file=k",
            "--read-redis-cert-file=c",
        ],
        &[],
        &["--read-redis-cert-file", "--read-redis-key-file"],
    );
    check(
        &["--read-redis-addr=unix:///s", "--read-redis-tls"],
        &[],
        &["--read-redis-tls"],
    );
    check(
        &["--redis-addr=unix:///s", "--redis-tls"],
        &[],
        &["--redis-tls"],
    );
    check(
        &["--listen=:1", "--admin-listen=:1"],
        &[],
        &["--listen and --admin-listen"],
    );
    check(&["--pin", "--pin"], &[], &["--pin is given twice"]);
    check(&["--redis-pass"], &[], &["--redis-pass needs a value"]);
    check(
        &["--redis-pas=hunter2"],
        &[],
        &[
            "unknown flag --redis-pas",
            "--redis-pass?",
            "See redis-api serve --help",
        ],
    );
    check(
        &["--redis-pass", "my", "hunter2"],
        &[],
        &["unexpected argument"],
    );
    check(&["-xhunter2"], &[], &[]);
}
