//! What the raw data of a folder says: a table for each point, and all medians with their spread.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::modes;
use crate::plot;
use crate::record::{Point, Row, Run};
use crate::stats::Spread;

/// What one mode costs at one point.
pub struct Cost {
    pub mode: String,
    pub base: String,
    /// By the quantity's name.
    pub spreads: BTreeMap<&'static str, Spread>,
    /// Why the last measurement that doesn't count doesn't.
    disturbed: Option<String>,
}

/// CPU of the server and of Redis per request, to that of the base in the same round.
pub const RATIO: &str = "ratio";

/// Per request or as measured, from one row.
type Quantity = fn(&Row) -> Option<f64>;

const QUANTITIES: &[(&str, Quantity)] = &[
    ("api_cpu_us", |row| per_request(row, row.api_cpu_us)),
    ("redis_cpu_us", |row| per_request(row, row.redis_cpu_us)),
    ("sum_cpu_us", sum),
    ("requests_per_second", |row| {
        (row.requests > 0).then(|| row.requests as f64 / row.seconds)
    }),
    ("p50_us", |row| row.p50_us),
    ("p99_us", |row| row.p99_us),
    ("p999_us", |row| row.p999_us),
    ("late_p99_us", |row| row.late_us),
    ("api_switches", |row| {
        per_request(row, row.api_switches.map(|n| n as f64))
    }),
    ("redis_switches", |row| {
        per_request(row, row.redis_switches.map(|n| n as f64))
    }),
    ("hgets", |row| per_request(row, row.hgets.map(|n| n as f64))),
    ("bytes_per_connection", |row| row.bytes_per_connection),
];

fn per_request(row: &Row, total: Option<f64>) -> Option<f64> {
    (row.requests > 0).then_some(total? / row.requests as f64)
}

fn sum(row: &Row) -> Option<f64> {
    let total = row.api_cpu_us? + row.redis_cpu_us.unwrap_or_default();
    per_request(row, Some(total))
}

/// Reads all raw data of a folder, and writes table, medians and plot beside it.
pub fn write(folder: &Path) -> Result<String> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("raw-") && name.ends_with(".csv") {
            runs.push((name, Run::read(&path)?));
        }
    }
    runs.sort_by(|one, other| one.0.cmp(&other.0));
    let commits: BTreeSet<_> = runs.iter().map(|run| run.1.condition("commit")).collect();
    ensure!(
        commits.len() == 1,
        "{} holds runs of several commits, or none: compare within one ({commits:?})",
        folder.display()
    );
    let costs = costs(&runs.into_iter().map(|run| run.1).collect::<Vec<_>>());
    fs::write(folder.join("summary.csv"), summary(&costs))?;
    if let Some(plot) = plot::svg(&costs) {
        fs::write(folder.join("compare.svg"), plot)?;
    }
    let tables = tables(&costs);
    fs::write(folder.join("compare.md"), &tables)?;
    Ok(tables)
}

/// A round of one run; rounds of several runs are told apart by the run's place.
type Key = (usize, u32);

fn costs(runs: &[Run]) -> Vec<(Point, Vec<Cost>)> {
    let mut rows: BTreeMap<Point, BTreeMap<String, BTreeMap<Key, &Row>>> = BTreeMap::new();
    let mut calls: BTreeMap<(Point, &str), Vec<f64>> = BTreeMap::new();
    let mut disturbed: BTreeMap<(Point, &str), &str> = BTreeMap::new();
    for (place, run) in runs.iter().enumerate() {
        for row in &run.rows {
            let modes = rows.entry(row.point()).or_default();
            let of_mode = modes.entry(row.mode.clone()).or_default();
            if !row.disturbed.is_empty() {
                disturbed.insert((row.point(), &row.mode), &row.disturbed);
            }
            if row.counts() {
                of_mode.insert((place, row.round), row);
            } else if let Some(counted) = per_request(row, row.calls.map(|n| n as f64)) {
                calls
                    .entry((row.point(), &row.mode))
                    .or_default()
                    .push(counted);
            }
        }
    }
    let order: Vec<String> = modes::built_in()
        .into_iter()
        .map(|mode| mode.name)
        .collect();
    let rank = |name: &str| {
        order
            .iter()
            .position(|known| known == name)
            .unwrap_or(order.len())
    };
    let mut list = Vec::new();
    for (point, modes) in &rows {
        let mut costs = Vec::new();
        for (name, rounds) in modes {
            let mut spreads: BTreeMap<&str, Spread> = QUANTITIES
                .iter()
                .filter_map(|(name, of)| {
                    Some((
                        *name,
                        Spread::of(rounds.values().filter_map(|row| of(row)))?,
                    ))
                })
                .collect();
            let base = rounds.values().next().map_or(modes::BASE, |row| &row.base);
            let ratios = rounds
                .iter()
                .filter_map(|(key, row)| Some(sum(row)? / sum(modes.get(base)?.get(key)?)?));
            spreads.extend(Spread::of(ratios).map(|spread| (RATIO, spread)));
            let counted = calls
                .get(&(point.clone(), name.as_str()))
                .cloned()
                .unwrap_or_default();
            spreads.extend(Spread::of(counted).map(|spread| ("calls", spread)));
            costs.push(Cost {
                mode: name.clone(),
                base: base.to_owned(),
                spreads,
                disturbed: disturbed
                    .get(&(point.clone(), name.as_str()))
                    .map(|&why| why.to_owned()),
            });
        }
        costs.sort_by_key(|cost| (rank(&cost.mode), cost.mode.clone()));
        list.push((point.clone(), costs));
    }
    list
}

fn summary(costs: &[(Point, Vec<Cost>)]) -> String {
    let mut text = String::from(
        "regime,generator,connections,rate,mode,base,quantity,count,median,low95,high95,quartile1,quartile3,least,most\n",
    );
    for (point, costs) in costs {
        for cost in costs {
            for (name, spread) in &cost.spreads {
                let _ = writeln!(
                    text,
                    "{},{},{},{},{},{},{name},{},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4},{:.4}",
                    point.regime,
                    point.generator,
                    point.connections,
                    point.rate,
                    cost.mode,
                    cost.base,
                    spread.count,
                    spread.median,
                    spread.bounds.0,
                    spread.bounds.1,
                    spread.quartiles.0,
                    spread.quartiles.1,
                    spread.ends.0,
                    spread.ends.1,
                );
            }
        }
    }
    text
}

fn tables(costs: &[(Point, Vec<Cost>)]) -> String {
    let mut text = String::new();
    for (point, costs) in costs {
        let _ = writeln!(
            text,
            "### {}{}\n",
            point.to_string()[..1].to_uppercase(),
            &point.to_string()[1..]
        );
        text.push_str(&match point.regime.as_str() {
            "idle" => idle_table(costs),
            _ => table(costs),
        });
        for cost in costs
            .iter()
            .filter(|cost| cost.spreads.keys().all(|&name| name == "calls"))
        {
            let why = cost.disturbed.as_deref().unwrap_or("not measured");
            let _ = writeln!(
                text,
                "\nNot one round of {} counts; the last one: {why}.",
                cost.mode
            );
        }
        text.push('\n');
    }
    text
}

fn table(costs: &[Cost]) -> String {
    let mut text = String::from(
        "| server | API, µs | Redis, µs | sum, µs | × hyper | rounds | requests/s | p50, µs | p99, µs | p99.9, µs | calls | switches | HGET |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for cost in costs {
        let median = |name: &str, digits: usize| match cost.spreads.get(name) {
            Some(spread) => format!("{:.digits$}", spread.median),
            None => "–".to_owned(),
        };
        let ratio = cost.spreads.get(RATIO).map_or("–".to_owned(), |spread| {
            let of = if cost.base == modes::BASE {
                String::new()
            } else {
                format!(" × {}", cost.base)
            };
            if cost.mode == cost.base {
                return format!("1{of}");
            }
            let (low, high) = spread.bounds;
            format!("{:.2}{of} ({low:.2} to {high:.2})", spread.median)
        });
        let rounds = cost
            .spreads
            .get("sum_cpu_us")
            .map_or(0, |spread| spread.count);
        let switches = ["api_switches", "redis_switches"].map(|name| cost.spreads.get(name));
        let switches = match switches[0] {
            Some(api) => format!(
                "{:.2}",
                api.median + switches[1].map_or(0.0, |redis| redis.median)
            ),
            None => "–".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {ratio} | {rounds} | {} | {} | {} | {} | {} | {switches} | {} |",
            cost.mode,
            median("api_cpu_us", 2),
            median("redis_cpu_us", 2),
            median("sum_cpu_us", 2),
            median("requests_per_second", 0),
            median("p50_us", 0),
            median("p99_us", 0),
            median("p999_us", 0),
            median("calls", 2),
            median("hgets", 3),
        );
    }
    text
}

fn idle_table(costs: &[Cost]) -> String {
    let mut text = String::from(
        "| server | bytes per idle connection | least | most | rounds |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    for cost in costs {
        let Some(spread) = cost.spreads.get("bytes_per_connection") else {
            let _ = writeln!(text, "| {} | – | – | – | 0 |", cost.mode);
            continue;
        };
        let (least, most) = spread.ends;
        let _ = writeln!(
            text,
            "| {} | {:.0} | {least:.0} | {most:.0} | {} |",
            cost.mode, spread.median, spread.count
        );
    }
    text
}
