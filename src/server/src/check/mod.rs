//! `redis-api check`: connects as `serve` would, in both roles, and says line by line what it
//! found, with the cure for what is wrong.
//!
//! Invariants:
//! - No command that writes is sent: rights to write are asked for, never tried.
//! - Each step has a deadline, and the run ends within [`LONGEST`]; one role's failure doesn't keep
//!   the other from being examined.
//! - The way to a server is `serve`'s own: the same dial, TLS and login, the same rule of which
//!   replica is usable.
//! - Nothing found holds a password.
//!
//! Non-goals: judging the load, or watching. It looks once.

mod certificate;
mod connect;
mod info;
mod process;
mod report;
mod rights;
mod server;
mod side;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

pub use report::{Format, Report};

use crate::net::endpoint::{Endpoint, Password, SetOptions};
use crate::net::{LOOKUP_THREADS, Resolver, listen};
use crate::worker::{self, ApiOptions, granted_workers};
use report::{Role, Verdict};
use side::RoleCheck;

/// The whole run takes no longer, whatever hangs and whatever deadlines are given.
const LONGEST: Duration = Duration::from_secs(25);

/// What to check: what `serve` would be run with.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the process would run.
    pub process: worker::Options,
    /// What it would serve, and from where.
    pub api: ApiOptions,
    /// What reading the flags warned of.
    pub warnings: Vec<String>,
}

/// Checks everything.
///
/// # Errors
/// The system refuses an event loop; what is wrong elsewhere is in the report.
pub fn run(options: &Options) -> io::Result<Report> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUP_THREADS)
        .build()?;
    let resolver = Resolver::new(runtime.handle().clone());
    let report = runtime.block_on(examine(options, &resolver));
    // A lookup that hangs must not hold the exit up.
    runtime.shutdown_background();
    Ok(report)
}

async fn examine(options: &Options, resolver: &Resolver) -> Report {
    let (workers, why) = granted_workers(options.process.workers);
    let end = Instant::now() + LONGEST;
    let side = |role, set| RoleCheck {
        role,
        set,
        options,
        per_pod: workers.get() * connections(options, set),
        resolver,
        end,
    };
    let read = side(Role::Read, &options.api.read);
    let write = side(Role::Write, &options.api.write);
    let (mut report, mut of_write) = (Report::default(), Report::default());
    // At the same time: what hangs for one doesn't use up the other's time.
    let (read, write) = tokio::join!(read.examine(&mut report), write.examine(&mut of_write));
    report.findings.append(&mut of_write.findings);
    if let (Some(read), Some(write)) = (&read, &write) {
        report.add(Role::Both, "pair", server::pair(read, write));
    } else if options.api.read.endpoint.address == options.api.write.endpoint.address {
        let found = "read and write side have the same address: reads are as far away as writes";
        let cure = "read from a replica beside each pod (--read-redis-addr)";
        report.add(Role::Both, "pair", Verdict::warn(found, cure));
    }
    of_process(options, workers.get(), why, &mut report);
    report
}

/// Connections of one worker to the server of `set`: of both roles, where they share one.
fn connections(options: &Options, set: &SetOptions) -> usize {
    let all = [&options.api.read, &options.api.write];
    let same = all
        .iter()
        .filter(|other| other.endpoint.address == set.endpoint.address);
    same.map(|other| other.connections).sum()
}

fn of_process(options: &Options, workers: usize, why: &str, report: &mut Report) {
    let mut add = |name, verdict| report.add(Role::Process, name, verdict);
    for warning in &options.warnings {
        add("flags", Verdict::warn(warning, "change the flag it names"));
    }
    add("cores", process::cores(workers, why, process::quota()));
    add("files", process::files(process::file_limit()));
    add(
        "backlog",
        process::backlog(listen::BACKLOG, process::somaxconn()),
    );
    if let Some(path) = &options.api.guard.token_file {
        add("file", process::file("--write-token-file", path, true));
    }
    for set in [&options.api.read, &options.api.write] {
        let Endpoint {
            password,
            tls,
            sources,
            ..
        } = &set.endpoint;
        let mut file = |flag: &str, path: Option<&PathBuf>, secret| {
            if let Some(path) = path {
                add("file", process::file(flag, path, secret));
            }
        };
        if let Password::File(path) = password {
            file(&sources.password, Some(path), true);
        }
        if let Some(tls) = tls {
            file(&sources.ca_file, tls.ca_file.as_ref(), false);
            file(&sources.cert_file, tls.cert_file.as_ref(), false);
            file(&sources.key_file, tls.key_file.as_ref(), true);
        }
    }
}
