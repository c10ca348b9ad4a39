//! What the aggregator knows at one moment, and what it remembers: all that pages, streams and
//! scrapers show.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::window::Window;

/// Points kept: five minutes, one a second.
pub const HISTORY: usize = 300;

/// Everything, as of one second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// When this was put together, in ms since 1970.
    pub at_ms: u64,
    /// What all bots together measured.
    pub summary: Summary,
    /// Each bot, in the order of its address.
    pub bots: Vec<Bot>,
    /// The pods of the API; `null`: nobody said where they are.
    pub pods: Option<Vec<Pod>>,
    /// The value that the API serves; `null`: nobody said where the API is.
    pub current: Option<Current>,
    /// Where browsers find the API, whose own stream the currency page can show; `null`: nobody
    /// said.
    #[serde(default)]
    pub stream: Option<String>,
    /// What is wrong with finding bots and pods, in sentences: a name that can't be looked up, more
    /// bots than there is room for.
    #[serde(default)]
    pub troubles: Vec<String>,
}

/// One merged window over all bots that answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its members are members of the same object.
    #[serde(flatten)]
    pub window: Window,
    /// Bots in the window.
    pub bots: usize,
    /// Bots known and not in it: late or dead.
    pub bots_left_out: usize,
    /// Why the load was not what was asked for, in sentences; empty: it was. Latencies of such a
    /// window are not those of an open loop.
    pub generator_limits: Vec<String>,
}

/// How a bot answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BotState {
    /// In time.
    Alive,
    /// Not within its deadline.
    Late,
    /// Not at all, or with something that is no valid window.
    Dead,
}

/// One bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bot {
    /// Where it is, as people write it: host and port, or a URL.
    pub address: String,
    /// How it answered last.
    pub state: BotState,
    /// What went wrong; `null` if nothing.
    pub trouble: Option<String>,
    /// Requests a second that it is to send; 0 unless alive, as all that follows.
    pub target_rate: f64,
    /// Requests a second that it has sent.
    pub achieved_rate: f64,
    /// How often its vegeta had to be started again.
    pub restarts: u64,
    /// All workers of its vegeta were busy at some time of the window.
    pub workers_capped: bool,
    /// Since the last result of its vegeta, in seconds; `null` before the first.
    pub silent_seconds: Option<f64>,
}

/// One pod of the API, over the last ten seconds. One in trouble has no figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Its admin port: IP address and port.
    pub address: String,
    /// What went wrong; `null`: it answered.
    pub trouble: Option<String>,
    /// Requests of all methods and statuses.
    pub requests_per_second: f64,
    /// CPU µs per request of the API; `null` without requests.
    pub api_cpu_us: Option<f64>,
    /// The same of the server it reads from; `null` also where it does not say.
    pub redis_cpu_us: Option<f64>,
    /// Cores in use: 1.0 is 1,000 millicores.
    pub api_cores: f64,
    /// The same of the server it reads from; `null` where it does not say.
    pub redis_cores: Option<f64>,
    /// Clients connected now.
    pub connections: u64,
    /// Its replica may answer; true also where it has none to read from.
    pub usable: bool,
    /// Resident memory of the API.
    pub memory_bytes: u64,
}

/// The value that the API serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Current {
    /// The last one seen: a number of the same value as the API's text, not always the same text
    /// (12.50 is 12.5 here); or the text of what is not a number, as much of it as is shown.
    pub value: Option<serde_json::Value>,
    /// Since when it has this value, as seen from here, in ms since 1970.
    pub since_ms: Option<u64>,
    /// What went wrong with the last look; `null`: nothing.
    pub trouble: Option<String>,
}

/// A second of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it was, in ms since 1970.
    pub at_ms: u64,
    /// Requests a second that all bots together were to send.
    pub target_rate: f64,
    /// Requests a second that they have sent.
    pub achieved_rate: f64,
    /// Good answers a second.
    pub throughput: f64,
    /// The median latency in ns; 0 when nothing was answered, as for the next four.
    pub p50: u64,
    /// What 90 of 100 latencies did not exceed.
    pub p90: u64,
    /// What 99 of 100 did not exceed.
    pub p99: u64,
    /// What 999 of 1,000 did not exceed.
    pub p999: u64,
    /// The longest latency.
    pub max: u64,
    /// Requests of the window by status; 0: no response.
    pub status_codes: BTreeMap<u16, u64>,
    /// Errors of the window by kind.
    pub errors: BTreeMap<String, u64>,
    /// Bots that answered in time.
    pub bots_alive: usize,
    /// Bots that answered too late.
    pub bots_late: usize,
    /// Bots that did not answer, or sent no valid window.
    pub bots_dead: usize,
    /// The load was not what was asked for.
    pub generator_limited: bool,
    /// What the API served; `null`: nothing, or nobody said where it is.
    pub value: Option<f64>,
}

impl Point {
    /// The second of that board.
    pub fn of(board: &Board) -> Point {
        let window = &board.summary.window;
        let in_state = |state| board.bots.iter().filter(|bot| bot.state == state).count();
        Point {
            at_ms: board.at_ms,
            target_rate: window.generator.target_rate,
            achieved_rate: window.generator.achieved_rate,
            throughput: window.generator.achieved_rate * window.success,
            p50: window.latencies.p50,
            p90: window.latencies.p90,
            p99: window.latencies.p99,
            p999: window.latencies.p999,
            max: window.latencies.max,
            status_codes: window.status_codes.clone(),
            errors: window.error_counts.clone(),
            bots_alive: in_state(BotState::Alive),
            bots_late: in_state(BotState::Late),
            bots_dead: in_state(BotState::Dead),
            generator_limited: !board.summary.generator_limits.is_empty(),
            value: board
                .current
                .as_ref()
                .filter(|current| current.trouble.is_none())
                .and_then(|current| current.value.as_ref()?.as_f64()),
        }
    }
}

/// The last [`HISTORY`] points, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct History {
    points: VecDeque<Point>,
}

impl History {
    /// Adds the newest, and forgets the oldest where there are too many.
    pub fn push(&mut self, point: Point) {
        if self.points.len() == HISTORY {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// Oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Generator, Sample, Tally};

    #[test]
    fn summary_is_read_as_it_was_written() {
        let mut tally = Tally::default();
        tally.record(&Sample {
            sent_ns: 1_000_000_000,
            latency_ns: 2_000_000,
            code: 200,
            bytes_in: 16,
            bytes_out: 0,
            error: "",
        });
        let summary = Summary {
            window: Window::new(&tally, Generator::default()),
            bots: 1,
            bots_left_out: 2,
            generator_limits: vec!["All workers were busy.".into()],
        };
        let text = serde_json::to_string(&summary).expect("it is JSON");
        let read: Summary = serde_json::from_str(&text).expect("it is a summary");
        assert_eq!(read, summary);
        let wrong = text.replace("\"200\":", "\"OK\":");
        assert!(serde_json::from_str::<Summary>(&wrong).is_err(), "{wrong}");
    }
}
