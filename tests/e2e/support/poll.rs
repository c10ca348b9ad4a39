//! Waiting for a condition, with a deadline.

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for what should take milliseconds: generous, since a loaded machine with two
/// cores may run many of these tests at once, and only failures ever wait this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two looks at a condition: the one sleep of these tests.
const PAUSE: Duration = Duration::from_millis(5);

/// One look at a condition: the value that was awaited, or why it isn't there yet.
pub trait Attempt {
    type Value;
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Attempt for bool {
    type Value = ();
    fn outcome(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("it is false".into())
        }
    }
}

impl<T> Attempt for Option<T> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "there is none".into())
    }
}

impl<T, E: Debug> Attempt for Result<T, E> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Calls `attempt` until it succeeds, and gives its value.
///
/// # Panics
/// When `timeout` has passed; the message has `what` and the last attempt's reason.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "the one place where tests sleep")]
pub fn eventually<A: Attempt>(
    timeout: Duration,
    what: &str,
    mut attempt: impl FnMut() -> A,
) -> A::Value {
    let deadline = Instant::now() + timeout;
    loop {
        match attempt().outcome() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= deadline => {
                panic!("not within {timeout:?}: {what}; last look: {reason}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Lets time pass: only where the time itself is what a test is about, as the length of an outage.
pub fn pass(duration: Duration) {
    let since = Instant::now();
    eventually(duration + PATIENCE, "time passes", || {
        since.elapsed() >= duration
    });
}
