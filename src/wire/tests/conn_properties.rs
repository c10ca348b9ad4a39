//! Properties of a connection: whatever a transport does with the bytes and whenever, each reply
//! goes to its own waiter, and each waiter is told exactly once.
//!
//! What is asserted after every step is in `conn/model.rs`. `PROPTEST_CASES` raises the number of
//! cases.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test or bench fails by panicking"
)]

#[path = "conn/model.rs"]
mod model;
#[path = "conn/server.rs"]
mod server;

use std::time::Duration;

use model::{Model, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use redis_api_wire::conn::Error;
use redis_api_wire::resp::DecodeError;

/// Few bytes, so that commands and replies are cut, or very many.
fn bytes() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..40_usize, 1 => Just(usize::MAX)]
}

/// What a server and a transport do that keep to the rules, in no hurry.
fn fair() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![4 => 0..30_usize, 1 => 0..1_500_usize].prop_map(Step::Ask),
        1 => any::<usize>().prop_map(Step::GiveUp),
        5 => bytes().prop_map(Step::Send),
        5 => (1..4_usize).prop_map(Step::Serve),
        1 => (0..1_000_usize).prop_map(Step::Push),
        6 => bytes().prop_map(Step::Deliver),
        2 => (0..200_u64).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => Just(Step::Due),
    ]
}

/// Bytes that look like replies, and some that don't.
fn forged() -> impl Strategy<Value = Step> {
    let grains = select(vec![
        "+OK\r\n",
        "$4\r\n12.5\r\n",
        "-ERR no\r\n",
        "*2\r\n",
        "$40\r\n",
        ">1\r\n",
        "_\r\n",
        "x",
        "\r\n",
    ]);
    vec(grains, 1..4).prop_map(|grains| Step::Inject(grains.concat().into_bytes()))
}

/// A connection to one of the servers, whose login is done or only begun.
fn model() -> impl Strategy<Value = (bool, u32, bool, bool)> {
    (
        any::<bool>(),
        0..2_u32,
        any::<bool>(),
        prop::bool::weighted(0.8),
    )
}

fn connect((resp2, database, password, log_in): (bool, u32, bool, bool)) -> Model {
    let mut model = Model::new(resp2, database, password);
    if log_in {
        model.log_in();
    }
    model
}

/// Takes the steps until the connection ends, if it does.
fn play(model: &mut Model, steps: &[Step]) -> Result<(), Error> {
    steps.iter().try_for_each(|step| model.step(step))
}

/// The same cases each time, unless `PROPTEST_RNG_SEED` says otherwise: a failure is then found
/// again as it is.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(400),
        failure_persistence: None,
        rng_seed: match config.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed => fixed,
        },
        ..config
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn only_time_ends_a_fair_connection(start in model(), steps in vec(fair(), 0..150)) {
        let mut model = connect(start);
        match play(&mut model, &steps) {
            Ok(()) | Err(Error::Stalled(_) | Error::LoginTimeout) => model.end(),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn forged_bytes_never_answer_what_was_not_sent(
        start in model(),
        steps in vec(prop_oneof![12 => fair(), 1 => forged()], 0..150),
    ) {
        let mut model = connect(start);
        // How it ends depends on the bytes; the model checks that everybody is told and in order.
        let _ = play(&mut model, &steps);
        model.end();
    }

    #[test]
    fn a_reply_that_nobody_awaits_ends_it(steps in vec(fair(), 0..60), asked in 0..3_usize) {
        let check = |bytes: &[u8], expected: Error| {
            let mut model = connect((false, 0, false, true));
            if play(&mut model, &steps).is_err() {
                return model.end();
            }
            model.settle();
            // These are not sent, and can't be what the reply answers.
            for _ in 0..asked {
                let _ = model.step(&Step::Ask(0));
            }
            assert_eq!(model.step(&Step::Inject(bytes.to_vec())), Err(expected));
            model.end();
        };
        check(b"+OK\r\n", Error::Stray(None));
        check(b"*1\r\n:1\r\n", Error::Stray(None));
        check(b"-ERR max number of clients reached\r\n",
            Error::Stray(Some("ERR max number of clients reached".to_owned())));
        check(b"HTTP/1.1 400", Error::Malformed(DecodeError::UnknownType(b'H')));
        check(b"$99999\r\n", Error::Malformed(DecodeError::BulkTooLong { len: 99_999, limit: 2_048 }));
    }
}

/// The next step of a connection that nobody forges bytes on.
fn random_step(random: &mut fastrand::Rng) -> Step {
    let most = match random.u8(0..4) {
        0 => usize::MAX,
        _ => random.usize(1..40),
    };
    match random.u8(0..100) {
        0..25 => Step::Ask(match random.u8(0..20) {
            0 => random.usize(0..1_500),
            _ => random.usize(0..30),
        }),
        25..30 => Step::GiveUp(random.usize(..)),
        30..50 => Step::Send(most),
        50..70 => Step::Serve(random.usize(1..4)),
        70..73 => Step::Push(random.usize(0..200)),
        73..97 => Step::Deliver(most),
        97..99 => Step::Pass(Duration::from_millis(random.u64(0..60))),
        _ => Step::Due,
    }
}

/// As many connections, one after the other, as `SIMULATION_REPLIES` replies need; a seed says all
/// about one.
#[test]
fn many_replies_each_go_to_their_own_waiter() {
    let number = |name, otherwise| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let wanted: u64 = number("SIMULATION_REPLIES", 200_000);
    let mut seed: u64 = number("SIMULATION_SEED", 1);
    let (mut replies, mut connections) = (0, 0_u64);
    while replies < wanted {
        let say = Say(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = connect((random.bool(), random.u32(0..2), random.bool(), true));
        for _ in 0..random.usize(0..2_000) {
            match model.step(&random_step(&mut random)) {
                Ok(()) => {}
                Err(Error::Stalled(_)) => break,
                Err(other) => panic!("{other}"),
            }
        }
        replies += model.replies();
        connections += 1;
        model.end();
        seed += 1;
        drop(say);
    }
    eprintln!("a connection: {replies} replies on {connections} connections");
}

/// Says which connection it was that failed.
struct Say(u64);

impl Drop for Say {
    #[allow(clippy::print_stderr, reason = "a test says how to run it again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again by SIMULATION_REPLIES=1 SIMULATION_SEED={}", self.0);
        }
    }
}
