//! Properties of the waits between two attempts to connect: bounded, growing, never nothing for
//! long, and spread.

use std::time::Duration;

use fastrand::Rng;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use redis_api_wire::conn::backoff::full_jitter;

/// The ceiling of the wait after so many failures.
fn ceiling(failures: u32, cap: Duration) -> Duration {
    full_jitter(failures, cap, 1.0)
}

fn caps() -> impl Strategy<Value = Duration> {
    (100..60_000_u64).prop_map(Duration::from_millis)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(8), ..ProptestConfig::default() })]

    #[test]
    fn no_wait_is_longer_than_the_cap(failures: u32, cap in caps(), random in -1.0..2.0) {
        prop_assert!(full_jitter(failures, cap, random) <= cap);
    }

    #[test]
    fn the_same_draw_waits_longer_after_each_failure(
        failures in 0..40_u32,
        cap in caps(),
        random in 0.0..1.0,
    ) {
        let (now, next) = (
            full_jitter(failures, cap, random),
            full_jitter(failures + 1, cap, random),
        );
        prop_assert!(now <= next, "{now:?}, then {next:?}");
        if ceiling(failures, cap) < cap {
            prop_assert!(ceiling(failures, cap) < ceiling(failures + 1, cap));
        }
    }

    /// Each single wait may be next to nothing, so a server that is down is asked again soon. A
    /// whole row of them may not.
    #[test]
    fn waits_in_a_row_come_to_a_quarter_of_their_ceilings(seed: u64, cap in caps()) {
        let mut random = Rng::with_seed(seed);
        let failures = 1..=64;
        let waited: Duration =
            failures.clone().map(|failures| full_jitter(failures, cap, random.f64())).sum();
        let most: Duration = failures.map(|failures| ceiling(failures, cap)).sum();
        prop_assert!(waited >= most / 4, "{waited:?} of {most:?}");
    }

    #[test]
    fn clients_of_one_lost_server_come_back_spread_over_the_whole_range(
        seed: u64,
        failures in 0..10_u32,
        cap in caps(),
    ) {
        let mut seeds = Rng::with_seed(seed);
        let longest = ceiling(failures, cap);
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let mut client = Rng::with_seed(seeds.u64(..));
            let wait = full_jitter(failures, cap, client.f64());
            let tenth = (wait.as_secs_f64() / longest.as_secs_f64() * 10.0) as usize;
            tenths[tenth.min(9)] += 1;
        }
        prop_assert!(tenths.iter().all(|clients| (40..=160).contains(clients)), "{tenths:?}");
    }
}
