//! `redis-api ramp`: holds one rate after another on the rig, and draws what came of it.
//!
//! ```text
//! test_bed: rig, a bot for each rate -> Window and CPU time -> step: a row
//! rows -> output: lines, ramp.csv; at the end knee and chart -> ramp.svg
//! ```
//!
//! Invariants:
//! - A rate is measured over whole seconds in which it was held; the seconds before are left out.
//! - Each row is in the file as soon as it is measured: whatever ends the ramp, it is kept.
//! - Whatever ends it, nothing that it started is left behind.
//!
//! Non-goals: looking for the knee by itself, more than one bot.

mod chart;
mod counters;
mod error;
mod knee;
mod output;
mod step;
mod test_bed;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hyper::Uri;
use time::OffsetDateTime;
use tokio::runtime::Builder;

use self::chart::About;
pub use self::error::Error;
use self::output::{Output, say};
use self::test_bed::{TestBed, WARM_UP};
use crate::local::{StopSignals, Topology};

/// Which rates, for how long, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests a second, rising.
    pub rates: Vec<u32>,
    /// How long each is measured: whole seconds.
    pub hold: Duration,
    /// The folder for the files; `None`: one named by the time.
    pub output: Option<PathBuf>,
    /// Of the rig.
    pub topology: Topology,
    /// Attacks this instead of a rig.
    pub target_url: Option<Uri>,
    /// The admin port of what is attacked instead of a rig.
    pub admin_url: Option<Uri>,
    /// Connections to the target at most; `None`: the bot's own default.
    pub connections: Option<usize>,
    /// `None`: the one on PATH.
    pub vegeta: Option<PathBuf>,
    /// The server to run as master and replica; `None`: the first on PATH.
    pub redis_server: Option<PathBuf>,
    /// More arguments for every child that is our own binary.
    pub child_args: Vec<String>,
    /// The same for `serve` alone.
    pub serve_args: Vec<String>,
}

/// Holds each rate until all were, or a signal ends it. Must be called on the main thread: the
/// children are killed when the thread that started them ends.
///
/// # Errors
/// See [`Error`]; what was measured by then is written all the same.
pub fn run(options: Options) -> Result<(), Error> {
    let now = OffsetDateTime::from(SystemTime::now());
    let folder = options.output.clone();
    let folder = folder.unwrap_or_else(|| PathBuf::from(format!("ramp-{}", stamp(now, '-'))));
    let mut output = Output::create(&folder)?;
    let system = |what| move |source| Error::System { what, source };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the event loop"))?;
    let outcome = runtime.block_on(async {
        let mut stop = StopSignals::new().map_err(system("listen for signals"))?;
        live(&options, &mut output, &mut stop).await
    });
    // Only readers of pipes are left, whose writers are gone.
    runtime.shutdown_background();
    let finished = output.finish(&about(&options, now));
    outcome.and(finished)
}

async fn live(options: &Options, output: &mut Output, stop: &mut StopSignals) -> Result<(), Error> {
    say(format_args!("Starting."));
    let mut test_bed = tokio::select! {
        test_bed = TestBed::start(options) => test_bed?,
        () = stop.next() => return Ok(()),
    };
    let outcome = tokio::select! {
        outcome = climb(&mut test_bed, options, output) => outcome,
        () = stop.next() => {
            say(format_args!("Stopping."));
            Ok(())
        }
    };
    let stopped = tokio::select! {
        stopped = test_bed.stop() => stopped,
        // A second signal: the children go with us.
        () = stop.next() => Ok(()),
    };
    outcome.and(stopped)
}

async fn climb(
    test_bed: &mut TestBed,
    options: &Options,
    output: &mut Output,
) -> Result<(), Error> {
    if let Some(dashboard) = test_bed.dashboard() {
        say(format_args!(
            "API: {}\nLive: {dashboard}",
            test_bed.api_url()
        ));
    }
    let each = (WARM_UP + options.hold).as_secs();
    let count = options.rates.len();
    let rates = if count == 1 { "rate" } else { "rates" };
    say(format_args!(
        "{count} {rates}, some {} s each, the first {} s not measured. Ctrl-C ends it and keeps \
         what there is.",
        each + 4,
        WARM_UP.as_secs()
    ));
    for &rate in &options.rates {
        output.add(test_bed.hold(rate).await?)?;
    }
    Ok(())
}

fn about(options: &Options, now: OffsetDateTime) -> About {
    let what = match (&options.target_url, options.topology) {
        (Some(url), _) => url.to_string(),
        (None, Topology::Sidekick) => "sidekick: a replica beside the API".to_owned(),
        (None, Topology::Naive) => "naive: the API reads the TLS master".to_owned(),
    };
    About {
        title: format!("redis-api ramp, {what}"),
        subtitle: format!(
            "each rate held {} s after {} s of warm-up; one load bot; redis-api {}; {} UTC",
            options.hold.as_secs(),
            WARM_UP.as_secs(),
            env!("CARGO_PKG_VERSION"),
            stamp(now, ' '),
        ),
    }
}

/// `2026-11-23 09:53:48`, with other signs where file names want them.
fn stamp(now: OffsetDateTime, between: char) -> String {
    let colon = if between == ' ' { ':' } else { '-' };
    let (date, hour, minute, second) = (now.date(), now.hour(), now.minute(), now.second());
    format!("{date}{between}{hour:02}{colon}{minute:02}{colon}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps() {
        let at = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(3_723);
        assert_eq!(stamp(at, ' '), "1970-01-01 01:02:03");
        assert_eq!(stamp(at, '-'), "1970-01-01-01-02-03");
    }
}
