//! How long to wait before the next connect: exponential backoff with full jitter.

use std::time::Duration;

/// The first ceiling. Low, since a first loss is most often a restart of the server that is over at
/// once; the jitter spreads the clients of a restarted master over it.
const BASE: Duration = Duration::from_millis(100);

/// A random wait in `[0, min(cap, BASE·2ⁿ)]` after `failures` failed attempts in a row.
///
/// `random` is uniform in `[0, 1)`; full jitter (rather than a ceiling with some noise) is what
/// keeps the clients of one restarted server apart. A single wait may be next to nothing; in a row
/// they come to half their ceilings:
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
pub fn full_jitter(failures: u32, cap: Duration, random: f64) -> Duration {
    let doubled = BASE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    doubled.min(cap).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(10);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let check = |failures, expected_ms| {
            assert_eq!(
                full_jitter(failures, CAP, 1.0),
                Duration::from_millis(expected_ms)
            );
        };
        check(0, 100);
        check(1, 200);
        check(6, 6_400);
        check(7, 10_000);
        check(31, 10_000);
        check(32, 10_000);
        check(u32::MAX, 10_000);
    }

    #[test]
    fn the_wait_spans_the_whole_range() {
        assert_eq!(full_jitter(3, CAP, 0.0), Duration::ZERO);
        assert_eq!(full_jitter(3, CAP, 0.5), Duration::from_millis(400));
        assert_eq!(full_jitter(3, CAP, f64::MAX), Duration::from_millis(800));
    }
}
