//! This process and the machine under it: cores, file descriptors, backlog, files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

use super::report::Verdict;

/// Below this the connections of clients are the first thing to run out.
const FEW_FILES: u64 = 4096;

/// The CPU time that the cgroup grants, in cores; `None`: no limit, or none that can be seen.
pub(super) fn quota() -> Option<f64> {
    let read = |path| fs::read_to_string(path).ok();
    if let Some(text) = read("/sys/fs/cgroup/cpu.max") {
        return parse_quota(&text);
    }
    let quota = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
    let period = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
    parse_quota(&format!("{} {}", quota.trim(), period.trim()))
}

/// `QUOTA PERIOD` in µs, as in `cpu.max`; `max` or -1 is no limit.
fn parse_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

pub(super) fn cores(workers: usize, why: &str, quota: Option<f64>) -> Verdict {
    match quota {
        // A hair's breadth, for quotas that are no round number of µs.
        Some(quota) if quota + 0.01 < workers as f64 => Verdict::warn(
            format!("{workers} workers ({why}) on a quota of {quota:.2} CPUs: they are throttled"),
            "set --workers to the whole CPUs of the limit, or raise the limit",
        ),
        Some(quota) => Verdict::ok(format!("{workers} workers ({why}), quota {quota:.2} CPUs")),
        None => Verdict::ok(format!(
            "{workers} workers ({why}), no CPU quota: all cores of the machine count"
        )),
    }
}

/// Files that may be open, soft and hard limit; `None` if the system doesn't say.
pub(super) fn file_limit() -> Option<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE).ok()
}

pub(super) fn files(limit: Option<(u64, u64)>) -> Verdict {
    match limit {
        None => Verdict::warn("the limit on open files can't be read", "see `ulimit -n`"),
        Some((soft, hard)) if hard < FEW_FILES => Verdict::warn(
            format!("soft limit {soft}, hard limit {hard}: each client's connection takes one"),
            "raise the hard limit (ulimit -Hn, LimitNOFILE=, the container runtime)",
        ),
        Some((soft, hard)) => Verdict::ok(format!("soft limit {soft}, hard limit {hard}")),
    }
}

/// The kernel's bound on backlogs.
pub(super) fn somaxconn() -> Option<u32> {
    let text = fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?;
    text.trim().parse().ok()
}

pub(super) fn backlog(asked: i32, kernel: Option<u32>) -> Verdict {
    let asked = asked.unsigned_abs();
    match kernel {
        Some(kernel) if kernel < asked => Verdict::warn(
            format!("{asked} asked for, the kernel grants {kernel}"),
            "raise net.core.somaxconn where the kubelet or host allows it; else more pods share \
             the bursts",
        ),
        Some(_) => Verdict::ok(format!("{asked}")),
        None => Verdict::ok(format!(
            "{asked} asked for; the kernel's limit can't be read"
        )),
    }
}

/// A file that a flag names: it must be readable, and if it is secret, not by everyone.
pub(super) fn file(flag: &str, path: &Path, secret: bool) -> Verdict {
    let shown = path.display();
    // Looked at before it is opened: opening a pipe would wait for its writer, and take what it
    // says.
    let looked = fs::metadata(path).and_then(|metadata| match metadata.is_file() {
        true => fs::File::open(path).map(|_| metadata),
        false => Ok(metadata),
    });
    let metadata = match looked {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(metadata) if metadata.file_type().is_fifo() => {
            return Verdict::warn(
                format!("{flag} {shown} is a pipe: it gives its content once, at the start"),
                "give a regular file, so that a new content is used without a restart",
            );
        }
        Ok(_) => {
            let found = format!("{flag} {shown} is not a regular file");
            return Verdict::fail(found, format!("correct {flag}"));
        }
        Err(error) => {
            return Verdict::fail(
                format!("{flag} {shown}: {error}"),
                format!("mount it, let the user of this process read it, or correct {flag}"),
            );
        }
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.len() == 0 {
        return Verdict::warn(
            format!("{flag} {shown} is empty"),
            "write it, or drop the flag",
        );
    }
    if secret && mode & 0o004 != 0 {
        return Verdict::warn(
            format!("{flag} {shown} (mode {mode:04o}) can be read by every user"),
            format!("chmod o-r {shown}; for a Kubernetes Secret, defaultMode: 0440 and fsGroup"),
        );
    }
    Verdict::ok(format!("{flag} {shown}, mode {mode:04o}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Status;

    #[track_caller]
    fn check(verdict: Verdict, status: Status, found: &str) {
        assert_eq!(verdict.status, status, "{verdict:?}");
        assert!(verdict.found.contains(found), "{verdict:?}");
    }

    #[test]
    fn quotas() {
        let check = |text: &str, expected| assert_eq!(parse_quota(text), expected, "{text}");
        check("200000 100000\n", Some(2.0));
        check("50000 100000\n", Some(0.5));
        check("max 100000\n", None);
        check("-1 100000", None);
        check("100000 0", None);
        check("", None);
    }

    #[test]
    fn cores_and_limits() {
        check(
            cores(2, "w", Some(2.0)),
            Status::Ok,
            "2 workers (w), quota 2.00",
        );
        check(cores(2, "w", None), Status::Ok, "no CPU quota");
        check(cores(2, "w", Some(1.5)), Status::Warn, "throttled");
        check(
            files(Some((1024, 1_048_576))),
            Status::Ok,
            "soft limit 1024",
        );
        check(files(Some((1024, 1024))), Status::Warn, "hard limit 1024");
        check(files(None), Status::Warn, "can't be read");
        check(backlog(4096, Some(4096)), Status::Ok, "4096");
        check(
            backlog(4096, Some(128)),
            Status::Warn,
            "the kernel grants 128",
        );
        check(backlog(4096, None), Status::Ok, "can't be read");
    }

    #[test]
    fn files_of_flags() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let open = write("open", "x", 0o644);
        check(file("--f", &open, true), Status::Warn, "(mode 0644)");
        check(file("--f", &open, false), Status::Ok, "mode 0644");
        check(
            file("--f", &write("closed", "x", 0o440), true),
            Status::Ok,
            "mode 0440",
        );
        check(
            file("--f", &write("empty", "", 0o400), true),
            Status::Warn,
            "empty",
        );
        check(
            file("--f", &folder.path().join("none"), true),
            Status::Fail,
            "--f",
        );
        check(
            file("--f", folder.path(), false),
            Status::Fail,
            "is not a regular file",
        );
    }
}
