//! The API as its OpenAPI document tells it: what is not in the document, or is not so, is found by
//! [Schemathesis], which makes requests of it, good and bad.
//!
//! [Schemathesis]: https://schemathesis.readthedocs.io

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::process::find_program;
use crate::support::{Redis, on_one_master, request};

const DOCUMENT: &str = "docs/openapi.yaml";

/// Where `make setup` installs it.
const INSTALLED: &str = "target/tools/python/bin/schemathesis";

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_document_is_served_for_probes_and_people() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let served = request(api.admin(), "GET", "/openapi.yaml", &[], b"");
    assert_eq!(served.status, 200);
    assert_eq!(served.header("Content-Type"), Some("application/yaml"));
    let document = fs::read(in_repository(DOCUMENT)).expect("the document is there");
    assert_eq!(served.body, document);
}

/// Runs it against `addr`, with the operations that have this tag.
fn run(program: &Path, addr: SocketAddr, tag: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(program)
        .arg("run")
        .arg(in_repository(DOCUMENT))
        .args(["--url", &format!("http://{addr}"), "--include-tag", tag])
        // The same requests each time, some hundreds of them.
        .args(["--generation-deterministic", "--seed", "1"])
        .args(["--max-examples", "60", "--no-shrink"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .arg("--no-color")
        .current_dir(&folder)
        .env("NO_PROXY", "*")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let more = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{more}");
    println!("{}", said.lines().last().unwrap_or_default());
}

#[test]
fn what_the_server_does_is_in_the_document() {
    let installed = in_repository(INSTALLED);
    let program = match installed.is_file() {
        true => Ok(installed),
        false => find_program(&["schemathesis"]),
    };
    let Ok(program) = program else {
        println!("SKIPPED: schemathesis is not installed (`make setup` installs it)");
        return;
    };
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5", "EUR", "1.1"]);
    let api = on_one_master(&redis, |builder| {
        builder.args(["--values", "json", "--etag", "--cache-control", "no-cache"])
    });
    run(&program, api.addr(), "API");
    run(&program, api.admin(), "Admin");
}
