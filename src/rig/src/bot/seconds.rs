//! The seconds of the window: what was sent in each, and how many requests were in flight. Pure.
//!
//! A request counts in the second in which it was sent. The window ends some time before now, so
//! that it holds no second of which results may still come: a server that stalls must not look like
//! a generator that stalls.
//!
//! Invariant: no more seconds are kept than the window's, those since its end, and one ahead.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::window::{Sample, Tally};

const SECOND_NS: u64 = 1_000_000_000;

/// Between two looks at how many requests are in flight.
const LOOK_NS: u64 = 10_000_000;
const LOOKS: usize = (SECOND_NS / LOOK_NS) as usize;

/// Where a result belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Counted,
    /// Its second has left the window.
    Late,
    /// Its second is yet to come: the clocks differ, or one was set.
    Ahead,
}

/// The seconds kept, each with what was sent in it.
#[derive(Debug)]
pub struct Seconds {
    length: u64,
    settle_ns: u64,
    /// The first second that is whole.
    first: u64,
    tallies: BTreeMap<u64, Tally>,
    /// By second: how many requests more (or less) are in flight at each look than at the one
    /// before.
    changes: BTreeMap<u64, Box<[i64; LOOKS]>>,
    /// In flight before the first of `changes`.
    in_flight: i64,
}

impl Seconds {
    /// A window of `length` seconds that ends `settle` before now; the attack began at `began_ns`
    /// (since 1970), and what was sent in that second is left out, since it is not a whole one.
    pub fn new(length: u64, settle: Duration, began_ns: u64) -> Seconds {
        Seconds {
            length,
            settle_ns: settle.as_nanos().try_into().unwrap_or(u64::MAX),
            first: began_ns.div_ceil(SECOND_NS),
            tallies: BTreeMap::new(),
            changes: BTreeMap::new(),
            in_flight: 0,
        }
    }

    /// Counts a result that came at `now_ns`.
    pub fn record(&mut self, sample: &Sample<'_>, now_ns: u64) -> Place {
        let second = sample.sent_ns / SECOND_NS;
        let end_ns = sample.sent_ns.saturating_add(sample.latency_ns);
        let kept = self.kept(now_ns);
        if second < kept.start {
            return Place::Late;
        }
        if end_ns / SECOND_NS >= kept.end {
            return Place::Ahead;
        }
        if !self.tallies.contains_key(&second) {
            self.forget(kept.start);
        }
        self.tallies.entry(second).or_default().record(sample);
        let (from, to) = (sample.sent_ns.div_ceil(LOOK_NS), end_ns.div_ceil(LOOK_NS));
        // Most are over before the next look.
        if from != to {
            self.change(from, 1);
            self.change(to, -1);
        }
        Place::Counted
    }

    /// What was sent in the window, and the seconds since 1970 that it covers.
    pub fn window(&self, now_ns: u64) -> (Tally, Range<u64>) {
        let span = self.span(now_ns);
        let mut tally = Tally::default();
        for second in self.tallies.range(span.clone()) {
            tally.add(second.1);
        }
        (tally, span)
    }

    /// How many requests were missing in their seconds of the window, where `rate` are due in each.
    ///
    /// A generator that stands still and makes up for it has sent all of them in the end, in bursts
    /// that nobody asked for and with latencies that leave out how late they were.
    pub fn behind(&self, now_ns: u64, rate: f64) -> f64 {
        let sent = |second| self.tallies.get(&second).map_or(0, |tally| tally.requests);
        let missing = |second| (rate - 1.0 - sent(second) as f64).max(0.0);
        self.span(now_ns).map(missing).sum()
    }

    /// The most requests in flight at a look within the window.
    pub fn most_in_flight(&self, now_ns: u64) -> u64 {
        let span = self.span(now_ns);
        let mut in_flight = self.in_flight;
        let mut most = 0;
        for (second, changes) in &self.changes {
            for change in changes.iter() {
                in_flight += change;
                if span.contains(second) {
                    most = most.max(in_flight);
                }
            }
        }
        most.try_into().unwrap_or(0)
    }

    /// The seconds of the window: less than its length just after a start.
    fn span(&self, now_ns: u64) -> Range<u64> {
        let end = now_ns.saturating_sub(self.settle_ns) / SECOND_NS;
        let start = end.saturating_sub(self.length).max(self.first).min(end);
        start..end
    }

    /// The seconds in which a result may have been sent.
    fn kept(&self, now_ns: u64) -> Range<u64> {
        let end = now_ns.saturating_sub(self.settle_ns) / SECOND_NS;
        // One more than now: clocks are read at different moments.
        end.saturating_sub(self.length)..now_ns / SECOND_NS + 2
    }

    fn forget(&mut self, before: u64) {
        self.tallies = self.tallies.split_off(&before);
        let kept = self.changes.split_off(&before);
        let forgotten = std::mem::replace(&mut self.changes, kept);
        let changes = forgotten.values().flat_map(|changes| changes.iter());
        self.in_flight += changes.sum::<i64>();
    }

    fn change(&mut self, look: u64, by: i64) {
        let (second, index) = (look / LOOKS as u64, look % LOOKS as u64);
        let changes = self
            .changes
            .entry(second)
            .or_insert_with(|| Box::new([0; LOOKS]));
        if let Some(change) = changes.get_mut(index as usize) {
            *change += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = SECOND_NS;

    fn sample(sent_ns: u64, latency_ns: u64) -> Sample<'static> {
        Sample {
            sent_ns,
            latency_ns,
            code: 200,
            bytes_in: 0,
            bytes_out: 0,
            error: "",
        }
    }

    /// Three seconds, which end 2 s before now; the attack began at 99.5 s.
    fn seconds() -> Seconds {
        Seconds::new(3, Duration::from_secs(2), 99 * S + 500 * MS)
    }

    #[test]
    fn a_request_counts_in_the_second_in_which_it_was_sent() {
        let mut seconds = seconds();
        // Sent in the seconds 100, 101 and 102; the last ended in the one after.
        for (sent, latency) in [(100 * S, MS), (101 * S, MS), (103 * S - 1, 900 * MS)] {
            let now = sent + latency;
            assert_eq!(seconds.record(&sample(sent, latency), now), Place::Counted);
        }
        let requests = |now_ns| {
            let (tally, span) = seconds.window(now_ns);
            (tally.requests, span)
        };
        assert_eq!(requests(102 * S + 999 * MS), (0, 100..100));
        assert_eq!(requests(103 * S), (1, 100..101));
        assert_eq!(requests(104 * S), (2, 100..102));
        assert_eq!(requests(105 * S), (3, 100..103));
        // It goes on, also when nothing comes any more.
        assert_eq!(requests(106 * S), (2, 101..104));
        assert_eq!(requests(108 * S), (0, 103..106));
    }

    #[test]
    fn the_second_of_the_start_is_left_out() {
        let mut seconds = seconds();
        let _ = seconds.record(&sample(99 * S + 800 * MS, MS), 99 * S + 801 * MS);
        let _ = seconds.record(&sample(100 * S, MS), 100 * S + MS);
        let (tally, span) = seconds.window(103 * S);
        assert_eq!((tally.requests, span), (1, 100..101));
    }

    #[test]
    fn results_outside_of_the_window_are_dropped() {
        let mut seconds = seconds();
        let now = 110 * S;
        let mut check = |sent, expected| {
            assert_eq!(seconds.record(&sample(sent, MS), now), expected, "{sent}");
        };
        check(105 * S - 1, Place::Late);
        check(105 * S, Place::Counted);
        check(110 * S, Place::Counted);
        check(111 * S, Place::Counted);
        check(112 * S, Place::Ahead);
        check(u64::MAX, Place::Ahead);
        assert_eq!(seconds.window(now).0.requests, 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut seconds = seconds();
        for second in 100..1_000 {
            let sent = second * S;
            let _ = seconds.record(&sample(sent, 20 * MS), sent + 20 * MS);
        }
        assert!(
            seconds.tallies.len() <= 3 + 2 + 2,
            "{}",
            seconds.tallies.len()
        );
        assert!(
            seconds.changes.len() <= 3 + 2 + 2,
            "{}",
            seconds.changes.len()
        );
        assert_eq!(seconds.in_flight, 0);
    }

    #[test]
    fn what_is_made_up_for_was_missing_all_the_same() {
        let check = |counts: [u64; 3], expected: f64| {
            let mut seconds = seconds();
            for (second, count) in (100..).zip(counts) {
                for n in 0..count {
                    let sent = second * S + n * MS;
                    let _ = seconds.record(&sample(sent, MS), sent + MS);
                }
            }
            assert_eq!(seconds.behind(105 * S, 10.0), expected, "{counts:?}");
        };
        check([10, 10, 10], 0.0);
        check([9, 11, 10], 0.0);
        check([8, 11, 11], 1.0);
        check([0, 20, 10], 9.0);
        check([0, 0, 30], 18.0);
        check([0, 0, 0], 27.0);
    }

    #[test]
    fn requests_in_flight_are_counted_at_each_look() {
        let mut seconds = seconds();
        // From the second 100 on: 1, 2 and 3 at the same time, the first across two seconds.
        for (sent, latency) in [
            (100 * S + 5 * MS, 1_200 * MS),
            (100 * S + 15 * MS, 500 * MS),
            (100 * S + 25 * MS, 10 * MS),
            // Between two looks.
            (100 * S + 31 * MS, 8 * MS),
        ] {
            let _ = seconds.record(&sample(sent, latency), sent + latency);
        }
        assert_eq!(seconds.most_in_flight(103 * S), 3);
        // The first only is left when the window begins a second later.
        assert_eq!(seconds.most_in_flight(106 * S), 1);
        assert_eq!(seconds.most_in_flight(107 * S), 0);
    }

    #[test]
    fn requests_in_flight_outlive_the_second_of_their_start() {
        let mut seconds = Seconds::new(1, Duration::from_secs(2), 0);
        let _ = seconds.record(&sample(100 * S, 1_900 * MS), 102 * S);
        // The second 100 is forgotten with this one; the request ends in 101.
        let _ = seconds.record(&sample(104 * S, MS), 104 * S + MS);
        assert_eq!(seconds.most_in_flight(104 * S), 1);
        assert_eq!(seconds.most_in_flight(105 * S), 0);
    }
}
