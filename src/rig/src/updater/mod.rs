//! `redis-api updater`: posts a new value at a steady pace.
//!
//! Invariants:
//! - Posts follow a fixed grid of times. What is missed is missed: no burst follows a stall.
//! - One post at a time. A value is posted again only if it certainly is not stored, and only until
//!   the next one is due; one whose fate is unknown is replaced by the next.
//! - Whatever fails, it goes on, after a backoff with full jitter.

mod counts;
mod post;
mod walk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::{StatusCode, Uri};
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::counts::{Counts, Outcome};
use self::post::{LookError, Poster};
use self::walk::Walk;
use super::client::Client;
use super::{Error, process, server};
use redis_api_server::bind;
use redis_api_server::exposition::CONTENT_TYPE;
use redis_api_server::token_file::TokenFile;
use redis_api_wire::conn::backoff::full_jitter;

/// Longest wait after a failure. Short, since one post a second drowns nobody, and people watch the
/// value come back.
const BACKOFF_CAP: Duration = Duration::from_secs(5);

/// For an API that answers, until it gives its value: some seconds for its replica to be in sync.
/// What is stored there may also be no number, which only a post mends.
const READABLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the log says what was posted.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Where to post, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// The API's own address: it is asked by GET and posted to.
    pub api: Uri,
    /// The time from one post to the next, above zero.
    pub every: Duration,
    /// For one post, its answer included.
    pub timeout: Duration,
    /// Holds the token that the API wants; `None`: it wants none.
    pub token_file: Option<PathBuf>,
    /// Where `/metrics` is served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The host of `listen` was left to us: without IPv6 it may be `0.0.0.0`.
    pub listen_defaulted: bool,
}

/// Posts until the process is told to end.
///
/// # Errors
/// The token file can't be read at start, or the port can't be listened on; see [`Error`].
pub fn run(options: Options) -> Result<(), Error> {
    let token = options.token_file.map(TokenFile::open).transpose();
    let token = token.map_err(|error| Error::Missing(error.to_string()))?;
    let counts = Counts::new().map_err(|error| Error::Missing(error.to_string()))?;
    let poster = Poster {
        client: Client::new(),
        api: options.api,
        timeout: options.timeout,
        token,
    };
    let outcome = process::run(async {
        let listener = match options.listen {
            None => None,
            Some(address) => Some(bind(address, options.listen_defaulted)?),
        };
        tokio::select! {
            () = update(poster, options.every, &counts) => {}
            () = report(&counts) => {}
            () = publish(listener, &counts) => {}
        }
        Ok(())
    });
    tracing::info!("{counts}");
    outcome
}

/// Posts one value after the other, for ever.
async fn update(mut poster: Poster, every: Duration, counts: &Counts) {
    tracing::info!("posting to {} every {every:?}", poster.api);
    let mut random = fastrand::Rng::new();
    let mut walk = start(&poster, &mut random).await;
    let mut failures: u32 = 0;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let value = walk.step(&mut random);
        loop {
            let (outcome, said) = poster.post(value).await;
            counts.count(outcome);
            if outcome == Outcome::Ok {
                if failures > 0 {
                    tracing::info!("the API takes values again");
                }
                failures = 0;
                counts.stored(value.units(), seconds_since_1970());
                break;
            }
            tracing::warn!("POST {}: {said}; outcome: {}", poster.api, outcome.name());
            let wait = full_jitter(failures, BACKOFF_CAP, random.f64());
            failures = failures.saturating_add(1);
            let is_due_first = began.elapsed() + wait >= every;
            sleep(wait).await;
            if is_due_first || !outcome.may_repeat() {
                break;
            }
        }
    }
}

/// The walk from the value that the API serves. Nothing is posted before that is known: an API that
/// has just started takes values a little before it can say which one it has.
async fn start(poster: &Poster, random: &mut fastrand::Rng) -> Walk {
    let mut failures: u32 = 0;
    let mut answered = None;
    loop {
        let (error, is_answer) = match poster.look().await {
            Ok(Some(value)) => return Walk::from(value),
            Ok(None) => return Walk::new(),
            Err(LookError::Status(status)) => (format!("{status}, and no value"), true),
            Err(LookError::NoAnswer(error)) => (error.to_string(), false),
        };
        tracing::warn!(
            "GET {}: {error}; posting starts once the current value is known",
            poster.api
        );
        if is_answer && answered.get_or_insert_with(Instant::now).elapsed() > READABLE_TIMEOUT {
            tracing::warn!(
                "GET {}: no value yet; starting from a value of our own",
                poster.api
            );
            return Walk::new();
        }
        sleep(full_jitter(failures, BACKOFF_CAP, random.f64())).await;
        failures = failures.saturating_add(1);
    }
}

fn seconds_since_1970() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// Says once a minute what was posted.
async fn report(counts: &Counts) {
    let mut minutes = interval(REPORT_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Skip);
    minutes.tick().await;
    loop {
        minutes.tick().await;
        tracing::info!("{counts}");
    }
}

/// Serves `/metrics`, and `/livez` for probes.
async fn publish(listener: Option<TcpListener>, counts: &Counts) {
    const TEXT: &str = "text/plain; charset=utf-8";
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let counts = counts.clone();
    server::serve(listener, move |request| {
        let response = match request.uri().path() {
            "/metrics" => match counts.render() {
                Ok(text) => server::answer(StatusCode::OK, CONTENT_TYPE, text),
                Err(error) => {
                    server::answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string())
                }
            },
            "/livez" => server::answer(StatusCode::OK, TEXT, "ok"),
            _ => server::answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics and /livez"),
        };
        async move { response }
    })
    .await;
}
