//! The row of the table in README.md that a run writes by itself.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use crate::support::files;
use crate::support::load::Tally;
use crate::support::writer::Post;

/// Set to anything, a run writes its rows into the table.
const RECORD: &str = "FAULTS_RECORD";

/// What came out, of all processes together; times and costs are the worst of any.
pub struct Row {
    name: &'static str,
    begun: Instant,
    took: Duration,
    reads: u64,
    unavailable: u64,
    late: u64,
    aged: u64,
    reads_back: Option<Duration>,
    writes_back: Option<Duration>,
    /// Posts that succeeded, were not done, and may be either.
    posts: [usize; 3],
    connects: f64,
    growth_kib: u64,
}

impl Row {
    pub fn new(name: &'static str) -> Row {
        Row {
            name,
            begun: Instant::now(),
            took: Duration::ZERO,
            reads: 0,
            unavailable: 0,
            late: 0,
            aged: 0,
            reads_back: None,
            writes_back: None,
            posts: [0; 3],
            connects: 0.0,
            growth_kib: 0,
        }
    }

    pub fn begin(&mut self) {
        self.begun = Instant::now();
    }

    pub fn end(&mut self) -> Duration {
        self.took = self.begun.elapsed();
        self.took
    }

    pub fn reads_back(&mut self, took: Duration) {
        self.reads_back = self.reads_back.max(Some(took));
    }

    pub fn writes_back(&mut self, took: Duration) {
        self.writes_back = self.writes_back.max(Some(took));
    }

    pub fn connects(&mut self, connects: f64) {
        self.connects = self.connects.max(connects);
    }

    pub fn growth(&mut self, kib: u64) {
        self.growth_kib = self.growth_kib.max(kib);
    }

    /// Adds what the clients of one process saw, once it is checked.
    pub fn add(&mut self, tally: &Tally, posts: &[Post]) {
        self.reads += tally.answered();
        self.unavailable += tally.unavailable;
        self.late += tally.late + tally.starved;
        self.aged += tally.aged;
        for post in posts {
            let place = match (post.status, post.outcome()) {
                (200, _) => 0,
                (_, Some("unknown")) => 2,
                _ => 1,
            };
            self.posts[place] += 1;
        }
    }

    /// The line of a soak, with memory in KiB and descriptors of all processes, from and to.
    pub fn soak(&self, head: &str, resident: [u64; 2], descriptors: [usize; 2]) -> String {
        let minutes = self.took.as_secs_f64() / 60.0;
        let [done, not_done, unknown] = self.posts;
        let [before, after] = resident.map(|kib| kib as f64 / 1024.0);
        let [first, last] = descriptors;
        format!(
            "{head} {minutes:.0} min | {} | {} | {} | 0 | {done} / {not_done} / {unknown} | 0 | \
             {before:.1} → {after:.1} | {first} → {last} |",
            self.reads, self.unavailable, self.late,
        )
    }

    /// The line of the table. Wrong answers and lost writes are none: a row that saw one has
    /// failed, and is not written.
    fn line(&self) -> String {
        let mut sees = match (self.unavailable, self.late) {
            (0, 0) => "nothing".to_owned(),
            (unavailable, late) => format!("{unavailable} × 503, {late} × 504"),
        };
        if self.aged > 0 {
            let _ = write!(sees, ", {} with their age", self.aged);
        }
        let back = |took: Option<Duration>| match took {
            None => "–".to_owned(),
            Some(took) if took.is_zero() => "never away".to_owned(),
            Some(took) => format!("{:.1} s", took.as_secs_f64()),
        };
        let [done, not_done, unknown] = self.posts;
        let writes = match done + not_done + unknown {
            0 => "–".to_owned(),
            _ => format!("{done} / {not_done} / {unknown}"),
        };
        format!(
            "| {} | {sees} | {} | {} | {:.0} s | {} | 0 | {writes} | 0 | {} | {:.1} |",
            self.name,
            back(self.reads_back),
            back(self.writes_back),
            self.took.as_secs_f64(),
            self.reads,
            self.connects,
            self.growth_kib as f64 / 1024.0,
        )
    }
}

/// Prints the row, and puts it into the table where that is wanted.
pub fn record(row: &Row) {
    let line = row.line();
    eprintln!("{line}");
    write_line(&format!("| {} |", row.name), &line);
}

/// Puts a line in the place of the one that begins as `head` does.
///
/// # Panics
/// When there is none: every row has its place in the table.
pub fn write_line(head: &str, line: &str) {
    if env::var_os(RECORD).is_none() {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/README.md");
    let mut lines: Vec<String> = files::text(&path).lines().map(String::from).collect();
    let place = lines.iter().position(|line| line.starts_with(head));
    let Some(place) = place else {
        panic!("the table has no line that begins with {head:?}");
    };
    lines[place] = line.to_owned();
    fs::write(&path, lines.join("\n") + "\n").expect("the table is writable");
}
