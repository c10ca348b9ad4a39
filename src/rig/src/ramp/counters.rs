//! What the API and the server it reads from have counted, from the API's `/metrics`.

use std::time::Duration;

use hyper::Uri;
use tokio::time::Instant;

use super::step::Cpu;
use crate::client::Client;

/// For one answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// Longest answer, in bytes; the API's are some 20 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Counted since the start of each process, at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counters {
    pub at: Instant,
    /// That the API has answered, whatever the status.
    pub requests: f64,
    /// CPU time in seconds; `None`: not told.
    pub api_cpu: Option<f64>,
    /// The same of the server that answers the API's reads, as the API last saw it: a second ago
    /// at most.
    pub replica_cpu: Option<f64>,
}

impl Counters {
    /// Asks the API's admin port; `None` where there is no answer of use.
    pub async fn ask(client: &Client, metrics: &Uri) -> Option<Counters> {
        let answer = client.ask(metrics.clone(), ANSWER_BYTES_MAX, DEADLINE);
        match answer.await {
            Ok(answer) if answer.status.is_success() => {
                let text = String::from_utf8_lossy(&answer.body);
                Some(Counters::read(&text, Instant::now()))
            }
            Ok(answer) => {
                tracing::warn!("GET {metrics}: {}; no CPU time here", answer.status);
                None
            }
            Err(error) => {
                tracing::warn!("GET {metrics}: {error}; no CPU time here");
                None
            }
        }
    }

    fn read(metrics: &str, at: Instant) -> Counters {
        let first = |name| samples(metrics, name).next();
        Counters {
            at,
            requests: samples(metrics, "redis_api_http_requests_total{").sum(),
            api_cpu: first("process_cpu_seconds_total "),
            replica_cpu: first("redis_api_redis_cpu_seconds_total{role=\"read\"}"),
        }
    }

    /// What the API used from then to `later`, and what its server did.
    pub fn until(&self, later: &Counters) -> (Option<Cpu>, Option<Cpu>) {
        let cpu = |from: Option<f64>, to: Option<f64>| {
            let seconds = to? - from?;
            let requests = later.requests - self.requests;
            // A counter that went back belongs to another process.
            (seconds >= 0.0 && requests >= 0.0).then(|| Cpu {
                seconds,
                requests,
                elapsed: later.at.duration_since(self.at).as_secs_f64(),
            })
        };
        (
            cpu(self.api_cpu, later.api_cpu),
            cpu(self.replica_cpu, later.replica_cpu),
        )
    }
}

/// The values of the samples whose lines begin so.
fn samples<'a>(metrics: &'a str, begin: &'a str) -> impl Iterator<Item = f64> + 'a {
    let lines = metrics.lines().filter(move |line| line.starts_with(begin));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP process_cpu_seconds_total User and system CPU time spent.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 2.5
redis_api_http_requests_total{method=\"GET\",code=\"200\"} 900
redis_api_http_requests_total{method=\"POST\",code=\"503\"} 100
redis_api_redis_cpu_seconds_total{role=\"read\"} 1.25
redis_api_redis_cpu_seconds_total{role=\"write\"} 77
";

    #[test]
    fn counters_are_those_of_the_api_and_its_read_side() {
        let at = Instant::now();
        let counters = Counters::read(TEXT, at);
        assert_eq!(counters.requests, 1_000.0);
        assert_eq!(counters.api_cpu, Some(2.5));
        assert_eq!(counters.replica_cpu, Some(1.25));
        let none = Counters::read("", at);
        assert_eq!((none.requests, none.api_cpu), (0.0, None));
    }

    #[test]
    fn a_span_is_what_was_added_to_them() {
        let at = Instant::now();
        let before = Counters::read(TEXT, at);
        let after = Counters {
            at: at + Duration::from_secs(10),
            requests: 3_000.0,
            api_cpu: Some(3.5),
            replica_cpu: None,
        };
        let cpu = Cpu {
            seconds: 1.0,
            requests: 2_000.0,
            elapsed: 10.0,
        };
        assert_eq!(before.until(&after), (Some(cpu), None));
        // The API was started again meanwhile.
        assert_eq!(after.until(&before).0, None);
    }
}
