//! `check` against each way in which TLS can fail: the step is always `tls`, and cause and cure are
//! those of the fault.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{PASSWORD, Said, check};
use crate::support::{Certs, Fake, Pair, Redis, free_port};

/// A server that presents `pair`.
fn showing(certs: &Certs, pair: &Pair) -> Redis {
    Redis::builder().tls_with(certs, pair.clone()).start()
}

/// The check of both roles at this port, over TLS.
fn said(redis: &Redis, ca: &Path, more: &[&str]) -> Said {
    let url = format!("--redis-addr=rediss://127.0.0.1:{}", redis.port());
    let ca = format!("--redis-ca-file={}", ca.display());
    let flags: [&str; 3] = [&url, &ca, "--connect-timeout=2s"];
    check(&[&flags, more].concat())
}

#[track_caller]
fn fails(said: &Said, words: &[&str]) {
    for role in ["read", "write"] {
        for word in words {
            said.has(role, "tls", "FAIL", word);
        }
    }
    assert!(said.text.len() < 8_000, "no dump: {}", said.text);
}

#[test]
fn certificate_of_the_server() {
    let (certs, other) = (Certs::new(), Certs::new());
    let good = Redis::builder().tls(&certs).start();
    fails(
        &said(&good, &other.ca, &[]),
        &["another key signed it", "--redis-ca-file"],
    );
    let elsewhere = showing(&certs, &certs.leaf_for("redis.example"));
    fails(
        &said(&elsewhere, &certs.ca, &[]),
        &[
            "not for 127.0.0.1 but for redis.example",
            "redis-server-name",
        ],
    );
    let expired = showing(&certs, &certs.expired());
    fails(&said(&expired, &certs.ca, &[]), &["expired", "renew it"]);
    let early = showing(&certs, &certs.not_yet_valid());
    fails(
        &said(&early, &certs.ca, &[]),
        &["not valid before", "set the clock"],
    );
    let own = certs.ca_as_leaf();
    let as_leaf = showing(&certs, &own);
    fails(
        &said(&as_leaf, &own.cert, &[]),
        &["its own CA", "issue a leaf certificate"],
    );
    let self_signed = showing(&certs, &certs.self_signed());
    fails(
        &said(&self_signed, &certs.ca, &[]),
        &["no CA in", "issued the server's certificate"],
    );
}

#[test]
fn client_certificate() {
    let certs = Certs::new();
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let redis = Redis::builder()
            .tls(&certs)
            .config("tls-auth-clients yes")
            .config(&format!("tls-protocols \"{versions}\""))
            .start();
        let missing = said(&redis, &certs.ca, &[]);
        fails(&missing, &["demands a client certificate", "-cert-file"]);
        let other = Certs::new();
        let flags = |pair: &Pair| {
            let (cert, key) = (pair.cert.display(), pair.key.display());
            [
                format!("--redis-cert-file={cert}"),
                format!("--redis-key-file={key}"),
            ]
        };
        let [cert, key] = flags(&other.leaf);
        let wrong = said(&redis, &certs.ca, &[&cert, &key]);
        fails(&wrong, &["the server refused our certificate", "leaf.pem"]);
        let [cert, key] = flags(&certs.leaf);
        let right = said(&redis, &certs.ca, &[&cert, &key]);
        right.has("read", "tls", "OK", versions);
        right.has_not("write", "FAIL");
    }
}

#[test]
fn protocol_and_ciphers() {
    let certs = Certs::new();
    let plain = Redis::start_plain();
    fails(
        &said(&plain, &certs.ca, &[]),
        &["does not speak TLS on this port", "drop rediss://"],
    );
    let redis = Redis::builder().tls(&certs).password(PASSWORD).start();
    let said_plain = check(&["--redis-addr", &redis.addr().to_string()]);
    fails(&said_plain, &["only TLS on this port", "give rediss://"]);
    // The alert `protocol_version`: no client here speaks less than 1.2 any more.
    let old = Fake::start();
    old.welcome(b"\x15\x03\x01\0\x02\x02\x46");
    let url = format!("--redis-addr=rediss://{}", old.addr());
    fails(&check(&[&url]), &["older than 1.2", "tls-protocols"]);
    // `handshake_failure`: redis-cli, which waits for a server's start, has no such cipher either.
    let foreign = Fake::start();
    foreign.welcome(b"\x15\x03\x03\0\x02\x02\x28");
    let url = format!("--redis-addr=rediss://{}", foreign.addr());
    fails(&check(&[&url]), &["no cipher in common", "tls-ciphers"]);
}

/// A CA and leaves of keys that `openssl` makes and rcgen can't.
struct Openssl(TempDir);

impl Openssl {
    fn new() -> Openssl {
        let openssl = Openssl(tempfile::tempdir().expect("a temporary folder can be made"));
        std::fs::write(
            openssl.path("ext"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
        )
        .expect("our folder is writable");
        openssl.run("ecparam -name prime256v1 -genkey -noout -out ca.key");
        openssl.run(
            "req -x509 -new -key ca.key -days 30 -subj /CN=ca -addext \
             basicConstraints=critical,CA:TRUE -out ca.crt",
        );
        openssl
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn run(&self, args: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(args.split_whitespace());
        let output = openssl.current_dir(self.0.path()).output();
        let output = output.expect("openssl is installed");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {args}: {why}");
    }

    /// A leaf whose key `generate` makes.
    fn leaf(&self, name: &str, generate: &str, sign: &str) -> Pair {
        self.run(&format!("{generate} -out {name}.key"));
        self.run(&format!(
            "req -new -key {name}.key -subj /CN=leaf -out {name}.csr"
        ));
        self.run(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile \
             ext {sign} -out {name}.crt"
        ));
        Pair {
            cert: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
        }
    }
}

/// What OpenSSL takes and rustls doesn't is named, and what would do.
#[test]
fn algorithms_that_are_not_supported() {
    let (certs, openssl) = (Certs::new(), Openssl::new());
    let p256 = "ecparam -name prime256v1 -genkey -noout";
    let ca = openssl.path("ca.crt");
    let check_leaf = |leaf: Pair, words: &[&str]| {
        let redis = showing(&certs, &leaf);
        fails(&said(&redis, &ca, &[]), words);
        fails(
            &said(&redis, &ca, &[]),
            &["isn't supported", "P-256", "Ed25519"],
        );
    };
    check_leaf(
        openssl.leaf("sha512", p256, "-sha512"),
        &["signed with ECDSA with SHA-512", "SHA-384"],
    );
    check_leaf(
        openssl.leaf("p521", "ecparam -name secp521r1 -genkey -noout", ""),
        &["the key of the server's certificate is ECDSA P-521"],
    );
    check_leaf(
        openssl.leaf(
            "pss",
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "",
        ),
        &["the key of the server's certificate is RSA-PSS"],
    );
    check_leaf(
        openssl.leaf("ed448", "genpkey -algorithm ed448", ""),
        &["the key of the server's certificate is Ed448"],
    );
    let good = showing(&certs, &openssl.leaf("good", p256, "-sha256"));
    said(&good, &ca, &[]).has_not("read", "FAIL");
    // A key of ours.
    let p521 = (openssl.path("p521.crt"), openssl.path("p521.key"));
    let cert = format!("--redis-cert-file={}", p521.0.display());
    let key = format!("--redis-key-file={}", p521.1.display());
    fails(
        &said(&good, &ca, &[&cert, &key]),
        &["its key is ECDSA P-521", "isn't supported"],
    );
}

/// Nothing of a bundle is dropped in silence, and a byte order mark is no reason to refuse it.
#[test]
fn files_of_cas() {
    let (certs, other) = (Certs::new(), Certs::new());
    let redis = Redis::builder().tls(&certs).start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("ca.pem");
    let text = |path: &Path| std::fs::read_to_string(path).expect("it is there");
    let (ours, theirs) = (text(&certs.ca), text(&other.ca));
    let with = |text: &str| {
        std::fs::write(&file, text).expect("our folder is writable");
        said(&redis, &file, &[])
    };
    for good in [
        format!("\u{feff}{ours}"),
        format!("\u{feff}{ours}\u{feff}{theirs}"),
        format!("{theirs}\u{feff}{ours}"),
    ] {
        with(&good).has("write", "tls", "OK", "TLSv1.3");
    }
    let renamed = ours.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    fails(&with(&(theirs.clone() + &renamed)), &["TRUSTED", "line"]);
    fails(
        &with(&format!("{theirs}  {ours}")),
        &["a BEGIN line is broken"],
    );
    fails(&with("none"), &["has no `-----BEGIN CERTIFICATE-----`"]);
    let gone = folder.path().join("gone.pem");
    fails(&said(&redis, &gone, &[]), &["gone.pem", "check the path"]);
    let nobody = format!("rediss://localhost:{}", free_port());
    check(&["--redis-addr", &nobody]).has("read", "connect", "FAIL", "start the server");
}
