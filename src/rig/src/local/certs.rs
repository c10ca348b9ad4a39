//! A private CA and one certificate from it, for as long as the rig runs.
//!
//! The CA's key is never written: nothing else can be signed by it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::Error;

/// PEM files.
#[derive(Debug)]
pub(super) struct Certs {
    pub ca: PathBuf,
    /// For `localhost` and `127.0.0.1`; the master shows it, and the replica, which needs one of
    /// its own even without a TLS port.
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Makes them in `folder`, which must be closed to other users.
pub(super) fn create(folder: &Path) -> Result<Certs, Error> {
    let ca_key = KeyPair::generate().map_err(Error::Certificate)?;
    let mut ca_params = CertificateParams::new(Vec::new()).map_err(Error::Certificate)?;
    // The two common names must differ: OpenSSL takes a leaf with its issuer's name for
    // self-signed.
    ca_params
        .distinguished_name
        .push(DnType::CommonName, "redis-api local CA");
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_cert = ca_params.self_signed(&ca_key).map_err(Error::Certificate)?;

    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).map_err(Error::Certificate)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "redis-api local server");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().map_err(Error::Certificate)?;
    let issuer = Issuer::from_params(&ca_params, &ca_key);
    let cert = params
        .signed_by(&key, &issuer)
        .map_err(Error::Certificate)?;

    Ok(Certs {
        ca: write(folder, "ca.pem", &ca_cert.pem())?,
        cert: write(folder, "cert.pem", &cert.pem())?,
        key: write(folder, "key.pem", &key.serialize_pem())?,
    })
}

/// Writes a file of the rig.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}
