//! Instructions and allocations per operation, counted instead of timed: they repeat on a busy
//! machine, where times move by tens of percent.
//!
//! A bench counts and compares with its baseline; `-- --save` makes what it counts the baseline,
//! and `-- --check` (`make bench-check`) fails where an operation costs more. Needs valgrind: each
//! operation runs again below callgrind, which counts only inside of `measured`. The counts are
//! those of one compiler and one kind of CPU; the baseline names its own.
//!
//! Each operation checks its answer before it is counted.

use std::alloc::System;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, process};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Two counts of one build differ by less than 0.5 %: this much more is a change.
const MARGIN: f64 = 0.005;

/// What is counted.
pub struct Operation {
    pub name: &'static str,
    pub run: Box<dyn FnMut() -> usize>,
    /// What each run has to give.
    pub answer: usize,
    /// A run does it so many times.
    pub each: u64,
}

/// Operations with one baseline.
pub struct Bench {
    /// The name of the baseline's file.
    pub baseline: &'static str,
    /// Runs of each operation: enough that what the loop itself costs is below the last digit.
    pub runs: u64,
    /// Makes them all.
    pub operations: fn() -> Vec<Operation>,
}

/// What an operation costs.
#[derive(Clone, Copy)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

/// What is counted. By this name callgrind knows it.
#[inline(never)]
fn measured(operation: &mut Operation, runs: u64) -> usize {
    (0..runs).fold(0, |sum, _| sum + (operation.run)())
}

impl Bench {
    /// The whole program.
    pub fn main(&self) -> ExitCode {
        let words: Vec<String> = env::args().skip(1).collect();
        let has = |flag: &str| words.iter().any(|word| word == flag);
        if let Some(at) = words.iter().position(|word| word == "--run") {
            self.run(&words[at + 1]);
            return ExitCode::SUCCESS;
        }
        for mut operation in (self.operations)() {
            assert_eq!((operation.run)(), operation.answer, "{}", operation.name);
        }
        // `cargo test --benches`: only whether the answers are right.
        if has("--test") || !has("--bench") {
            return ExitCode::SUCCESS;
        }
        match self.count_all() {
            Ok(costs) if has("--save") => self.save(&costs),
            Ok(costs) => self.compare(&costs, has("--check")),
            Err(why) => {
                eprintln!("{}: {why}", self.baseline);
                ExitCode::FAILURE
            }
        }
    }

    /// Runs one operation for callgrind, and prints how many allocations it makes.
    fn run(&self, name: &str) {
        let mut all = (self.operations)().into_iter();
        let mut operation = all
            .find(|other| other.name == name)
            .expect("a name of ours");
        // Buffers have grown after some runs.
        for _ in 0..4 {
            assert_eq!((operation.run)(), operation.answer, "{name}");
        }
        let region = Region::new(ALLOCATOR);
        let sum = measured(&mut operation, self.runs);
        let made = region.change();
        assert_eq!(sum, operation.answer * self.runs as usize, "{name}");
        println!("{}", made.allocations + made.reallocations);
    }

    fn count_all(&self) -> Result<Vec<(&'static str, Cost)>, String> {
        let operations = (self.operations)().into_iter();
        operations
            .map(|operation| Ok((operation.name, self.count(&operation)?)))
            .collect()
    }

    fn count(&self, operation: &Operation) -> Result<Cost, String> {
        let Operation { name, each, .. } = operation;
        let (output, counts) = callgrind(name)?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{name} failed below valgrind: {told}"));
        }
        let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
        let mut lines = counts.lines();
        let total = number(lines.find_map(|line| line.strip_prefix("totals:")));
        let allocations = number(str::from_utf8(&output.stdout).ok());
        let done = (self.runs * each) as f64;
        match (total, allocations) {
            (Some(total), Some(allocations)) if total > 0 => Ok(Cost {
                instructions: total as f64 / done,
                allocations: allocations as f64 / done,
            }),
            _ => Err(format!("{name}: callgrind counted nothing in `measured`")),
        }
    }

    fn baseline_file(&self) -> PathBuf {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        crate_folder
            .join("../../benches/baseline")
            .join(self.baseline)
    }

    fn save(&self, costs: &[(&str, Cost)]) -> ExitCode {
        let mut text = format!("# {}\noperation;instructions;allocations\n", conditions());
        for (name, cost) in costs {
            text += &format!("{name};{:.1};{:.3}\n", cost.instructions, cost.allocations);
        }
        let file = self.baseline_file();
        match fs::write(&file, text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("can't write {}: {error}", file.display());
                ExitCode::FAILURE
            }
        }
    }

    /// The table beside the baseline. With `check`, fails where an operation costs more.
    fn compare(&self, costs: &[(&str, Cost)], check: bool) -> ExitCode {
        let baseline = self.baseline;
        let text = fs::read_to_string(self.baseline_file()).unwrap_or_default();
        let known: BTreeMap<&str, Cost> = text.lines().filter_map(parse).collect();
        let comparable = text.lines().next() == Some(&format!("# {}", conditions()));
        if !comparable {
            eprintln!("{baseline}: it is of another compiler or CPU: read it as a hint");
        }
        let mut more = Vec::new();
        println!("| operation | instructions | before | allocations | before |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        for (name, cost) in costs {
            let (before, allocated) = match known.get(name) {
                Some(known) => {
                    let limit = known.instructions * (1.0 + MARGIN);
                    if cost.instructions > limit || cost.allocations > known.allocations + MARGIN {
                        more.push(*name);
                    }
                    (
                        format!("{:.1}", known.instructions),
                        format!("{:.3}", known.allocations),
                    )
                }
                None => ("–".to_owned(), "–".to_owned()),
            };
            let Cost {
                instructions,
                allocations,
            } = cost;
            println!("| {name} | {instructions:.1} | {before} | {allocations:.3} | {allocated} |");
        }
        if check && comparable && !more.is_empty() {
            eprintln!(
                "{baseline}: these cost more: {}; make them cheaper, or accept it with -- --save \
                 and say why in the commit",
                more.join(", ")
            );
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// Runs one operation of this program below callgrind: what it prints, and what was counted.
fn callgrind(name: &str) -> Result<(process::Output, String), String> {
    let own = env::current_exe().map_err(|error| format!("can't find this program: {error}"))?;
    let file = env::temp_dir().join(format!("callgrind.{}", process::id()));
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*::measured*",
        ])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(own)
        .args(["--run", name])
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| {
            format!("can't run valgrind: {error}; install it: apt-get install valgrind")
        })?;
    let counts = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::remove_file(&file);
    Ok((output, counts))
}

/// What the counts depend on.
fn conditions() -> String {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let rustc = rustc.unwrap_or_else(|_| "an unknown compiler".to_owned());
    format!("{rustc}, {}", env::consts::ARCH)
}

fn parse(line: &str) -> Option<(&str, Cost)> {
    let mut cells = line.split(';');
    let name = cells.next()?;
    let mut number = || cells.next()?.parse().ok();
    let (instructions, allocations) = (number()?, number()?);
    Some((
        name,
        Cost {
            instructions,
            allocations,
        },
    ))
}
