//! Flags of `vegetaserver`.

use std::ffi::OsString;

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use url::Url;

use crate::config::common::listen;
use crate::config::flag::{Group, flag, list};
use crate::config::parsers::{self, Expected};
use crate::config::values::Values;
use redis_api_rig::bot::{Attack, Body, Options, Rate, Target};

/// What vegeta's rates are made of: at most three decimals.
const DECIMALS: usize = 3;
const PER_SECONDS: u64 = 1_000;

/// Requests a second that no single vegeta comes near to: a guard against typing errors.
const RATE_MAX: u64 = 1_000_000;

/// Seconds of the window. Each takes 150 KB, and an answer adds all of them up.
const WINDOW_MAX: u64 = 60;

/// A longer `--timeout` would show the window too late.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) const VEGETASERVER: Group = Group {
    heading: "Attack",
    flags: &[
        flag(
            "target-url",
            "URL",
            None,
            "What to attack: http://HOST[:PORT]/PATH or https://…; required",
            "Redirects are followed, as vegeta does.",
        ),
        flag(
            "attack-rate",
            "N",
            Some("1000"),
            "Requests a second, up to three decimals",
            "They are sent by plan, whether or not answers come (an open loop), up to the limits \
             below.",
        ),
        flag(
            "method",
            "METHOD",
            Some("GET"),
            "Method of the requests",
            "Any name that HTTP allows.",
        ),
        list(flag(
            "header",
            "NAME: VALUE",
            None,
            "A header of the requests; may be given several times",
            "Shows in `ps` when given as a flag: for a secret prefer the variable, which takes one \
             header a line. Values are never logged.",
        )),
        flag(
            "body",
            "TEXT",
            None,
            "Body of the requests",
            "Without it and --body-file: none. Give the Content-Type by --header.",
        ),
        flag(
            "body-file",
            "FILE",
            None,
            "File with the body of the requests, up to 16 MiB",
            "Read once, at the start.",
        ),
        flag(
            "timeout",
            "DURATION",
            Some("2s"),
            "The whole time of a request; at most 60s",
            "The window ends as long before now, so that late answers are in: longer shows later.",
        ),
        flag(
            "keep-alive",
            "BOOL",
            Some("true"),
            "Use a connection for many requests: true or false",
            "Without it, ports run out at some 500 requests a second to one address.",
        ),
        flag(
            "max-connections",
            "N",
            Some("256"),
            "Connections to the target; 0: without limit",
            "Enough for any rate that one bot reaches. What waits for a connection counts as \
             latency.",
        ),
        flag(
            "connections",
            "N",
            None,
            "Idle connections kept",
            "Default: as --max-connections, so that none is closed only to be opened again.",
        ),
        flag(
            "attack-workers",
            "N",
            Some("64"),
            "Requests in flight that vegeta is ready for at the start",
            "More are added as they are needed.",
        ),
        flag(
            "max-attack-workers",
            "N",
            Some("4096"),
            "Requests in flight at most",
            "A target that stalls for --timeout at 2,000 requests a second needs as many. When all \
             are busy, requests are sent late and latencies come out too low: workers_capped says \
             so.",
        ),
        flag(
            "dns-ttl",
            "DURATION",
            Some("5s"),
            "How long the target's addresses are kept; 0s: for ever",
            "Only new connections look.",
        ),
        flag(
            "name",
            "NAME",
            Some("vegetaserver"),
            "Sent with each request as X-Vegeta-Attack",
            "Tells bots apart in the target's log; give the pod's name.",
        ),
        flag(
            "vegeta",
            "FILE",
            Some("vegeta"),
            "The vegeta to run; a name without a slash is looked for on PATH",
            "`make setup` installs one.",
        ),
    ],
};

pub(super) const WINDOW: Group = Group {
    heading: "Window",
    flags: &[
        flag(
            "window",
            "DURATION",
            Some("10s"),
            "Whole seconds that the window covers, 1s to 60s",
            "Long enough for a steady p99 at 1,000 requests a second, short enough to see a \
             change.",
        ),
        flag(
            "listen",
            "ADDRESS",
            Some("[::]:8081"),
            "Where its window is served",
            "Dual stack; 0.0.0.0 where there is no IPv6.",
        ),
    ],
};

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let target = target(values);
    let attack = attack(values);
    let vegeta = values.parsed("vegeta", |text| match text {
        "" => Err("the path or the name of a vegeta".into()),
        text => Ok(text.into()),
    });
    let window = values.parsed("window", window);
    let listen = listen(values, "listen");
    let listen = listen?;
    Some(Options {
        listen: listen.address,
        listen_defaulted: listen.defaulted,
        vegeta: vegeta?,
        target: target?,
        attack: attack?,
        window: window?,
    })
}

fn attack(values: &mut Values<'_>) -> Option<Attack> {
    let rate = values.parsed("attack-rate", rate);
    let timeout = values.parsed("timeout", |text| match parsers::positive_duration(text)? {
        long if long > TIMEOUT_MAX => Err("a duration of at most 60s".into()),
        timeout => Ok(timeout),
    });
    let keep_alive = values.boolean("keep-alive");
    // Bounds against typing errors, as for all counts.
    let max_connections =
        values.parsed("max-connections", |text| parsers::count(text, 0..=1 << 20));
    let connections = values.parsed("connections", |text| parsers::count(text, 1..=1 << 20));
    let workers = values.parsed("attack-workers", |text| parsers::count(text, 1..=1 << 20));
    let max_workers = values.parsed("max-attack-workers", |text| {
        parsers::count(text, 1..=1 << 20)
    });
    let dns_ttl = values.parsed("dns-ttl", parsers::duration);
    let name = values.parsed("name", name);
    Some(Attack {
        rate: rate?,
        timeout: timeout?,
        connections,
        max_connections: max_connections?,
        // vegeta itself starts no more than the most.
        workers: workers?,
        max_workers: max_workers?,
        keep_alive: keep_alive?,
        dns_ttl: dns_ttl?,
        name: name?,
    })
}

/// Everything of it may hold a secret, so none of it is shown.
fn target(values: &mut Values<'_>) -> Option<Target> {
    let url = url(values);
    let method = values.parsed("method", |text| {
        Method::from_bytes(text.as_bytes()).map_err(|_| "a method, such as GET or POST".into())
    });
    let headers = headers(values);
    let body = body(values);
    Some(Target {
        url: url?,
        method: method?,
        headers,
        body: body?,
    })
}

fn url(values: &mut Values<'_>) -> Option<Url> {
    const EXPECTED: &str = "http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH";
    let name = values.given("target-url").map(|given| given.name);
    let text = values.hidden_text("target-url").flatten();
    let Some(text) = text else {
        let name = name.unwrap_or_else(|| "--target-url".into());
        let missing = format!("{name}: is required: what to attack, as {EXPECTED}");
        // What is not valid UTF-8 has been told of already.
        if !values.errors.iter().any(|error| error.starts_with(&name)) {
            values.errors.push(missing);
        }
        return None;
    };
    let url = Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if url.is_none() {
        values.errors.push(format!(
            "{}: is not valid (value not shown); expected {EXPECTED}",
            name.unwrap_or_default()
        ));
    }
    url
}

fn headers(values: &mut Values<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let (flag, texts) = hidden_texts(values, "header");
    let mut headers = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match header(text) {
            Some(header) => headers.push(header),
            None => values.errors.push(format!(
                "{flag}: number {} is not valid (value not shown); expected `Name: value`",
                index + 1
            )),
        }
    }
    headers
}

fn header(text: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = text.split_once(':')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let mut value = HeaderValue::from_bytes(value.trim().as_bytes()).ok()?;
    // Hides it from `Debug`.
    value.set_sensitive(true);
    Some((name, value))
}

fn body(values: &mut Values<'_>) -> Option<Body> {
    let text = values.hidden_text("body");
    let file = values.path("body-file").flatten();
    match (text.flatten(), file) {
        (None, None) => Some(Body::Empty),
        (Some(text), None) => Some(Body::Text(text)),
        (None, Some(file)) => Some(Body::File(file)),
        (Some(_), Some(_)) => {
            let names =
                ["body", "body-file"].map(|flag| values.given(flag).map(|given| given.name));
            let [body, file] = names.map(Option::unwrap_or_default);
            values
                .errors
                .push(format!("{body} and {file}: both are given; give one"));
            None
        }
    }
}

/// A decimal number above zero, as the fraction that vegeta takes.
fn rate(text: &str) -> Result<Rate, Expected> {
    let expected =
        || format!("requests a second, above 0 and up to {RATE_MAX}, such as 1000, 2.5 or 0.001");
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(decimals) || decimals.len() > DECIMALS {
        return Err(expected());
    }
    let whole: u64 = whole.parse().map_err(|_| expected())?;
    let thousandths: u64 = format!("{decimals:0<DECIMALS$}")
        .parse()
        .map_err(|_| expected())?;
    let count = whole
        .checked_mul(PER_SECONDS)
        .and_then(|count| count.checked_add(thousandths))
        .filter(|count| (1..=RATE_MAX * PER_SECONDS).contains(count))
        .ok_or_else(expected)?;
    // The shortest period: vegeta makes up for lost time by whole periods.
    let divisor = greatest_common_divisor(count, PER_SECONDS);
    Ok(Rate {
        count: count / divisor,
        per_seconds: PER_SECONDS / divisor,
    })
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

fn window(text: &str) -> Result<Duration, Expected> {
    let window = parsers::positive_duration(text)?;
    let is_whole = window.subsec_nanos() == 0;
    match is_whole && window.as_secs() <= WINDOW_MAX {
        true => Ok(window),
        false => Err(format!("whole seconds from 1s to {WINDOW_MAX}s")),
    }
}

/// It becomes the value of a header.
fn name(text: &str) -> Result<String, Expected> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match (1..=253).contains(&text.len()) && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("up to 253 letters, digits, dots, hyphens and underscores".into()),
    }
}

/// Each value of a flag that repeats and may hold commas, else each line of its variable, and
/// its name as the user knows it. What is not valid UTF-8 is an error, without the value.
fn hidden_texts(values: &mut Values<'_>, flag: &str) -> (String, Vec<String>) {
    let given: Option<(String, Vec<OsString>)> = match values.flag_values(flag) {
        Some(texts) => Some((format!("--{flag}"), texts)),
        None => values
            .given(flag)
            .map(|given| (given.name, vec![given.text])),
    };
    let Some((name, texts)) = given else {
        return (format!("--{flag}"), Vec::new());
    };
    let mut lines = Vec::new();
    for text in texts {
        match text.into_string() {
            // A flag's value is one line: where it is not, it is refused with the value.
            Ok(text) if name.starts_with("--") => lines.push(text),
            Ok(text) => lines.extend(
                text.lines()
                    .filter(|line| !line.trim().is_empty())
                    .map(str::to_owned),
            ),
            Err(_) => values
                .errors
                .push(format!("{name}: is not valid UTF-8 (value not shown)")),
        }
    }
    (name, lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Command, rig};

    fn run(args: &[&str], environment: &[(&str, &str)]) -> Result<Options, String> {
        let args = [&["vegetaserver"], args].concat();
        match config::tests::run(&args, environment).map(|found| found.command) {
            Ok(Command::Rig(command)) => match *command {
                rig::Command::VegetaServer(options) => Ok(options),
                other => panic!("{other:?}"),
            },
            Ok(other) => panic!("{other:?}"),
            Err(exit) => Err(exit.text),
        }
    }

    #[test]
    fn rates() {
        let check = |text: &str, expected: Option<(u64, u64)>| {
            let found = rate(text).ok().map(|rate| (rate.count, rate.per_seconds));
            assert_eq!(found, expected, "{text:?}");
        };
        check("1000", Some((1000, 1)));
        check("1", Some((1, 1)));
        check("2.5", Some((5, 2)));
        check("0.001", Some((1, 1000)));
        check("7.125", Some((57, 8)));
        check("10.0", Some((10, 1)));
        check("1000000", Some((1_000_000, 1)));
        for wrong in [
            "",
            "0",
            "0.0",
            "-1",
            "+1",
            "infinity",
            "inf",
            "NaN",
            "1e3",
            "1.",
            ".5",
            "1.2345",
            "0.0001",
            "1/1s",
            "1 ",
            "1000000.001",
            "99999999999999999999",
            "١",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn defaults() {
        let options = run(&["--target-url=http://h"], &[]).expect("it is enough");
        assert_eq!(options.target.url.as_str(), "http://h/");
        assert_eq!(options.target.method, Method::GET);
        assert!(options.target.headers.is_empty() && options.target.body == Body::Empty);
        assert_eq!(options.attack.rate.per_second(), 1000.0);
        assert_eq!(options.attack.timeout, Duration::from_secs(2));
        assert_eq!(options.attack.max_connections, 256);
        assert_eq!(options.attack.connections, None);
        assert_eq!(
            (options.attack.workers, options.attack.max_workers),
            (64, 4096)
        );
        assert!(options.attack.keep_alive);
        assert_eq!(options.attack.dns_ttl, Duration::from_secs(5));
        assert_eq!(options.attack.name, "vegetaserver");
        assert_eq!(options.vegeta.as_os_str(), "vegeta");
        assert_eq!(options.window, Duration::from_secs(10));
        assert_eq!(options.listen.to_string(), "[::]:8081");
        assert!(options.listen_defaulted);
    }

    #[test]
    fn headers_may_hold_commas() {
        let shown = |options: Options| {
            let headers = options.target.headers.into_iter();
            let texts = headers.map(|(name, value)| {
                format!("{name}={}", String::from_utf8_lossy(value.as_bytes()))
            });
            texts.collect::<Vec<_>>()
        };
        let flags = [
            "--target-url=http://h",
            "--header=Accept: text/html, */*;q=0.8",
            "--header",
            "X-Empty:",
        ];
        let expected = ["accept=text/html, */*;q=0.8", "x-empty="];
        let options =
            run(&flags, &[("REDIS_API_HEADER", "x: not used")]).expect("they are headers");
        assert_eq!(shown(options), expected);

        let variable = "Accept: text/html, */*;q=0.8\n\nX-Empty:\n";
        let options =
            run(&flags[..1], &[("REDIS_API_HEADER", variable)]).expect("they are headers");
        assert_eq!(shown(options), expected);
    }

    #[test]
    fn everything_wrong_is_named_at_once_and_no_secret_shown() {
        let text = run(
            &[
                "--target-url=ftp://user:hunter2@h",
                "--header=hunter2",
                "--header=good: one",
                "--header=bad name: hunter2",
                "--header=a: hunter2\nb: c",
                "--attack-rate=infinity",
                "--timeout=61s",
                "--window=1500ms",
                "--name=a b",
                "--body=hunter2",
                "--body-file=f",
                "--method=G T",
                "--max-attack-workers=0",
                "--vegeta=",
            ],
            &[("REDIS_API_KEEP_ALIVE", "yes")],
        )
        .expect_err("all is wrong");
        for name in [
            "--target-url",
            "--header: number 1",
            "--header: number 3",
            "--header: number 4",
            "--attack-rate",
            "--timeout",
            "--window",
            "--name",
            "--body and --body-file",
            "--method",
            "--max-attack-workers",
            "--vegeta",
            "REDIS_API_KEEP_ALIVE (environment)",
        ] {
            assert!(text.contains(name), "{name} is not named:\n{text}");
        }
        assert!(!text.contains("number 2"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_target_is_required() {
        for args in [&[][..], &["--target-url="]] {
            let text = run(args, &[]).expect_err("there is none");
            assert!(text.contains("--target-url: is required"), "{text}");
        }
        let options = run(&[], &[("TARGET_URL", "https://h:8443/a?b")]).expect("it is one");
        assert_eq!(options.target.url.as_str(), "https://h:8443/a?b");
    }

    #[test]
    fn options_show_no_secret() {
        let options = run(
            &["--header=Authorization: hunter2", "--body=hunter2"],
            &[("TARGET_URL", "http://hunter2:hunter2@h/?hunter2")],
        );
        let text = format!("{:?}", options.expect("they are good"));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
