//! `redis-api ramp` on a real rig with a real vegeta.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::process::Process;
use crate::support::{Api, PATIENCE, Redis, eventually, try_request};

/// For a ramp of some seconds: warm-up, hold and the bot's lag of each rate, on a busy machine.
const LONG: Duration = Duration::from_secs(90);

/// `redis-api ramp` as a process, in folders of its own.
struct Ramp {
    process: Process,
    lines: Arc<Mutex<Vec<String>>>,
    /// Where the rig keeps its files.
    temporary: TempDir,
    output: TempDir,
    /// The port of its bot is free between two rates: no other rig may choose it then.
    _alone: MutexGuard<'static, ()>,
}

impl Ramp {
    fn start(args: &[&str]) -> Ramp {
        let alone = crate::local::starting();
        let temporary = tempfile::tempdir().expect("a temporary folder can be made");
        let output = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-api"));
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", temporary.path())
            .args(["ramp", "--output"])
            .arg(output.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let lines = Arc::default();
        collect(process.child().stdout.take(), &lines);
        collect(process.child().stderr.take(), &lines);
        Ramp {
            process,
            lines,
            temporary,
            output,
            _alone: alone,
        }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no thread panics with it").clone()
    }

    #[track_caller]
    fn wait_line(&self, text: &str, timeout: Duration) -> String {
        eventually(timeout, &format!("{text:?} is printed"), || {
            let lines = self.lines();
            let found = lines.iter().find(|line| line.contains(text)).cloned();
            found.ok_or_else(|| lines.join("\n"))
        })
    }

    /// Waits for its end, and checks that nothing of the rig is left.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let status = eventually(LONG, "it ends", || {
            let lines = self.lines().join("\n");
            self.process.exit_status().ok_or(lines)
        });
        let left = fs::read_dir(self.temporary.path()).expect("our folder can be read");
        assert_eq!(left.count(), 0, "{:#?}", self.lines());
        let api = self.lines().into_iter().find_map(|line| {
            let address = line
                .strip_prefix("API: http://")?
                .strip_suffix('/')?
                .parse();
            address.ok()
        });
        if let Some(api) = api {
            let answer = try_request(api, "GET", "/", &[], b"");
            assert!(answer.is_err(), "the API still answers: {answer:?}");
        }
        status
    }

    /// The rows of the file, without its head; none while it is not there.
    #[track_caller]
    fn rows(&self) -> Vec<Row> {
        let path = self.output.path().join("ramp.csv");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let head = reader.headers().expect("there is a head").clone();
        let rows = reader.records().map(|row| {
            let row = row.expect("each row is as long as the head");
            Row(head.iter().zip(row.iter()).map(own).collect())
        });
        rows.collect()
    }

    #[track_caller]
    fn chart(&self) -> String {
        let path = self.output.path().join("ramp.svg");
        let svg = fs::read_to_string(path).expect("there is a chart");
        let document = roxmltree::Document::parse(&svg).expect("it is XML");
        let texts = document.descendants().filter_map(|node| node.text());
        texts.collect()
    }
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

struct Row(Vec<(String, String)>);

impl Row {
    #[track_caller]
    fn text(&self, column: &str) -> &str {
        let found = self.0.iter().find(|(name, _)| name == column);
        &found.expect("there is such a column").1
    }

    #[track_caller]
    fn number(&self, column: &str) -> f64 {
        self.text(column).parse().expect("it is a number")
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>, lines: &Arc<Mutex<Vec<String>>>) {
    let pipe = pipe.expect("it is piped");
    let lines = Arc::clone(lines);
    // It ends with the process.
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            lines.lock().expect("no thread panics with it").push(line);
        }
    });
}

#[test]
fn each_rate_has_a_row_and_nothing_is_left() {
    let mut ramp = Ramp::start(&["--rates", "50,100", "--hold", "2s"]);
    assert!(ramp.end().success(), "{:#?}", ramp.lines());
    let rows = ramp.rows();
    assert_eq!(rows.len(), 2);
    for (row, rate) in rows.iter().zip([50.0, 100.0]) {
        assert_eq!(row.number("target_rate"), rate);
        let achieved = row.number("achieved_rate");
        assert!((achieved - rate).abs() <= 0.05 * rate, "{achieved}");
        assert_eq!(row.number("success"), 1.0);
        assert_eq!(row.number("errors"), 0.0);
        let latencies = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
        let latencies = latencies.map(|column| row.number(column));
        assert!(
            latencies[0] > 10.0 && latencies.is_sorted(),
            "{latencies:?}"
        );
        for server in ["api", "replica"] {
            let cost = row.number(&format!("{server}_cpu_us_per_request"));
            let cores = row.number(&format!("{server}_millicores"));
            assert!((0.0..20_000.0).contains(&cost), "{server}: {cost}");
            assert!((0.0..1_000.0).contains(&cores), "{server}: {cores}");
        }
        assert!(row.number("api_cpu_us_per_request") > 0.0);
    }
    let chart = ramp.chart();
    assert!(chart.contains("Latency by target rate"), "{chart}");
    ramp.wait_line("ramp.csv", PATIENCE);
    ramp.wait_line("ramp.svg", PATIENCE);
}

#[test]
fn interrupt_keeps_what_there_is() {
    let mut ramp = Ramp::start(&["--rates", "50,100", "--hold", "1s"]);
    eventually(LONG, "there is a row", || ramp.rows().len() == 1);
    ramp.process.signal(Signal::SIGINT);
    assert!(ramp.end().success(), "{:#?}", ramp.lines());
    assert_eq!(ramp.rows().len(), 1);
    assert!(ramp.chart().contains("p99"));
}

#[test]
fn api_that_runs_elsewhere() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let address = redis.addr().to_string();
    let mut api = Api::serve().args(["--redis-addr", &address]).start();
    api.wait_ready(PATIENCE);
    let target = format!("http://{}/", api.addr());
    let admin = format!("http://{}", api.admin());
    let mut ramp = Ramp::start(&[
        "--rates=50",
        "--hold=1s",
        "--connections=4",
        "--target-url",
        &target,
        "--admin-url",
        &admin,
    ]);
    assert!(ramp.end().success(), "{:#?}", ramp.lines());
    let rows = ramp.rows();
    assert_eq!(rows[0].number("success"), 1.0);
    assert!(rows[0].number("api_cpu_us_per_request") >= 0.0);
    assert!(ramp.chart().contains(&target));
}

#[test]
fn target_that_is_down_is_a_knee_and_no_failure() {
    let mut ramp = Ramp::start(&[
        "--rates=50",
        "--hold=1s",
        "--target-url=http://127.0.0.1:1/",
    ]);
    assert!(ramp.end().success(), "{:#?}", ramp.lines());
    let rows = ramp.rows();
    assert_eq!(rows[0].number("success"), 0.0);
    assert!(rows[0].number("errors") > 10.0);
    assert!(rows[0].text("error_kinds").contains("refused"));
    assert_eq!(rows[0].text("api_cpu_us_per_request"), "");
    ramp.wait_line("knee below 50/s", PATIENCE);
}

#[test]
fn missing_and_broken_vegeta_are_told_with_the_cure() {
    let mut ramp = Ramp::start(&[
        "--target-url=http://127.0.0.1:1/",
        "--vegeta=/nowhere/vegeta",
    ]);
    assert_eq!(ramp.end().code(), Some(1));
    ramp.wait_line("--vegeta /nowhere/vegeta", PATIENCE);
    drop(ramp);

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let vegeta = folder.path().join("vegeta");
    write_program(
        &vegeta,
        "#!/bin/sh\n[ \"$1\" = -version ] && exec vegeta -version\nexit 1\n",
    );
    let vegeta = format!("--vegeta={}", vegeta.display());
    let target = "--target-url=http://127.0.0.1:1/";
    let mut ramp = Ramp::start(&["--rates=50", "--hold=1s", target, &vegeta]);
    assert_eq!(ramp.end().code(), Some(1));
    let line = ramp.wait_line("its vegeta ends at once", PATIENCE);
    assert!(line.contains("make setup"), "{line}");
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("our folder is writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).expect("our file can be made a program");
}

#[test]
fn wrong_flags_are_named_at_once() {
    let mut ramp = Ramp::start(&["--rates=100,50", "--hold=1500ms", "--admin-url=http://x/"]);
    assert_eq!(ramp.end().code(), Some(2));
    for flag in ["--rates", "--hold", "--admin-url"] {
        ramp.wait_line(flag, PATIENCE);
    }
}
