//! The windows of all bots as one.
//!
//! Counts are added up and percentiles taken from the sum of all histograms, so that the merged
//! window is the one that a single bot would have measured. Rates add up, the worst of everything
//! else counts.
//!
//! The times of all bots are moved to one clock, the first one's, by the ends of their windows:
//! bots that are asked at the same moment have windows that end at the same moment, whatever their
//! clocks say. So the merged window is as long as theirs are, also with clocks that are hours
//! apart, with bots of different time-outs, or when a second begins between two questions. With
//! equal clocks and ends nothing moves.

use std::time::{Duration, Instant};

use super::report::Report;
use crate::board::Summary;
use crate::figures::grouped;
use crate::rate::{RateFault, SHARE_MIN};
use crate::window::{Generator, Tally, Window};

/// From so many seconds on, a window tells whether a bot keeps its rate. Before, its first second,
/// in which connections are opened, counts for too much.
const SETTLED_SECONDS: f64 = 5.0;

/// A shorter window that has not grown for so long is as long as it will get; an empty one has yet
/// to begin: a bot waits for late answers before it counts a second.
const GROWN: Duration = Duration::from_secs(3);

/// A generator is silent from here on. Requests that time out are heard of after vegeta's timeout
/// (2 s by default): a second more, lest a target that hangs be taken for it.
const SILENT_SECONDS: f64 = 3.0;

/// For how long a restart of vegeta is told of: it leaves a hole in so long a window.
const RESTART_TOLD: Duration = Duration::from_secs(10);

/// What the windows of one bot, seen one after another, say that one alone does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trend {
    /// The window is long enough to judge the rate by.
    pub settled: bool,
    /// Vegeta was started again not long ago.
    pub restarted: bool,
}

/// What is remembered of one bot from window to window.
#[derive(Debug, Default)]
pub(super) struct BotHistory {
    /// Its longest window in seconds, and since when it has been so long.
    longest: Option<(f64, Instant)>,
    restarts: Option<u64>,
    restarted: Option<Instant>,
}

impl BotHistory {
    /// Looks at the next window.
    pub fn trend(&mut self, generator: &Generator, now: Instant) -> Trend {
        let seconds = generator.window_seconds;
        let grown_at = match self.longest {
            // Steps are of a second; less is the bot's clock.
            Some((longest, at)) if (seconds - longest).abs() < 0.5 => at,
            // The first one, a longer one, or a new process behind the same address.
            _ => {
                self.longest = Some((seconds, now));
                now
            }
        };
        if self
            .restarts
            .is_some_and(|before| generator.restarts > before)
        {
            self.restarted = Some(now);
        }
        self.restarts = Some(generator.restarts);
        let since = |at: Instant| now.saturating_duration_since(at);
        Trend {
            settled: seconds >= SETTLED_SECONDS || (seconds > 0.0 && since(grown_at) >= GROWN),
            restarted: self.restarted.is_some_and(|at| since(at) < RESTART_TOLD),
        }
    }
}

/// Adds windows up.
#[derive(Debug, Default)]
pub struct Merge {
    tally: Tally,
    generator: Generator,
    bots: usize,
    /// Rates of the bots that have settled.
    target: f64,
    achieved: f64,
    behind: f64,
    capped: usize,
    silent: usize,
    restarted: usize,
}

impl Merge {
    /// Adds one bot's.
    pub fn add(&mut self, report: &Report, trend: Trend) {
        let Report { generator, tally } = report;
        self.bots += 1;
        let sum = &mut self.generator;
        // That of the first bot with requests which tells it: those of older versions do not.
        let is_first = self.tally.requests == 0 && tally.requests > 0;
        if generator.window_end_ms > 0 && (is_first || sum.window_end_ms == 0) {
            sum.window_end_ms = generator.window_end_ms;
        }
        let behind_ns = match (sum.window_end_ms, generator.window_end_ms) {
            (0, _) | (_, 0) => 0,
            (ours, its) => ns_between(its, ours),
        };
        self.tally.add_moved(tally, behind_ns);
        sum.target_rate += generator.target_rate;
        sum.achieved_rate += generator.achieved_rate;
        sum.behind_rate += generator.behind_rate;
        sum.window_seconds = sum.window_seconds.max(generator.window_seconds);
        sum.workers_capped |= generator.workers_capped;
        sum.restarts = sum.restarts.saturating_add(generator.restarts);
        sum.silent_seconds = match (sum.silent_seconds, generator.silent_seconds) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        if trend.settled {
            self.target += generator.target_rate;
            self.achieved += generator.achieved_rate;
            self.behind += generator.behind_rate;
        }
        self.capped += usize::from(generator.workers_capped);
        let silent = generator
            .silent_seconds
            .is_some_and(|silent| silent >= SILENT_SECONDS);
        self.silent += usize::from(silent);
        self.restarted += usize::from(trend.restarted);
    }

    /// The sum, beside so many bots of which there is no window.
    pub fn summary(self, bots_left_out: usize) -> Summary {
        Summary {
            generator_limits: self.limits(),
            window: Window::new(&self.tally, self.generator),
            bots: self.bots,
            bots_left_out,
        }
    }

    /// Why the load was not what was asked for, in sentences.
    fn limits(&self) -> Vec<String> {
        let mut limits: Vec<String> = self.rate_limit().into_iter().collect();
        let mut of_bots = |count: usize, what: &str| match count {
            0 => {}
            1 => limits.push(format!("1 bot: {what}")),
            count => limits.push(format!("{count} bots: {what}")),
        };
        of_bots(
            self.capped,
            "all workers were busy, and latencies leave out the time spent waiting for one",
        );
        of_bots(
            self.silent,
            &format!("vegeta has been silent for more than {SILENT_SECONDS} s"),
        );
        of_bots(
            self.restarted,
            "vegeta ended and was started again in the last seconds",
        );
        limits
    }

    /// What is wrong with the rate, if anything.
    fn rate_limit(&self) -> Option<String> {
        let shown = |rate| grouped(rate, 0);
        let (target, achieved) = (shown(self.target), shown(self.achieved));
        Some(
            match RateFault::of(self.target, self.achieved, self.behind)? {
                RateFault::Short => format!(
                    "{achieved} of {target} requests a second were sent: less than {} %",
                    SHARE_MIN * 100.0
                ),
                RateFault::Excess => format!(
                    "{achieved} of {target} requests a second were sent: the generator made up for a \
                 time in which it stood still, and latencies leave out how late that was",
                ),
                RateFault::Late => format!(
                    "{} of {target} requests a second were sent late: the generator stood still and \
                 made up for it, and latencies leave out how late they were",
                    shown(self.behind),
                ),
            },
        )
    }
}

/// From one time to another, both in ms.
fn ns_between(from_ms: u64, to_ms: u64) -> i64 {
    let ms = i128::from(to_ms) - i128::from(from_ms);
    // Two that are centuries apart are no clocks.
    (ms * 1_000_000).try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Trend = Trend {
        settled: true,
        restarted: false,
    };

    fn report(target_rate: f64, achieved_rate: f64) -> Report {
        Report {
            generator: Generator {
                target_rate,
                achieved_rate,
                window_seconds: 10.0,
                silent_seconds: Some(0.1),
                ..Generator::default()
            },
            tally: Tally::default(),
        }
    }

    fn summary(reports: &[(Report, Trend)]) -> Summary {
        let mut merge = Merge::default();
        for (report, trend) in reports {
            merge.add(report, *trend);
        }
        merge.summary(0)
    }

    #[test]
    fn rates_add_up_and_the_worst_of_the_rest_counts() {
        let mut first = report(1_000.0, 999.5);
        first.generator.restarts = 2;
        first.generator.behind_rate = 1.5;
        let mut second = report(500.0, 500.0);
        second.generator.restarts = 1;
        second.generator.behind_rate = 0.5;
        second.generator.workers_capped = true;
        second.generator.window_seconds = 7.0;
        second.generator.silent_seconds = Some(1.5);
        let mut third = report(0.0, 0.0);
        third.generator.silent_seconds = None;
        let merged = summary(&[(first, SETTLED), (second, SETTLED), (third, SETTLED)]);
        let expected = Generator {
            target_rate: 1_500.0,
            achieved_rate: 1_499.5,
            behind_rate: 2.0,
            window_seconds: 10.0,
            window_end_ms: 0,
            workers_capped: true,
            restarts: 3,
            silent_seconds: Some(1.5),
        };
        assert_eq!(merged.window.generator, expected);
        assert_eq!(merged.bots, 3);
    }

    #[test]
    fn limits_of_the_generator_are_told_in_sentences() {
        #[track_caller]
        fn check(reports: &[(Report, Trend)], expected: &[&str]) {
            let limits = summary(reports).generator_limits;
            assert_eq!(limits.len(), expected.len(), "{limits:?}");
            for (limit, words) in limits.iter().zip(expected) {
                assert!(limit.contains(words), "{limit}");
            }
        }
        check(&[], &[]);
        check(&[(report(1_000.0, 980.0), SETTLED)], &[]);
        let short = report(1_000.0, 979.0);
        check(
            &[(short.clone(), SETTLED)],
            &["979 of 1,000 requests a second"],
        );
        check(&[(short.clone(), Trend::default())], &[]);
        check(&[(report(1_000.0, 1_020.0), SETTLED)], &[]);
        let over = report(1_000.0, 1_021.0);
        check(&[(over.clone(), SETTLED)], &["1,021 of 1,000 requests"]);
        check(&[(over, Trend::default())], &[]);
        check(&[(report(5.0, 5.5), SETTLED)], &[]);
        let uneven = |behind_rate| {
            let mut report = report(1_000.0, 1_000.0);
            report.generator.behind_rate = behind_rate;
            report
        };
        check(&[(uneven(20.0), SETTLED)], &[]);
        check(
            &[(uneven(21.0), SETTLED)],
            &["21 of 1,000 requests a second were sent late"],
        );
        check(&[(uneven(500.0), Trend::default())], &[]);
        // What has not settled says nothing about the others either.
        let mut starting = report(1_000_000.0, 0.0);
        starting.generator.silent_seconds = None;
        let both = [(starting.clone(), Trend::default()), (short, SETTLED)];
        check(&both, &["979 of 1,000 requests a second"]);
        check(
            &[(starting, SETTLED)],
            &["0 of 1,000,000 requests a second"],
        );

        let mut troubled = report(10.0, 10.0);
        troubled.generator.workers_capped = true;
        troubled.generator.silent_seconds = Some(SILENT_SECONDS);
        let restarted = Trend {
            restarted: true,
            ..SETTLED
        };
        let other = troubled.clone();
        check(
            &[(troubled, restarted), (other, SETTLED)],
            &[
                "2 bots: all workers",
                "2 bots: vegeta has been silent",
                "1 bot: vegeta ended",
            ],
        );
    }

    #[test]
    fn a_bot_settles_when_its_window_is_long_or_grows_no_more() {
        let start = Instant::now();
        let mut history = BotHistory::default();
        let mut settled = |second: u64, window_seconds: f64| {
            let generator = Generator {
                window_seconds,
                ..Generator::default()
            };
            let now = start + Duration::from_secs(second);
            history.trend(&generator, now).settled
        };
        assert!(!settled(0, 0.0));
        assert!(!settled(4, 0.0));
        assert!(!settled(5, 1.0));
        assert!(!settled(6, 2.0));
        assert!(!settled(7, 2.0));
        assert!(!settled(8, 2.01));
        assert!(settled(9, 2.0));
        assert!(!settled(10, 3.0));
        assert!(settled(12, 5.0));
        // A new process.
        assert!(!settled(13, 1.0));
    }

    #[test]
    fn a_restart_is_told_of_for_a_while() {
        let start = Instant::now();
        let mut history = BotHistory::default();
        let mut restarted = |second: u64, restarts: u64| {
            let generator = Generator {
                restarts,
                ..Generator::default()
            };
            let now = start + Duration::from_secs(second);
            history.trend(&generator, now).restarted
        };
        // What was before is not known to be recent.
        assert!(!restarted(0, 7));
        assert!(restarted(1, 8));
        assert!(restarted(10, 8));
        assert!(!restarted(11, 8));
        // A new bot counts from 0.
        assert!(!restarted(12, 0));
    }
}
