//! The options of `sync-auth`.

use std::time::Duration;

use redis_api_server::sync_auth::Options;
use redis_api_server::{Address, SetOptions};

use super::values::Values;
use super::{address, redis};

/// The flags of certificate files, and the settings of the server that name them.
const TLS: [(&str, &str); 3] = [
    ("tls-ca-file", "tls-ca-cert-file"),
    ("tls-cert-file", "tls-cert-file"),
    ("tls-key-file", "tls-key-file"),
];

/// For name, TCP, TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let level = redis::level(values, "redis");
    let endpoint = redis::endpoint(values, &level, &level);
    let masteruser = values.hidden_text("masteruser").flatten();
    let masterauth_file = values.path("masterauth-file").flatten();
    let acl_file = values.path("acl-file").flatten();
    let tls = certificates(values);
    let master = master(values);
    if masteruser.is_some() && masterauth_file.is_none() {
        let error = "--masteruser: has no password; give --masterauth-file too";
        values.errors.push(error.to_string());
    }
    let names_nothing = masterauth_file.is_none() && acl_file.is_none() && master.is_none();
    if names_nothing && tls.is_empty() && values.errors.is_empty() {
        values.errors.push(
            "nothing to keep in sync: give at least one of --masterauth-file, --tls-ca-file, \
             --tls-cert-file, --acl-file, --master-addr"
                .to_string(),
        );
    }
    Some(Options {
        server: SetOptions {
            endpoint: endpoint?,
            connections: 1,
            connect_timeout: CONNECT_TIMEOUT,
            stall_timeout: CONNECT_TIMEOUT,
            ping_interval: CONNECT_TIMEOUT,
            max_in_flight: 1,
        },
        masteruser,
        masterauth_file,
        tls,
        acl_file,
        master,
    })
}

/// The server reads these files too, from a folder of its own.
fn certificates(values: &mut Values<'_>) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (flag, setting) in TLS {
        let Some(given) = values.given(flag).filter(|given| !given.text.is_empty()) else {
            continue;
        };
        match given.text.into_string() {
            Ok(path) if path.starts_with('/') => found.push((setting, path)),
            _ => values.errors.push(format!(
                "{}: is not an absolute path in UTF-8; the server must find the file by it too",
                given.name
            )),
        }
    }
    let has = |name: &str| found.iter().any(|(setting, _)| *setting == name);
    if has("tls-cert-file") != has("tls-key-file") && values.errors.is_empty() {
        let error = "--tls-cert-file and --tls-key-file: one is of no use; give both";
        values.errors.push(error.to_string());
    }
    found
}

fn master(values: &mut Values<'_>) -> Option<(String, u16)> {
    let given = values.given("master-addr")?;
    let parsed = (given.text.to_str())
        .ok_or("is not valid UTF-8".into())
        .and_then(address::host_and_port);
    match parsed {
        Ok(Address::Tcp { host, port }) => Some((host, port)),
        Ok(Address::Unix(_)) => None,
        Err(problem) => {
            let name = given.name;
            let error = format!("{name}: {problem} (value not shown); expected host:port");
            values.errors.push(error);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::super::tests::run;
    use super::*;

    fn options(args: &[&str], environment: &[(&str, &str)]) -> Result<Options, String> {
        let args: Vec<_> = ["sync-auth"].iter().chain(args).copied().collect();
        match run(&args, environment).map(|invocation| invocation.command) {
            Ok(Command::SyncAuth(options)) => Ok(*options),
            Ok(other) => panic!("{other:?}"),
            Err(exit) => Err(exit.text),
        }
    }

    #[test]
    fn as_the_manifests_have_it() {
        let environment = [
            ("REDIS_ADDR", "unix:///run/redis/redis.sock"),
            ("REDIS_USER", "admin"),
            ("REDIS_PASS_FILE", "/secret/admin-password"),
            ("REDIS_API_MASTER_ADDR", "redis-master:6379"),
            ("REDIS_API_MASTERAUTH_FILE", "/secret/password"),
            ("REDIS_API_ACL_FILE", "/secret/users.acl"),
            ("REDIS_API_TLS_CA_FILE", "/tls/ca.crt"),
            ("REDIS_API_TLS_CERT_FILE", "/tls/tls.crt"),
            ("REDIS_API_TLS_KEY_FILE", "/tls/tls.key"),
            ("REDIS_API_LOG_FORMAT", "json"),
        ];
        let options = options(&["--masteruser=redis-replica"], &environment).unwrap();
        let endpoint = &options.server.endpoint;
        assert_eq!(endpoint.address.to_string(), "unix:///run/redis/redis.sock");
        assert_eq!(endpoint.username.as_deref(), Some("admin"));
        assert_eq!(options.masteruser.as_deref(), Some("redis-replica"));
        assert_eq!(options.masterauth_file, Some("/secret/password".into()));
        assert_eq!(options.acl_file, Some("/secret/users.acl".into()));
        assert_eq!(options.master, Some(("redis-master".to_string(), 6379)));
        let tls = [
            ("tls-ca-cert-file", "/tls/ca.crt".to_string()),
            ("tls-cert-file", "/tls/tls.crt".to_string()),
            ("tls-key-file", "/tls/tls.key".to_string()),
        ];
        assert_eq!(options.tls, tls);
    }

    #[test]
    fn what_is_refused() {
        let check = |args: &[&str], expected: &str| {
            let text = options(args, &[]).unwrap_err();
            assert!(text.contains(expected), "{args:?}: {text}");
        };
        check(&[], "nothing to keep in sync");
        check(&["--acl-file="], "nothing to keep in sync");
        check(&["--masteruser=a"], "--masterauth-file");
        check(&["--tls-ca-file=ca.crt"], "not an absolute path");
        check(&["--tls-cert-file=/a"], "give both");
        check(&["--master-addr=geheim"], "expected host:port");
        check(&["--master-addr="], "expected host:port");
        check(
            &["--master-addr=a:1", "--redis-tls", "--redis-addr=unix:///s"],
            "does not use TLS",
        );
    }
}
