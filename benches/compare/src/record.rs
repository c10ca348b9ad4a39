//! One measurement, and the file of a run's raw data: conditions as `# name: value`, then CSV.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What a load generator says.
#[derive(Clone, Debug, Default)]
pub struct Load {
    pub requests: u64,
    pub seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// How late the generator itself was, 99th percentile; `None`: it doesn't tell.
    pub late_us: Option<f64>,
}

impl Load {
    /// As lines of `name value`, for another process.
    pub fn to_text(&self) -> String {
        format!(
            "requests {}\nseconds {}\np50_us {}\np99_us {}\np999_us {}\nlate_us {}\n",
            self.requests,
            self.seconds,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.late_us.unwrap_or_default()
        )
    }

    /// The other way round. What isn't such a line is passed over.
    pub fn from_text(text: &str) -> Result<Self> {
        let values: BTreeMap<&str, f64> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
            .collect();
        let value = |name| {
            let found = values.get(name).copied();
            found.with_context(|| format!("no {name} in what the load printed: {text}"))
        };
        Ok(Self {
            requests: value("requests")? as u64,
            seconds: value("seconds")?,
            p50_us: value("p50_us")?,
            p99_us: value("p99_us")?,
            p999_us: value("p999_us")?,
            late_us: values.get("late_us").copied(),
        })
    }
}

/// Where load is applied: all rounds of one point are compared with each other, and with none else.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Point {
    pub regime: String,
    pub generator: String,
    pub connections: usize,
    /// Requests a second; 0: as many as go.
    pub rate: u64,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.regime)?;
        if self.rate > 0 {
            write!(f, ", {}/s", self.rate)?;
        }
        write!(
            f,
            ", {} connections, by {}",
            self.connections, self.generator
        )
    }
}

/// One line of raw data. An empty cell: not measured there.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    pub regime: String,
    pub generator: String,
    pub connections: usize,
    pub rate: u64,
    /// 0: the pass that counts system calls, whose times don't count.
    pub round: u32,
    pub mode: String,
    /// What the ratios of this mode are to.
    pub base: String,
    pub attempt: u32,
    /// Why this attempt doesn't count; empty: it does.
    pub disturbed: String,
    pub requests: u64,
    pub seconds: f64,
    pub api_cpu_us: Option<f64>,
    pub redis_cpu_us: Option<f64>,
    pub api_switches: Option<u64>,
    pub redis_switches: Option<u64>,
    pub hgets: Option<u64>,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    pub p999_us: Option<f64>,
    pub late_us: Option<f64>,
    pub steal_percent: Option<f64>,
    pub other_percent: Option<f64>,
    pub calls: Option<u64>,
    pub bytes_per_connection: Option<f64>,
}

impl Row {
    pub fn new(point: &Point, round: u32, mode: &str, base: &str) -> Self {
        Self {
            regime: point.regime.clone(),
            generator: point.generator.clone(),
            connections: point.connections,
            rate: point.rate,
            round,
            mode: mode.to_owned(),
            base: base.to_owned(),
            attempt: 1,
            disturbed: String::new(),
            requests: 0,
            seconds: 0.0,
            api_cpu_us: None,
            redis_cpu_us: None,
            api_switches: None,
            redis_switches: None,
            hgets: None,
            p50_us: None,
            p99_us: None,
            p999_us: None,
            late_us: None,
            steal_percent: None,
            other_percent: None,
            calls: None,
            bytes_per_connection: None,
        }
    }

    pub fn point(&self) -> Point {
        Point {
            regime: self.regime.clone(),
            generator: self.generator.clone(),
            connections: self.connections,
            rate: self.rate,
        }
    }

    pub fn counts(&self) -> bool {
        self.round > 0 && self.disturbed.is_empty()
    }
}

/// The raw data of one run.
pub struct Run {
    /// `name: value`, one a line.
    pub conditions: Vec<String>,
    pub rows: Vec<Row>,
}

impl Run {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let conditions = text
            .lines()
            .filter_map(|line| line.strip_prefix("# ").map(str::to_owned))
            .collect();
        let rows = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes())
            .deserialize()
            .collect::<Result<_, _>>()
            .with_context(|| format!("{} is no raw data of this version", path.display()))?;
        Ok(Self { conditions, rows })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = fs::File::create(path)?;
        for line in &self.conditions {
            writeln!(file, "# {line}")?;
        }
        let mut writer = csv::Writer::from_writer(file);
        for row in &self.rows {
            writer.serialize(row)?;
        }
        Ok(writer.flush()?)
    }

    /// A condition by its name.
    pub fn condition(&self, name: &str) -> Option<&str> {
        let mut lines = self.conditions.iter();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}
