//! What was measured at one rate, and its row in the file: pure.

use serde::Serialize;

use crate::rate::RateFault;
use crate::window::Window;

/// A row of `ramp.csv`; the names of its members are the columns. Empty: not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// Requests a second that were to be sent.
    pub target_rate: f64,
    /// Requests a second that were sent.
    pub achieved_rate: f64,
    /// The share of good answers, 0 to 1.
    pub success: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// CPU time by the requests that the API counted.
    pub api_cpu_us_per_request: Option<f64>,
    /// The same of the server that answers its reads.
    pub replica_cpu_us_per_request: Option<f64>,
    /// A core in use is 1,000.
    pub api_millicores: Option<f64>,
    pub replica_millicores: Option<f64>,
    /// The load was not what was asked for: the latencies are not those of an open loop.
    pub generator_limited: bool,
    /// All workers of the generator waited for answers at some time.
    pub workers_capped: bool,
    pub requests: u64,
    pub errors: u64,
    /// How many of each kind, the most frequent first.
    pub error_kinds: String,
}

/// CPU time used while requests were answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpu {
    pub seconds: f64,
    /// Requests that the API counted in this time.
    pub requests: f64,
    /// The time, in seconds.
    pub elapsed: f64,
}

impl Cpu {
    fn us_per_request(self) -> Option<f64> {
        (self.requests > 0.0).then(|| rounded(self.seconds * 1e6 / self.requests, 2))
    }

    fn millicores(self) -> Option<f64> {
        (self.elapsed > 0.0).then(|| rounded(self.seconds * 1e3 / self.elapsed, 1))
    }
}

impl Step {
    /// The row of a window, and of the CPU time of the API and of the server it reads from.
    pub fn new(window: &Window, api: Option<Cpu>, replica: Option<Cpu>) -> Step {
        let generator = &window.generator;
        let us = |ns: u64| rounded(ns as f64 / 1e3, 1);
        let mut kinds: Vec<(&str, u64)> = window
            .error_counts
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let texts: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} x {kind}"))
            .collect();
        let (target, achieved) = (generator.target_rate, generator.achieved_rate);
        let fault = RateFault::of(target, achieved, generator.behind_rate);
        Step {
            target_rate: generator.target_rate,
            achieved_rate: rounded(generator.achieved_rate, 1),
            success: rounded(window.success, 6),
            p50_us: us(window.latencies.p50),
            p90_us: us(window.latencies.p90),
            p99_us: us(window.latencies.p99),
            p999_us: us(window.latencies.p999),
            max_us: us(window.latencies.max),
            api_cpu_us_per_request: api.and_then(Cpu::us_per_request),
            replica_cpu_us_per_request: replica.and_then(Cpu::us_per_request),
            api_millicores: api.and_then(Cpu::millicores),
            replica_millicores: replica.and_then(Cpu::millicores),
            generator_limited: fault.is_some() || generator.workers_capped,
            workers_capped: generator.workers_capped,
            requests: window.requests,
            errors: kinds.iter().map(|(_, count)| count).sum(),
            error_kinds: texts.join("; "),
        }
    }
}

/// With so many decimals: more are noise, and make the file hard to read.
fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// The whole file. RFC 4180, but for the line ends, which are LF.
///
/// # Errors
/// None is known: the columns are the same in every row, and memory takes all of them.
pub fn to_csv(steps: &[Step]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for step in steps {
        writer.serialize(step)?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Generator, Sample, Tally};

    fn window(target_rate: f64, achieved_rate: f64, workers_capped: bool) -> Window {
        let mut tally = Tally::default();
        for n in 0..10 {
            tally.record(&Sample {
                sent_ns: 1_000_000_000 + n,
                latency_ns: 1_500_000,
                code: if n < 7 { 200 } else { 503 },
                bytes_in: 16,
                bytes_out: 0,
                error: match n {
                    0..7 => "",
                    7 => "a, \"b\"",
                    _ => "503 Service Unavailable",
                },
            });
        }
        let generator = Generator {
            target_rate,
            achieved_rate,
            workers_capped,
            ..Generator::default()
        };
        Window::new(&tally, generator)
    }

    #[test]
    fn a_window_becomes_a_row() {
        let api = Cpu {
            seconds: 0.5,
            requests: 1_000.0,
            elapsed: 10.0,
        };
        let step = Step::new(&window(1000.0, 999.96, false), Some(api), None);
        assert_eq!((step.target_rate, step.achieved_rate), (1000.0, 1000.0));
        assert_eq!(
            (step.success, step.p50_us, step.max_us),
            (0.7, 1500.0, 1500.0)
        );
        assert_eq!(step.api_cpu_us_per_request, Some(500.0));
        assert_eq!(step.api_millicores, Some(50.0));
        assert_eq!(step.replica_cpu_us_per_request, None);
        assert_eq!((step.requests, step.errors), (10, 3));
        assert_eq!(
            step.error_kinds,
            "2 x 503 Service Unavailable; 1 x a, \"b\""
        );
        assert!(!step.generator_limited);
    }

    #[test]
    fn load_that_was_not_what_was_asked_for() {
        let check = |achieved, behind, capped, expected| {
            let mut window = window(1000.0, achieved, capped);
            window.generator.behind_rate = behind;
            let step = Step::new(&window, None, None);
            assert_eq!(
                step.generator_limited, expected,
                "{achieved} {behind} {capped}"
            );
        };
        check(1000.0, 0.0, false, false);
        check(980.0, 0.0, false, false);
        check(979.0, 0.0, false, true);
        check(1020.0, 0.0, false, false);
        check(1021.0, 0.0, false, true);
        check(1000.0, 20.0, false, false);
        check(1000.0, 21.0, false, true);
        check(1000.0, 0.0, true, true);
    }

    #[test]
    fn no_requests_have_no_cost() {
        let none = Cpu {
            seconds: 0.5,
            requests: 0.0,
            elapsed: 0.0,
        };
        assert_eq!((none.us_per_request(), none.millicores()), (None, None));
    }

    #[test]
    fn the_file_has_a_head_and_a_row_for_each_step() {
        let mut step = Step::new(&window(1000.0, 999.9, false), None, None);
        step.replica_millicores = Some(12.5);
        let text = String::from_utf8(to_csv(&[step.clone(), step]).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "target_rate,achieved_rate,success,p50_us,p90_us,p99_us,p999_us,max_us,\
             api_cpu_us_per_request,replica_cpu_us_per_request,api_millicores,replica_millicores,\
             generator_limited,workers_capped,requests,errors,error_kinds"
        );
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            "1000.0,999.9,0.7,1500.0,1500.0,1500.0,1500.0,1500.0,,,,12.5,false,false,10,3,\
             \"2 x 503 Service Unavailable; 1 x a, \"\"b\"\"\""
        );
        assert_eq!(to_csv(&[]).unwrap(), b"");
    }
}
