//! Which events are written, and which are only counted.
//!
//! The first [`AT_ONCE`] of a kind are written at once, so that the rhythm of attempts shows and a
//! changed cause is seen immediately. The rest are counted, and one line every [`WINDOW`] says how
//! many there were, with the words of the last. A kind that was silent for a window is new again.
//!
//! Bounded: beyond [`MAX_KINDS`] kinds, events count by their place in the source alone, of which a
//! program has so many and no more.

use std::time::{Duration, Instant};

use super::event::{Event, Kind};

/// Of a kind, written before counting begins.
pub(super) const AT_ONCE: u32 = 5;

/// The time that one sum is about.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// How long ago the last one may be without a word about it. An attempt to connect that is still
/// repeated comes every ten seconds at least, and may wait five for an answer.
const RECENT: Duration = Duration::from_secs(15);

/// Kinds that are told apart by their words.
pub(super) const MAX_KINDS: usize = 64;

#[derive(Default)]
pub(super) struct Repeats {
    /// In the order in which they came up; few enough to search.
    kinds: Vec<Count>,
}

struct Count {
    kind: Kind,
    since: Instant,
    written: u32,
    /// How many were not written since then, and the last of them.
    held: u64,
    last: Option<(Event, Instant)>,
}

impl Repeats {
    /// The event, if it is to be written now.
    pub fn admit(&mut self, event: Event, now: Instant) -> Option<Event> {
        let count = self.count(&event, now);
        if count.written < AT_ONCE {
            count.written += 1;
            return Some(event);
        }
        count.held += 1;
        count.last = Some((event, now));
        None
    }

    fn count(&mut self, event: &Event, now: Instant) -> &mut Count {
        let mut kind = event.kind();
        let mut place = self.kinds.iter().position(|count| count.kind == kind);
        if place.is_none() && self.kinds.len() >= MAX_KINDS {
            kind.words.clear();
            place = self.kinds.iter().position(|count| count.kind == kind);
        }
        let place = place.unwrap_or_else(|| {
            self.kinds.push(Count {
                kind,
                since: now,
                written: 0,
                held: 0,
                last: None,
            });
            self.kinds.len() - 1
        });
        &mut self.kinds[place]
    }

    /// When the next sum is to be written; `None` while nothing is held.
    pub fn next_due(&self) -> Option<Instant> {
        let held = self.kinds.iter().filter(|count| count.held > 0);
        held.map(|count| count.since + WINDOW).min()
    }

    /// The sums of all windows that are over.
    pub fn take_due(&mut self, now: Instant) -> Vec<Event> {
        let over = |count: &Count| now.saturating_duration_since(count.since) >= WINDOW;
        self.kinds.retain(|count| count.held > 0 || !over(count));
        let due = self.kinds.iter_mut().filter(|count| over(count));
        due.filter_map(|count| count.sum(now)).collect()
    }

    /// The sums of all that is held, due or not.
    pub fn take_all(&mut self, now: Instant) -> Vec<Event> {
        let kinds = self.kinds.iter_mut();
        kinds.filter_map(|count| count.sum(now)).collect()
    }
}

impl Count {
    /// The last event with the number of those like it, if any were held; begins a new window.
    fn sum(&mut self, now: Instant) -> Option<Event> {
        let (mut event, last) = self.last.take()?;
        let seconds = now.saturating_duration_since(self.since).as_secs().max(1);
        let held = std::mem::take(&mut self.held);
        self.since = now;
        let times = if held == 1 { "time" } else { "times" };
        let like = if self.kind.words.is_empty() {
            "this and others like it"
        } else {
            "repeated"
        };
        // A sum may come long after the trouble is over: whoever reads it must see that.
        let ago = match now.saturating_duration_since(last).as_secs() {
            ago if ago > RECENT.as_secs() => format!(", the last one {ago} s ago"),
            _ => String::new(),
        };
        event.message += &format!(" ({like} {held} {times} in the last {seconds} s{ago})");
        event.fields.push(("repeated", held.into()));
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn event(message: &str) -> Event {
        at(message, "localhost:6379")
    }

    fn at(message: &str, address: &str) -> Event {
        Event {
            level: Level::WARN,
            message: message.to_owned(),
            fields: vec![("address", address.into())],
            thread: None,
            origin: ("file", 1),
        }
    }

    fn messages(events: Vec<Event>) -> Vec<String> {
        events.into_iter().map(|event| event.message).collect()
    }

    /// How many of `events` are written.
    fn written(
        repeats: &mut Repeats,
        now: Instant,
        events: impl IntoIterator<Item = Event>,
    ) -> usize {
        let events = events.into_iter();
        events.filter_map(|event| repeats.admit(event, now)).count()
    }

    fn downs(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Event> {
        numbers.map(|n| event(&format!("refused; next attempt in {n} ms")))
    }

    #[test]
    fn the_first_are_written_and_the_rest_are_summed_up() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(written(&mut repeats, start, downs(0..45)), 5);
        let late = start + Duration::from_secs(50);
        assert_eq!(written(&mut repeats, late, downs(45..46)), 0);
        assert_eq!(repeats.next_due(), Some(start + WINDOW));
        let early = start + WINDOW.saturating_sub(Duration::from_millis(1));
        assert!(repeats.take_due(early).is_empty());
        let due = repeats.take_due(start + WINDOW);
        assert_eq!(due[0].fields[1], ("repeated", 41.into()));
        assert_eq!(
            messages(due),
            ["refused; next attempt in 45 ms (repeated 41 times in the last 60 s)"]
        );
        // Hours of it: one line a window.
        assert_eq!(written(&mut repeats, start + WINDOW, downs(50..51)), 0);
        assert_eq!(
            messages(repeats.take_due(start + 2 * WINDOW)),
            [
                "refused; next attempt in 50 ms (repeated 1 time in the last 60 s, the last one 60 s ago)"
            ]
        );
    }

    #[test]
    fn what_was_silent_for_a_window_is_new_again() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        written(&mut repeats, start, downs(0..6));
        assert_eq!(repeats.take_due(start + WINDOW).len(), 1);
        assert_eq!(repeats.next_due(), None);
        let later = start + 2 * WINDOW;
        assert!(repeats.take_due(later).is_empty());
        assert_eq!(written(&mut repeats, later, downs(0..1)), 1);
    }

    #[test]
    fn another_cause_or_server_is_another_kind() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        written(&mut repeats, now, downs(0..10));
        for other in [
            event("timed out; next attempt in 1 ms"),
            at("refused; next attempt in 1 ms", "localhost:6380"),
        ] {
            assert_eq!(written(&mut repeats, now, [other]), 1);
        }
    }

    #[test]
    fn the_end_tells_what_is_held() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        written(&mut repeats, start, downs(0..7));
        assert_eq!(
            messages(repeats.take_all(start + Duration::from_secs(23))),
            [
                "refused; next attempt in 6 ms (repeated 2 times in the last 23 s, the last one 23 s ago)"
            ]
        );
        assert!(repeats.take_all(start + WINDOW).is_empty());
    }

    #[test]
    fn beyond_the_bound_the_place_in_the_source_counts() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        let word = |n: usize| event(&"x".repeat(n));
        let all = written(&mut repeats, start, (1..1000).map(word));
        assert_eq!(all, MAX_KINDS + AT_ONCE as usize);
        assert_eq!(repeats.kinds.len(), MAX_KINDS + 1);
        let sums = messages(repeats.take_due(start + WINDOW));
        assert_eq!(sums.len(), 1);
        assert!(
            sums[0].ends_with(
                " (this and others like it 930 times in the last 60 s, the last one 60 s ago)"
            ),
            "{sums:?}"
        );
        // Those that were silent made room.
        assert_eq!(repeats.kinds.len(), 1);
    }
}
