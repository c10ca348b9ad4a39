//! Rules about the source that the compiler does not check: which layer may use which, where
//! effects live, how long a file may be.
//!
//! A rule is broken on purpose with a comment on the same line or the one above, which says why:
//! `// tidy: allow(rule): reason`. Code under `#[cfg(test)]`, in `tests.rs` and below `tests/` is
//! free of all rules but `size` and `unsafe`.
//!
//! The source is read as text with comments and literals blanked out, not parsed: good enough for
//! rustfmt's layout, and quick.

mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::{blank_tests, crate_paths, line_of, masked, paths, words};

/// `(module, what of ours it may use)`. The longest entry that begins a file's module path counts;
/// everything below a module may use that module itself.
const LAYERS: &[(&str, Uses)] = &[
    ("command", Uses::All),
    ("command::log", Uses::Only(&[])),
    ("wire::lib", Uses::All),
    ("wire::resp", Uses::Only(&[])),
    ("wire::conn", Uses::Only(&["wire::resp"])),
    ("server::lib", Uses::All),
    ("server::turn", Uses::Only(&[])),
    ("server::token_file", Uses::Only(&[])),
    ("server::metrics", Uses::Only(&[])),
    (
        "server::net",
        Uses::Only(&["server::metrics", "server::turn"]),
    ),
    (
        "server::store",
        Uses::Only(&["server::net", "server::metrics", "server::turn"]),
    ),
    (
        "server::http",
        Uses::Only(&[
            "server::store",
            "server::metrics",
            "server::turn",
            "server::token_file",
        ]),
    ),
    ("server::http::server", Uses::Only(&["server::turn"])),
    (
        "server::worker",
        Uses::Only(&[
            "server::http",
            "server::store",
            "server::net",
            "server::metrics",
            "server::turn",
        ]),
    ),
    (
        "server::check",
        Uses::Only(&[
            "server::net",
            "server::store",
            "server::metrics",
            "server::worker",
        ]),
    ),
    ("rig", Uses::All),
    ("rig::environment", Uses::Only(&[])),
    ("rig::guarded", Uses::Only(&["rig::environment"])),
    ("rig::figures", Uses::Only(&[])),
    ("rig::rate", Uses::Only(&[])),
    ("rig::latency", Uses::Only(&[])),
    ("rig::window", Uses::Only(&["rig::latency"])),
    ("rig::board", Uses::Only(&["rig::window"])),
    (
        "rig::pages",
        Uses::Only(&["rig::board", "rig::figures", "rig::window"]),
    ),
];

#[derive(Clone, Copy)]
enum Uses {
    All,
    Only(&'static [&'static str]),
}

/// `(rule, what is looked for, the modules that may, what to do instead)`.
const EFFECTS: &[(&str, &[&str], &[&str], &str)] = &[
    (
        "unwrap",
        &[".unwrap()", ".expect("],
        &[],
        "return an error, or say why it can't fail",
    ),
    (
        "clock",
        &["Instant::now", "SystemTime::now"],
        &[
            "server::turn",
            "server::net::driver",
            "server::net::dial",
            "server::worker",
            "server::http::service",
            "server::check",
            "rig",
            "command",
        ],
        "take `now` from the caller",
    ),
    (
        "print",
        &["println!", "print!", "eprintln!", "eprint!", "dbg!"],
        &["command::main", "rig::local", "rig::ramp"],
        "use tracing, or return the text",
    ),
    (
        "exit",
        &["process::exit"],
        &["command::main", "server::worker"],
        "return an error to `main`",
    ),
];

/// Who may use `std::env`.
const ENV: &[&str] = &[
    "command::config",
    "command::main",
    "rig::environment",
    "rig::local",
];

const MAX_LINES: usize = 600;

/// A broken rule. Lines count from 1.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    rule: &'static str,
    text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}",
            self.file, self.line, self.rule, self.text
        )
    }
}

#[test]
fn source_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut violations = Vec::new();
    let mut files = 0;
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        for path in rust_files(&root.join(folder)) {
            let name = path
                .strip_prefix(root)
                .expect("it is below the root")
                .display()
                .to_string();
            let source = fs::read_to_string(&path).expect("sources are readable UTF-8");
            violations.extend(check(&name, &source));
            files += 1;
        }
    }
    assert!(files > 1, "no sources found below {}", root.display());
    let list: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(
        list.is_empty(),
        "{} broken rules:\n{}",
        list.len(),
        list.join("\n")
    );
}

/// All rules for one file, by its path from the root of the repository.
fn check(file: &str, source: &str) -> Vec<Violation> {
    let mut found = BTreeSet::new();
    let lines: Vec<&str> = source.lines().collect();
    let mut report = |line: usize, rule: &'static str, text: String| {
        let excused = lines[..line]
            .iter()
            .rev()
            .take(2)
            .any(|line| allows(line, rule));
        if !excused {
            found.insert(Violation {
                file: file.to_owned(),
                line,
                rule,
                text,
            });
        }
    };

    if lines.len() > MAX_LINES {
        let text = format!("{} lines, more than {MAX_LINES}: split it", lines.len());
        report(lines.len(), "size", text);
    }
    let mut code = masked(source);
    for at in words(&code, "unsafe") {
        report(
            line_of(&code, at),
            "unsafe",
            "there is no unsafe code here".into(),
        );
    }
    let Some(module) = module_of(file) else {
        return found.into_iter().collect();
    };
    if !source.trim_start().starts_with("//!") {
        report(
            1,
            "doc",
            "a file begins with `//!`: purpose, invariants, non-goals".into(),
        );
    }
    blank_tests(&mut code);
    for (rule, needles, allowed, instead) in EFFECTS {
        for at in needles.iter().flat_map(|needle| words(&code, needle)) {
            // A method of one's own may be called `expect`: a parser's.
            let own = code[..at].ends_with("self");
            if !own && !within_any(&module, allowed) {
                report(
                    line_of(&code, at),
                    rule,
                    format!("{instead} (may: {allowed:?})"),
                );
            }
        }
    }
    for (at, path) in paths(&code, "std") {
        // `std::env::consts` is about the target, not the environment.
        let reads = within(&path, "env") && !within(&path, "env::consts");
        if reads && !within_any(&module, ENV) {
            report(
                line_of(&code, at),
                "env",
                format!("only {ENV:?} read the environment"),
            );
        }
    }
    for (at, path) in crate_paths(&code, &module) {
        if let Some(text) = layering(&module, &path) {
            report(line_of(&code, at), "layering", text);
        }
    }
    found.into_iter().collect()
}

/// Why code in `module` may not use `path`; `None` if it may.
fn layering(module: &[String], path: &[String]) -> Option<String> {
    let Some((zone, uses)) = layer(module) else {
        return Some(format!(
            "{} is in no layer: add it to LAYERS",
            module.join("::")
        ));
    };
    let Uses::Only(allowed) = uses else {
        return None;
    };
    // A path that names no module of ours is an item of the crate's root.
    layer(path)?;
    let fits = within(path, zone) || within_any(path, allowed);
    (!fits).then(|| format!("`{zone}` may use {allowed:?}, not `{}`", path.join("::")))
}

fn layer(path: &[String]) -> Option<(&'static str, Uses)> {
    let entries = LAYERS.iter().filter(|(zone, _)| within(path, zone));
    entries.max_by_key(|(zone, _)| zone.len()).copied()
}

fn within(path: &[String], zone: &str) -> bool {
    let mut names = path.iter();
    zone.split("::")
        .all(|name| names.next().is_some_and(|n| n == name))
}

fn within_any(path: &[String], zones: &[&str]) -> bool {
    zones.iter().any(|zone| within(path, zone))
}

/// The module path of a file below `src`, from the crate's short name on; `None` for test code.
fn module_of(file: &str) -> Option<Vec<String>> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut names: Vec<String> = path.split('/').map(String::from).collect();
    if names.iter().any(|name| is_test(name)) {
        return None;
    }
    match names.get(1).is_some_and(|folder| folder == "src") {
        true => drop(names.remove(1)),
        false => names.insert(0, "command".to_owned()),
    }
    if names.len() > 2 && names.last().is_some_and(|name| name == "mod") {
        names.pop();
    }
    Some(names)
}

fn is_test(name: &str) -> bool {
    name == "tests" || name == "test" || name.ends_with("_tests")
}

/// Whether this line has `// tidy: allow(rule): reason`, with a reason.
fn allows(line: &str, rule: &str) -> bool {
    let Some((_, rest)) = line.split_once(&format!("// tidy: allow({rule})")) else {
        return false;
    };
    rest.strip_prefix(':')
        .is_some_and(|reason| !reason.trim().is_empty())
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a folder of ours can be read").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

mod tests {
    use super::{MAX_LINES, check as check_file};

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
            "src/server/src/net/dial.rs",
            "fn f() {\n  a.unwrap();\n  b.expect(\"c\");\n}",
            &["3 unwrap", "4 unwrap"],
        );
        check(
            "src/server/src/net/dial.rs",
            "a.unwrap_or(b); c.expect_err(d); self.expect(e);",
            &[],
        );
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
            "println!(); eprintln!();\ndbg!(x);",
            &["2 print", "3 print"],
        );
        check("src/rig/src/local/mod.rs", "println!();", &[]);
        check(
            "src/server/src/store/mod.rs",
            "let now = tokio::time::Instant::now();",
            &["2 clock"],
        );
        check("src/server/src/turn.rs", "let now = Instant::now();", &[]);
        check(
            "src/server/src/net/driver.rs",
            "let now = Instant::now();",
            &[],
        );
        check(
            "src/server/src/net/endpoint.rs",
            "map(SystemTime::now)",
            &["2 clock"],
        );
        check(
            "src/server/src/http/admin.rs",
            "std::process::exit(1)",
            &["2 exit"],
        );
    }

    #[test]
    fn unsafe_code() {
        check(
            "src/server/src/net/dial.rs",
            "unsafe { x() }",
            &["2 unsafe"],
        );
        check("tests/e2e/main.rs", "unsafe fn x() {}", &["2 unsafe"]);
        check("src/main.rs", "#![deny(unsafe_code)] // unsafe", &[]);
    }

    #[test]
    fn comments_literals_and_tests_are_free() {
        check(
            "src/server/src/net/dial.rs",
            "// a.unwrap()\n/* unsafe /* b */ unsafe */ \"unsafe\"",
            &[],
        );
        check(
            "src/server/src/net/dial.rs",
            "let a = r#\"\" unsafe\"#; let b = '\"'; unsafe",
            &["2 unsafe"],
        );
        check(
            "src/server/src/net/dial.rs",
            "fn f<'a>(x: &'a str) { b'\\''; unsafe }",
            &["2 unsafe"],
        );
        let tests = "#[cfg(test)]\nmod tests {\n  fn f() { a.unwrap() }\n}\n";
        check("src/server/src/net/dial.rs", tests, &[]);
        check(
            "src/server/src/net/dial.rs",
            &format!("{tests}fn g() {{ a.unwrap() }}"),
            &["6 unwrap"],
        );
        check(
            "src/server/src/net/dial.rs",
            "#[cfg(test)]\nmod tests;\nx.unwrap()",
            &["4 unwrap"],
        );
        check("src/server/src/net/tests.rs", "a.unwrap()", &[]);
        check("tests/e2e/main.rs", "a.unwrap(); std::env::var(x)", &[]);
    }

    #[test]
    fn excuses_need_a_reason() {
        check(
            "src/server/src/net/dial.rs",
            "// tidy: allow(unwrap): it is Some\na.unwrap()",
            &[],
        );
        check(
            "src/server/src/net/dial.rs",
            "a.unwrap() // tidy: allow(unwrap): it is Some",
            &[],
        );
        check(
            "src/server/src/net/dial.rs",
            "a.unwrap() // tidy: allow(unwrap):",
            &["2 unwrap"],
        );
        check(
            "src/server/src/net/dial.rs",
            "a.unwrap() // tidy: allow(clock): b",
            &["2 unwrap"],
        );
        check(
            "src/server/src/net/dial.rs",
            "// tidy: allow(unwrap): c\n\na.unwrap()",
            &["4 unwrap"],
        );
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
}
