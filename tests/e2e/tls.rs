//! TLS and passwords to Redis: what is refused, in which words, and what is never said.

use std::path::Path;

use crate::support::api::Builder;
use crate::support::{Api, Certs, PATIENCE, Pair, Redis, eventually, try_request};

/// Needs percent-encoding in a URL, and a line break of a log can't hide it.
const PASSWORD: &str = "p@ss:w/rd%41 geheim";
const ENCODED: &str = "p%40ss%3Aw%2Frd%2541%20geheim";

/// An API whose both roles use `url`, with this CA file.
pub fn both(url: &str, ca: &Path) -> Builder {
    let api = Api::serve().args(["--redis-addr", url, "--connect-timeout", "500ms"]);
    api.args(["--workers", "1", "--redis-ca-file"])
        .arg(ca.display().to_string())
}

pub fn tls_url(host: &str, redis: &Redis) -> String {
    format!("rediss://{host}:{}", redis.port())
}

/// Waits until the cause, word for word, is in the log for both roles, in `/readyz`, and in the
/// answers to a read and a write.
#[track_caller]
pub fn check_refused(api: &Api, words: &[&str]) {
    let has = |what: &str, text: String| match words.iter().find(|word| !text.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("no {word:?} in {what}: {text}")),
    };
    eventually(
        PATIENCE,
        "the cause and the cure are said everywhere",
        || {
            let ready = try_request(api.admin(), "GET", "/readyz", &[], b"");
            let ready = ready.map_err(|error| error.to_string())?;
            has("/readyz", ready.text())?;
            let read = api.get("/");
            has("the read's answer", read.text())?;
            let write = api.post("/", "{\"value\":1}");
            has("the write's answer", write.text())?;
            for role in ["read ", "write "] {
                let log = api.log();
                let line = log.iter().rfind(|line| line.contains(role));
                has("the log", line.cloned().unwrap_or_default())?;
            }
            assert_eq!((ready.status, read.status, write.status), (503, 503, 503));
            assert!(
                write.text().ends_with("\"outcome\":\"not-sent\"}"),
                "{}",
                write.text()
            );
            Ok::<_, String>(())
        },
    );
}

/// Waits until reads and writes succeed.
#[track_caller]
pub fn check_works(api: &mut Api) {
    api.wait_ready(PATIENCE);
    eventually(PATIENCE, "a write succeeds", || {
        let post = api.post("/", "{\"value\":12.5}");
        (post.status == 200)
            .then_some(())
            .ok_or_else(|| post.text())
    });
    eventually(PATIENCE, "it can be read", || {
        let get = api.get("/");
        (get.text() == "{\"current\":12.5}")
            .then_some(())
            .ok_or_else(|| get.text())
    });
}

/// Nothing that was said, to whomever, has any of these in it.
#[track_caller]
pub fn check_silent_about(api: &Api, secrets: &[&str]) {
    let mut said = api.log();
    for path in ["/readyz", "/metrics", "/livez"] {
        let response = try_request(api.admin(), "GET", path, &[], b"");
        said.extend(response.map(|response| response.text()));
    }
    said.push(api.get("/").text());
    said.push(api.post("/", "{\"value\":1}").text());
    let said = said.join("\n");
    assert!(said.contains("listening on"), "the log is read");
    for secret in secrets {
        assert!(!said.contains(secret), "{secret:?} is in {said}");
    }
}

#[test]
fn server_certificates_that_are_refused() {
    let certs = Certs::new();
    let other = Certs::new();
    let check = |pair: &Pair, ca: &Path, words: &[&str]| {
        let redis = Redis::builder().tls_with(&certs, pair.clone()).start();
        let api = both(&tls_url("127.0.0.1", &redis), ca).start();
        check_refused(&api, words);
    };
    // Same name, another key: the CA was made anew.
    check(&certs.leaf, &other.ca, &["CA", "--redis-ca-file"]);
    let elsewhere = certs.leaf_for("redis.example");
    check(
        &elsewhere,
        &certs.ca,
        &[
            "not for 127.0.0.1 but for redis.example",
            "redis-server-name",
        ],
    );
    check(&certs.expired(), &certs.ca, &["expired", "renew it"]);
    let own = certs.ca_as_leaf();
    check(&own, &own.cert, &["its own CA", "issue a leaf certificate"]);
}

#[test]
fn right_ca_works_by_name_and_by_address() {
    let certs = Certs::new();
    let redis = Redis::builder().tls(&certs).start();
    for host in ["localhost", "127.0.0.1"] {
        check_works(&mut both(&tls_url(host, &redis), &certs.ca).start());
    }
    let addr = redis.addr().to_string();
    let api = both(&addr, &certs.ca).args(["--redis-tls"]);
    check_works(&mut api.start());
}

#[test]
fn name_of_one_role_is_its_own() {
    let certs = Certs::new();
    let pair = certs.leaf_for("redis.example");
    let master = Redis::builder().tls_with(&certs, pair).start();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    let builder = || Api::serve().read_from(&replica).write_to(&master);
    let mut api = builder()
        .args(["--write-redis-server-name", "redis.example"])
        .start();
    check_works(&mut api);

    let mut api = builder().start();
    api.wait_ready(PATIENCE);
    let line = api.wait_log("not for 127.0.0.1 but for redis.example", PATIENCE);
    assert!(line.contains("write "), "{line}");
    assert_eq!(api.get("/").status, 200, "reads need no write side");
}

#[test]
fn client_certificate_where_one_is_demanded() {
    let certs = Certs::new();
    let redis = Redis::builder()
        .tls(&certs)
        .config("tls-auth-clients yes")
        .start();
    let url = tls_url("127.0.0.1", &redis);
    let api = both(&url, &certs.ca).start();
    check_refused(&api, &["client certificate", "redis-cert-file"]);
    let file = |path: &Path| path.display().to_string();
    let api = both(&url, &certs.ca)
        .arg("--redis-cert-file")
        .arg(file(&certs.leaf.cert));
    check_works(
        &mut api
            .arg("--redis-key-file")
            .arg(file(&certs.leaf.key))
            .start(),
    );
}

#[test]
fn plaintext_server_behind_rediss() {
    let certs = Certs::new();
    let redis = Redis::start_plain();
    let api = both(&tls_url("127.0.0.1", &redis), &certs.ca).start();
    let words = [
        "the server hangs, or it does not speak TLS on this port",
        "drop rediss://",
    ];
    check_refused(&api, &words);
}

#[test]
fn tls_server_spoken_to_in_plaintext() {
    let certs = Certs::new();
    let redis = Redis::builder().tls(&certs).start();
    let api = Api::serve()
        .args(["--redis-addr", &redis.addr().to_string()])
        .start();
    check_refused(&api, &["TLS", "rediss://"]);
}

#[test]
fn wrong_password_is_named_and_never_shown() {
    let certs = Certs::new();
    let redis = Redis::builder().tls(&certs).password(PASSWORD).start();
    let wrong = "wrong one: hunter2";
    let builder = both(&tls_url("127.0.0.1", &redis), &certs.ca);
    let file = builder.file("password", &format!("{wrong}\n"));
    let mut api = builder
        .arg("--redis-pass-file")
        .arg(file.display().to_string())
        .start();
    check_refused(&api, &["WRONGPASS", "check the user name"]);
    check_silent_about(&api, &[wrong, "hunter2"]);

    std::fs::write(&file, format!("{PASSWORD}\n")).expect("our folder is writable");
    check_works(&mut api);
    check_silent_about(&api, &[wrong, "hunter2", PASSWORD, ENCODED, "geheim"]);
}

#[test]
fn password_that_is_missing_is_asked_for() {
    let certs = Certs::new();
    let redis = Redis::builder().tls(&certs).password(PASSWORD).start();
    let api = both(&tls_url("127.0.0.1", &redis), &certs.ca).start();
    check_refused(&api, &["NOAUTH", "redis-pass-file"]);
}

/// Both roles at the remote master over TLS: the topology without a sidecar.
#[test]
fn password_in_the_url_and_both_roles_over_tls() {
    let certs = Certs::new();
    let redis = Redis::builder().tls(&certs).password(PASSWORD).start();
    for user in ["", "default"] {
        let url = format!("rediss://{user}:{ENCODED}@localhost:{}", redis.port());
        let mut api = both(&url, &certs.ca).start();
        check_works(&mut api);
        check_silent_about(&api, &[PASSWORD, ENCODED, "geheim"]);
    }
    let url = format!("rediss://:{ENCODED}x@localhost:{}", redis.port());
    let api = both(&url, &certs.ca).start();
    check_refused(&api, &["WRONGPASS"]);
    check_silent_about(&api, &[PASSWORD, ENCODED, "geheim"]);
    let mut api = Api::serve()
        .args(["--redis-ca-file"])
        .arg(certs.ca.display().to_string());
    let url = tls_url("localhost", &redis);
    api = api.args(["--redis-addr", &url]).env("REDIS_PASS", PASSWORD);
    let mut api = api.start();
    check_works(&mut api);
    check_silent_about(&api, &[PASSWORD, ENCODED, "geheim"]);
}
