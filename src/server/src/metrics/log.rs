//! What the log lost.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::proto::MetricFamily;

use super::family::counter;

/// Log lines that were dropped, of the whole process: as there is one log in it. Any thread may
/// add to it.
pub static LOG_DROPPED: AtomicU64 = AtomicU64::new(0);

pub(super) fn family() -> MetricFamily {
    counter(
        "redis_api_log_dropped_total",
        "Log lines dropped because stderr did not take them in time.",
        LOG_DROPPED.load(Relaxed) as f64,
    )
}
