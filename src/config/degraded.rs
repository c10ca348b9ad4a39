//! The flags about replicas that are in trouble: what is answered meanwhile, and whether a write
//! waits for them.

use std::time::Duration;

use super::common::choice;
use super::parsers;
use super::values::Values;
use redis_api_server::SetOptions;
use redis_api_server::worker::FallbackOptions;

/// Below this a limit for the age of data needs a master that pings its replicas more often than
/// each 10 s, its default: the ping comes up to a second late, and so does our look at it.
const QUIET: Duration = Duration::from_secs(12);

/// `--max-stale`; the inner `None`: no limit.
pub(super) fn max_stale(values: &mut Values<'_>) -> Option<Option<Duration>> {
    let limit = values.parsed("max-stale", parsers::duration_or_unlimited)?;
    if limit.is_some_and(|limit| limit < QUIET) {
        let given = values.given("max-stale")?;
        values.warnings.push(format!(
            "{}: {} is shorter than the silence of a master that has nothing to say: set \
             repl-ping-replica-period (10 s by default) on the master to less than half of it, or \
             its replicas will seem too old",
            given.name,
            given.text.to_string_lossy()
        ));
    }
    Some(limit)
}

/// `--read-fallback` and its limit; the inner `None`: off. `write` is where the master is.
pub(super) fn fallback(
    values: &mut Values<'_>,
    write: Option<&SetOptions>,
) -> Option<Option<FallbackOptions>> {
    let on = choice(
        values,
        "read-fallback",
        &[("none", false), ("master", true)],
    );
    let max_in_flight = values.parsed("fallback-max-in-flight", |text| {
        parsers::count(text, 1..=1 << 20)
    });
    let (on, max_in_flight) = (on?, max_in_flight?);
    let set = SetOptions {
        // Reads are pipelined and their number is limited: one is enough.
        connections: 1,
        ..write?.clone()
    };
    Some(on.then_some(FallbackOptions { set, max_in_flight }))
}

/// Shortest stall timeout of a connection on which is waited: an idle server may be 100 ms late
/// with the answer.
const WAIT_STALL: Duration = Duration::from_secs(1);

/// `--write-wait`, and the write side fit for it.
pub(super) fn write_wait(
    values: &mut Values<'_>,
    write: Option<SetOptions>,
) -> (Option<u64>, Option<SetOptions>) {
    let replicas = values.parsed("write-wait", |text| parsers::count(text, 0..=1000));
    let write = write.map(|write| match replicas {
        None | Some(0) => write,
        Some(_) => SetOptions {
            stall_timeout: write.stall_timeout.max(WAIT_STALL),
            ..write
        },
    });
    (replicas.map(|replicas| replicas as u64), write)
}
