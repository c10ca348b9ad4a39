//! Flags of `local`.

use crate::config::common::{choice, listen, listen_apart, workers};
use crate::config::flag::{Flag, Group, flag};
use crate::config::flags::WORKERS;
use crate::config::parsers;
use crate::config::values::Values;
use redis_api_rig::local::{Options, Topology};

/// The highest rate that can be asked for: a guard against typing errors.
const RATE_MAX: usize = 1_000_000;

/// The programs that a rig runs, here and for `ramp`.
pub(super) const VEGETA: Flag = flag(
    "vegeta",
    "FILE",
    None,
    "The vegeta that the load bot drives",
    "Default: the one on PATH.",
);
pub(super) const REDIS_SERVER: Flag = flag(
    "redis-server",
    "FILE",
    None,
    "The server to run as master and replica",
    "Default: redis-server, else valkey-server, on PATH.",
);

pub(super) const LOCAL: Group = Group {
    heading: "Local",
    flags: &[
        flag(
            "listen",
            "ADDRESS",
            Some("127.0.0.1:8080"),
            "Where the API listens",
            "If the port of the default is taken, a free one is chosen. All else stays on the \
             loopback unless its own flag says otherwise; Redis and the load bot always do.",
        ),
        flag(
            "admin-listen",
            "ADDRESS",
            Some("127.0.0.1:9090"),
            "Where /livez, /readyz and /metrics listen",
            "If the port of the default is taken, a free one is chosen.",
        ),
        flag(
            "dashboard-listen",
            "ADDRESS",
            Some("127.0.0.1:8082"),
            "Where the aggregator serves the dashboard and the currency page",
            "If the port of the default is taken, a free one is chosen.",
        ),
        flag(
            "topology",
            "NAME",
            Some("sidekick"),
            "sidekick: a replica beside the API answers reads; naive: the master does",
            "naive has no replica: the API reads and writes the TLS master, as every pod did \
             before there were sidekicks.",
        ),
        flag(
            "rate",
            "N",
            Some("1000"),
            "Requests a second that the load bot sends",
            "One bot of the cluster sends as many.",
        ),
        flag(
            "no-load",
            "",
            None,
            "No load bot",
            "The dashboard then shows that no bot answers. There is none either where there is no \
             vegeta.",
        ),
        VEGETA,
        WORKERS,
        REDIS_SERVER,
    ],
};

/// The form of a rig.
pub(super) fn topology(values: &mut Values<'_>) -> Option<Topology> {
    let topologies = [("sidekick", Topology::Sidekick), ("naive", Topology::Naive)];
    choice(values, "topology", &topologies)
}

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let api = listen(values, "listen");
    let admin = listen_apart(values, "admin-listen", &[("listen", api)]);
    let others = [("listen", api), ("admin-listen", admin)];
    let dashboard = listen_apart(values, "dashboard-listen", &others);
    let topology = topology(values);
    let rate = values.parsed("rate", |text| parsers::count(text, 1..=RATE_MAX));
    let no_load = values.boolean("no-load").unwrap_or(false);
    let vegeta = values.path("vegeta").flatten();
    let workers = workers(values).map(|workers| format!("--workers={workers}"));
    let redis_server = values.path("redis-server").flatten();

    let rate = u32::try_from(rate?).ok();
    Some(Options {
        listen: api?.address,
        admin_listen: admin?.address,
        dashboard_listen: dashboard?.address,
        topology: topology?,
        rate: rate.filter(|_| !no_load),
        target_url: None,
        redis_server,
        vegeta,
        serve_args: workers.into_iter().collect(),
        load_args: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::run;
    use crate::config::{Command, Exit, rig};

    fn local(flags: &[&str], environment: &[(&str, &str)]) -> Result<Options, Exit> {
        let args = [&["local"], flags].concat();
        match run(&args, environment)?.command {
            Command::Rig(command) => match *command {
                rig::Command::Local(options) => Ok(options),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_and_variables_reach_the_options() {
        let local = local(
            &["--redis-server=/opt/valkey", "--rate=5000"],
            &[("LISTEN", ":1"), ("REDIS_API_TOPOLOGY", "naive")],
        )
        .expect("is right");
        assert_eq!(local.listen.to_string(), "[::]:1");
        assert_eq!(local.admin_listen.to_string(), "127.0.0.1:9090");
        assert_eq!(local.dashboard_listen.to_string(), "127.0.0.1:8082");
        assert_eq!(local.topology, Topology::Naive);
        assert_eq!(local.rate, Some(5_000));
        assert_eq!(local.redis_server, Some("/opt/valkey".into()));
    }

    #[test]
    fn load_can_be_left_out() {
        let local = local(&["--no-load"], &[]).expect("is right");
        assert_eq!((local.topology, local.rate), (Topology::Sidekick, None));
    }

    #[test]
    fn no_address_is_given_twice() {
        let exit = local(&["--dashboard-listen=127.0.0.1:9090"], &[]).expect_err("it is taken");
        let expected = "--admin-listen and --dashboard-listen: both are 127.0.0.1:9090";
        assert!(exit.text.contains(expected), "{}", exit.text);
    }
}
