//! The rules on sources that keep or break them.

use super::{Imports, MAX_LINES, check as check_file, circles};

/// The rules that `source` breaks as `file`, as `line rule`; `//!` is put in front of it.
#[track_caller]
fn check(file: &str, source: &str, expected: &[&str]) {
    let found = check_file(file, &format!("//! Doc.\n{source}"));
    let found: Vec<String> = found
        .iter()
        .map(|v| format!("{} {}", v.line, v.rule))
        .collect();
    assert_eq!(found, expected, "{file}: {source}");
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of cases")]
fn layers() {
    check(
        "src/wire/src/resp/mod.rs",
        "use crate::conn::Conn;",
        &["2 layering"],
    );
    check("src/wire/src/conn/mod.rs", "use crate::resp::Reply;", &[]);
    let inflight = "src/wire/src/conn/inflight.rs";
    check(inflight, "use super::Conn;\nuse super::super::resp;", &[]);
    // Another crate's: the compiler's business.
    check(
        "src/wire/src/conn/mod.rs",
        "use redis_api_server::net;",
        &[],
    );
    let dial = "src/server/src/net/dial.rs";
    check(dial, "fn f(x: crate::store::Reads) {}", &["2 layering"]);
    check(
        dial,
        "use super::Set;\nuse super::super::store;",
        &["3 layering"],
    );
    check(
        dial,
        "use crate::{metrics::{self, A}};\nuse crate::turn;",
        &[],
    );
    check(
        dial,
        "use crate::{\n  metrics,\n  store::A,\n};",
        &["4 layering"],
    );
    check(
        dial,
        "use crate::{\n  metrics::{A, B},\n  http,\n};",
        &["4 layering"],
    );
    let metrics = "src/server/src/metrics.rs";
    check(
        metrics,
        "use super::metrics;\nuse super::{\n  net::Set};",
        &["4 layering"],
    );
    let service = "src/server/src/http/service.rs";
    check(
        service,
        "use crate::http::server::A;\nuse crate::store;",
        &[],
    );
    let server = "src/server/src/http/server";
    check(&format!("{server}.rs"), "use crate::turn::Turn;", &[]);
    check(
        &format!("{server}.rs"),
        "use super::reply;",
        &["2 layering"],
    );
    let sweep = "use super::A;\nuse crate::http::server;";
    check(&format!("{server}/sweep.rs"), sweep, &[]);
    check(
        &format!("{server}/mod.rs"),
        "use crate::metrics::A;",
        &["2 layering"],
    );
    check("src/config/mod.rs", "use crate::log;", &[]);
    check("src/log/mod.rs", "use crate::config;", &["2 layering"]);
    let worker = "src/server/src/worker/mod.rs";
    check(
        worker,
        "pub(crate) fn f() {}\nuse crate::check;",
        &["3 layering"],
    );
    check(
        "src/server/src/novel.rs",
        "use crate::net::A;",
        &["2 layering"],
    );
}

#[test]
fn effects() {
    check(
        "src/server/src/store/mod.rs",
        "use std::{env, io};",
        &["2 env"],
    );
    check(
        "src/server/src/store/mod.rs",
        "let x = std::env::var(y);",
        &["2 env"],
    );
    check("src/config/mod.rs", "use std::env;", &[]);
    check(
        "src/server/src/metrics.rs",
        "let os = std::env::consts::OS;",
        &[],
    );
    check(
        "src/server/src/store/mod.rs",
        "use std::fmt; let env = env!(\"X\");",
        &[],
    );
    check(
        "src/server/src/store/mod.rs",
        "let now = tokio::time::Instant::now();",
        &["2 clock"],
    );
    check("src/server/src/turn.rs", "let now = Instant::now();", &[]);
    let sleep = "std::thread::sleep(time);";
    let wake = "src/server/src/worker/wake.rs";
    check("src/server/src/net/set.rs", sleep, &["2 sleep"]);
    check("src/server/src/worker/thread.rs", sleep, &["2 sleep"]);
    check(wake, sleep, &[]);
    check(wake, &format!("{sleep}\n{sleep}"), &["3 sleep"]);
    check(
        "src/server/src/net/driver.rs",
        "let now = Instant::now();\nlet lasted = then.elapsed();",
        &["2 clock", "3 clock"],
    );
    check(
        "src/server/src/net/endpoint.rs",
        "map(SystemTime::now)",
        &["2 clock"],
    );
}

#[test]
fn circles_of_two() {
    let path = |text: &str| text.split("::").map(String::from).collect::<Vec<_>>();
    let check = |files: &[(&str, &[&str])], expected: &[(&str, &str)]| {
        let uses = |paths: &[&str]| paths.iter().map(|text| path(text)).collect();
        let files = files.iter().map(|(file, paths)| (path(file), uses(paths)));
        let found = circles(&Imports::from_iter(files));
        let found: Vec<_> = found.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        assert_eq!(found, expected, "{expected:?}");
    };
    let (a, b) = ("wire::resp::a", "wire::resp::b");
    check(
        &[(a, &["wire::resp::b::X"]), (b, &["wire::resp::a::Y::Z"])],
        &[(a, b)],
    );
    check(&[(a, &["wire::resp::b::X"]), (b, &["wire::resp::c"])], &[]);
    // Its parent, or a part of its own.
    check(
        &[
            (a, &["wire::resp::X"]),
            ("wire::resp", &["wire::resp::a::Y"]),
        ],
        &[],
    );
    check(
        &[
            (a, &["wire::resp::a::c"]),
            ("wire::resp::a::c", &["wire::resp::a::X"]),
        ],
        &[],
    );
}

#[test]
fn comments_literals_and_tests_are_free() {
    let driver = "src/server/src/net/driver.rs";
    check(
        driver,
        "// a.elapsed()\n/* a.elapsed() /* b */ a.elapsed() */ \".elapsed()\"",
        &[],
    );
    check(
        driver,
        "let a = r#\"\" .elapsed()\"#; let b = '\"'; a.elapsed()",
        &["2 clock"],
    );
    check(
        driver,
        "fn f<'a>(x: &'a str) { b'\\''; a.elapsed() }",
        &["2 clock"],
    );
    let tests = "#[cfg(test)]\nmod tests {\n  fn f() { a.elapsed() }\n}\n";
    check(driver, tests, &[]);
    check(
        driver,
        &format!("{tests}fn g() {{ a.elapsed() }}"),
        &["6 clock"],
    );
    check(
        driver,
        "#[cfg(test)]\nmod tests;\nx.elapsed()",
        &["4 clock"],
    );
    check("src/server/src/net/tests.rs", "a.elapsed()", &[]);
    check("tests/e2e/main.rs", "a.elapsed(); std::env::var(x)", &[]);
}

#[test]
fn excuses_need_a_reason() {
    let driver = "src/server/src/net/driver.rs";
    check(
        driver,
        "// tidy: allow(clock): it is a log line\na.elapsed()",
        &[],
    );
    check(driver, "a.elapsed() // tidy: allow(clock): why", &[]);
    check(driver, "a.elapsed() // tidy: allow(clock):", &["2 clock"]);
    check(driver, "a.elapsed() // tidy: allow(env): b", &["2 clock"]);
    check(
        driver,
        "// tidy: allow(clock): c\n\na.elapsed()",
        &["4 clock"],
    );
}

#[test]
fn lines_have_a_width() {
    let driver = "src/server/src/net/driver.rs";
    let wide = "µ".repeat(101);
    check(driver, &format!("// {}", &wide[..2 * 97]), &[]);
    check(
        driver,
        &format!("// {wide}\nlet a = \"{wide}\";"),
        &["2 width", "3 width"],
    );
    let tests = format!("#[cfg(test)]\nmod tests {{\n  let a = \"{wide}\";\n}}\n");
    check(driver, &tests, &[]);
}

#[test]
fn files_have_a_doc_and_a_length() {
    let found = check_file("src/server/src/net/dial.rs", "use std::io;\n");
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("src/server/src/net/dial.rs:1: doc: "),
        "{found:?}"
    );
    check(
        "src/server/src/net/dial.rs",
        &"\n".repeat(MAX_LINES - 1),
        &[],
    );
    check(
        "src/server/src/net/dial.rs",
        &"\n".repeat(MAX_LINES),
        &["601 size"],
    );
}

#[test]
fn randomness_comes_from_the_worker() {
    let driver = "src/server/src/net/driver.rs";
    check(driver, "fastrand::Rng::new()", &["2 randomness"]);
    check(driver, "fastrand::f64()", &["2 randomness"]);
    check(driver, "fastrand::Rng::with_seed(1)", &[]);
    check("src/server/src/worker/mod.rs", "fastrand::Rng::new()", &[]);
}
