//! Flags of `ramp`.

use std::time::Duration;

use super::local::{REDIS_SERVER, VEGETA, topology};
use super::url;
use crate::config::common::workers;
use crate::config::flag::{Group, flag, list};
use crate::config::flags::WORKERS;
use crate::config::parsers::{self, Expected};
use crate::config::values::Values;
use redis_api_rig::ramp::Options;

/// The highest rate that can be asked for: a guard against typing errors.
const RATE_MAX: u32 = 1_000_000;

/// More than anybody waits for.
const RATES_MAX: usize = 100;

/// As long a window as a bot keeps.
const HOLD_MAX_SECONDS: u64 = 60;

pub(super) const RAMP: Group = Group {
    heading: "Ramp",
    flags: &[
        list(flag(
            "rates",
            "RATES",
            Some("1000,2000,4000,8000,16000"),
            "The rates to hold, in requests a second, rising, comma-separated",
            "The lowest should be easy for the API: the p99 there is what the others are compared \
             with.",
        )),
        flag(
            "hold",
            "DURATION",
            Some("10s"),
            "How long each rate is measured: whole seconds, 1s to 60s",
            "A warm-up of 3 s before it is not measured. Under 10s a p99 of a low rate hangs on a \
             few requests.",
        ),
        flag(
            "output",
            "FOLDER",
            None,
            "Where ramp.csv and ramp.svg are written; made if it is not there",
            "Default: ramp- and the time (UTC), in the current folder. Files of the same names are \
             replaced.",
        ),
        flag(
            "topology",
            "NAME",
            Some("sidekick"),
            "Of the rig: sidekick: a replica beside the API answers reads; naive: the master does",
            "Run it once with each to compare them.",
        ),
        flag(
            "target-url",
            "URL",
            None,
            "Attack this address instead of a rig",
            "For an API that runs elsewhere: no Redis and no API are started.",
        ),
        flag(
            "admin-url",
            "URL",
            None,
            "The admin port of the API at --target-url, such as http://localhost:9090",
            "Its /metrics tell the CPU time: of that one process, and of the Redis it reads from \
             to about a second. Without it those columns are empty.",
        ),
        flag(
            "connections",
            "N",
            None,
            "Connections of the load bot, at most",
            "Default: that of vegetaserver --max-connections.",
        ),
        VEGETA,
        WORKERS,
        REDIS_SERVER,
    ],
};

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let rates = values.parsed("rates", rates);
    let hold = values.parsed("hold", hold);
    let output = values.path("output").flatten();
    let topology = topology(values);
    let target_url = url::optional(values, "target-url");
    let admin_url = url::optional(values, "admin-url");
    if let (Some(None), Some(Some(_))) = (&target_url, &admin_url) {
        let error = "--admin-url goes with --target-url: the rig knows its own admin port";
        values.errors.push(error.to_owned());
    }
    let connections = match values.given("connections") {
        Some(_) => Some(values.parsed("connections", |text| parsers::count(text, 1..=1 << 16))?),
        None => None,
    };
    let vegeta = values.path("vegeta").flatten();
    let workers = workers(values).map(|workers| format!("--workers={workers}"));
    let redis_server = values.path("redis-server").flatten();
    Some(Options {
        rates: rates?,
        hold: hold?,
        output,
        topology: topology?,
        target_url: target_url?,
        admin_url: admin_url?,
        connections,
        vegeta,
        redis_server,
        // Only what goes wrong is worth a line among those of the table.
        child_args: vec!["--log-level=warn".to_owned()],
        serve_args: workers.into_iter().collect(),
    })
}

fn rates(text: &str) -> Result<Vec<u32>, Expected> {
    let expected = || {
        format!(
            "up to {RATES_MAX} whole numbers from 1 to {RATE_MAX}, rising, such as 1000,2000,4000"
        )
    };
    let rates = text.split(',').map(|rate| {
        let rate = parsers::count(rate.trim(), 1..=RATE_MAX as usize).ok()?;
        u32::try_from(rate).ok()
    });
    let rates: Vec<u32> = rates.collect::<Option<_>>().ok_or_else(expected)?;
    let is_rising = rates.is_sorted_by(|one, next| one < next);
    match is_rising && rates.len() <= RATES_MAX {
        true => Ok(rates),
        false => Err(expected()),
    }
}

fn hold(text: &str) -> Result<Duration, Expected> {
    let hold = parsers::duration(text).ok();
    let is_whole = |hold: &Duration| {
        hold.subsec_nanos() == 0 && (1..=HOLD_MAX_SECONDS).contains(&hold.as_secs())
    };
    hold.filter(is_whole)
        .ok_or_else(|| format!("whole seconds from 1s to {HOLD_MAX_SECONDS}s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise() {
        let check = |text: &str, expected: Option<&[u32]>| {
            assert_eq!(rates(text).ok().as_deref(), expected, "{text:?}");
        };
        check("1000", Some(&[1000]));
        check("50, 100,200", Some(&[50, 100, 200]));
        for wrong in [
            "", "0", "100,", "200,100", "100,100", "1e3", "-1", "1000001", "x",
        ] {
            check(wrong, None);
        }
        let many = (1..=101).map(|n| n.to_string()).collect::<Vec<_>>();
        check(&many.join(","), None);
    }

    #[test]
    fn holds_are_whole_seconds() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(
                hold(text).ok(),
                seconds.map(Duration::from_secs),
                "{text:?}"
            );
        };
        check("10s", Some(10));
        check("1m", Some(60));
        check("2000ms", Some(2));
        for wrong in ["0s", "1500ms", "61s", "10", "x"] {
            check(wrong, None);
        }
    }
}
