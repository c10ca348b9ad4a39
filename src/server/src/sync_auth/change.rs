//! What a server was told, and whether it is to be told anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What was refused is tried again after this time even if it did not change: a right may have been
/// granted. Long enough not to fill the server's log.
const RETRY: Duration = Duration::from_secs(30);

/// One thing that a server is kept equal to.
pub(super) struct Synced<T> {
    taken: Option<T>,
    /// With the time of the refusal.
    refused: Option<(T, Instant)>,
}

impl<T> Default for Synced<T> {
    fn default() -> Self {
        Synced {
            taken: None,
            refused: None,
        }
    }
}

impl<T: PartialEq> Synced<T> {
    /// What the server took last; `None` after [`Synced::forget`].
    pub fn taken(&self) -> Option<&T> {
        self.taken.as_ref()
    }

    /// Whether the server has to be told `wanted`.
    pub fn is_due(&self, wanted: &T, now: Instant) -> bool {
        match &self.refused {
            Some((refused, at)) if refused == wanted => now.duration_since(*at) >= RETRY,
            _ => self.taken.as_ref() != Some(wanted),
        }
    }

    /// The server has taken it.
    pub fn take(&mut self, wanted: T) {
        self.taken = Some(wanted);
        self.refused = None;
    }

    /// The server has refused it, and keeps what it had.
    pub fn refuse(&mut self, wanted: T, now: Instant) {
        self.refused = Some((wanted, now));
    }

    /// Another server may be there now, which has what it started with.
    pub fn forget(&mut self) {
        *self = Synced::default();
    }
}

/// Warnings, each of which is said once until its cause is another one or over.
#[derive(Default)]
pub(super) struct Warnings(HashMap<String, String>);

impl Warnings {
    /// Whether this is new about `topic`. Numbers don't count: they are times and ports.
    pub fn is_new(&mut self, topic: &str, text: &str) -> bool {
        let words: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
        let known = self.0.insert(topic.to_owned(), words.clone());
        known.is_none_or(|known| known != words)
    }

    /// Warns, unless that was said.
    pub fn warn(&mut self, topic: &str, text: &str) {
        if self.is_new(topic, text) {
            tracing::warn!("{text}");
        }
    }

    /// What was wrong with it is over.
    pub fn end(&mut self, topic: &str) {
        self.0.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_until_it_is_taken() {
        let (mut told, start) = (Synced::default(), Instant::now());
        assert!(told.is_due(&"a", start));
        told.take("a");
        assert!(!told.is_due(&"a", start));
        assert!(told.is_due(&"b", start));
        told.forget();
        assert!(told.is_due(&"a", start), "it may be another server");
    }

    #[test]
    fn what_is_refused_waits_for_a_change_or_for_a_while() {
        let (mut told, start) = (Synced::default(), Instant::now());
        told.take("a");
        told.refuse("b", start);
        assert_eq!(told.taken(), Some(&"a"));
        let soon = start + RETRY.saturating_sub(Duration::from_millis(1));
        assert!(!told.is_due(&"b", soon));
        assert!(told.is_due(&"c", soon));
        assert!(!told.is_due(&"a", soon), "the server has that still");
        assert!(told.is_due(&"b", start + RETRY));
        told.refuse("b", start + RETRY);
        assert!(!told.is_due(&"b", start + RETRY));
        told.take("b");
        assert!(!told.is_due(&"b", start + RETRY));
    }

    #[test]
    fn a_failure_is_told_once() {
        let mut warnings = Warnings::default();
        assert!(warnings.is_new("a", "no reply for 12 ms"));
        assert!(!warnings.is_new("a", "no reply for 345 ms"));
        assert!(warnings.is_new("b", "no reply for 12 ms"));
        assert!(warnings.is_new("a", "refused"));
        warnings.end("a");
        assert!(warnings.is_new("a", "refused"));
    }
}
