//! Passwords and certificates that change while the API runs: the new ones are used, broken ones
//! are not, and none of it is ever said.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::api::Builder;
use crate::support::files::{replace, text};
use crate::support::{Api, Certs, Load, PATIENCE, Pair, Redis, eventually, load};
use crate::tls::{both, check_refused, check_silent_about, check_works, tls_url};

const ROLES: [&str; 2] = ["read", "write"];

/// The middle of a PEM file, which is in no other one.
fn core(path: &Path) -> String {
    let text = text(path);
    let line = text.lines().nth(2).expect("it has several lines");
    line.to_owned()
}

fn errors(api: &Api, role: &str, kind: &str) -> Option<f64> {
    api.metric(&format!(
        "redis_api_redis_errors_total{{role=\"{role}\",kind=\"{kind}\"}}"
    ))
}

/// An API with both roles at `redis`, and its password file.
fn with_password_file(redis: &Redis, password: &str) -> (Api, PathBuf) {
    let address = redis.addr().to_string();
    let builder = Api::serve().args(["--workers", "1", "--redis-addr", &address]);
    let file = builder.file("password", password);
    let builder = builder.arg("--redis-pass-file");
    (builder.arg(file.display().to_string()).start(), file)
}

/// Has the server close the connections of these roles, and waits until each is logged in again.
/// `args` go before the command, for `redis-cli`.
#[track_caller]
fn reconnect(api: &Api, redis: &Redis, roles: &[&str], args: &[&str]) {
    let sample = |name: &str, role: &str| api.metric(&format!("{name}{{role=\"{role}\"}}"));
    let connects = |role: &str| sample("redis_api_redis_connects_total", role);
    let before: Vec<_> = roles.iter().map(|role| connects(role)).collect();
    redis.cli(&[args, &["CLIENT", "KILL", "TYPE", "normal"]].concat());
    eventually(PATIENCE, "it is logged in again", || {
        let is_back = |(role, before): (&&str, &Option<f64>)| {
            connects(role) > *before && sample("redis_api_redis_connections", role) == Some(1.0)
        };
        let all = roles.iter().zip(&before).all(is_back);
        all.then_some(()).ok_or_else(|| api.log().join("\n"))
    });
}

/// Waits until `good` is said, and checks that before it `kept` was said once for each role.
#[track_caller]
fn check_warned_once(api: &Api, kept: &str, good: &str) {
    for role in ROLES {
        let role = format!("{role}: ");
        let count = |what: &str| {
            let log = api.log();
            let lines = log.iter();
            lines
                .filter(|line| line.contains(&role) && line.contains(what))
                .count()
        };
        eventually(PATIENCE, "the good file is told of", || count(good) > 0);
        assert_eq!((count(kept), count(good)), (1, 1), "{:#?}", api.log());
    }
}

#[track_caller]
fn check_stale(api: &Api, expected: f64) {
    for role in ROLES {
        let sample = format!("redis_api_credentials_stale{{role=\"{role}\"}}");
        assert_eq!(api.metric(&sample), Some(expected));
        let sample = format!("redis_api_credentials_read_timestamp_seconds{{role=\"{role}\"}}");
        assert!(api.metric(&sample) > Some(0.0), "{sample}");
    }
}

/// The way without a gap: the user has two passwords while the file changes.
#[test]
fn password_of_the_write_side_changes_and_no_read_fails() {
    let master = Redis::builder().password("of the admin").start();
    master.cli(&["ACL", "SETUSER", "api", "on", ">one-geheim", "~*", "+@all"]);
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    load::fill(&master);

    let builder = Api::serve().read_from(&replica);
    let file = builder.file("api-password", "one-geheim\n");
    let address = master.addr().to_string();
    let mut api = builder
        .args(["--workers", "1", "--write-redis-addr", &address])
        .args(["--write-redis-user", "api", "--write-redis-pass-file"])
        .arg(file.display().to_string())
        .start();
    check_works(&mut api);
    eventually(PATIENCE, "the fields are on the replica", || {
        api.get(&format!("/{}", load::field(load::FIELDS - 1)))
            .status
            == 200
    });

    let reads = Load::start(api.addr());
    reads.wait(PATIENCE, "reads are answered", |tally| tally.good > 0);
    master.cli(&["ACL", "SETUSER", "api", ">two-geheim"]);
    replace(&file, "two-geheim\n");
    master.cli(&["ACL", "SETUSER", "api", "<one-geheim"]);
    reconnect(&api, &master, &["write"], &[]);
    check_works(&mut api);
    let before = reads.tally().good;
    reads.wait(PATIENCE, "reads go on", |tally| tally.good > before);
    let tally = reads.finish();
    assert_eq!(tally.bad(), 0, "{tally:?}");
    assert_eq!(errors(&api, "write", "wrongpass"), Some(0.0));
    check_silent_about(&api, &["geheim"]);
}

/// The server first, as with `requirepass`, which takes one password only: refused in between.
#[test]
fn password_of_the_server_changes_before_the_file() {
    let redis = Redis::builder().password("one-geheim").start();
    let (mut api, file) = with_password_file(&redis, "one-geheim\n");
    check_works(&mut api);
    redis.cli(&["CONFIG", "SET", "requirepass", "two-geheim"]);
    redis.cli(&["-a", "two-geheim", "CLIENT", "KILL", "TYPE", "normal"]);
    check_refused(&api, &["WRONGPASS", "check the user name"]);
    replace(&file, "two-geheim\n");
    check_works(&mut api);
    check_silent_about(&api, &["geheim"]);
}

#[test]
fn unusable_password_file_keeps_the_last_good_one() {
    let redis = Redis::builder().password("one-geheim").start();
    let (mut api, file) = with_password_file(&redis, "one-geheim\n");
    check_works(&mut api);
    check_stale(&api, 0.0);

    fs::remove_file(&file).expect("it is there");
    reconnect(&api, &redis, &ROLES, &[]);
    for unusable in ["", "\n", &"geheim".repeat(10_000)] {
        replace(&file, unusable);
        reconnect(&api, &redis, &ROLES, &[]);
    }
    check_works(&mut api);
    check_stale(&api, 1.0);

    redis.cli(&["CONFIG", "SET", "requirepass", "two-geheim"]);
    replace(&file, "two-geheim\n");
    reconnect(&api, &redis, &ROLES, &["-a", "two-geheim"]);
    check_works(&mut api);
    check_stale(&api, 0.0);
    let kept = "keeping the last good password";
    check_warned_once(&api, kept, "password can be read again");
    check_silent_about(&api, &["geheim"]);
}

#[test]
fn ca_changes_by_way_of_a_file_with_both() {
    let (old, new) = (Certs::new(), Certs::new());
    let mut redis = Redis::builder().tls(&old).start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let ca = folder.path().join("ca.pem");
    let old_ca = text(&old.ca);
    replace(&ca, &old_ca);
    let mut api = both(&tls_url("127.0.0.1", &redis), &ca).start();
    check_works(&mut api);

    replace(&ca, &format!("{old_ca}{}", text(&new.ca)));
    // The server's files keep their names.
    for (from, to) in [
        (&new.ca, &old.ca),
        (&new.leaf.cert, &old.leaf.cert),
        (&new.leaf.key, &old.leaf.key),
    ] {
        replace(to, &text(from));
    }
    redis.restart();
    check_works(&mut api);

    replace(&ca, &text(&new.ca));
    reconnect(&api, &redis, &ROLES, &[]);
    check_works(&mut api);
    for role in ROLES {
        assert_eq!(errors(&api, role, "tls"), Some(0.0), "no handshake failed");
    }

    // Now the new one alone is trusted: a file without it refuses the server.
    replace(&ca, &old_ca);
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    check_refused(&api, &["CA", "--redis-ca-file"]);
}

/// A folder as Kubernetes mounts a secret: the files are links through `..data`, which is itself a
/// link to the folder of the present version and is replaced by one rename.
struct Mount {
    folder: TempDir,
    versions: usize,
}

impl Mount {
    fn new(pair: &Pair) -> Mount {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for name in ["tls.crt", "tls.key"] {
            let link = symlink(Path::new("..data").join(name), folder.path().join(name));
            link.expect("our folder is writable");
        }
        let mut mount = Mount {
            folder,
            versions: 0,
        };
        mount.swap(&text(&pair.cert), &text(&pair.key));
        mount
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn swap(&mut self, cert: &str, key: &str) {
        self.versions += 1;
        let name = format!("..version{}", self.versions);
        let swapped = fs::create_dir(self.path(&name))
            .and_then(|()| fs::write(self.path(&name).join("tls.crt"), cert))
            .and_then(|()| fs::write(self.path(&name).join("tls.key"), key))
            .and_then(|()| symlink(&name, self.path("..data_tmp")))
            .and_then(|()| fs::rename(self.path("..data_tmp"), self.path("..data")));
        swapped.expect("our folder is writable");
    }

    /// The flags that show this certificate.
    fn shown_by(&self, api: Builder) -> Builder {
        api.arg("--redis-cert-file")
            .arg(self.path("tls.crt").display().to_string())
            .arg("--redis-key-file")
            .arg(self.path("tls.key").display().to_string())
    }
}

/// Only the CA of `certs` may have signed a client's certificate.
fn demanding(certs: &Certs) -> crate::support::redis::Builder {
    Redis::builder().tls(certs).config("tls-auth-clients yes")
}

#[test]
fn client_certificate_is_refused_and_then_replaced() {
    let (old, new) = (Certs::new(), Certs::new());
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let bundle = folder.path().join("clients.pem");
    replace(&bundle, &(text(&old.ca) + &text(&new.ca)));
    let redis = demanding(&new)
        .config(&format!("tls-ca-cert-file \"{}\"", bundle.display()))
        .start();
    let mut mount = Mount::new(&old.leaf);
    let mut api = mount
        .shown_by(both(&tls_url("127.0.0.1", &redis), &new.ca))
        .start();
    check_works(&mut api);

    // The old CA is no longer trusted. TLS 1.3 tells the client so only after its handshake.
    let ca = new.ca.display().to_string();
    assert_eq!(redis.cli(&["CONFIG", "SET", "tls-ca-cert-file", &ca]), "OK");
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    check_refused(&api, &["the server refused our certificate", "tls.crt"]);
    for role in ROLES {
        assert!(errors(&api, role, "tls") > Some(0.0));
        assert_eq!(errors(&api, role, "lost"), Some(1.0), "the one we killed");
    }

    mount.swap(&text(&new.leaf.cert), &text(&new.leaf.key));
    check_works(&mut api);
    check_stale(&api, 0.0);
    check_silent_about(&api, &[&core(&old.leaf.key), &core(&new.leaf.key)]);
}

#[test]
fn unusable_certificates_keep_the_last_good_ones() {
    let certs = Certs::new();
    let redis = demanding(&certs).start();
    let other = certs.leaf_for("client.example");
    let (cert, key) = (text(&other.cert), text(&other.key));
    let mut mount = Mount::new(&certs.leaf);
    let ca = mount.path("ca.pem");
    replace(&ca, &text(&certs.ca));
    let mut api = mount
        .shown_by(both(&tls_url("127.0.0.1", &redis), &ca))
        .start();
    check_works(&mut api);

    // The key of another certificate; half a key; no PEM.
    let half = &key[..key.len() / 2];
    for unusable in [&text(&certs.leaf.key), half, "geheim"] {
        mount.swap(&cert, unusable);
        reconnect(&api, &redis, &ROLES, &[]);
    }
    let whole = text(&ca);
    for unusable in ["", &whole[..whole.len() / 2]] {
        replace(&ca, unusable);
        reconnect(&api, &redis, &ROLES, &[]);
    }
    check_works(&mut api);
    check_stale(&api, 1.0);

    mount.swap(&cert, &key);
    replace(&ca, &whole);
    reconnect(&api, &redis, &ROLES, &[]);
    check_works(&mut api);
    check_stale(&api, 0.0);
    let again = "can be read again";
    let pair = "certificate and key";
    let kept = format!("keeping the last good {pair}");
    check_warned_once(&api, &kept, &format!("{pair} {again}"));
    let kept = "keeping the last good CA file";
    check_warned_once(&api, kept, &format!("CA file {again}"));
    let secrets = [core(&other.key), core(&certs.leaf.key), "geheim".to_owned()];
    check_silent_about(&api, &secrets.each_ref().map(String::as_str));
}
