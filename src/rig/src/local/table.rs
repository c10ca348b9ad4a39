//! What the rig does, as text: a table for a terminal, and lines for all else. Pure.

use crate::figures::{grouped, percent};

/// All that is shown of one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub load: Load,
    /// Requests a second that the API has counted, whoever sent them; `None`: unknown.
    pub served: Option<f64>,
    /// In the order of their start.
    pub rows: Vec<Row>,
}

/// What the load is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Load {
    /// There is no bot.
    Off,
    /// There should be one; why nothing is known.
    Unknown(String),
    Known(Totals),
}

/// The merged window of all bots.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Totals {
    /// Requests a second that were to be sent, and that were.
    pub target: f64,
    pub achieved: f64,
    /// Latencies in ns.
    pub p50: u64,
    pub p99: u64,
    /// Requests of the window without a good answer.
    pub errors: u64,
    /// The share of good answers, 0 to 1.
    pub success: f64,
    /// Why the load was not what was asked for, in sentences.
    pub limits: Vec<String>,
}

/// A process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub name: String,
    pub pid: u32,
    /// Thousandths of a core; `None` until there are two looks.
    pub millicores: Option<f64>,
    /// Resident, in bytes.
    pub memory: Option<u64>,
    /// CPU µs for each request that the API has answered; `None` for those who answer none.
    pub cpu_us: Option<f64>,
}

const MEBIBYTE: f64 = 1_048_576.0;

/// Under the columns that `kubectl top` has too, its units.
const HEADINGS: [&str; 5] = ["process", "PID", "CPU", "memory", "CPU µs/request"];

const LEGEND: &str = "of the last 10 s; 1000m is one core";

/// The whole table, a line each.
pub(super) fn table(view: &View) -> Vec<String> {
    let mut lines = totals(view);
    lines.push(String::new());
    let mut rows = vec![HEADINGS.map(String::from).to_vec()];
    rows.extend(view.rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.pid.to_string(),
            shown(row.millicores, |cores| format!("{cores:.0}m")),
            shown(row.memory, |bytes| {
                format!("{:.1}Mi", bytes as f64 / MEBIBYTE)
            }),
            shown(row.cpu_us, |us| format!("{us:.1}")),
        ]
    }));
    lines.extend(columns(&rows));
    lines.push(LEGEND.to_owned());
    lines
}

fn totals(view: &View) -> Vec<String> {
    let served = shown(view.served, |rate| grouped(rate, 1));
    match &view.load {
        Load::Off => vec![format!("no load; the API answers {served} requests/s")],
        Load::Unknown(why) => vec![format!(
            "load: nothing known yet ({why}); the API answers {served} requests/s"
        )],
        Load::Known(totals) => {
            let headings = [
                "target/s",
                "achieved/s",
                "API/s",
                "p50",
                "p99",
                "errors",
                "success",
            ];
            let values = vec![
                grouped(totals.target, 0),
                grouped(totals.achieved, 1),
                served,
                format!("{} ms", grouped(milliseconds(totals.p50), 2)),
                format!("{} ms", grouped(milliseconds(totals.p99), 2)),
                grouped(totals.errors as f64, 0),
                format!("{:.2} %", percent(totals.success)),
            ];
            let mut lines = columns(&[headings.map(String::from).to_vec(), values]);
            lines.extend(totals.limits.iter().map(|limit| format!("! {limit}")));
            lines
        }
    }
}

/// The load as one line: `load`, and `name=value` of all that is known.
pub(super) fn load_line(view: &View) -> String {
    let mut line = "load".to_owned();
    let mut member = |name: &str, value: String| line.push_str(&format!(" {name}={value}"));
    match &view.load {
        Load::Off => member("state", "off".into()),
        Load::Unknown(why) => member("state", format!("{why:?}")),
        Load::Known(totals) => {
            member("target", format!("{:.0}", totals.target));
            member("achieved", format!("{:.1}", totals.achieved));
            member("p50_ms", format!("{:.3}", milliseconds(totals.p50)));
            member("p99_ms", format!("{:.3}", milliseconds(totals.p99)));
            member("errors", totals.errors.to_string());
            member("success_percent", format!("{:.2}", percent(totals.success)));
            if !totals.limits.is_empty() {
                member("limits", format!("{:?}", totals.limits.join("; ")));
            }
        }
    }
    if let Some(served) = view.served {
        member("served", format!("{served:.1}"));
    }
    line
}

/// A line for each process: `process`, and `name=value` of all that is known.
pub(super) fn process_lines(view: &View) -> Vec<String> {
    let lines = view.rows.iter().map(|row| {
        let mut line = format!("process name={} pid={}", row.name, row.pid);
        let mut member = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                line.push_str(&format!(" {name}={value}"));
            }
        };
        member(
            "cpu_millicores",
            row.millicores.map(|cores| format!("{cores:.0}")),
        );
        member(
            "memory_mib",
            row.memory
                .map(|bytes| format!("{:.1}", bytes as f64 / MEBIBYTE)),
        );
        member(
            "cpu_us_per_request",
            row.cpu_us.map(|us| format!("{us:.1}")),
        );
        line
    });
    lines.collect()
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn shown<T>(value: Option<T>, format: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

/// The cells in columns: the first to the left, the others, which are numbers, to the right.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            load: Load::Known(Totals {
                target: 1_000.0,
                achieved: 999.95,
                p50: 312_345,
                p99: 12_345_678,
                errors: 12_000,
                success: 0.999_999,
                limits: Vec::new(),
            }),
            served: Some(1_002.04),
            rows: vec![
                Row {
                    name: "master".into(),
                    pid: 7,
                    millicores: None,
                    memory: None,
                    cpu_us: None,
                },
                Row {
                    name: "api".into(),
                    pid: 123_456,
                    millicores: Some(26.6),
                    memory: Some(15_000_000),
                    cpu_us: Some(26.55),
                },
            ],
        }
    }

    #[test]
    fn table_has_aligned_columns() {
        let expected = [
            "target/s  achieved/s    API/s      p50       p99  errors  success",
            "1,000        1,000.0  1,002.0  0.31 ms  12.35 ms  12,000  99.99 %",
            "",
            "process     PID  CPU  memory  CPU µs/request",
            "master        7    -       -               -",
            "api      123456  27m  14.3Mi            26.6",
            "of the last 10 s; 1000m is one core",
        ];
        assert_eq!(table(&view()), expected);
    }

    #[test]
    fn limits_and_missing_load_are_said() {
        let check = |load, served, expected: &[&str]| {
            let view = View {
                load,
                served,
                rows: Vec::new(),
            };
            assert_eq!(totals(&view), expected);
        };
        check(
            Load::Off,
            Some(2.0),
            &["no load; the API answers 2.0 requests/s"],
        );
        check(
            Load::Unknown("no bot answers".into()),
            None,
            &["load: nothing known yet (no bot answers); the API answers - requests/s"],
        );
        let Load::Known(known) = view().load else {
            panic!("it is known")
        };
        let limited = Totals {
            limits: vec!["All workers were busy.".into()],
            ..known
        };
        let lines = totals(&View {
            load: Load::Known(limited),
            ..view()
        });
        assert_eq!(
            lines.last().map(String::as_str),
            Some("! All workers were busy.")
        );
    }

    #[test]
    fn lines_leave_out_what_is_unknown() {
        assert_eq!(
            load_line(&view()),
            "load target=1000 achieved=1000.0 p50_ms=0.312 p99_ms=12.346 errors=12000 \
             success_percent=99.99 served=1002.0"
        );
        assert_eq!(
            process_lines(&view()),
            [
                "process name=master pid=7",
                "process name=api pid=123456 cpu_millicores=27 memory_mib=14.3 \
                 cpu_us_per_request=26.6",
            ]
        );
        let off = View {
            load: Load::Off,
            served: None,
            rows: Vec::new(),
        };
        assert_eq!(load_line(&off), "load state=off");
        let unknown = View {
            load: Load::Unknown("no \"bot\"".into()),
            ..off
        };
        assert_eq!(load_line(&unknown), r#"load state="no \"bot\"""#);
    }
}
