//! Looks at the rig once a second: what the aggregator says of the load, what the API has counted,
//! and what every process uses. Rates are those of the last [`SPAN`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

use super::rig::Rig;
use super::table::{Load, Row, Totals, View};
use super::usage::{self, Process, Usage};
use super::{API, BOT};
use crate::board::Summary;
use crate::client::{Answer, Client};

/// A tick of CPU time is 10 ms: over 10 s it is a thousandth of a core. It is the bot's window too.
const SPAN: Duration = Duration::from_secs(10);

/// For one answer: the next look is a second later.
const DEADLINE: Duration = Duration::from_millis(700);

/// Longest answer, in bytes: a summary holds a histogram, of tens of thousands at most.
const ANSWER_MAX: usize = 1 << 20;

/// With fewer requests within [`SPAN`], the rig's own questions would be most of their CPU time.
const REQUESTS_MIN: f64 = 100.0;

/// What a bot starts: one vegeta that attacks, and one that encodes its results.
const ATTACKERS: usize = 2;

/// Remembers the last looks.
#[derive(Debug)]
pub(super) struct Meter {
    client: Client,
    has_load: bool,
    admin: SocketAddr,
    dashboard: SocketAddr,
    /// Whose CPU time is told per request.
    answering: [&'static str; 2],
    /// What the bot has started; looked for again while it is not all of them.
    attackers: Vec<Process>,
    looks: VecDeque<Reading>,
}

/// One look.
#[derive(Clone, Debug)]
struct Reading {
    at: Instant,
    /// Answered by the API since its start.
    requests: Option<f64>,
    usages: Vec<(Process, Usage)>,
}

impl Meter {
    pub fn new(rig: &Rig, has_load: bool) -> Meter {
        Meter {
            client: Client::new(),
            has_load,
            admin: rig.admin(),
            dashboard: rig.dashboard(),
            answering: [API, rig.read_server()],
            attackers: Vec::new(),
            looks: VecDeque::new(),
        }
    }

    /// Looks at these children of the rig, and at theirs.
    pub async fn look(&mut self, children: Vec<Process>) -> View {
        let (load, requests) = tokio::join!(self.load(), self.requests());
        let usages = self.usages(children);
        let at = Instant::now();
        self.looks.push_back(Reading {
            at,
            requests,
            usages,
        });
        while self.looks.len() > 2 && at.duration_since(self.looks[1].at) >= SPAN {
            self.looks.pop_front();
        }
        let (served, rows) = rates(&self.looks, self.answering);
        View { load, served, rows }
    }

    async fn load(&self) -> Load {
        if !self.has_load {
            return Load::Off;
        }
        let body = match self.ask(self.dashboard, "/summary").await {
            Ok(answer) => answer.body,
            Err(why) => return Load::Unknown(why),
        };
        match serde_json::from_slice::<Summary>(&body) {
            Ok(summary) if summary.bots == 0 => Load::Unknown("no bot answers".into()),
            // A window holds whole seconds whose slowest answers are in.
            Ok(summary) if summary.window.generator.window_seconds == 0.0 => {
                Load::Unknown("the first window is not full yet".into())
            }
            Ok(summary) if summary.window.requests == 0 => {
                Load::Unknown("no request is answered".into())
            }
            Ok(summary) => Load::Known(totals(summary)),
            Err(error) => Load::Unknown(format!("the aggregator's summary can't be read: {error}")),
        }
    }

    async fn requests(&self) -> Option<f64> {
        let answer = self.ask(self.admin, "/metrics").await.ok()?;
        Some(counted(&String::from_utf8_lossy(&answer.body)))
    }

    async fn ask(&self, addr: SocketAddr, path: &str) -> Result<Answer, String> {
        let uri = format!("http://{addr}{path}");
        let uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
        match self.client.ask(uri, ANSWER_MAX, DEADLINE).await {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                Err("the aggregator's first second is not over yet".into())
            }
            Ok(answer) => Err(format!("{path} answers {}", answer.status)),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    fn usages(&mut self, children: Vec<Process>) -> Vec<(Process, Usage)> {
        let used = |process: Process| Some((usage::of(process.pid)?, process));
        let mut usages = Vec::new();
        for child in children {
            let bot = (child.name == BOT).then_some(child.pid);
            usages.extend(used(child));
            let Some(bot) = bot else { continue };
            let mut attackers: Vec<_> = self.attackers.iter().cloned().filter_map(used).collect();
            if attackers.len() < ATTACKERS {
                self.attackers = usage::children(bot);
                attackers = self.attackers.iter().cloned().filter_map(used).collect();
            }
            usages.extend(attackers);
        }
        let usages = usages.into_iter();
        usages.map(|(usage, process)| (process, usage)).collect()
    }
}

fn totals(summary: Summary) -> Totals {
    let window = summary.window;
    let good: u64 = window.status_codes.range(200..400).map(|(_, n)| n).sum();
    Totals {
        target: window.generator.target_rate,
        achieved: window.generator.achieved_rate,
        p50: window.latencies.p50,
        p99: window.latencies.p99,
        errors: window.requests.saturating_sub(good),
        success: window.success,
        limits: summary.generator_limits,
    }
}

/// The requests in the metrics of the API, whatever their method and status.
fn counted(metrics: &str) -> f64 {
    let lines = metrics.lines();
    let samples = lines.filter_map(|line| {
        let labelled = line.strip_prefix("redis_api_http_requests_total{")?;
        labelled.rsplit(' ').next()?.parse::<f64>().ok()
    });
    samples.sum()
}

/// Requests a second, and the processes of the last look, each since the first look that saw it.
fn rates(looks: &VecDeque<Reading>, answering: [&str; 2]) -> (Option<f64>, Vec<Row>) {
    let Some(last) = looks.back() else {
        return (None, Vec::new());
    };
    let first = looks.iter().find(|look| look.requests.is_some());
    let since = |look: &Reading| last.at.duration_since(look.at).as_secs_f64();
    let requests = first.and_then(|look| Some((look, last.requests? - look.requests?)));
    let served = requests
        .filter(|(look, _)| since(look) > 0.0)
        .map(|(look, requests)| requests / since(look));
    let row = |(process, usage): &(Process, Usage)| {
        let before = looks.iter().find_map(|look| {
            let (_, before) = look.usages.iter().find(|(known, _)| known == process)?;
            Some((look, before))
        });
        let used = before
            .map(|(look, before)| (since(look), usage.cpu.saturating_sub(before.cpu)))
            .filter(|(seconds, _)| *seconds > 0.0);
        let cores = used.map(|(seconds, cpu)| cpu.as_secs_f64() / seconds);
        let span = looks.front().map_or(0.0, since);
        let is_enough = |rate: &f64| rate * span >= REQUESTS_MIN;
        let per_request = answering.contains(&process.name.as_str());
        let rate = served.filter(|rate| per_request && is_enough(rate));
        Row {
            name: process.name.clone(),
            pid: process.pid,
            millicores: cores.map(|cores| cores * 1e3),
            memory: Some(usage.memory),
            cpu_us: cores.zip(rate).map(|(cores, rate)| cores * 1e6 / rate),
        }
    };
    (served, last.usages.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, pid: u32) -> Process {
        Process {
            name: name.into(),
            pid,
        }
    }

    fn usage(cpu_ms: u64) -> Usage {
        Usage {
            cpu: Duration::from_millis(cpu_ms),
            memory: 1,
        }
    }

    #[test]
    fn requests_are_added_up() {
        let metrics = "# TYPE redis_api_http_requests_total counter\n\
            redis_api_http_requests_total{method=\"GET\",code=\"200\"} 40\n\
            redis_api_http_requests_total{method=\"POST\",code=\"503\"} 2\n\
            redis_api_http_requests_totals 7\n";
        assert_eq!(counted(metrics), 42.0);
        assert_eq!(counted(""), 0.0);
    }

    #[tokio::test]
    async fn rates_are_those_between_the_looks() {
        let start = Instant::now();
        let look = |seconds, requests, usages: &[(&str, u32, u64)]| Reading {
            at: start + Duration::from_secs(seconds),
            requests,
            usages: usages
                .iter()
                .map(|&(name, pid, cpu)| (process(name, pid), usage(cpu)))
                .collect(),
        };
        let mut looks = VecDeque::from([look(0, Some(100.0), &[("api", 2, 1_000), ("bot", 3, 0)])]);
        let (served, rows) = rates(&looks, ["api", "replica"]);
        assert_eq!(served, None, "one look tells no rate");
        assert_eq!((rows[0].millicores, rows[0].cpu_us), (None, None));

        // 4,000 requests in 4 s, 100 ms of CPU: 25 µs each. Process 4 is new since the second look.
        looks.push_back(look(2, None, &[("api", 2, 1_040), ("new", 4, 500)]));
        looks.push_back(look(
            4,
            Some(4_100.0),
            &[("api", 2, 1_100), ("new", 4, 700)],
        ));
        let (served, rows) = rates(&looks, ["api", "replica"]);
        assert_eq!(served, Some(1_000.0));
        let found: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.pid,
                    row.millicores.map(f64::round),
                    row.cpu_us.map(f64::round),
                )
            })
            .collect();
        assert_eq!(found, [(2, Some(25.0), Some(25.0)), (4, Some(100.0), None)]);
    }

    #[tokio::test]
    async fn few_requests_have_no_cpu_each() {
        let start = Instant::now();
        let looks = [(0, 0.0, 0), (10, 99.0, 1_000)].map(|(seconds, requests, cpu)| Reading {
            at: start + Duration::from_secs(seconds),
            requests: Some(requests),
            usages: vec![(process("api", 2), usage(cpu))],
        });
        let (_, rows) = rates(&looks.into(), ["api", "replica"]);
        assert_eq!(rows[0].cpu_us, None);
        assert_eq!(rows[0].millicores, Some(100.0));
    }
}
