//! What flags and variables become, and what is refused.

use std::num::NonZeroUsize;
use std::time::Duration;

use redis_api_server::worker::{ApiOptions, Port};
use redis_api_server::{
    Address, Cors, Endpoint, Password, ReadMode, ReadRole, Secret, TlsOptions, TrackedOptions,
};
use tracing::level_filters::LevelFilter;

use super::*;

mod refusals;

/// What a command line with that environment asks for.
pub(super) fn run(args: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, Exit> {
    let args = ["redis-api"].iter().chain(args).map(OsString::from);
    let variables = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    parse(args, &Environment::new(variables))
}

/// What `serve` is to do.
pub(super) struct Served {
    pub process: worker::Options,
    pub api: ApiOptions,
    pub log: log::Options,
    pub warnings: Vec<String>,
}

#[track_caller]
pub(super) fn serve(args: &[&str], environment: &[(&str, &str)]) -> Served {
    let args: Vec<_> = ["serve"].iter().chain(args).copied().collect();
    match run(&args, environment) {
        Ok(Invocation {
            command: Command::Serve(serve),
            log,
            warnings,
        }) => Served {
            process: serve.process,
            api: serve.api,
            log,
            warnings,
        },
        other => panic!("{args:?} {environment:?}: {other:?}"),
    }
}

fn admin(serve: &Served) -> Port {
    serve.process.admin_listen.expect("serve has an admin port")
}

/// The report of a refused command line.
#[track_caller]
fn refused(args: &[&str], environment: &[(&str, &str)]) -> String {
    let args: Vec<_> = ["serve"].iter().chain(args).copied().collect();
    let exit = run(&args, environment).expect_err("is refused");
    assert_eq!(
        (exit.stream, exit.status),
        (Stream::Stderr, 2),
        "{}",
        exit.text
    );
    exit.text
}

/// The warnings, but that of open writes.
#[track_caller]
fn warnings(args: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    let args: Vec<_> = ["--read-only"].iter().chain(args).copied().collect();
    serve(&args, environment).warnings
}

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp {
        host: host.to_string(),
        port,
    }
}

fn given(password: &str) -> Password {
    Password::Given(Secret::new(password))
}

#[test]
fn defaults() {
    let serve = serve(&[], &[]);
    assert_eq!(serve.process.listen.address.to_string(), "[::]:8080");
    assert_eq!(admin(&serve).address.to_string(), "[::]:9090");
    assert!(serve.process.listen.defaulted && admin(&serve).defaulted);
    for set in [&serve.api.read, &serve.api.write] {
        let plain = Endpoint {
            address: tcp("localhost", 6379),
            username: None,
            password: Password::None,
            database: 0,
            tls: None,
            sources: set.endpoint.sources.clone(),
        };
        assert_eq!(set.endpoint, plain);
        assert_eq!(set.connections, 1);
        assert_eq!(set.connect_timeout, Duration::from_secs(5));
        assert_eq!(set.stall_timeout, Duration::from_millis(800));
        assert_eq!(set.ping_interval, Duration::from_secs(1));
        assert_eq!(set.max_in_flight, 8192);
    }
    assert_eq!(
        (serve.api.reads.mode, serve.api.reads.role),
        (ReadMode::Batch, ReadRole::Any)
    );
    let tracked = TrackedOptions {
        max_bytes: 64 << 20,
        max_age: Some(Duration::from_secs(10)),
    };
    assert_eq!(serve.api.reads.tracked, tracked);
    assert_eq!(serve.process.request_timeout, Duration::from_millis(400));
    assert_eq!(serve.api.max_body, 4096);
    assert_eq!(serve.process.redis_wait, Some(Duration::from_secs(300)));
    assert_eq!((serve.process.workers, serve.process.pin), (None, false));
    assert_eq!(serve.process.drain_delay, Duration::from_secs(5));
    assert_eq!(serve.process.drain_timeout, Duration::from_secs(10));
    assert!(!serve.api.guard.read_only && serve.api.guard.token_file.is_none());
    assert_eq!(
        (serve.api.guard.fields, serve.api.guard.max_fields),
        (None, None)
    );
    assert_eq!(serve.api.guard.cors, Cors::Any);
    // Open writes on every address.
    assert_eq!(serve.warnings.len(), 1, "{:?}", serve.warnings);
    assert_eq!(serve.log.format, log::Format::Text);
    assert_eq!(serve.log.level, LevelFilter::INFO);
}

#[test]
fn every_flag_reaches_its_option() {
    let serve = serve(
        &[
            "--listen=127.0.0.1:1",
            "--admin-listen=:2",
            "--read-connections=2",
            "--write-connections=3",
            "--read-mode=direct",
            "--read-role=replica",
            "--request-timeout=1s",
            "--max-body=16k",
            "--redis-wait=0s",
            "--connect-timeout=2s",
            "--ping-interval=3s",
            "--max-in-flight=4",
            "--workers=5",
            "--pin",
            "--drain-delay=0s",
            "--drain-timeout=6s",
            "--log-format=json",
            "--log-level=debug",
        ],
        &[],
    );
    assert_eq!(
        (
            serve.process.listen.address.to_string().as_str(),
            serve.process.listen.defaulted
        ),
        ("127.0.0.1:1", false)
    );
    assert_eq!(admin(&serve).address.to_string(), "[::]:2");
    assert!(admin(&serve).defaulted);
    assert_eq!(
        (serve.api.read.connections, serve.api.write.connections),
        (2, 3)
    );
    assert_eq!(
        (serve.api.reads.mode, serve.api.reads.role),
        (ReadMode::Direct, ReadRole::Replica)
    );
    assert_eq!(serve.process.request_timeout, Duration::from_secs(1));
    assert_eq!(serve.api.max_body, 16 << 10);
    assert_eq!(serve.process.redis_wait, None);
    for set in [&serve.api.read, &serve.api.write] {
        assert_eq!(set.connect_timeout, Duration::from_secs(2));
        assert_eq!(set.stall_timeout, Duration::from_secs(2));
        assert_eq!(set.ping_interval, Duration::from_secs(3));
        assert_eq!(set.max_in_flight, 4);
    }
    assert_eq!(
        (serve.process.workers, serve.process.pin),
        (NonZeroUsize::new(5), true)
    );
    assert_eq!(
        (serve.process.drain_delay, serve.process.drain_timeout),
        (Duration::ZERO, Duration::from_secs(6))
    );
    let log = (serve.log.format, serve.log.level);
    assert_eq!(log, (log::Format::Json, LevelFilter::DEBUG));
}

#[test]
fn role_flag_then_role_variable_then_flag_then_variable_for_both() {
    let flags = ["--read-redis-addr=a:1", "--redis-addr=c:1"];
    let variables = [("REDIS_ADDR_READ", "b:1"), ("REDIS_ADDR", "d:1")];
    fn check(flags: &[&str], variables: &[(&str, &str)], expected: &str) {
        let address = serve(flags, variables).api.read.endpoint.address;
        assert_eq!(address.to_string(), expected, "{flags:?} {variables:?}");
    }
    check(&flags, &variables, "a:1");
    check(&flags[1..], &variables, "b:1");
    check(&flags[1..], &variables[1..], "c:1");
    check(&[], &variables[1..], "d:1");
    check(&[], &[], "localhost:6379");
    // The other role is not touched by it.
    assert_eq!(
        serve(&flags[..1], &[]).api.write.endpoint.address,
        tcp("localhost", 6379)
    );
}

#[test]
fn each_setting_of_a_role_falls_back_on_its_own() {
    let serve = serve(
        &[
            "--redis-addr=naive:1",
            "--redis-user=u",
            "--write-redis-addr=master:2",
        ],
        &[
            ("REDIS_PASS", "p"),
            ("REDIS_USER_WRITE", "w"),
            ("REDIS_PASS_READ", ""),
        ],
    );
    let read = serve.api.read.endpoint;
    assert_eq!(
        (read.address, read.username.as_deref()),
        (tcp("naive", 1), Some("u"))
    );
    assert_eq!(
        read.password,
        Password::None,
        "an empty one of the role means none"
    );
    let write = serve.api.write.endpoint;
    assert_eq!(
        (write.address, write.username.as_deref()),
        (tcp("master", 2), Some("w"))
    );
    assert_eq!(write.password, given("p"));
}

#[test]
fn credentials_of_a_url_stay_with_its_address() {
    fn check(args: &[&str], user: Option<&str>, password: Password) {
        let endpoint = serve(args, &[]).api.read.endpoint;
        assert_eq!(endpoint.username.as_deref(), user, "{args:?}");
        assert_eq!(endpoint.password, password, "{args:?}");
    }
    check(&["--redis-addr=redis://u:p@h"], Some("u"), given("p"));
    check(
        &["--redis-addr=redis://u:p@h", "--read-redis-addr=r:1"],
        None,
        Password::None,
    );
    check(
        &["--read-redis-addr=redis://u:p@h", "--redis-pass=b"],
        Some("u"),
        given("p"),
    );
    check(
        &["--redis-addr=redis://u:p@h", "--read-redis-pass=r"],
        Some("u"),
        given("r"),
    );
    check(
        &["--redis-addr=redis://u:p@h", "--read-redis-pass="],
        Some("u"),
        Password::None,
    );
    check(
        &["--redis-addr=redis://u@h", "--redis-pass=p"],
        Some("u"),
        given("p"),
    );
    check(
        &[
            "--read-redis-addr=unix:///s",
            "--read-redis-user=u",
            "--read-redis-pass-file=f",
        ],
        Some("u"),
        Password::File("f".into()),
    );
}

#[test]
fn an_endpoint_knows_what_gave_its_settings() {
    let serve = serve(
        &[
            "--redis-addr=rediss://u:p@h",
            "--redis-ca-file=ca",
            "--write-redis-pass-file=f",
            "--write-redis-user=w",
        ],
        &[("REDIS_ADDR_READ", "r:1"), ("REDIS_PASS_READ", "p")],
    );
    let (read, write) = (
        serve.api.read.endpoint.sources,
        serve.api.write.endpoint.sources,
    );
    assert_eq!(read.address, "REDIS_ADDR_READ (environment)");
    assert_eq!(read.password, "REDIS_PASS_READ (environment)");
    assert_eq!(
        (read.user.as_str(), read.tls.as_str()),
        ("--read-redis-user", "--read-redis-tls"),
        "what was not given is named by its own flag"
    );
    assert_eq!(write.address, "--redis-addr");
    assert_eq!(write.tls, "rediss:// in --redis-addr");
    assert_eq!(write.ca_file, "--redis-ca-file");
    assert_eq!(
        (write.user.as_str(), write.password.as_str()),
        ("--write-redis-user", "--write-redis-pass-file")
    );
}

#[test]
fn a_secret_that_is_odd_is_warned_about_and_not_shown() {
    let check = |password: &str, words: &str| {
        let found = warnings(&[], &[("REDIS_PASS_WRITE", password)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(words), "{found:?}");
        assert!(
            found[0].contains("REDIS_PASS_WRITE (environment)"),
            "{found:?}"
        );
        assert!(!found[0].contains("hunter2"), "{found:?}");
    };
    check("hunter2\n", "ends with a newline");
    check("\u{feff}hunter2", "begins with a byte order mark");
    assert_eq!(warnings(&[], &[("REDIS_PASS_WRITE", "hunter2")]), [""; 0]);
}

#[test]
fn tls_is_on_by_scheme_flag_or_variable() {
    fn check(args: &[&str], environment: &[(&str, &str)], read: bool, write: bool) {
        let serve = serve(args, environment);
        let tls = (
            serve.api.read.endpoint.tls.is_some(),
            serve.api.write.endpoint.tls.is_some(),
        );
        assert_eq!(tls, (read, write), "{args:?} {environment:?}");
    }
    check(&["--redis-tls"], &[], true, true);
    check(&["--write-redis-addr=rediss://h"], &[], false, true);
    check(&["--write-redis-tls"], &[], false, true);
    check(&[], &[("REDIS_TLS", "true")], true, true);
    check(
        &[],
        &[("REDIS_TLS", "true"), ("REDIS_TLS_READ", "false")],
        false,
        true,
    );
    check(
        &["--redis-tls=false"],
        &[("REDIS_TLS", "true")],
        false,
        false,
    );
    check(
        &["--redis-tls", "--read-redis-addr=unix:///s"],
        &[],
        false,
        true,
    );
    check(
        &["--write-redis-addr=rediss://h", "--write-redis-tls=false"],
        &[],
        false,
        true,
    );
}

#[test]
fn tls_options_reach_their_role() {
    let args = [
        "--redis-tls",
        "--redis-ca-file=ca",
        "--redis-server-name=both.example",
        "--redis-cert-file=cert",
        "--redis-key-file=key",
        "--read-redis-server-name=read.example",
        "--write-redis-ca-file=",
        "--read-only",
    ];
    let serve = serve(
        &args,
        &[
            ("REDIS_CERT_FILE_READ", "rcert"),
            ("REDIS_KEY_FILE_READ", "rkey"),
        ],
    );
    let read = TlsOptions {
        ca_file: Some("ca".into()),
        cert_file: Some("rcert".into()),
        key_file: Some("rkey".into()),
        server_name: Some("read.example".into()),
    };
    let write = TlsOptions {
        ca_file: None,
        cert_file: Some("cert".into()),
        key_file: Some("key".into()),
        server_name: Some("both.example".into()),
    };
    assert_eq!(serve.api.read.endpoint.tls, Some(read));
    assert_eq!(serve.api.write.endpoint.tls, Some(write));
    assert!(serve.warnings.is_empty(), "{:?}", serve.warnings);
}

#[test]
fn a_password_on_the_command_line_is_warned_about() {
    fn check(args: &[&str], environment: &[(&str, &str)], expected: &[&str]) {
        let warnings = warnings(args, environment);
        assert_eq!(warnings.len(), expected.len(), "{args:?}: {warnings:?}");
        for (warning, names) in warnings.iter().zip(expected) {
            assert!(
                names.split(' ').all(|name| warning.contains(name)),
                "{warning}"
            );
            assert!(!warning.contains("hunter2"), "{warning}");
        }
    }
    check(
        &["--redis-pass=hunter2"],
        &[],
        &["--redis-pass: REDIS_PASS --redis-pass-file"],
    );
    check(
        &["--write-redis-pass=hunter2"],
        &[],
        &["--write-redis-pass: REDIS_PASS_WRITE --write-redis-pass-file"],
    );
    check(
        &["--redis-addr=redis://:hunter2@h"],
        &[],
        &["--redis-addr: REDIS_PASS"],
    );
    check(&["--redis-pass="], &[], &[]);
    check(
        &[],
        &[
            ("REDIS_PASS", "hunter2"),
            ("REDIS_ADDR_READ", "redis://:hunter2@h"),
        ],
        &[],
    );
}

#[test]
fn tls_settings_without_tls_are_warned_about() {
    fn check(args: &[&str], expected: usize) {
        let warnings = warnings(args, &[]);
        assert_eq!(warnings.len(), expected, "{args:?}: {warnings:?}");
    }
    check(&["--write-redis-ca-file=ca"], 1);
    check(&["--redis-ca-file=ca"], 1);
    check(&["--redis-ca-file=ca", "--write-redis-tls"], 0);
    check(&["--write-redis-server-name=n", "--read-redis-tls"], 1);
}

#[test]
fn the_other_subcommands() {
    let hello = run(&["helloworld"], &[("REDIS_API_WORKERS", "2")]).expect("is right");
    let Command::HelloWorld(hello) = hello.command else {
        panic!("not helloworld")
    };
    assert_eq!(
        (
            hello.listen.address.to_string().as_str(),
            hello.admin_listen.is_none()
        ),
        ("[::]:8080", true)
    );
    assert_eq!(hello.workers, NonZeroUsize::new(2));
    let hello = run(&["helloworld", "--admin-listen=:9090"], &[]).expect("is right");
    let Command::HelloWorld(hello) = hello.command else {
        panic!("not helloworld")
    };
    assert_eq!(
        hello.admin_listen.map(|port| port.address.port()),
        Some(9090)
    );
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["-V"],
        &["--version"],
        &["serve", "--help"],
    ] {
        let exit = run(args, &[]).expect_err("there is nothing to run");
        assert_eq!((exit.stream, exit.status), (Stream::Stdout, 0), "{args:?}");
        assert!(!exit.text.is_empty());
    }
    let exit = run(&[], &[]).expect_err("there is nothing to run");
    assert_eq!((exit.stream, exit.status), (Stream::Stderr, 2));
    assert!(exit.text.contains("helloworld"));
}

#[test]
fn a_short_limit_on_age_is_warned_about() {
    let check = |limit: &str, expected: Option<Duration>, warned: bool| {
        let serve = serve(&["--max-stale", limit, "--read-only"], &[]);
        assert_eq!(serve.api.reads.max_stale, expected, "{limit}");
        let about = |text: &&String| text.contains("repl-ping-replica-period");
        let warnings: Vec<_> = serve.warnings.iter().filter(about).collect();
        assert_eq!(warnings.len(), usize::from(warned), "{limit}: {warnings:?}");
    };
    check("0s", None, false);
    check("3s", Some(Duration::from_secs(3)), true);
    check("11999ms", Some(Duration::from_millis(11_999)), true);
    check("12s", Some(Duration::from_secs(12)), false);
}

#[test]
fn reads_fall_back_only_when_asked_to() {
    assert!(serve(&[], &[]).api.fallback.is_none());
    let given = ["--write-redis-addr=m:1", "--write-connections=3"];
    let on = [&given[..], &["--read-fallback=master"]].concat();
    let serve = serve(&on, &[("REDIS_API_FALLBACK_MAX_IN_FLIGHT", "5")]);
    let fallback = serve.api.fallback.expect("it is on");
    assert_eq!(fallback.set.endpoint.address, tcp("m", 1));
    assert_eq!((fallback.set.connections, fallback.max_in_flight), (1, 5));
    let text = refused(
        &["--read-fallback=replica", "--fallback-max-in-flight=0"],
        &[],
    );
    assert!(text.contains("--read-fallback") && text.contains("--fallback-max-in-flight"));
}

#[test]
fn a_connection_that_waits_is_not_stalled_too_soon() {
    let check = |args: &[&str], replicas: u64, milliseconds: u64| {
        let serve = serve(args, &[]);
        assert_eq!(serve.api.writes.replicas, replicas);
        let expected = Duration::from_millis(milliseconds);
        assert_eq!(serve.api.write.stall_timeout, expected, "{args:?}");
    };
    check(&[], 0, 800);
    check(&["--write-wait=2"], 2, 1000);
    check(&["--write-wait=1", "--request-timeout=2s"], 1, 4000);
}
