use super::*;
use crate::net::Set;
use crate::net::endpoint::Address;
use crate::net::test::{Told, driver, runtime};

#[test]
fn only_a_connection_that_stood_is_a_success() {
    let check = |logged_in, seconds, expected| {
        let lasted = Duration::from_secs(seconds);
        assert_eq!(failures_after(3, logged_in, lasted), expected);
    };
    check(true, 2, 0);
    check(true, 1, 4);
    // A server that hangs: the deadline to connect, longer than it takes to count as stable.
    check(false, 5, 4);
    check(false, 0, 4);
    assert_eq!(failures_after(u32::MAX, false, Duration::ZERO), u32::MAX);
}

#[test]
fn a_name_that_is_not_found_is_looked_up_more_often_than_a_server_is_asked() {
    let remote = |host: &str| Address::Tcp {
        host: host.into(),
        port: 6379,
    };
    let check = |address: &Address, unnamed, seconds| {
        assert_eq!(cap(address, unnamed), Duration::from_secs(seconds));
    };
    check(&remote("redis.example"), false, 10);
    check(&remote("redis.example"), true, 2);
    check(&remote("localhost"), true, 1);
    check(&remote("127.0.0.1"), false, 1);
}

/// When each of the first attempts of a driver with this seed failed, by a clock that only its own
/// waits move on.
fn failures(seed: u64) -> Vec<Duration> {
    runtime().block_on(async {
        tokio::time::pause();
        let start = tokio::time::Instant::now();
        let told = Told::new();
        let nowhere = Address::Unix("/nonexistent/redis.sock".into());
        let metrics = crate::net::test::metrics();
        let set = Set::new(1, &metrics);
        set.drive(&told.owner(), || {
            let mut driver = driver(nowhere.clone(), &metrics);
            driver.random = fastrand::Rng::with_seed(seed);
            driver
        });
        while told.downs.borrow().len() < 12 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let downs = told.downs.borrow();
        downs.iter().map(|at| *at - start.into_std()).collect()
    })
}

#[test]
fn the_waits_between_attempts_are_those_of_the_seed() {
    let (first, again, other) = (failures(1), failures(1), failures(2));
    assert_eq!(first, again);
    assert_ne!(first, other);

    let mut random = fastrand::Rng::with_seed(1);
    for (failures, pair) in (1..).zip(first.windows(2)) {
        let waited = pair[1].saturating_sub(pair[0]);
        let expected = backoff::full_jitter(failures, CAP_LOCAL, random.f64());
        // tokio's timers go by whole milliseconds.
        let late = waited.checked_sub(expected);
        assert!(
            late.is_some_and(|late| late <= Duration::from_millis(2)),
            "{waited:?}, {expected:?}"
        );
    }
}
