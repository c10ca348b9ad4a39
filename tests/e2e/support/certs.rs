//! Certificates for tests: a private CA, leaves from it, and wrong ones.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A CA with one good leaf, as PEM files in a folder that goes when this is dropped.
///
/// CA and leaf have different common names: with equal ones OpenSSL takes the leaf for
/// self-signed.
#[derive(Debug)]
pub struct Certs {
    folder: TempDir,
    ca_params: CertificateParams,
    ca_key: KeyPair,
    /// PEM file of the CA's certificate.
    pub ca: PathBuf,
    /// For `localhost` and `127.0.0.1`, signed by the CA.
    pub leaf: Pair,
}

/// PEM files of a certificate and of its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certs {
    pub fn new() -> Certs {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let ca_key = KeyPair::generate().expect("a key can be generated");
        let mut ca_params = params(&[], "redis-api test CA");
        ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // DigitalSignature too, so that `ca_as_leaf` fails for being a CA and for nothing else.
        ca_params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let ca_cert = ca_params
            .self_signed(&ca_key)
            .expect("a CA can sign itself");
        let ca = write(folder.path(), "ca.pem", &ca_cert.pem());
        let leaf = sign(folder.path(), "leaf", leaf_params(), &ca_params, &ca_key);
        Certs {
            folder,
            ca_params,
            ca_key,
            ca,
            leaf,
        }
    }

    /// A leaf of this CA whose only name is `name`.
    pub fn leaf_for(&self, name: &str) -> Pair {
        let params = params(&[name], "redis-api test server");
        self.sign(&format!("leaf-{name}"), params)
    }

    /// A leaf of this CA with the right names, which expired in 2021.
    pub fn expired(&self) -> Pair {
        let mut params = leaf_params();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign("expired", params)
    }

    /// A leaf of this CA with the right names, which is valid from 4000 on.
    pub fn not_yet_valid(&self) -> Pair {
        let mut params = leaf_params();
        params.not_before = date_time_ymd(4000, 1, 1);
        params.not_after = date_time_ymd(4001, 1, 1);
        self.sign("not-yet-valid", params)
    }

    /// One self-signed certificate with the right names, which is no CA.
    pub fn self_signed(&self) -> Pair {
        let key = KeyPair::generate().expect("a key can be generated");
        let params = params(&["localhost", "127.0.0.1"], "redis-api self-signed leaf");
        let cert = params.self_signed(&key);
        let cert = cert.expect("a certificate can sign itself");
        self.write_pair("self-signed", &cert.pem(), &key)
    }

    /// One self-signed certificate with the right names that says it is a CA, for a server to
    /// show as its own: what `openssl req -x509` makes by default. A client that trusts it has
    /// its `cert` as the CA file.
    pub fn ca_as_leaf(&self) -> Pair {
        let mut params = params(&["localhost", "127.0.0.1"], "redis-api self-signed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be generated");
        let cert = params
            .self_signed(&key)
            .expect("a certificate can sign itself");
        self.write_pair("ca-as-leaf", &cert.pem(), &key)
    }

    fn sign(&self, file: &str, params: CertificateParams) -> Pair {
        sign(
            self.folder.path(),
            file,
            params,
            &self.ca_params,
            &self.ca_key,
        )
    }

    fn write_pair(&self, file: &str, cert: &str, key: &KeyPair) -> Pair {
        write_pair(self.folder.path(), file, cert, key)
    }
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(std::string::ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("these names are valid");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

fn leaf_params() -> CertificateParams {
    params(&["localhost", "127.0.0.1"], "redis-api test server")
}

fn sign(
    folder: &Path,
    file: &str,
    mut params: CertificateParams,
    ca_params: &CertificateParams,
    ca_key: &KeyPair,
) -> Pair {
    // A replica shows its certificate as a client, the master its own as a server.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().expect("a key can be generated");
    let issuer = Issuer::from_params(ca_params, ca_key);
    let cert = params
        .signed_by(&key, &issuer)
        .expect("the CA can sign a leaf");
    write_pair(folder, file, &cert.pem(), &key)
}

fn write_pair(folder: &Path, file: &str, cert: &str, key: &KeyPair) -> Pair {
    Pair {
        cert: write(folder, &format!("{file}.pem"), cert),
        key: write(folder, &format!("{file}-key.pem"), &key.serialize_pem()),
    }
}

fn write(folder: &Path, file: &str, text: &str) -> PathBuf {
    let path = folder.join(file);
    fs::write(&path, text).expect("a file in our folder can be written");
    path
}
