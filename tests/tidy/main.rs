//! Rules about the source that neither the compiler nor clippy checks: which layer of a crate may
//! use which, that no two files import each other, who may read the clock and the environment, how
//! long a file and a line may be.
//!
//! A rule is broken on purpose with a comment on the same line or the one above, which says why:
//! `// tidy: allow(rule): reason`. Code under `#[cfg(test)]`, in `tests.rs` and below `tests/` is
//! free of all rules but `size`.
//!
//! The source is read as text with comments and literals blanked out, not parsed: good enough for
//! rustfmt's layout, and quick.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

mod source;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
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
    ("server::file", Uses::Only(&[])),
    ("server::token_file", Uses::Only(&["server::file"])),
    ("server::metrics", Uses::Only(&[])),
    (
        "server::net",
        Uses::Only(&["server::metrics", "server::turn", "server::file"]),
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
            "server::token_file",
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
    (
        "server::sync_auth",
        Uses::Only(&[
            "server::net",
            "server::metrics",
            "server::worker",
            "server::file",
        ]),
    ),
    ("rig", Uses::All),
    ("rig::environment", Uses::Only(&[])),
    ("rig::guarded", Uses::Only(&["rig::environment"])),
    ("rig::figures", Uses::Only(&[])),
    ("rig::plot", Uses::Only(&["rig::figures"])),
    ("rig::rate", Uses::Only(&[])),
    ("rig::latency", Uses::Only(&[])),
    ("rig::window", Uses::Only(&["rig::latency"])),
    ("rig::board", Uses::Only(&["rig::window"])),
    (
        "rig::pages",
        Uses::Only(&["rig::board", "rig::figures", "rig::plot", "rig::window"]),
    ),
];

#[derive(Clone, Copy)]
enum Uses {
    All,
    Only(&'static [&'static str]),
}

/// What reads the clock, and the modules that may; all others take `now` from their callers.
const CLOCK: (&[&str], &[&str]) = (
    &["Instant::now", "SystemTime::now", ".elapsed()"],
    &[
        "server::turn",
        "server::worker",
        "server::check",
        "server::sync_auth",
        "rig",
        "command",
    ],
);

/// What draws a generator of random numbers from the system, and the modules that may; all others
/// take a generator from their callers, so that a test can give the seed.
const RANDOMNESS: (&[&str], &[&str]) = (
    &[
        "Rng::new",
        "Rng::default",
        "fastrand::f64",
        "fastrand::u64",
        "fastrand::usize",
    ],
    &["server::worker", "server::sync_auth", "rig", "command"],
);

/// Who may use `std::env`.
const ENV: &[&str] = &[
    "command::config",
    "command::main",
    "rig::environment",
    "rig::local",
];

/// What stops a thread, and who may: a worker only there, in one function that says why.
const SLEEP: (&str, &[&str]) = (
    "thread::sleep",
    &[
        "server::worker::wake",
        "rig::bot::vegeta",
        "rig::local::guard",
    ],
);

/// In characters; rustfmt leaves comments and strings as they are.
const MAX_WIDTH: usize = 100;

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
    let mut imports = Imports::new();
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
            if let Some(module) = module_of(&name) {
                let mut code = masked(&source);
                blank_tests(&mut code);
                let paths = crate_paths(&code, &module);
                imports.insert(module, paths.into_iter().map(|(_, path)| path).collect());
            }
            files += 1;
        }
    }
    assert!(files > 1, "no sources found below {}", root.display());
    let mut list: Vec<String> = violations.iter().map(Violation::to_string).collect();
    for (one, other) in circles(&imports) {
        list.push(format!("{one} and {other} import each other"));
    }
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
    for (line, width) in wide_lines(&lines, &code) {
        let text = format!("{width} characters, more than {MAX_WIDTH}");
        report(line, "width", text);
    }
    for (rule, what, (reads, allowed)) in [
        ("clock", "`now`", CLOCK),
        ("randomness", "a generator", RANDOMNESS),
    ] {
        if !within_any(&module, allowed) {
            for at in reads.iter().flat_map(|read| words(&code, read)) {
                let text = format!("take {what} from the caller (may: {allowed:?})");
                report(line_of(&code, at), rule, text);
            }
        }
    }
    for at in sleeps(&code, &module) {
        let text = format!("stops a thread (may, once: {:?})", SLEEP.1);
        report(line_of(&code, at), "sleep", text);
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

/// The lines that are too wide, with their width. What is blanked in `code` is a test, whose data
/// may be as wide as it is.
fn wide_lines(lines: &[&str], code: &str) -> Vec<(usize, usize)> {
    let mut wide = Vec::new();
    for (line, (text, code)) in (1..).zip(lines.iter().zip(code.lines())) {
        let width = text.chars().count();
        let is_ours = !code.trim().is_empty() || text.trim().starts_with("//");
        if width > MAX_WIDTH && is_ours {
            wide.push((line, width));
        }
    }
    wide
}

/// Where code in `module` stops a thread, and may not.
fn sleeps(code: &str, module: &[String]) -> Vec<usize> {
    let (sleep, allowed) = SLEEP;
    let may = usize::from(within_any(module, allowed));
    words(code, sleep).into_iter().skip(may).collect()
}

/// The paths of its own crate that each module names.
type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// The modules that import each other, each pair once. A module and what is below it are one:
/// a parent lists its children, and they may use what it defines.
fn circles(imports: &Imports) -> Vec<(String, String)> {
    // The file that defines what a path names: the longest module that it begins with.
    fn file_of<'a>(imports: &Imports, path: &'a [String]) -> Option<&'a [String]> {
        let prefixes = (1..=path.len()).rev().map(|len| &path[..len]);
        prefixes
            .into_iter()
            .find(|prefix| imports.contains_key(*prefix))
    }
    let uses = |one: &Vec<String>, other: &Vec<String>| {
        let mut paths = imports[one].iter();
        paths.any(|path| file_of(imports, path) == Some(other))
    };
    let mut found = Vec::new();
    for one in imports.keys() {
        for other in imports.keys().filter(|other| *other > one) {
            let related = other.starts_with(one) || one.last().is_some_and(|name| name == "lib");
            if !related && uses(one, other) && uses(other, one) {
                found.push((one.join("::"), other.join("::")));
            }
        }
    }
    found
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
