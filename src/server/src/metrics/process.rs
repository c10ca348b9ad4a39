//! What the kernel says about this process, under the names that Prometheus' clients agree on.
//!
//! See <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>. What can't
//! be read is left out: a wrong 0 would look like a fact.

use procfs::process::{LimitValue, Process};
use prometheus::proto::MetricFamily;

use super::family::{counter, gauge};

/// The families of this process.
pub fn families() -> Vec<MetricFamily> {
    let Ok(process) = Process::myself() else {
        return Vec::new();
    };
    let mut families = Vec::new();
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        let page = procfs::page_size() as f64;
        let cpu = (stat.utime as f64 + stat.stime as f64) / ticks;
        families.extend([
            counter(
                "process_cpu_seconds_total",
                "User and system CPU time spent.",
                cpu,
            ),
            gauge(
                "process_resident_memory_bytes",
                "Resident memory.",
                stat.rss as f64 * page,
            ),
            gauge(
                "process_virtual_memory_bytes",
                "Virtual memory.",
                stat.vsize as f64,
            ),
            gauge("process_threads", "Threads.", stat.num_threads as f64),
        ]);
        if let Ok(boot) = procfs::boot_time_secs() {
            let start = boot as f64 + stat.starttime as f64 / ticks;
            let help = "When the process started, in seconds since the Unix epoch.";
            families.push(gauge("process_start_time_seconds", help, start));
        }
    }
    if let Ok(open) = process.fd_count() {
        families.push(gauge(
            "process_open_fds",
            "Open file descriptors.",
            open as f64,
        ));
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(max) = limits.max_open_files.soft_limit
    {
        let help = "Limit on open file descriptors.";
        families.push(gauge("process_max_fds", help, max as f64));
    }
    families
}
