use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::metrics::{Side, Worker};
use crate::net::endpoint::{Address, Sources};

/// A role with a password file, a CA file, a certificate and a key, all of them good.
struct Rig {
    folder: TempDir,
    endpoint: Endpoint,
    credentials: Credentials,
    metrics: RoleMetrics,
}

/// A self-signed certificate and its key, as PEM.
fn pair() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(Vec::new()).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let endpoint = Endpoint {
            address: Address::Unix("unused".into()),
            username: None,
            password: Password::File(path("password")),
            database: 0,
            tls: Some(TlsOptions {
                ca_file: Some(path("ca")),
                cert_file: Some(path("cert")),
                key_file: Some(path("key")),
                server_name: None,
            }),
            sources: Sources::default(),
        };
        let metrics = RoleMetrics::new(Arc::new(Worker::default()), Side::Write);
        let rig = Rig {
            credentials: Credentials::new("write", metrics.clone()),
            folder,
            endpoint,
            metrics,
        };
        let (cert, key) = pair();
        rig.write("password", "first\n");
        rig.write("ca", &pair().0);
        rig.write("cert", &cert);
        rig.write("key", &key);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, seconds: u64) -> Result<Material, String> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        let resolver = Resolver::new(runtime.handle().clone());
        let deadline = Instant::now() + Duration::from_secs(20);
        let reading = self
            .credentials
            .read(&self.endpoint, &resolver, deadline, at(seconds));
        let material = runtime.block_on(reading);
        material.map_err(|error| error.explain(&self.endpoint).to_string())
    }

    /// Reads at that time; what came, which must be usable.
    #[track_caller]
    fn usable(&self, seconds: u64) -> (String, TlsMaterial) {
        let material = self.read(seconds).unwrap_or_else(|error| panic!("{error}"));
        let password = material.password.expect("there is a password");
        let tls = material.tls.expect("there is TLS");
        (password.reveal().to_owned(), tls)
    }

    #[track_caller]
    fn check_metrics(&self, read: u64, stale: u64) {
        let role = self.metrics.role();
        assert_eq!(role.credentials_read.get(), Some(read), "last read");
        assert_eq!(role.credentials_stale.get(), stale, "stale");
    }
}

fn same_identity(one: &TlsMaterial, other: &TlsMaterial) -> bool {
    match (&one.identity, &other.identity) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => panic!("both have a certificate"),
    }
}

#[test]
fn unusable_new_files_keep_the_last_good_ones() {
    let check = |file: &str, content: Option<&str>| {
        let rig = Rig::new();
        let (password, first) = rig.usable(100);
        assert_eq!(password, "first");
        rig.check_metrics(100, 0);
        let good = fs::read_to_string(rig.path(file)).unwrap();
        match content {
            Some(text) => rig.write(file, text),
            None => fs::remove_file(rig.path(file)).unwrap(),
        }
        let (password, second) = rig.usable(200);
        assert_eq!(password, "first", "{file} {content:?}");
        assert_eq!(
            Arc::ptr_eq(&first.trust, &second.trust),
            file == "ca",
            "the CAs are read anew unless theirs is the broken file: {file} {content:?}"
        );
        assert_eq!(
            same_identity(&first, &second),
            file == "cert" || file == "key",
            "so is the certificate: {file} {content:?}"
        );
        rig.check_metrics(100, 1);
        rig.write(file, &good);
        rig.usable(300);
        rig.check_metrics(300, 0);
    };
    let half = pair().0;
    let half = &half[..half.len() / 2];
    for file in ["password", "ca", "cert", "key"] {
        check(file, None);
        check(file, Some(""));
        check(file, Some("\n"));
        if file != "password" {
            check(file, Some("no PEM"));
            check(file, Some(half));
        }
    }
    check("password", Some(&"x".repeat(16 * 1024 + 1)));
    check("cert", Some(&pair().0));
    check("key", Some(&pair().1));
}

#[test]
fn good_new_files_are_used() {
    let rig = Rig::new();
    let (_, first) = rig.usable(100);
    let (cert, key) = pair();
    rig.write("password", "second\r\n");
    rig.write("cert", &cert);
    rig.write("key", &key);
    let (password, second) = rig.usable(200);
    assert_eq!(password, "second");
    assert!(!same_identity(&first, &second));
    rig.check_metrics(200, 0);
}

#[test]
fn nothing_good_yet_is_an_error() {
    let check = |file: &str, content: Option<&str>, word: &str| {
        let rig = Rig::new();
        match content {
            Some(text) => rig.write(file, text),
            None => fs::remove_file(rig.path(file)).unwrap(),
        }
        let error = rig.read(100).map(|_| ()).expect_err("is unusable");
        assert!(error.contains(word), "{error}");
        let path = rig.path(file).display().to_string();
        assert!(error.contains(&path), "{error}");
    };
    check("password", None, "can't read the password file");
    check("ca", None, "can't be read");
    check("ca", Some("no PEM"), "no `-----BEGIN CERTIFICATE-----`");
    check("key", Some(&pair().1), "they are not a pair");
}

#[test]
fn an_empty_password_file_is_no_password_at_the_start_only() {
    let rig = Rig::new();
    rig.write("password", "");
    assert!(rig.read(100).unwrap().password.is_none());
    rig.write("password", " a b \n\n");
    assert_eq!(rig.usable(200).0, " a b \n", "one newline is cut");
    rig.write("password", "");
    assert_eq!(rig.usable(300).0, " a b \n");
}

#[test]
fn without_files_there_is_nothing_to_keep() {
    let mut rig = Rig::new();
    rig.endpoint.password = Password::Given(Secret::new("given"));
    rig.endpoint.tls = Some(TlsOptions::default());
    let (password, tls) = rig.usable(100);
    assert_eq!(password, "given");
    assert!(!tls.trust.roots.is_empty(), "the built-in roots");
    assert!(tls.identity.is_none());
    assert_eq!(rig.metrics.role().credentials_read.get(), None);
}
