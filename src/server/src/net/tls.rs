//! TLS to Redis: what to trust, whom to expect, who we are, and what a failure means.
//!
//! - The certificate of the server is verified, always; there is no switch against it.
//! - TLS 1.2 and 1.3, with the `ring` provider named here: with two providers in one build, rustls
//!   would panic at the first connect if left to choose.
//! - Nothing is kept here: `credentials` decides when files are read, and goes on with the last good
//!   content of one that is broken.
//!
//! Not here: the handshake itself, and its deadline.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::endpoint::TlsOptions;

mod explain;
mod records;

pub use explain::explain;
pub use records::Records;

/// No PEM file is read further. The whole Mozilla bundle is a fifth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The CAs to trust.
pub type Trust = Arc<RootCertStore>;

/// Our own certificate chain and its key.
pub type Identity = Arc<dyn ResolvesClientCert>;

/// What one TLS handshake uses.
pub struct TlsMaterial {
    pub trust: Trust,
    /// `None`: we have no certificate to show.
    pub identity: Option<Identity>,
}

/// Makes what a handshake with `host` needs.
///
/// `host` is a name or an IP address without brackets; a trailing dot, which keeps a resolver from
/// trying its search list, is no part of the name in a certificate and is cut.
///
/// # Errors
/// [`TlsError`]: a name doesn't fit.
pub fn connector(
    material: &TlsMaterial,
    options: &TlsOptions,
    host: &str,
) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let name = server_name(options.server_name.as_deref().unwrap_or(host))?;
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_root_certificates(Arc::clone(&material.trust));
    let mut config = match &material.identity {
        None => config.with_no_client_auth(),
        Some(identity) => config.with_client_cert_resolver(Arc::clone(identity)),
    };
    // This configuration makes one connection, so there is no later one to resume the session.
    config.resumption = Resumption::disabled();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// The name to verify, without a trailing dot.
///
/// # Errors
/// [`TlsError::ServerName`] if it is neither a DNS name nor an IP address.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let name = host.strip_suffix('.').unwrap_or(host).to_string();
    ServerName::try_from(name).map_err(|_| TlsError::ServerName {
        name: host.to_string(),
    })
}

/// The Mozilla roots of this build.
pub fn built_in_roots() -> Trust {
    Arc::new(RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    })
}

/// The CAs in the PEM file at `path`.
///
/// # Errors
/// [`TlsError`]: the file can't be used.
pub fn roots(path: &Path) -> Result<Trust, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authority {
                path: path.to_path_buf(),
                error,
            })?;
    }
    Ok(Arc::new(roots))
}

/// Our certificate with its key, from the files that `options` names; `None` if it names none.
///
/// # Errors
/// [`TlsError`]: a file can't be used, or the key is not that of the certificate.
pub fn identity(options: &TlsOptions) -> Result<Option<Identity>, TlsError> {
    let (cert, key) = match (&options.cert_file, &options.key_file) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(path), None) | (None, Some(path)) => {
            let lacks = if options.key_file.is_none() {
                "key"
            } else {
                "certificate"
            };
            return Err(TlsError::Unpaired {
                path: path.clone(),
                lacks,
            });
        }
    };
    // Both files may be exchanged between the two reads; then a second look finds the new pair.
    let pair = match certified_key(cert, key) {
        Err(TlsError::Identity { .. }) => certified_key(cert, key)?,
        other => other?,
    };
    Ok(Some(Arc::new(SingleCertAndKey::from(pair))))
}

fn certified_key(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let (chain, private_key) = (certificates(cert)?, private_key(key)?);
    CertifiedKey::from_der(chain, private_key, &provider()).map_err(|error| TlsError::Identity {
        cert: cert.to_path_buf(),
        key: key.to_path_buf(),
        error,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem {
            path: path.to_path_buf(),
            cause: pem_cause(&error),
        })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty {
            path: path.to_path_buf(),
            lacks: "CERTIFICATE",
        });
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Empty {
            path: path.to_path_buf(),
            lacks: "(unencrypted) PRIVATE KEY",
        },
        error => TlsError::Pem {
            path: path.to_path_buf(),
            cause: pem_cause(&error),
        },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable {
        path: path.to_path_buf(),
        error,
    };
    let mut text = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(TlsError::TooLarge {
            path: path.to_path_buf(),
        });
    }
    Ok(text)
}

/// Why there can be no handshake: one of our own files or names doesn't fit.
#[derive(Debug)]
pub enum TlsError {
    /// The file can't be opened or read.
    Unreadable { path: PathBuf, error: io::Error },
    /// The file is larger than any PEM file has reason to be.
    TooLarge { path: PathBuf },
    /// The file has PEM sections, of which one is broken.
    Pem { path: PathBuf, cause: &'static str },
    /// The file has no such section.
    Empty { path: PathBuf, lacks: &'static str },
    /// A certificate in the CA file can't be a CA.
    Authority { path: PathBuf, error: rustls::Error },
    /// Our certificate and key aren't a pair, or of a kind that isn't supported.
    Identity {
        cert: PathBuf,
        key: PathBuf,
        error: rustls::Error,
    },
    /// A certificate without a key, or the reverse.
    Unpaired { path: PathBuf, lacks: &'static str },
    /// Neither a DNS name nor an IP address.
    ServerName { name: String },
    /// The provider has no cipher for the protocol versions; a fault of the build.
    Versions(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                let cure = match error.kind() {
                    io::ErrorKind::NotFound => "check the path, or mount the file",
                    io::ErrorKind::PermissionDenied => "let the user of this process read it",
                    _ => "give a readable PEM file",
                };
                write!(f, "{}: can't be read ({error}): {cure}", path.display())
            }
            Self::TooLarge { path } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: is larger than {MAX_FILE_BYTES} bytes: give a PEM file"
                )
            }
            Self::Pem { path, cause } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: is no valid PEM, {cause}: write the file again as a whole"
                )
            }
            Self::Empty { path, lacks } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: has no `-----BEGIN {lacks}-----` section: give a PEM file with one"
                )
            }
            Self::Authority { path, error } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: holds a certificate that can't be a CA ({error}): replace it"
                )
            }
            Self::Identity { cert, key, error } => {
                let (cert, key) = (cert.display(), key.display());
                let cause = match error {
                    rustls::Error::InconsistentKeys(_) => "they are not a pair".to_string(),
                    error => error.to_string(),
                };
                write!(
                    f,
                    "{cert} and {key}: can't be used, {cause}: give the key of that certificate"
                )
            }
            Self::Unpaired { path, lacks } => {
                write!(
                    f,
                    "{}: is useless without its {lacks}: give both",
                    path.display()
                )
            }
            Self::ServerName { name } => {
                write!(
                    f,
                    "{name:?} is no DNS name or IP address: correct it, or set --redis-server-name"
                )
            }
            Self::Versions(error) => write!(f, "this build has no usable TLS: {error}"),
        }
    }
}

/// Not the error's own text: that repeats a broken line, which may be part of a private key.
fn pem_cause(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is broken",
        pem::Error::Base64Decode(_) => "a section is no base64",
        _ => "it can't be decoded",
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Authority { error, .. }
            | Self::Identity { error, .. }
            | Self::Versions(error) => Some(error),
            Self::Pem { .. }
            | Self::TooLarge { .. }
            | Self::Empty { .. }
            | Self::Unpaired { .. }
            | Self::ServerName { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
