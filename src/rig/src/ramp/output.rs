//! What a ramp leaves: lines on standard output as it goes, and two files.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Error;
use super::chart::{self, About};
use super::knee::Knee;
use super::step::{self, Step};
use crate::figures::{percent, rate};

/// The files, and the steps in them.
pub(super) struct Output {
    csv: PathBuf,
    svg: PathBuf,
    /// The file of rows was not there before.
    is_new: bool,
    /// So many bytes of the file are ours; 0: what is in it is of another ramp.
    written: usize,
    steps: Vec<Step>,
}

impl Output {
    /// Makes the folder and the file of rows: what can't be written is known before the load. The
    /// rows of another ramp stay in it until there are new ones.
    pub fn create(folder: &Path) -> Result<Output, Error> {
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let csv = folder.join("ramp.csv");
        let is_new = !csv.exists();
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).open(&csv);
        opened.map_err(failed(&csv))?;
        Ok(Output {
            csv,
            svg: folder.join("ramp.svg"),
            is_new,
            written: 0,
            steps: Vec::new(),
        })
    }

    /// Adds a row, to the file too: whatever comes after it, it is kept. Nothing that is in the
    /// file is written again, which on a full disk would cost the rows before.
    pub fn add(&mut self, step: Step) -> Result<(), Error> {
        if self.steps.is_empty() {
            say(format_args!("{HEADINGS}"));
        }
        say(format_args!("{}", Row(&step)));
        self.steps.push(step);
        let rows = step::to_csv(&self.steps).map_err(Error::Csv)?;
        let added = rows.get(self.written..).unwrap_or_default();
        let mut options = OpenOptions::new();
        match self.written {
            0 => options.write(true).create(true).truncate(true),
            _ => options.append(true),
        };
        let mut file = options.open(&self.csv).map_err(failed(&self.csv))?;
        file.write_all(added).map_err(failed(&self.csv))?;
        self.written = rows.len();
        Ok(())
    }

    /// Draws the chart, and says where everything is.
    pub fn finish(self, about: &About) -> Result<(), Error> {
        if self.steps.is_empty() {
            if self.is_new {
                // It was only to see that it can be written.
                let _ = fs::remove_file(&self.csv);
            }
            say(format_args!(
                "No rate was held to its end: nothing is written."
            ));
            return Ok(());
        }
        let knee = Knee::find(&self.steps);
        let svg = chart::draw(&self.steps, &knee, about).map_err(Error::Chart)?;
        fs::write(&self.svg, svg).map_err(failed(&self.svg))?;
        say(format_args!(
            "\n{knee}\n\n{}\n{}",
            self.csv.display(),
            self.svg.display()
        ));
        Ok(())
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Output { path, source }
}

const HEADINGS: &str = "\n  target/s    sent/s     good      p50 ms      p99 ms    p99.9 ms\
                        \u{20}     max ms    API µs  Redis µs";

/// A step as a line of the table; CPU time is per request.
struct Row<'a>(&'a Step);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.0;
        write!(
            f,
            "{:>10}{:>10}{:>8.2}%",
            rate(step.target_rate),
            rate(step.achieved_rate),
            percent(step.success),
        )?;
        for us in [step.p50_us, step.p99_us, step.p999_us, step.max_us] {
            write!(f, "{:>12.2}", us / 1e3)?;
        }
        for us in [step.api_cpu_us_per_request, step.replica_cpu_us_per_request] {
            match us {
                Some(us) => write!(f, "{us:>10.1}")?,
                None => write!(f, "{:>10}", "-")?,
            }
        }
        match (step.generator_limited, step.workers_capped) {
            (true, true) => f.write_str("  generator: all workers waited"),
            (true, false) => f.write_str("  generator: fell behind"),
            (false, _) => Ok(()),
        }?;
        match step.error_kinds.as_str() {
            "" => Ok(()),
            kinds => write!(f, "\n{:>10}{kinds}", ""),
        }
    }
}

/// Prints a line; a closed standard output (`| head`) is no reason to stop.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> Step {
        Step {
            target_rate: 12_000.0,
            achieved_rate: 11_000.0,
            success: 0.999_999,
            p50_us: 410.0,
            p99_us: 1_234.5,
            p999_us: 20_000.0,
            max_us: 2_000_000.0,
            api_cpu_us_per_request: Some(31.25),
            generator_limited: true,
            error_kinds: "3 x late".to_owned(),
            ..Step::default()
        }
    }

    #[test]
    fn a_line_has_its_figures_below_their_names() {
        let row = Row(&step()).to_string();
        let (figures, kinds) = row.split_once('\n').unwrap();
        assert_eq!(
            figures,
            "    12,000    11,000   99.99%        0.41        1.23       20.00     2000.00      31.2\
             \u{20}        -  generator: fell behind"
        );
        assert_eq!(kinds.trim(), "3 x late");
        let ends = |text: &str| text.trim_start_matches('\n').chars().count();
        let upto = figures.split("  generator").next().unwrap();
        assert_eq!(ends(HEADINGS), ends(upto));
    }

    #[test]
    fn rows_are_kept_and_a_chart_comes_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("new/folder");
        let about = About {
            title: "title".to_owned(),
            subtitle: String::new(),
        };
        let mut output = Output::create(&below).unwrap();
        output.add(step()).unwrap();
        let rows = fs::read_to_string(below.join("ramp.csv")).unwrap();
        assert_eq!(rows.lines().count(), 2);
        output.finish(&about).unwrap();
        let svg = fs::read_to_string(below.join("ramp.svg")).unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn a_row_is_added_to_what_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("ramp.csv");
        fs::write(&csv, "of last week\n".repeat(100)).unwrap();
        let mut output = Output::create(folder.path()).unwrap();
        output.add(step()).unwrap();
        let first = fs::read_to_string(&csv).unwrap();
        assert!(!first.contains("last week"), "{first}");
        // Of the same length, so that it would be written again as it was.
        let first = first.replace("late", "LATE");
        fs::write(&csv, &first).unwrap();
        output.add(step()).unwrap();
        let both = fs::read_to_string(&csv).unwrap();
        let second = both.strip_prefix(&first).unwrap();
        assert_eq!(second.lines().count(), 1, "{second}");
        assert!(second.starts_with("12000.0,"), "{second}");
    }

    #[test]
    fn nothing_held_leaves_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let about = About {
            title: String::new(),
            subtitle: String::new(),
        };
        let output = Output::create(folder.path()).unwrap();
        output.finish(&about).unwrap();
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn nothing_held_leaves_the_files_of_another_ramp() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("ramp.csv");
        fs::write(&csv, "of last week").unwrap();
        let about = About {
            title: String::new(),
            subtitle: String::new(),
        };
        let output = Output::create(folder.path()).unwrap();
        output.finish(&about).unwrap();
        assert_eq!(fs::read_to_string(&csv).unwrap(), "of last week");
        let mut output = Output::create(folder.path()).unwrap();
        output.add(step()).unwrap();
        let rows = fs::read_to_string(&csv).unwrap();
        assert!(rows.starts_with("target_rate,"), "{rows}");
    }

    #[test]
    fn a_folder_that_can_not_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Output::create(&file).err().unwrap().to_string();
        assert!(
            error.contains("file: ") && error.contains("--output"),
            "{error}"
        );
    }
}
