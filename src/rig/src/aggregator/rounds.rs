//! A round a second: everybody is asked at once, and a board is made of the answers.
//!
//! Invariants: every question has a deadline of its own, so the slowest cannot delay the others nor
//! the next round; answers are collected first and read afterwards, so that reading some hundred
//! windows does not eat up the time of bots whose answers wait in the socket.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::{StatusCode, Uri};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::absence::{Absence, LeftOut, News, Reason};
use super::current;
use super::merge::{BotHistory, Merge};
use super::names::{Answer as Named, Names};
use super::pods::{self, Track};
use super::report::{REPORT_MAX, Report};
use super::roster::Roster;
use super::state::{Snapshot, State};
use super::target::Target;
use super::{BOTS_MAX, Options};
use crate::Error;
use crate::board::{Board, Bot, BotState, Current, Pod, Summary};
use crate::client::{self, Client};

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(1);

/// For a bot's answer. It has the window ready, so 200 ms are for the network; and a round must
/// be over well within its second.
const BOT_DEADLINE: Duration = Duration::from_millis(200);

/// For a pod's metrics and the value: above the API's own limit of 400 ms for a request, so that it
/// is the API that says what is wrong.
const API_DEADLINE: Duration = Duration::from_millis(500);

/// Pods that are looked at: more than one page can show.
const PODS_MAX: usize = 512;

/// Windows read in one go; then other tasks have their turn.
const READ_AT_ONCE: usize = 16;

/// What one was asked for: its body, or why there is none.
type Asked = Result<Bytes, LeftOut>;

/// What is remembered of a bot from round to round.
#[derive(Debug, Default)]
struct BotRecord {
    history: BotHistory,
    absence: Absence,
}

/// What is remembered from round to round.
pub(super) struct Rounds {
    client: Client,
    listed: Vec<Target>,
    bots: Roster<BotRecord>,
    bots_named: Option<watch::Receiver<Named>>,
    pods: Roster<Track>,
    pods_named: Option<watch::Receiver<Named>>,
    api: Option<Uri>,
    /// Told to browsers as it is.
    stream: Option<String>,
    current: Current,
    /// Said in the log already.
    refused: usize,
    _names: Names,
}

impl Rounds {
    /// # Errors
    /// There is a name, and no name server.
    pub fn new(options: Options) -> Result<Rounds, Error> {
        let mut names = Names::new(options.dns_server);
        let mut watch = |name: Option<_>| name.map(|name| names.watch(name)).transpose();
        Ok(Rounds {
            client: Client::new(),
            bots_named: watch(options.bots_name)?,
            pods_named: watch(options.pods_name)?,
            listed: options.bots,
            bots: Roster::new(BOTS_MAX),
            pods: Roster::new(PODS_MAX),
            api: options.api,
            stream: options.stream.map(|stream| stream.to_string()),
            current: Current::default(),
            refused: 0,
            _names: names,
        })
    }

    /// Goes round for ever.
    pub async fn run(mut self, state: Arc<State>) {
        // The first board shall not be empty because of a name that takes some milliseconds.
        for named in [&mut self.bots_named, &mut self.pods_named]
            .into_iter()
            .flatten()
        {
            let known = |answer: &Named| !answer.addresses.is_empty() || answer.trouble.is_some();
            let _ = timeout(EVERY, named.wait_for(known)).await;
        }
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            state.publish(self.round().await);
        }
    }

    async fn round(&mut self) -> Snapshot {
        let started = Instant::now();
        let mut troubles = Vec::new();
        let named = latest(self.bots_named.as_ref(), "/", &mut troubles);
        let listed = self.listed.iter().cloned();
        self.bots.name(listed.chain(named), started);
        self.tell_refused(&mut troubles);
        let named = latest(self.pods_named.as_ref(), "/metrics", &mut troubles);
        self.pods.name(named, started);
        if self.pods.refused() > 0 {
            let refused = self.pods.refused();
            troubles.push(format!(
                "{refused} pods of the API are ignored: one aggregator watches at most {PODS_MAX}"
            ));
        }

        let bots: Vec<Target> = self.bots.targets().cloned().collect();
        let pods: Vec<Target> = self.pods.targets().cloned().collect();
        let (bots, pods, current) = tokio::join!(
            ask_all(&self.client, bots, REPORT_MAX, BOT_DEADLINE),
            ask_all(&self.client, pods, pods::METRICS_MAX, API_DEADLINE),
            self.ask_current(),
        );
        let at_ms = now_ms();
        if let Some(answer) = current {
            current::look(&mut self.current, answer, at_ms);
        }
        let pods = self.pods(pods);
        let (summary, bots, windows) = self.merge(bots).await;
        let board = Board {
            at_ms,
            summary,
            bots,
            pods: self.pods_named.is_some().then_some(pods),
            current: self.api.is_some().then(|| self.current.clone()),
            stream: self.stream.clone(),
            troubles,
        };
        Snapshot::new(board, windows)
    }

    fn tell_refused(&mut self, troubles: &mut Vec<String>) {
        let refused = self.bots.refused();
        if refused > 0 {
            let text =
                format!("{refused} bots are ignored: one aggregator takes at most {BOTS_MAX}");
            if self.refused == 0 {
                tracing::warn!("{text}");
            }
            troubles.push(text);
        }
        self.refused = refused;
    }

    async fn ask_current(&self) -> Option<Result<client::Answer, String>> {
        let uri = self.api.clone()?;
        let answer = self
            .client
            .ask(uri, current::ANSWER_MAX, API_DEADLINE)
            .await;
        Some(answer.map_err(|error| error.to_string()))
    }

    fn pods(&mut self, asked: Vec<(Target, Asked)>) -> Vec<Pod> {
        let now = Instant::now();
        let pods = asked.into_iter().filter_map(|(target, asked)| {
            let track = self.pods.state(&target)?;
            match &asked {
                Ok(text) => track.scraped(Ok(text), now),
                Err(left_out) => track.scraped(Err(left_out.text.clone()), now),
            }
            let pod = track.pod(target.address());
            if pod.trouble.is_none() {
                self.pods.answered(&target, now);
            }
            Some(pod)
        });
        pods.collect()
    }

    /// The merged window, how each bot did, and the windows themselves.
    async fn merge(&mut self, asked: Vec<(Target, Asked)>) -> (Summary, Vec<Bot>, Vec<Bytes>) {
        let now = Instant::now();
        let mut merge = Merge::default();
        let mut bots = Vec::with_capacity(asked.len());
        let mut windows = Vec::with_capacity(asked.len());
        let mut news = News::default();
        for (at, (target, asked)) in asked.into_iter().enumerate() {
            if at % READ_AT_ONCE == READ_AT_ONCE - 1 {
                yield_now().await;
            }
            let read = asked.and_then(|json| Ok((Report::read(&json)?, json)));
            // All that are asked are known: nobody is forgotten within a round.
            let Some(record) = self.bots.state(&target) else {
                continue;
            };
            match read {
                Ok((report, json)) => {
                    if record.absence.in_window(now) {
                        news.back(target.address());
                    }
                    merge.add(&report, record.history.trend(&report.generator, now));
                    self.bots.answered(&target, now);
                    bots.push(alive(&target, &report));
                    windows.push(json);
                }
                Err(left_out) => {
                    if record.absence.left_out(left_out.reason) {
                        news.left_out(target.address(), &left_out.text);
                    }
                    bots.push(missing(&target, left_out));
                }
            }
        }
        news.tell();
        let left_out = bots.len() - windows.len();
        (merge.summary(left_out), bots, windows)
    }
}

/// The targets at a name now; what is wrong with it goes to `troubles`.
fn latest(
    named: Option<&watch::Receiver<Named>>,
    path: &'static str,
    troubles: &mut Vec<String>,
) -> Vec<Target> {
    let Some(named) = named else {
        return Vec::new();
    };
    let named = named.borrow().clone();
    troubles.extend(named.trouble);
    let targets = named.addresses.iter();
    targets
        .filter_map(|address| Target::at(*address, path).ok())
        .collect()
}

/// Asks all at once; the answers are in the order of the targets.
async fn ask_all(
    client: &Client,
    targets: Vec<Target>,
    limit: usize,
    deadline: Duration,
) -> Vec<(Target, Asked)> {
    let mut asking = JoinSet::new();
    for target in targets {
        let client = client.clone();
        asking.spawn(async move {
            let uri = target.uri().clone();
            let asked = client.ask(uri, limit, deadline).await;
            (target, body(asked))
        });
    }
    let mut all = Vec::with_capacity(asking.len());
    while let Some(asked) = asking.join_next().await {
        // A task fails only by a panic, which ends the process (or is in the log).
        all.extend(asked);
    }
    all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    all
}

fn body(asked: Result<client::Answer, client::Error>) -> Asked {
    match asked {
        Ok(answer) if answer.status == StatusCode::OK => Ok(answer.body),
        Ok(answer) => Err(LeftOut {
            reason: Reason::Status,
            text: format!("answered with status {}", answer.status.as_u16()),
        }),
        Err(error) => Err(error.into()),
    }
}

fn alive(target: &Target, report: &Report) -> Bot {
    let generator = &report.generator;
    Bot {
        address: target.address().to_owned(),
        state: BotState::Alive,
        trouble: None,
        target_rate: generator.target_rate,
        achieved_rate: generator.achieved_rate,
        restarts: generator.restarts,
        workers_capped: generator.workers_capped,
        silent_seconds: generator.silent_seconds,
    }
}

fn missing(target: &Target, left_out: LeftOut) -> Bot {
    Bot {
        address: target.address().to_owned(),
        state: match left_out.reason {
            Reason::Late => BotState::Late,
            _ => BotState::Dead,
        },
        trouble: Some(left_out.text),
        target_rate: 0.0,
        achieved_rate: 0.0,
        restarts: 0,
        workers_capped: false,
        silent_seconds: None,
    }
}

/// The time of day, for people and other machines: nothing here is decided by it.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(u64::MAX))
}
