//! What became of all posts: for a line in the log, and for `/metrics`.

use std::fmt;

use prometheus::{Gauge, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The API said that the value is stored.
    Ok,
    /// The API said so, and that the value is not stored.
    NotSent,
    /// The API said that nobody knows; or it is no answer of the API's.
    Unknown,
    /// The master refused it.
    Refused,
    /// The API said that the value is stored, but not on as many replicas as were to have it.
    Applied,
    /// No connection.
    Unreachable,
    /// The connection was lost before an answer came.
    NoAnswer,
    /// No answer within the time-out.
    Late,
}

impl Outcome {
    const ALL: [Outcome; 8] = [
        Outcome::Ok,
        Outcome::NotSent,
        Outcome::Unknown,
        Outcome::Refused,
        Outcome::Applied,
        Outcome::Unreachable,
        Outcome::NoAnswer,
        Outcome::Late,
    ];

    /// Its name in log and metrics; those of the API are the API's.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::NotSent => "not-sent",
            Outcome::Unknown => "unknown",
            Outcome::Refused => "refused",
            Outcome::Applied => "applied",
            Outcome::Unreachable => "unreachable",
            Outcome::NoAnswer => "no-answer",
            Outcome::Late => "late",
        }
    }

    /// Whether the value is certainly not stored, so that the same post may be sent once more.
    pub fn may_repeat(self) -> bool {
        matches!(
            self,
            Outcome::NotSent | Outcome::Refused | Outcome::Unreachable
        )
    }
}

/// The counters. Cheap to clone; the clones count together.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    registry: Registry,
    posts: IntCounterVec,
    value: Gauge,
    posted_at: Gauge,
}

impl Counts {
    /// All at 0, and each there from the start: a counter that appears with its first event hides
    /// that event from `rate()`.
    ///
    /// # Errors
    /// A name or a label is none: a test makes one.
    pub fn new() -> prometheus::Result<Counts> {
        let registry = Registry::new();
        let posts = IntCounterVec::new(
            Opts::new("redis_api_updater_posts_total", "Posts by outcome."),
            &["outcome"],
        )?;
        let value = Gauge::new("redis_api_updater_value", "The last value stored.")?;
        let posted_at = Gauge::new(
            "redis_api_updater_stored_timestamp_seconds",
            "When the last value was stored, in seconds since the Unix epoch; 0: never.",
        )?;
        registry.register(Box::new(posts.clone()))?;
        registry.register(Box::new(value.clone()))?;
        registry.register(Box::new(posted_at.clone()))?;
        let counts = Counts {
            registry,
            posts,
            value,
            posted_at,
        };
        for outcome in Outcome::ALL {
            counts.of(outcome);
        }
        Ok(counts)
    }

    fn of(&self, outcome: Outcome) -> IntCounter {
        self.posts.with_label_values(&[outcome.name()])
    }

    /// Counts one post.
    pub fn count(&self, outcome: Outcome) {
        self.of(outcome).inc();
    }

    /// A value was stored, `at` seconds after 1970.
    pub fn stored(&self, value: f64, at: f64) {
        self.value.set(value);
        self.posted_at.set(at);
    }

    /// The text for Prometheus.
    ///
    /// # Errors
    /// A family can't be written.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// `posted=58 failed=2: not-sent=1, late=1`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = || {
            let kinds = Outcome::ALL.into_iter().filter(|kind| *kind != Outcome::Ok);
            kinds.map(|kind| (kind.name(), self.of(kind).get()))
        };
        let total: u64 = failed().map(|(_, count)| count).sum();
        write!(f, "posted={} failed={total}", self.of(Outcome::Ok).get())?;
        let kinds = failed().filter(|(_, count)| *count > 0);
        for (at, (name, count)) in kinds.enumerate() {
            let before = if at == 0 { ": " } else { ", " };
            write!(f, "{before}{name}={count}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_failures_by_outcome() {
        let counts = Counts::new().unwrap();
        assert_eq!(counts.to_string(), "posted=0 failed=0");
        for _ in 0..58 {
            counts.count(Outcome::Ok);
        }
        counts.count(Outcome::Late);
        counts.clone().count(Outcome::NotSent);
        assert_eq!(counts.to_string(), "posted=58 failed=2: not-sent=1, late=1");
    }

    #[test]
    fn every_outcome_is_in_the_metrics_from_the_start() {
        let counts = Counts::new().unwrap();
        counts.stored(12.5, 1e9);
        let text = counts.render().unwrap();
        for name in [
            "ok",
            "not-sent",
            "unknown",
            "refused",
            "applied",
            "unreachable",
            "no-answer",
            "late",
        ] {
            let line = format!("redis_api_updater_posts_total{{outcome=\"{name}\"}} 0\n");
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("redis_api_updater_value 12.5\n"), "{text}");
        assert!(
            text.contains("redis_api_updater_stored_timestamp_seconds 1000000000\n"),
            "{text}"
        );
    }
}
