//! Who is there: all that were named lately, and some seconds longer.
//!
//! A name server that restarts, a cache that is filled anew, a Service whose endpoints are being
//! replaced: each makes a name blink, or its answer shrink for a moment. So who is missing from an
//! answer is asked on, and forgotten only when it has been missing and silent for a while. One that
//! still answers is never forgotten: a bot that left its Service goes on loading the API.
//!
//! Invariant: never more members than the limit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::target::Target;

/// How long one that was named is asked on. CoreDNS, which most clusters have, lets an answer live
/// for 5 s, and two instances of it may differ for so long: twice that.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The members, each with what is remembered of it.
#[derive(Debug)]
pub(super) struct Roster<S> {
    members: BTreeMap<Target, Member<S>>,
    most: usize,
    refused: usize,
}

#[derive(Debug)]
struct Member<S> {
    /// When it was named, or answered, for the last time.
    seen: Instant,
    state: S,
}

impl<S: Default> Roster<S> {
    /// For so many at most.
    pub fn new(most: usize) -> Roster<S> {
        Roster {
            members: BTreeMap::new(),
            most,
            refused: 0,
        }
    }

    /// Takes in all that are named now, and forgets who is long gone.
    pub fn name(&mut self, named: impl IntoIterator<Item = Target>, now: Instant) {
        self.members
            .retain(|_, member| now.saturating_duration_since(member.seen) <= GRACE);
        self.refused = 0;
        for target in named {
            if let Some(member) = self.members.get_mut(&target) {
                member.seen = now;
            } else if self.members.len() < self.most {
                let state = S::default();
                self.members.insert(target, Member { seen: now, state });
            } else {
                self.refused += 1;
            }
        }
    }

    /// It has answered.
    pub fn answered(&mut self, target: &Target, now: Instant) {
        if let Some(member) = self.members.get_mut(target) {
            member.seen = now;
        }
    }

    /// In the order of their addresses.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.members.keys()
    }

    /// What is remembered of a member.
    pub fn state(&mut self, target: &Target) -> Option<&mut S> {
        Some(&mut self.members.get_mut(target)?.state)
    }

    /// How many of the last ones named had no room.
    pub fn refused(&self) -> usize {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bots(names: &[&str]) -> Vec<Target> {
        let target = |name: &&str| Target::of(format!("http://{name}/").parse().expect("a URL"));
        names.iter().map(target).collect()
    }

    #[track_caller]
    fn check(roster: &Roster<u32>, expected: &[&str]) {
        let names: Vec<&str> = roster.targets().map(Target::address).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn one_that_left_is_kept_for_a_while() {
        let start = Instant::now();
        let mut roster = Roster::new(10);
        roster.name(bots(&["a", "b"]), start);
        roster.name(bots(&["a"]), start + GRACE);
        check(&roster, &["a", "b"]);
        roster.name(bots(&["a"]), start + GRACE + Duration::from_millis(1));
        check(&roster, &["a"]);
    }

    #[test]
    fn one_that_blinks_keeps_what_is_remembered() {
        let start = Instant::now();
        let mut roster = Roster::new(10);
        roster.name(bots(&["a"]), start);
        *roster.state(&bots(&["a"])[0]).expect("it is there") = 7;
        roster.name(bots(&[]), start + GRACE / 2);
        roster.name(bots(&["a"]), start + GRACE);
        roster.name(bots(&[]), start + 2 * GRACE);
        assert_eq!(roster.state(&bots(&["a"])[0]), Some(&mut 7));
    }

    #[test]
    fn one_that_left_and_answers_stays() {
        let start = Instant::now();
        let mut roster: Roster<u32> = Roster::new(10);
        roster.name(bots(&["a"]), start);
        roster.answered(&bots(&["a"])[0], start + GRACE);
        roster.name(bots(&[]), start + 2 * GRACE);
        check(&roster, &["a"]);
        roster.name(bots(&[]), start + 3 * GRACE);
        check(&roster, &[]);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let start = Instant::now();
        let mut roster: Roster<u32> = Roster::new(2);
        roster.name(bots(&["a", "b", "b", "c", "d"]), start);
        check(&roster, &["a", "b"]);
        assert_eq!(roster.refused(), 2);
        roster.name(bots(&["a"]), start);
        assert_eq!(roster.refused(), 0);
    }
}
