//! Handshakes with servers of every kind of certificate, in memory.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::*;

mod records;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key.
struct Leaf {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Leaf {
    fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn leaf(ca: &Issuer, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    Leaf {
        der: certificate.der().clone(),
        pem: certificate.pem(),
        key,
    }
}

fn good(ca: &Issuer) -> Leaf {
    leaf(ca, &["redis.example", "10.0.0.1", "::1"], |_| {})
}

/// Files for `TlsOptions`, gone with the value.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn trusting(&self, ca: &Issuer) -> TlsOptions {
        TlsOptions {
            ca_file: Some(self.write("ca.pem", &ca.pem())),
            ..TlsOptions::default()
        }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A server of one certificate that sends one byte after the handshake.
async fn serve(stream: DuplexStream, config: ServerConfig) {
    // The client's refusal is what a test looks at; here it is an error to ignore.
    if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
        let _ = stream.write_all(b"+").await;
        let _ = stream.shutdown().await;
    }
}

fn config(leaf: &Leaf) -> ServerConfig {
    ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der.clone()], leaf.key_der())
        .unwrap()
}

/// Reads the files and makes the connector.
fn prepared(
    options: &TlsOptions,
    host: &str,
) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let pipes = Pipes::default();
    let material = TlsMaterial {
        trust: match &options.ca_file {
            Some(path) => roots(path, &pipes)?,
            None => built_in_roots(),
        },
        identity: identity(options, &pipes)?,
    };
    connector(&material, options, host)
}

/// A handshake and the first byte after it; an error is explained.
async fn connect(stream: DuplexStream, options: &TlsOptions, host: &str) -> Result<(), String> {
    let (connector, name) = prepared(options, host).map_err(|error| error.to_string())?;
    let explained = |error: io::Error| explain(error, host, options);
    let mut stream = connector.connect(name, stream).await.map_err(explained)?;
    stream.read_u8().await.map_err(explained)?;
    Ok(())
}

fn explain(error: io::Error, host: &str, options: &TlsOptions) -> String {
    let failure = Failure::of(error);
    let sources = Sources::of_flags("--redis");
    failure.explain(host, options, &sources).to_string()
}

async fn handshake(config: ServerConfig, options: &TlsOptions, host: &str) -> Result<(), String> {
    let (ours, theirs) = duplex(64 << 10);
    tokio::join!(connect(ours, options, host), serve(theirs, config)).0
}

/// A server that answers whatever it reads with `answer`, and hangs up.
async fn answered(answer: &[u8]) -> String {
    let (ours, mut theirs) = duplex(64 << 10);
    let server = async move {
        let _ = theirs.read(&mut [0; 1024]).await;
        let _ = theirs.write_all(answer).await;
    };
    let options = TlsOptions::default();
    let (result, ()) = tokio::join!(connect(ours, &options, "redis.example"), server);
    result.expect_err("is refused")
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[tokio::test]
async fn names_and_addresses_in_the_certificate_are_accepted() {
    let (files, ca) = (Files::new(), ca("Test CA"));
    let options = files.trusting(&ca);
    for host in [
        "redis.example",
        "redis.example.",
        "REDIS.example",
        "10.0.0.1",
        "::1",
    ] {
        assert_eq!(
            handshake(config(&good(&ca)), &options, host).await,
            Ok(()),
            "{host}"
        );
    }
}

#[tokio::test]
async fn the_server_name_overrides_the_host() {
    let (files, ca) = (Files::new(), ca("Test CA"));
    let server_name = Some("redis.example.".to_string());
    let options = TlsOptions {
        server_name,
        ..files.trusting(&ca)
    };
    assert_eq!(
        handshake(config(&good(&ca)), &options, "127.0.0.1").await,
        Ok(())
    );
}

#[tokio::test]
async fn tls_1_2_is_spoken() {
    let (files, ca) = (Files::new(), ca("Test CA"));
    let leaf = good(&ca);
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der.clone()], leaf.key_der())
        .unwrap();
    assert_eq!(
        handshake(config, &files.trusting(&ca), "redis.example").await,
        Ok(())
    );
}

#[tokio::test]
async fn a_wrong_ca_is_refused() {
    let (files, ours, theirs) = (Files::new(), ca("Our CA"), ca("Their CA"));
    let error = handshake(
        config(&good(&theirs)),
        &files.trusting(&ours),
        "redis.example",
    )
    .await;
    has(
        &error.unwrap_err(),
        &["redis.example", "no CA in", "ca.pem", "--redis-ca-file"],
    );

    let public = TlsOptions::default();
    let error = handshake(config(&good(&theirs)), &public, "redis.example").await;
    has(&error.unwrap_err(), &["Mozilla", "--redis-ca-file"]);
}

#[tokio::test]
async fn a_ca_made_anew_under_its_old_name_is_told_apart() {
    let (files, old, new) = (Files::new(), ca("Test CA"), ca("Test CA"));
    let error = handshake(config(&good(&new)), &files.trusting(&old), "redis.example").await;
    has(&error.unwrap_err(), &["ca.pem", "another key", "made anew"]);
}

#[tokio::test]
async fn a_wrong_name_is_refused_with_both_names() {
    let (files, ca) = (Files::new(), ca("Test CA"));
    let options = files.trusting(&ca);
    let error = handshake(config(&good(&ca)), &options, "other.example")
        .await
        .unwrap_err();
    has(
        &error,
        &[
            "not for other.example",
            "redis.example, 10.0.0.1, ::1",
            "--redis-server-name",
        ],
    );
    let error = handshake(config(&good(&ca)), &options, "10.0.0.2")
        .await
        .unwrap_err();
    has(&error, &["not for 10.0.0.2 but for redis.example"]);

    let nameless = leaf(&ca, &[], |_| {});
    let error = handshake(config(&nameless), &options, "leaf")
        .await
        .unwrap_err();
    has(&error, &["no subjectAltName", "common name"]);
}

#[tokio::test]
async fn expired_and_not_yet_valid_are_refused() {
    let (files, ca) = (Files::new(), ca("Test CA"));
    let options = files.trusting(&ca);
    let expired = leaf(&ca, &["redis.example"], |params| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let error = handshake(config(&expired), &options, "redis.example")
        .await
        .unwrap_err();
    has(&error, &["expired", "days ago", "renew"]);

    let early = leaf(&ca, &["redis.example"], |params| {
        params.not_before = date_time_ymd(4000, 1, 1);
        params.not_after = date_time_ymd(4001, 1, 1);
    });
    let error = handshake(config(&early), &options, "redis.example")
        .await
        .unwrap_err();
    has(&error, &["not valid before", "days from now", "clock"]);
}

#[tokio::test]
async fn a_ca_as_leaf_is_refused() {
    let files = Files::new();
    let mut params = CertificateParams::new(vec!["redis.example".to_string()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let own = Leaf {
        der: ca.der().clone(),
        pem: ca.pem(),
        key: KeyPair::from_pem(&ca.key().serialize_pem()).unwrap(),
    };
    let error = handshake(config(&own), &files.trusting(&ca), "redis.example")
        .await
        .unwrap_err();
    has(
        &error,
        &["this certificate is its own CA; issue a leaf certificate from it"],
    );
}

/// A certificate of version 1, as `openssl x509 -req` made them; valid to 2126.
const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBJTCBzQIUDJvMrqP7JipFk1Ggd0NH/qERvtkwCgYIKoZIzj0EAwIwFTETMBEG
A1UEAwwKdjEuZXhhbXBsZTAgFw0yNjExMjMwNjMwNDVaGA8yMTI2MTAzMDA2MzA0
NVowFTETMBEGA1UEAwwKdjEuZXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABGAqFLdGUODpLo2XnFkXRSo/ZNugAmuwXeMpz1OGjkngm9n1TDvNj19H+4P9
jLO4JhpgtH+CbR183zcEHEOOa4QwCgYIKoZIzj0EAwIDRwAwRAIgI2K4iKiY/ld9
OBbipILTVrvFQu5hFNyF0hX2rMuemPMCIAIEMHT6RohVDDRSuoP0sWzpY89aOkWc
jvC8cMv5AQHD
-----END CERTIFICATE-----
";

/// Serves a certificate with a key that isn't its own: a client that looks at the certificate first
/// never gets to see that.
#[derive(Debug)]
struct Unchecked(Arc<CertifiedKey>);

impl ResolvesServerCert for Unchecked {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

#[tokio::test]
async fn a_certificate_of_version_1_is_refused() {
    let (files, ca) = (Files::new(), ca("Test CA"));
    let certificate = CertificateDer::from_pem_slice(VERSION_1.as_bytes()).unwrap();
    let key = provider()
        .key_provider
        .load_private_key(good(&ca).key_der())
        .unwrap();
    let key = Arc::new(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Unchecked(key)));
    let error = handshake(config, &files.trusting(&ca), "v1.example")
        .await
        .unwrap_err();
    has(&error, &["not of X.509 version 3", "subjectAltName"]);
}

#[tokio::test]
async fn client_certificates() {
    let (files, ca, other) = (Files::new(), ca("Test CA"), ca("Other CA"));
    let demanding = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let leaf = good(&ca);
        ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![leaf.der.clone()], leaf.key_der())
            .unwrap()
    };
    let with = |client: &Leaf| TlsOptions {
        cert_file: Some(files.write("client.pem", &client.pem)),
        key_file: Some(files.write("client.key", &client.key.serialize_pem())),
        ..files.trusting(&ca)
    };
    let client = |ca: &Issuer| leaf(ca, &["client"], |_| {});
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let host = "redis.example";
        let given = handshake(demanding(versions), &with(&client(&ca)), host).await;
        assert_eq!(given, Ok(()), "{versions:?}");

        let missing = handshake(demanding(versions), &files.trusting(&ca), host).await;
        has(
            &missing.unwrap_err(),
            &["demands a client certificate", "--redis-cert-file"],
        );

        let foreign = handshake(demanding(versions), &with(&client(&other)), host).await;
        has(
            &foreign.unwrap_err(),
            &["the server refused our certificate", "client.pem"],
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_such() {
    let cure = [
        "TLS on this port",
        "drop --redis-tls",
        "or use its TLS port",
    ];
    has(&answered(b"-ERR unknown command\r\n").await, &cure);
    has(
        &answered(b"-NOAUTH Authentication required.\r\n").await,
        &cure,
    );
    has(&answered(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, &cure);
    has(&answered(b"").await, &cure);
}

#[tokio::test]
async fn alerts_are_explained() {
    // A record of type alert (RFC 8446 §5.1), fatal, with this description.
    async fn check(description: u8, words: &[&str]) {
        has(&answered(&[21, 3, 3, 0, 2, 2, description]).await, words);
    }
    check(70, &["older than 1.2", "tls-protocols"]).await;
    check(40, &["client certificate", "tls-ciphers"]).await;
    check(71, &["tls-ciphers"]).await;
    check(112, &["--redis-server-name"]).await;
    check(116, &["demands a client certificate"]).await;
    check(80, &["InternalError", "its log"]).await;
}

#[test]
fn errors_of_the_socket_are_explained_or_passed_on() {
    let check = |kind: io::ErrorKind, words: &[&str]| {
        let text = explain(io::Error::from(kind), "h:1", &TlsOptions::default());
        has(&text, &["TLS handshake with h:1 failed: "]);
        has(&text, words);
    };
    check(
        io::ErrorKind::TimedOut,
        &[
            "no answer",
            "the server hangs, or it does not speak TLS on this port",
        ],
    );
    check(
        io::ErrorKind::ConnectionReset,
        &["closed the connection", "does not speak TLS"],
    );
    check(
        io::ErrorKind::HostUnreachable,
        &["failed: host unreachable"],
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn unusable_files_are_named_with_the_cure() {
    fn check(options: &TlsOptions, words: &[&str]) {
        let error = prepared(options, "redis.example")
            .map(|_| ())
            .expect_err("is unusable");
        has(&error.explain(&Sources::default()).to_string(), words);
    }
    let (files, ca) = (Files::new(), ca("Test CA"));
    let (own, another) = (good(&ca), good(&ca));
    let trusting = |text: &str| TlsOptions {
        ca_file: Some(files.write("bad.pem", text)),
        ..TlsOptions::default()
    };
    let identity = |cert: &str, key: &str| TlsOptions {
        cert_file: Some(files.write("cert.pem", cert)),
        key_file: Some(files.write("key.pem", key)),
        ..TlsOptions::default()
    };
    let missing = TlsOptions {
        ca_file: Some("/no/such/ca.pem".into()),
        ..TlsOptions::default()
    };
    check(&missing, &["/no/such/ca.pem", "check the path"]);
    let folder = TlsOptions {
        ca_file: Some(files.0.path().into()),
        ..TlsOptions::default()
    };
    check(&folder, &["can't be read", "PEM file"]);
    check(
        &trusting(""),
        &["bad.pem", "no `-----BEGIN CERTIFICATE-----`"],
    );
    check(
        &trusting(&own.key.serialize_pem()),
        &["bad.pem", "BEGIN CERTIFICATE"],
    );
    let whole = ca.pem();
    let lost = whole.replace("-----END CERTIFICATE-----", "");
    check(&trusting(&(lost + &whole)), &["bad.pem", "a section"]);
    check(
        &trusting(&whole.replace("CERTIFICATE", "TRUSTED CERTIFICATE")),
        &["bad.pem", "line 1 begins a TRUSTED"],
    );
    let marked = format!("\u{feff}{whole}\u{feff}{whole}");
    assert!(prepared(&trusting(&marked), "redis.example").is_ok());
    check(
        &trusting("-----BEGIN CERTIFICATE-----\nMIIB\n"),
        &["bad.pem", "no END line"],
    );
    check(
        &trusting("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        &["bad.pem", "can't be a CA"],
    );
    check(
        &trusting(&"x".repeat((1 << 20) + 1)),
        &["bad.pem", "it is longer than"],
    );
    check(
        &identity(&own.pem, &another.key.serialize_pem()),
        &["cert.pem", "key.pem", "not a pair"],
    );
    check(&identity(&own.pem, &own.pem), &["key.pem", "PRIVATE KEY"]);
    check(
        &identity(&own.key.serialize_pem(), ""),
        &["cert.pem", "BEGIN CERTIFICATE"],
    );
    let lone = TlsOptions {
        cert_file: Some("cert.pem".into()),
        ..TlsOptions::default()
    };
    check(&lone, &["cert.pem", "without its key"]);
    let lone = TlsOptions {
        key_file: Some("key.pem".into()),
        ..TlsOptions::default()
    };
    check(&lone, &["key.pem", "without its certificate"]);
    let nameless = TlsOptions {
        server_name: Some("a b".into()),
        ..TlsOptions::default()
    };
    check(&nameless, &["\"a b\"", "--redis-server-name"]);
}
