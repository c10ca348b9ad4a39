//! Made-up points for the tests of this module.

use std::collections::BTreeMap;

use crate::board::{History, Point};

/// A second of a healthy rig: one bot, 1,000 requests/s, all well.
pub(super) fn point(at_ms: u64) -> Point {
    Point {
        at_ms,
        target_rate: 1_000.0,
        achieved_rate: 999.0,
        throughput: 999.0,
        p50: 310_000,
        p90: 620_000,
        p99: 1_900_000,
        p999: 4_200_000,
        max: 7_700_000,
        status_codes: BTreeMap::from([(200, 9_990)]),
        errors: BTreeMap::new(),
        bots_alive: 1,
        bots_late: 0,
        bots_dead: 0,
        generator_limited: false,
        value: Some(101.5),
    }
}

/// Five minutes that end at `now_ms`, each second changed by `change`, which is given its age in
/// seconds.
pub(super) fn history(now_ms: u64, change: impl Fn(u64, &mut Point)) -> History {
    let mut history = History::default();
    for age in (0..300).rev() {
        let mut point = point(now_ms - age * 1_000);
        change(age, &mut point);
        history.push(point);
    }
    history
}
