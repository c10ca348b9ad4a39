//! Any text as an address, a duration, a size or a list: taken or refused, never a panic, and no
//! refusal shows the password.
//!
//! The first byte of the input chooses the flag.

#![no_main]

#[path = "../../src/config/mod.rs"]
#[allow(dead_code, unused_imports, missing_docs)]
mod config;
#[path = "../../src/log/mod.rs"]
#[allow(dead_code, unused_imports, missing_docs)]
mod log;

use std::ffi::OsString;

use config::Environment;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2-q8Zk";

const FLAGS: [&str; 10] = [
    "--redis-addr",
    "--read-redis-addr",
    "--write-redis-addr",
    "--listen",
    "--request-timeout",
    "--max-body",
    "--fields",
    "--cors-origin",
    "--workers",
    "--redis-server-name",
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = str::from_utf8(rest) else {
        return;
    };
    let flag = FLAGS[usize::from(*choice) % FLAGS.len()];
    // Where the input says so, the secret.
    let text = text.replace("PASS", SECRET);
    let args = ["redis-api", "serve", flag, &text].map(OsString::from);
    if let Err(exit) = config::parse(args.into_iter(), &Environment::new([])) {
        let said = exit.text;
        // A bare word is a host; what stands before an `@` may be a password.
        let is_address = flag.ends_with("-addr") && text.contains(&format!("{SECRET}@"));
        assert!(!is_address || !said.contains(SECRET), "{said}");
    }
});
