//! Reads the configuration, runs what it asks for, and turns the result into an exit status.

use std::io::{self, Write as _};
use std::process::ExitCode;

use redis_api::config::{self, Stream};

fn main() -> ExitCode {
    match config::parse(std::env::args_os()) {
        Ok(_command) => {
            let _ = writeln!(io::stderr(), "error: not implemented");
            ExitCode::FAILURE
        }
        Err(exit) => {
            // A reader that went away (`redis-api serve --help | head`) is no failure of ours.
            let _ = match exit.stream {
                Stream::Stdout => io::stdout().write_all(exit.text.as_bytes()),
                Stream::Stderr => io::stderr().write_all(exit.text.as_bytes()),
            };
            ExitCode::from(exit.status)
        }
    }
}
