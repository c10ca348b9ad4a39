//! Why a bot is left out of the merged window, and when that is news for the log.
//!
//! Invariant: of a bot that comes and goes each second the log says each reason once, and that it
//! is back only once it has stayed for [`BACK_AFTER`].

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::report::{ReportError, shortened};
use crate::client;

/// A bot that has been in the merged window for so long is back: as long as the window of a bot.
const BACK_AFTER: Duration = Duration::from_secs(10);

/// Lines of the log about bots in one round; the rest is only counted. A cluster that starts has
/// hundreds of bots, each of which is missing for a moment, and the log shows no more of a kind.
const LINES_MAX: usize = 5;

/// The kind of reason, by which news is told from what was said already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// No answer within the deadline.
    Late,
    /// No connection, or it was lost.
    Lost,
    /// An HTTP status other than 200.
    Status,
    /// What it sent is not a window.
    Unreadable,
    /// The parts of its window contradict each other.
    Contradictory,
}

/// Why there is no window of a bot.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub reason: Reason,
    /// The same for people, with its particulars; not longer than an error's text may be.
    pub text: String,
}

impl From<client::Error> for LeftOut {
    fn from(error: client::Error) -> LeftOut {
        let reason = match error {
            client::Error::Late(_) => Reason::Late,
            client::Error::Long(_) => Reason::Unreadable,
            client::Error::Lost { .. } => Reason::Lost,
        };
        LeftOut {
            reason,
            text: shortened(error.to_string()),
        }
    }
}

impl From<ReportError> for LeftOut {
    fn from(error: ReportError) -> LeftOut {
        let reason = match error {
            ReportError::Json(_) | ReportError::Histogram(_) => Reason::Unreadable,
            ReportError::Contradictory(_) => Reason::Contradictory,
        };
        LeftOut {
            reason,
            // A JSON error may quote as much as the bot has sent.
            text: shortened(error.to_string()),
        }
    }
}

/// What the log has said about one bot.
#[derive(Debug, Default)]
pub(super) struct Absence {
    told: BTreeSet<Reason>,
    in_window_since: Option<Instant>,
}

impl Absence {
    /// The bot is left out in this round. True if the log has yet to say so.
    pub fn left_out(&mut self, reason: Reason) -> bool {
        self.in_window_since = None;
        self.told.insert(reason)
    }

    /// The bot is in the merged window of this round. True if the log has yet to say that it is
    /// back.
    pub fn in_window(&mut self, now: Instant) -> bool {
        let since = *self.in_window_since.get_or_insert(now);
        let is_back = now.saturating_duration_since(since) >= BACK_AFTER;
        let is_news = is_back && !self.told.is_empty();
        if is_news {
            self.told.clear();
        }
        is_news
    }
}

/// What one round has to say about its bots.
#[derive(Debug, Default)]
pub(super) struct News {
    left_out: Vec<String>,
    back: Vec<String>,
}

impl News {
    pub fn left_out(&mut self, address: &str, text: &str) {
        self.left_out.push(format!("{address}: {text}"));
    }

    pub fn back(&mut self, address: &str) {
        self.back.push(address.to_owned());
    }

    /// Writes it to the log.
    pub fn tell(&self) {
        for bot in self.left_out.iter().take(LINES_MAX) {
            tracing::warn!("bot left out of the merged window: {bot}");
        }
        for bot in self.back.iter().take(LINES_MAX) {
            tracing::info!("bot back in the merged window: {bot}");
        }
        let more = |bots: &[String]| bots.len().saturating_sub(LINES_MAX);
        match (more(&self.left_out), more(&self.back)) {
            (0, 0) => {}
            (out, back) => tracing::warn!(
                "{out} more bots left out, and {back} more back; /summary lists who is left out"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_news_once() {
        let mut absence = Absence::default();
        assert!(absence.left_out(Reason::Late));
        assert!(!absence.left_out(Reason::Late));
        assert!(absence.left_out(Reason::Contradictory));
        assert!(!absence.left_out(Reason::Late));
    }

    #[test]
    fn a_bot_that_flaps_is_not_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut absence = Absence::default();
        assert!(!absence.in_window(at(0)));
        assert!(!absence.in_window(at(60)), "it was never left out");
        assert!(absence.left_out(Reason::Lost));
        for second in (100..200).step_by(2) {
            assert!(!absence.in_window(at(second)));
            assert!(!absence.left_out(Reason::Lost));
        }
        assert!(!absence.in_window(at(200)));
        assert!(!absence.in_window(at(209)));
        assert!(absence.in_window(at(210)));
        assert!(!absence.in_window(at(211)), "said once");
        assert!(absence.left_out(Reason::Lost), "news again");
    }

    #[test]
    fn what_a_bot_sent_is_not_repeated_at_length() {
        let json = format!("{{\"latencies\":\"{}\"}}", "x".repeat(10_000));
        let error = super::super::Report::read(json.as_bytes()).expect_err("no window");
        let left_out = LeftOut::from(error);
        assert_eq!(left_out.reason, Reason::Unreadable);
        assert!(left_out.text.len() < 300, "{}", left_out.text);
    }
}
