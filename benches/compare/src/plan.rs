//! What is asked for, and what follows from it: points, and the modes of each.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::modes::{self, Mode};
use crate::record::Point;

const REGIMES: &[&str] = &["saturation", "fixed", "churn", "idle", "post", "workers"];

/// What a measurement needs besides its load: the start, the check, the load before.
const BESIDE_SECONDS: f64 = 0.6;

#[derive(clap::Args, Clone, Debug)]
pub struct Selection {
    /// Which kinds of load, of saturation, fixed, churn, idle, post, workers [default: all]
    ///
    /// saturation: as many requests as go, each connection asks again once it is answered (wrk).
    /// fixed: so many a second, whatever the answers do. churn: saturation with a new connection for
    /// each request. idle: memory of connections that ask nothing. post: writes to a master, over
    /// TLS and without. workers: one worker and two, on both cores, at the same rates.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "KINDS",
        verbatim_doc_comment
    )]
    regime: Vec<String>,
    /// Which servers, of those that --list names [default: all]. hyper and hyper-again, the
    /// reference and its control, are always measured
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "MODES",
        verbatim_doc_comment
    )]
    only: Vec<String>,
    /// One more mode: a parent's with more flags, or of another build of redis-api
    ///
    /// Repeatable: --mode 'tracked-1ms=tracked --wake-interval 1ms' --mode before=batch@/path/to/redis-api
    #[arg(
        long,
        value_name = "NAME=PARENT[@BINARY] [FLAG...]",
        verbatim_doc_comment
    )]
    mode: Vec<String>,
    /// What all that read are compared with, instead of hyper
    #[arg(long, value_name = "MODE")]
    base: Option<String>,
    /// Connections [default: saturation 8,64,256,1000; fixed 8,64; churn and workers 64; post 8]
    #[arg(long, value_delimiter = ',', value_name = "N")]
    connections: Vec<usize>,
    /// Requests a second, where that is fixed [default: 1000,5000,20000; post 100,1000; workers
    /// 5000,20000]
    #[arg(long, value_delimiter = ',', value_name = "N")]
    rate: Vec<u64>,
    /// What loads at fixed rates: own, vegeta, or both
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "own"
    )]
    generator: Vec<String>,
    /// Idle connections
    #[arg(long, value_name = "N", default_value_t = 15_000)]
    idle_connections: usize,
    /// Rounds; each measures all once, in an order of its own
    #[arg(long, value_name = "N", default_value_t = 15)]
    rounds: u32,
    /// Seconds of each measurement (wrk: whole ones; idle: until memory is read)
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// End before the round that would last longer than so many minutes from the start
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Everything once, for half a second, at few points, disturbed or not: whether it works, not
    /// what it costs
    #[arg(long)]
    quick: bool,
}

/// Points with their modes, and how often.
pub struct Plan {
    pub steps: Vec<(Point, Vec<Mode>)>,
    pub rounds: u32,
    pub seconds: f64,
    pub quick: bool,
    /// How long all rounds may take.
    pub limit: Option<Duration>,
}

impl Plan {
    pub fn of(selection: &Selection) -> Result<Self> {
        let selection = match selection.quick {
            true => &quick(selection),
            false => selection,
        };
        for regime in &selection.regime {
            let known = REGIMES.contains(&regime.as_str());
            ensure!(
                known,
                "unknown regime {regime:?}; there are {}",
                REGIMES.join(", ")
            );
        }
        for generator in &selection.generator {
            let known = ["own", "vegeta"].contains(&generator.as_str());
            ensure!(
                known,
                "unknown generator {generator:?}; there are own, vegeta"
            );
        }
        ensure!(selection.rounds > 0, "at least one round");
        ensure!(
            selection.seconds > 0.0 && selection.seconds <= 600.0,
            "a measurement takes more than 0 and at most 600 seconds"
        );
        ensure!(
            selection
                .minutes
                .is_none_or(|minutes| (0.0..=10_000.0).contains(&minutes)),
            "--minutes takes 0 to 10000"
        );
        let (all, only) = chosen(selection)?;
        let regimes = REGIMES.iter().filter(|&&regime| {
            selection.regime.is_empty() || selection.regime.iter().any(|asked| asked == regime)
        });
        let mut steps = Vec::new();
        for regime in regimes {
            let modes = modes_of(regime, &all, &only);
            let points = points(selection, regime);
            steps.extend(points.into_iter().map(|point| (point, modes.clone())));
        }
        steps.retain(|(_, modes)| !modes.is_empty());
        Ok(Self {
            steps,
            rounds: selection.rounds,
            seconds: selection.seconds,
            quick: selection.quick,
            limit: selection
                .minutes
                .map(|minutes| Duration::from_secs_f64(60.0 * minutes)),
        })
    }

    /// How often one mode is measured at one point in a round, at this place of the plan.
    pub fn rounds_of(&self, point: &Point) -> u32 {
        // Memory is the same each time, and connecting takes long.
        match point.regime.as_str() {
            "idle" => self.rounds.min(3),
            _ => self.rounds,
        }
    }

    /// About how long it takes, if nothing is repeated.
    pub fn minutes(&self) -> f64 {
        let one = |(point, modes): &(Point, Vec<Mode>)| {
            let seconds = match point.regime.as_str() {
                "idle" => self.seconds + point.connections as f64 / 5000.0,
                _ if point.generator == "wrk" => self.seconds.ceil(),
                _ => self.seconds,
            };
            // Once more for system calls.
            let times = f64::from(self.rounds_of(point) + 1);
            modes.len() as f64 * times * (seconds + BESIDE_SECONDS)
        };
        self.steps.iter().map(one).sum::<f64>() / 60.0
    }
}

/// What `--quick` makes of it: what is asked for by name stays.
fn quick(selection: &Selection) -> Selection {
    let mut quick = selection.clone();
    (quick.rounds, quick.seconds) = (1, 0.5);
    quick.idle_connections = quick.idle_connections.min(1000);
    if quick.connections.is_empty() {
        quick.connections = vec![64];
    }
    if quick.rate.is_empty() {
        quick.rate = vec![1000];
    }
    quick
}

/// All modes, and the names of those asked for.
fn chosen(selection: &Selection) -> Result<(Vec<Mode>, Vec<String>)> {
    let mut all = modes::built_in();
    let mut only = selection.only.clone();
    for text in &selection.mode {
        let name = modes::add(&mut all, text)?;
        if !only.is_empty() {
            only.push(name);
        }
    }
    for name in &only {
        modes::find(&all, name)?;
    }
    if let Some(base) = &selection.base {
        modes::compare_with(&mut all, base)?;
    }
    Ok((all, only))
}

/// Those of a regime that are asked for, and what their ratios need.
fn modes_of(regime: &str, all: &[Mode], only: &[String]) -> Vec<Mode> {
    let asked = |mode: &&Mode| mode.is_in(regime) && (only.is_empty() || only.contains(&mode.name));
    let asked: Vec<&Mode> = all.iter().filter(asked).collect();
    let needed = |mode: &&Mode| {
        let is_base = asked.iter().any(|other| other.base == mode.name);
        let is_control = mode.name == modes::CONTROL;
        let has_base = asked.iter().any(|other| other.base == modes::BASE);
        is_base || (is_control && has_base) || asked.iter().any(|other| other.name == mode.name)
    };
    all.iter().filter(needed).cloned().collect()
}

fn points(selection: &Selection, regime: &str) -> Vec<Point> {
    let connections = match (regime, selection.connections.as_slice()) {
        ("idle", _) => vec![selection.idle_connections],
        ("saturation", []) => vec![8, 64, 256, 1000],
        ("fixed", []) => vec![8, 64],
        ("post", []) => vec![8],
        (_, []) => vec![64],
        (_, given) => given.to_vec(),
    };
    let rates = match (regime, selection.rate.as_slice()) {
        ("saturation" | "churn" | "idle", _) => vec![0],
        ("fixed", []) => vec![1000, 5000, 20_000],
        ("post", []) => vec![100, 1000],
        (_, []) => vec![5000, 20_000],
        (_, given) => given.to_vec(),
    };
    let generators = match regime {
        "saturation" | "churn" => vec!["wrk".to_owned()],
        "fixed" => selection.generator.clone(),
        _ => vec!["own".to_owned()],
    };
    let mut points = Vec::new();
    for generator in generators {
        for &rate in &rates {
            points.extend(connections.iter().map(|&connections| Point {
                regime: regime.to_owned(),
                generator: generator.clone(),
                connections,
                rate,
            }));
        }
    }
    points
}
