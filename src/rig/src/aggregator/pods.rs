//! The pods of the API: what they say at `/metrics`, and the rates that follow from it.
//!
//! Counters are followed over the last seconds; one that falls was reset (the pod or its Redis was
//! started again) and counts on from 0, as Prometheus has it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::samples::{Sample, samples};
use crate::board::Pod;

/// The longest `/metrics` that is read, in bytes; a pod's has some 10 KB.
pub(super) const METRICS_MAX: usize = 256 * 1024;

/// Rates are over so long: as long as the bots' windows are by default.
const WINDOW: Duration = Duration::from_secs(10);

/// More than any counter or gauge of a pod reaches: sums and rates of what is below stay finite, so
/// that JSON can hold them.
const FIGURE_MAX: f64 = 1e18;

/// How names of the API's own metrics begin. Its address may be another program's by now, which has
/// a CPU time as well.
const OURS: &str = "redis_api_http_";

/// A scrape comes a little late or early: as much more is kept.
const SLACK: Duration = Duration::from_millis(500);

/// One scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Scrape {
    requests: f64,
    cpu_seconds: f64,
    redis_cpu_seconds: Option<f64>,
    connections: f64,
    usable: bool,
    memory_bytes: f64,
}

/// Rising sums since this pod was first seen, at one moment.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Instant,
    requests: f64,
    cpu_seconds: f64,
    /// From the first scrape on that has it, and anew after one that has not.
    redis_cpu_seconds: Option<f64>,
}

/// One pod from scrape to scrape.
#[derive(Debug, Default)]
pub(super) struct Track {
    last: Option<Scrape>,
    points: VecDeque<Point>,
    /// Why the last scrape gave nothing.
    trouble: Option<String>,
}

impl Track {
    /// Takes the text of a pod's `/metrics` in, or why there is none.
    pub fn scraped(&mut self, text: Result<&[u8], String>, now: Instant) {
        match text.and_then(read) {
            Ok(scrape) => {
                self.add(scrape, now);
                self.trouble = None;
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
        while (self.points.front())
            .is_some_and(|point| now.saturating_duration_since(point.at) > WINDOW + SLACK)
        {
            self.points.pop_front();
        }
    }

    fn add(&mut self, scrape: Scrape, now: Instant) {
        let before = self.last.replace(scrape);
        let point = match (before, self.points.back()) {
            (Some(last), Some(point)) => Point {
                at: now,
                requests: point.requests + increase(last.requests, scrape.requests),
                cpu_seconds: point.cpu_seconds + increase(last.cpu_seconds, scrape.cpu_seconds),
                redis_cpu_seconds: match (last.redis_cpu_seconds, scrape.redis_cpu_seconds) {
                    (Some(last), Some(now)) => {
                        Some(point.redis_cpu_seconds.unwrap_or(0.0) + increase(last, now))
                    }
                    (None, Some(_)) => Some(point.redis_cpu_seconds.unwrap_or(0.0)),
                    (_, None) => None,
                },
            },
            _ => Point {
                at: now,
                requests: 0.0,
                cpu_seconds: 0.0,
                redis_cpu_seconds: scrape.redis_cpu_seconds.map(|_| 0.0),
            },
        };
        self.points.push_back(point);
    }

    /// What is shown of it. One in trouble has no figures: the last ones are not true any more.
    pub fn pod(&self, address: &str) -> Pod {
        let mut pod = Pod {
            address: address.to_owned(),
            trouble: self.trouble.clone(),
            requests_per_second: 0.0,
            api_cpu_us: None,
            redis_cpu_us: None,
            api_cores: 0.0,
            redis_cores: None,
            connections: 0,
            usable: false,
            memory_bytes: 0,
        };
        let (None, Some(last), Some(newest)) = (&self.trouble, self.last, self.points.back())
        else {
            return pod;
        };
        pod.connections = last.connections as u64;
        pod.usable = last.usable;
        pod.memory_bytes = last.memory_bytes as u64;
        if let Some(oldest) = self.points.front() {
            let rates = Rates::between(oldest, newest);
            pod.requests_per_second = rates.per_second(rates.requests);
            pod.api_cpu_us = rates.us_per_request(newest.cpu_seconds - oldest.cpu_seconds);
            pod.api_cores = rates.per_second(newest.cpu_seconds - oldest.cpu_seconds);
        }
        // What is said again after it was not counts anew: its sum from before is another one.
        let said = self.points.iter().rev();
        let oldest = said
            .take_while(|point| point.redis_cpu_seconds.is_some())
            .last();
        if let Some(oldest) = oldest
            && let (Some(then), Some(now)) = (oldest.redis_cpu_seconds, newest.redis_cpu_seconds)
        {
            let rates = Rates::between(oldest, newest);
            pod.redis_cpu_us = rates.us_per_request(now - then);
            pod.redis_cores = Some(rates.per_second(now - then));
        }
        pod
    }
}

/// What two points are apart.
struct Rates {
    seconds: f64,
    requests: f64,
}

impl Rates {
    fn between(oldest: &Point, newest: &Point) -> Rates {
        Rates {
            seconds: newest.at.saturating_duration_since(oldest.at).as_secs_f64(),
            requests: newest.requests - oldest.requests,
        }
    }

    fn per_second(&self, amount: f64) -> f64 {
        if self.seconds > 0.0 {
            amount / self.seconds
        } else {
            0.0
        }
    }

    fn us_per_request(&self, cpu_seconds: f64) -> Option<f64> {
        (self.requests > 0.0).then(|| cpu_seconds * 1e6 / self.requests)
    }
}

/// How much a counter rose.
fn increase(before: f64, now: f64) -> f64 {
    if now >= before { now - before } else { now }
}

/// # Errors
/// It is no text of a pod's.
fn read(text: &[u8]) -> Result<Scrape, String> {
    let text = std::str::from_utf8(text).map_err(|_| "/metrics is not valid UTF-8".to_owned())?;
    let mut scrape = Scrape {
        // A server without a replica has none that may not answer.
        usable: true,
        ..Scrape::default()
    };
    let mut cpu = None;
    let mut is_ours = false;
    for sample in samples(text) {
        let sample = sample.map_err(|line| {
            let start: String = line.chars().take(60).collect();
            format!("/metrics has a line that is not a sample: {start:?}")
        })?;
        is_ours |= sample.name.starts_with(OURS);
        let known = take(&mut scrape, &mut cpu, sample);
        if known && !(0.0..=FIGURE_MAX).contains(&sample.value) {
            return Err(format!("/metrics has {} of {}", sample.name, sample.value));
        }
    }
    if !is_ours {
        return Err(format!(
            "/metrics has no {OURS}…: is this a pod of the API?"
        ));
    }
    scrape.cpu_seconds = cpu.ok_or("/metrics has no process_cpu_seconds_total")?;
    Ok(scrape)
}

/// Whether it was one of those that are looked for.
fn take(scrape: &mut Scrape, cpu: &mut Option<f64>, sample: Sample<'_>) -> bool {
    match sample.name {
        "redis_api_http_requests_total" => scrape.requests += sample.value,
        "process_cpu_seconds_total" => *cpu = Some(sample.value),
        "redis_api_redis_cpu_seconds_total" if sample.has("role", "read") => {
            scrape.redis_cpu_seconds = Some(sample.value);
        }
        "redis_api_http_connections" => scrape.connections = sample.value,
        "redis_api_replica_usable" => scrape.usable = sample.value == 1.0,
        "process_resident_memory_bytes" => scrape.memory_bytes = sample.value,
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(requests: u32, cpu: f64, redis_cpu: Option<f64>) -> String {
        let redis_cpu = redis_cpu.map_or(String::new(), |cpu| {
            format!(
                "redis_api_redis_cpu_seconds_total{{role=\"read\"}} {cpu}\n\
                 redis_api_redis_cpu_seconds_total{{role=\"write\"}} 1000\n"
            )
        });
        format!(
            "# TYPE redis_api_http_requests_total counter\n\
             redis_api_http_requests_total{{method=\"GET\",code=\"200\"}} {requests}\n\
             redis_api_http_requests_total{{method=\"GET\",code=\"503\"}} 0\n\
             process_cpu_seconds_total {cpu}\n{redis_cpu}\
             redis_api_http_connections 7\n\
             redis_api_replica_usable 1\n\
             process_resident_memory_bytes 1048576\n"
        )
    }

    fn scraped(texts: &[(u64, String)]) -> Track {
        let start = Instant::now();
        let mut track = Track::default();
        for (second, text) in texts {
            let now = start + Duration::from_secs(*second);
            track.scraped(Ok(text.as_bytes()), now);
        }
        track
    }

    #[test]
    fn rates_are_differences_over_the_window() {
        let pod = scraped(&[
            (0, text(5_000, 1.0, Some(20.0))),
            (1, text(6_000, 1.05, Some(20.0))),
            (2, text(7_000, 1.1, Some(20.06))),
        ])
        .pod("10.0.0.1:9090");
        assert_eq!(pod.trouble, None);
        assert_eq!(pod.requests_per_second, 1_000.0);
        let near = |value: Option<f64>, expected: f64| {
            let value = value.expect("there were requests");
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        };
        near(pod.api_cpu_us, 50.0);
        near(pod.redis_cpu_us, 30.0);
        near(Some(pod.api_cores), 0.05);
        near(pod.redis_cores, 0.03);
        assert_eq!(
            (pod.connections, pod.usable, pod.memory_bytes),
            (7, true, 1 << 20)
        );
    }

    #[test]
    fn what_is_older_than_the_window_is_left_out() {
        let mut texts: Vec<_> = (0..=10).map(|s| (s, text(0, 0.0, None))).collect();
        texts.extend((11..=20).map(|s| (s, text(100 * (s as u32 - 10), 0.0, None))));
        assert_eq!(scraped(&texts).pod("").requests_per_second, 100.0);
    }

    #[test]
    fn a_counter_that_falls_counts_on_from_zero() {
        let pod = scraped(&[
            (0, text(1_000, 50.0, Some(9.0))),
            (1, text(1_100, 50.5, Some(9.5))),
            (2, text(50, 0.25, Some(0.25))),
        ])
        .pod("");
        assert_eq!(pod.requests_per_second, 75.0);
        assert_eq!(pod.api_cores, 0.375);
        assert_eq!(pod.redis_cores, Some(0.375));
    }

    #[test]
    fn cpu_of_redis_counts_from_when_it_is_said() {
        let texts = [
            (0, text(0, 0.0, None)),
            (1, text(100, 0.0, Some(500.0))),
            (2, text(200, 0.0, Some(500.01))),
        ];
        assert_eq!(scraped(&texts[..1]).pod("").redis_cores, None);
        let pod = scraped(&texts).pod("");
        let us = pod.redis_cpu_us.expect("it was said twice");
        assert!((us - 100.0).abs() < 1e-3, "{us}");
    }

    #[test]
    fn cpu_of_redis_counts_anew_after_it_was_not_said() {
        let mut texts = vec![
            (0, text(0, 0.0, Some(500.0))),
            (1, text(100, 0.0, Some(500.5))),
            (2, text(200, 0.0, None)),
        ];
        texts.extend((3..=4).map(|second| {
            let redis_cpu = 510.0 + 0.01 * f64::from(second);
            (u64::from(second), text(100 * second, 0.0, Some(redis_cpu)))
        }));
        // The first scrape has left the window then, and the second one begins it.
        texts.push((11, text(1_100, 0.0, Some(510.11))));
        let pod = scraped(&texts).pod("");
        let us = pod.redis_cpu_us.expect("it was said three times");
        assert!((us - 100.0).abs() < 1e-3, "{us}");
        let cores = pod.redis_cores.expect("the same");
        assert!((cores - 0.01).abs() < 1e-6, "{cores}");
    }

    #[test]
    fn without_requests_none_costs_anything() {
        let pod = scraped(&[(0, text(7, 1.0, Some(1.0))), (1, text(7, 1.5, Some(1.0)))]).pod("");
        assert_eq!((pod.api_cpu_us, pod.redis_cpu_us), (None, None));
        assert_eq!(pod.api_cores, 0.5);
    }

    #[test]
    fn one_in_trouble_says_so_and_has_no_figures() {
        fn check(answer: Result<&str, &str>, words: &str) {
            let mut track = scraped(&[(0, text(0, 0.0, None)), (1, text(9, 0.0, None))]);
            let answer = answer.map(str::as_bytes).map_err(str::to_owned);
            track.scraped(answer, Instant::now());
            let pod = track.pod("a");
            let trouble = pod.trouble.expect(words);
            assert!(trouble.contains(words), "{trouble}");
            assert_eq!((pod.requests_per_second, pod.usable), (0.0, false));
        }
        check(Err("connection refused"), "connection refused");
        check(Ok("Hello World!"), "not a sample: \"Hello World!\"");
        check(Ok("a 1\n"), "is this a pod of the API?");
        check(
            Ok("process_cpu_seconds_total 1\n"),
            "is this a pod of the API?",
        );
        check(
            Ok("redis_api_http_connections 1\n"),
            "no process_cpu_seconds_total",
        );
        check(Ok("process_cpu_seconds_total NaN\n"), "NaN");
        check(Ok("process_cpu_seconds_total -1\n"), "-1");
        check(Ok("process_cpu_seconds_total 1e308\n"), "100000");
    }

    #[test]
    fn figures_stay_finite_whatever_a_pod_says() {
        let full = "redis_api_http_requests_total 1e18\n".repeat(7_000)
            + "process_cpu_seconds_total 1e18\n\
               redis_api_redis_cpu_seconds_total{role=\"read\"} 1e18\n";
        let empty = "redis_api_http_requests_total 1e-300\nprocess_cpu_seconds_total 0\n\
                     redis_api_redis_cpu_seconds_total{role=\"read\"} 0\n";
        let texts = (0..10).map(|second| match second % 2 {
            0 => (second, full.clone()),
            _ => (second, empty.to_owned()),
        });
        let pod = scraped(&texts.collect::<Vec<_>>()).pod("");
        assert_eq!(pod.trouble, None);
        for figure in [pod.api_cpu_us, pod.redis_cpu_us, pod.redis_cores] {
            assert!(figure.is_some_and(f64::is_finite), "{pod:?}");
        }
        assert!(pod.api_cores.is_finite() && pod.requests_per_second.is_finite());
    }
}
