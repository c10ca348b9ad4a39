//! Where the rates are held: the rig, or a bot alone against an API that runs elsewhere.

use std::time::{Duration, SystemTime};

use hyper::Uri;
use tokio::time::{Instant, sleep};

use super::counters::Counters;
use super::step::Step;
use super::{Error, Options};
use crate::client::Client;
use crate::local::rig::Rig;
use crate::local::{self, API, BOT};
use crate::window::Window;

/// Connections are opened and caches filled; longer than the second in which vegeta starts.
pub(super) const WARM_UP: Duration = Duration::from_secs(3);

/// From the end of the hold to a window that covers it: the bot waits out its own time-out (2 s),
/// and counts whole seconds. The rest is for a busy machine.
const WINDOW_TIMEOUT: Duration = Duration::from_secs(15);

/// Between two looks at the bot's window.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// For one answer of the bot.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest window, in bytes: its histogram has some tens of thousands at most.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// All that runs while rates are held.
pub(super) struct TestBed {
    rig: Rig,
    client: Client,
    hold: Duration,
    connections: Option<usize>,
    /// The `/metrics` of the API; `None`: nobody said where.
    metrics: Option<Uri>,
    /// The API and its Redis are children of the rig.
    is_whole: bool,
}

impl TestBed {
    /// Starts all but the load.
    pub async fn start(options: &Options) -> Result<TestBed, Error> {
        let rig = Rig::start(&local::Options {
            topology: options.topology,
            rate: None,
            target_url: options.target_url.as_ref().map(Uri::to_string),
            redis_server: options.redis_server.clone(),
            vegeta: options.vegeta.clone(),
            serve_args: [&options.child_args[..], &options.serve_args].concat(),
            load_args: options.child_args.clone(),
            ..local::Options::default()
        })
        .await?;
        // It fails now rather than after the rig is up for the first rate.
        rig.bot_spec(1)?;
        let is_whole = options.target_url.is_none();
        let metrics = match is_whole {
            true => format!("http://{}/metrics", rig.admin()).parse().ok(),
            false => options.admin_url.as_ref().and_then(metrics_of),
        };
        Ok(TestBed {
            rig,
            client: Client::new(),
            hold: options.hold,
            connections: options.connections,
            metrics,
            is_whole,
        })
    }

    /// The pages that show it live; `None` without a whole rig.
    pub fn dashboard(&self) -> Option<String> {
        let address = self.rig.dashboard();
        self.is_whole.then(|| format!("http://{address}/dashboard"))
    }

    /// The address of the API of the rig.
    pub fn api_url(&self) -> String {
        self.rig.api_url()
    }

    /// Holds one rate, and gives what was measured.
    pub async fn hold(&mut self, rate: u32) -> Result<Step, Error> {
        let mut spec = self.rig.bot_spec(rate)?;
        let mut add = |flag: &str, value: String| {
            spec.args.push(flag.into());
            spec.args.push(value.into());
        };
        add("--window", format!("{}s", self.hold.as_secs()));
        if let Some(connections) = self.connections {
            add("--max-connections", connections.to_string());
        }
        self.rig.spawn(spec).await?;
        self.pass(WARM_UP).await?;
        let (began, before) = (SystemTime::now(), self.counters().await);
        self.pass(self.hold).await?;
        let after = self.counters().await;
        let window = self.window(rate, began).await?;
        self.rig.end(BOT).await;
        let (api, replica) = match (before, after) {
            (Some(before), Some(after)) => before.until(&after),
            _ => (None, None),
        };
        Ok(Step::new(&window, api, replica))
    }

    /// Lets time pass; the end of any child is an error.
    async fn pass(&mut self, duration: Duration) -> Result<(), Error> {
        tokio::select! {
            error = self.rig.failure() => Err(error.into()),
            () = sleep(duration) => Ok(()),
        }
    }

    async fn counters(&self) -> Option<Counters> {
        let mut counters = Counters::ask(&self.client, self.metrics.as_ref()?).await?;
        if self.is_whole {
            // The kernel's, of this moment: the API looks at its server once a second only.
            counters.api_cpu = self.rig.cpu_seconds(API);
            counters.replica_cpu = self.rig.cpu_seconds(self.rig.read_server());
        }
        Some(counters)
    }

    /// The first window of the bot that begins no earlier than the hold did, and is as long.
    async fn window(&mut self, rate: u32, began: SystemTime) -> Result<Window, Error> {
        let uri: Uri = match format!("http://{}/", self.rig.bot()).parse() {
            Ok(uri) => uri,
            Err(_) => return Err(bot(rate, "has no address")),
        };
        let deadline = Instant::now() + WINDOW_TIMEOUT;
        let mut trouble = "had sent nothing when its window was due".to_owned();
        while Instant::now() < deadline {
            let answer = self
                .client
                .ask(uri.clone(), WINDOW_BYTES_MAX, LOOK_TIMEOUT)
                .await;
            match answer {
                Ok(answer) => match serde_json::from_slice::<Window>(&answer.body) {
                    Ok(window) if covers(&window, began, self.hold) => return Ok(window),
                    Ok(window) if is_hopeless(&window) => {
                        return Err(bot(rate, "sends nothing: its vegeta ends at once"));
                    }
                    Ok(_) => {}
                    Err(error) => trouble = format!("gave no window: {error}"),
                },
                Err(error) => trouble = format!("gave no window: {error}"),
            }
            self.pass(LOOK_EVERY).await?;
        }
        Err(bot(rate, &trouble))
    }

    /// Ends everything.
    pub async fn stop(self) -> Result<(), Error> {
        Ok(self.rig.stop().await?)
    }
}

fn bot(rate: u32, trouble: &str) -> Error {
    Error::Bot {
        rate: f64::from(rate),
        trouble: trouble.to_owned(),
    }
}

/// Whether a window begins within the hold and is as long: it then holds nothing of the warm-up.
fn covers(window: &Window, began: SystemTime, hold: Duration) -> bool {
    let is_long = window.generator.window_seconds + 0.5 >= hold.as_secs_f64();
    window.requests > 0 && is_long && window.earliest >= began
}

/// By now vegeta has had the warm-up and the hold to send something.
fn is_hopeless(window: &Window) -> bool {
    window.requests == 0 && window.generator.restarts > 1
}

/// `/metrics` below an address that may or may not say so itself.
fn metrics_of(admin: &Uri) -> Option<Uri> {
    let base = admin.to_string();
    let base = base.trim_end_matches('/').trim_end_matches("/metrics");
    format!("{base}/metrics").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::{Generator, Sample, Tally};

    #[test]
    fn a_window_must_cover_the_hold() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let check = |sent: &[u64], window_seconds: f64, expected: bool| {
            let mut tally = Tally::default();
            for second in sent {
                tally.record(&Sample {
                    sent_ns: second * 1_000_000_000,
                    latency_ns: 1,
                    code: 200,
                    bytes_in: 0,
                    bytes_out: 0,
                    error: "",
                });
            }
            let generator = Generator {
                window_seconds,
                ..Generator::default()
            };
            let window = Window::new(&tally, generator);
            let found = covers(&window, began, Duration::from_secs(10));
            assert_eq!(found, expected, "{sent:?} {window_seconds}");
        };
        check(&[101, 110], 10.0, true);
        check(&[99, 108], 10.0, false);
        check(&[101, 105], 5.0, false);
        check(&[], 10.0, false);
    }

    #[test]
    fn metrics_are_below_the_admin_port() {
        let check = |admin: &str| {
            let found = metrics_of(&admin.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(
                found.as_deref(),
                Some("http://host:9090/metrics"),
                "{admin}"
            );
        };
        check("http://host:9090");
        check("http://host:9090/");
        check("http://host:9090/metrics");
    }
}
