//! What a read costs, beside others: servers in turn, round by round, on pinned cores, and the cost
//! of each as a ratio to plain hyper's of the same round. `tuning/compare` builds all it needs and
//! runs it; `tuning/README.md` says how to read what comes of it.

mod load;
mod machine;
mod measure;
mod modes;
mod plan;
mod plot;
mod record;
mod report;
mod server;
mod stats;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use measure::Bench;
use modes::{Mode, Program};
use plan::{Plan, Selection};
use record::{Point, Row, Run};
use server::{Places, Redis, Server};

/// How often a disturbed measurement is repeated.
const ATTEMPTS: u32 = 3;

/// CPU time per request of redis-api and of others, in turn on the same two cores
///
/// Builds what it measures, checks each server's answer, and puts raw data, medians, a table and a
/// plot into tuning/results/DATE-CPU/compare. What is missing on this machine is left out, and named.
#[derive(Parser)]
#[command(
    name = "tuning/compare",
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Command {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    run: RunOptions,
}

#[derive(Args)]
struct RunOptions {
    #[command(flatten)]
    selection: Selection,
    /// Where results go [default: tuning/results/DATE-CPU/compare]. Runs of one commit in one folder
    /// are put together
    #[arg(
        short,
        long,
        env = "COMPARE_OUT",
        hide_env = true,
        value_name = "FOLDER"
    )]
    out: Option<PathBuf>,
    /// Name the modes, and end
    #[arg(long)]
    list: bool,
}

/// Parts that the script, or this program itself, runs.
#[derive(Subcommand)]
enum Part {
    /// Prints which peers must be built.
    #[command(hide = true)]
    Needs(RunOptions),
    /// Measures.
    #[command(hide = true)]
    Run {
        #[command(flatten)]
        run: RunOptions,
        #[command(flatten)]
        places: Places,
    },
    /// Writes table and plot of a folder once more.
    #[command(hide = true)]
    Report { folder: PathBuf },
    /// The light generator.
    #[command(hide = true)]
    Load(load::Options),
    /// Holds connections open.
    #[command(hide = true)]
    Hold(load::Options),
}

fn main() -> Result<()> {
    let command = Command::parse();
    match command.part {
        None if command.run.list => list(),
        None => anyhow::bail!("run tuning/compare, which builds what this needs"),
        Some(Part::Needs(run)) => needs(&run),
        Some(Part::Run { run, places }) => measure_all(&run, &places),
        Some(Part::Report { folder }) => {
            print!("{}", report::write(&folder)?);
            Ok(())
        }
        Some(Part::Load(options)) => {
            let load = load::run(&options, || answer("ready"))?;
            print!("{}", load.to_text());
            // The connections stay until the other side has looked at the clocks.
            answer("end")
        }
        Some(Part::Hold(options)) => {
            let _held = load::hold(&options)?;
            answer("ready")
        }
    }
}

/// Says a word, and waits until the other side says something, or goes away.
fn answer(word: &str) -> Result<()> {
    println!("{word}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(())
}

fn list() -> Result<()> {
    for mode in modes::built_in() {
        println!("{:20} {}", mode.name, server::described(&mode));
    }
    Ok(())
}

/// The folders of `benches/peers` whose programs the plan runs, one a line.
fn needs(run: &RunOptions) -> Result<()> {
    let plan = Plan::of(&run.selection)?;
    let modes = plan.steps.iter().flat_map(|(_, modes)| modes);
    let folders: BTreeSet<&str> = modes
        .filter_map(|mode| match mode.program {
            Program::Peer(name) if name.starts_with("go/") => Some("go"),
            Program::Peer(name) if name.contains("axum") => Some("axum"),
            Program::Peer(name) => name.rsplit('-').next(),
            _ => None,
        })
        .collect();
    for folder in folders {
        println!("{folder}");
    }
    Ok(())
}

fn measure_all(run: &RunOptions, places: &Places) -> Result<()> {
    let mut plan = Plan::of(&run.selection)?;
    let folder = run.out.as_deref().context("no folder for results")?;
    let redis = Redis::start(places)?;
    let mut conditions: Vec<String> = fs::read_to_string(places.work.join("conditions"))?
        .lines()
        .map(|line| line.trim_start_matches("# ").to_owned())
        .collect();
    leave_out(&mut plan, places, &redis, &mut conditions)?;
    let names: BTreeSet<&str> = plan
        .steps
        .iter()
        .flat_map(|(_, modes)| modes.iter().map(|mode| mode.name.as_str()))
        .collect();
    ensure!(!names.is_empty(), "nothing is left to measure");
    if !measure::counts_calls(places) {
        left_out(
            &mut conditions,
            "system calls",
            "perf counts none here (Debian: linux-perf)",
        );
    }
    eprintln!(
        "{} points, {} modes, {} rounds: about {:.0} minutes",
        plan.steps.len(),
        names.len(),
        plan.rounds,
        plan.minutes().ceil()
    );
    let bench = Bench {
        places,
        redis: &redis,
        seconds: plan.seconds,
        strict: !plan.quick,
    };
    let rows = rounds(&plan, &bench);
    publish(folder, &Run { conditions, rows })
}

fn left_out(conditions: &mut Vec<String>, what: &str, why: &str) {
    eprintln!("left out: {what}: {why}");
    conditions.push(format!("left out: {what}: {why}"));
}

/// Starts each mode once, and takes out of the plan what doesn't run or doesn't answer right.
fn leave_out(
    plan: &mut Plan,
    places: &Places,
    redis: &Redis,
    conditions: &mut Vec<String>,
) -> Result<()> {
    let mut modes: Vec<Mode> = Vec::new();
    for mode in plan.steps.iter().flat_map(|(_, modes)| modes) {
        if modes.iter().all(|known| known.name != mode.name) {
            modes.push(mode.clone());
        }
    }
    let mut gone = BTreeSet::new();
    for mode in &modes {
        let checked =
            Server::start(places, redis, mode).and_then(|server| server.check(redis, mode));
        match checked {
            Ok(()) => conditions.push(format!("mode {}: {}", mode.name, server::described(mode))),
            Err(error) => {
                ensure!(
                    mode.name != modes::BASE,
                    "{} does not run: {error:#}",
                    mode.name
                );
                left_out(conditions, &mode.name, &format!("{error:#}"));
                gone.insert(mode.name.clone());
            }
        }
    }
    for (_, modes) in &mut plan.steps {
        modes.retain(|mode| !gone.contains(&mode.name));
    }
    Ok(())
}

/// All measurements. One that fails is a row that doesn't count, with the reason.
fn rounds(plan: &Plan, bench: &Bench<'_>) -> Vec<Row> {
    let start = Instant::now();
    let mut rows = Vec::new();
    // Round 0 counts system calls.
    for round in 0..=plan.rounds {
        for (point, modes) in &plan.steps {
            if round > plan.rounds_of(point) || (round == 0 && !counts(point)) {
                continue;
            }
            let mut order: Vec<&Mode> = modes.iter().collect();
            // The same order in each run, another in each round.
            fastrand::Rng::with_seed(round.into()).shuffle(&mut order);
            for mode in order {
                attempts(bench, mode, point, round, &mut rows);
            }
        }
        eprintln!("round {round} of {} done", plan.rounds);
        // The next one takes as long as one took so far.
        let end = start.elapsed() * (round + 2) / (round + 1);
        if plan.limit.is_some_and(|limit| end > limit) {
            break;
        }
    }
    rows
}

/// Whether system calls are counted there.
fn counts(point: &Point) -> bool {
    point.regime != "idle" && point.generator != "vegeta"
}

fn attempts(bench: &Bench<'_>, mode: &Mode, point: &Point, round: u32, rows: &mut Vec<Row>) {
    for attempt in 1..=ATTEMPTS {
        let mut row = bench.measure(mode, point, round).unwrap_or_else(|error| {
            let mut row = Row::new(point, round, &mode.name, &mode.base);
            row.disturbed = format!("{error:#}").replace(['\n', '\r'], " ");
            row
        });
        row.attempt = attempt;
        let disturbed = row.disturbed.clone();
        rows.push(row);
        if disturbed.is_empty() || round == 0 {
            return;
        }
        eprintln!("{}, {point}: {disturbed}", mode.name);
    }
}

/// Adds a run's raw data to the folder, and writes what all of them say.
fn publish(folder: &Path, run: &Run) -> Result<()> {
    fs::create_dir_all(folder)?;
    let date = run.condition("date").context("no date")?;
    let name: String = date.chars().filter(char::is_ascii_alphanumeric).collect();
    run.write(&folder.join(format!("raw-{name}.csv")))?;
    print!("{}", report::write(folder)?);
    let counted = run.rows.iter().filter(|row| row.round > 0);
    let disturbed = counted.clone().filter(|row| !row.counts()).count();
    eprintln!(
        "{disturbed} of {} measurements were disturbed; raw data, medians, table and plot: {}",
        counted.count(),
        folder.display()
    );
    Ok(())
}
