//! TLS to Redis: what to trust, whom to expect, who we are, and what a failure means.
//!
//! - The certificate of the server is verified, always; there is no switch against it.
//! - TLS 1.2 and 1.3, with the `ring` provider named here: with two providers in one build, rustls
//!   would panic at the first connect if left to choose.
//! - Files are read anew for each connector, so that they can be rotated; whoever dials decides
//!   whether to go on with the last good one.
//!
//! Not here: the handshake itself, and its deadline.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::endpoint::TlsOptions;

mod explain;

pub use explain::explain;

/// No PEM file is read further. The whole Mozilla bundle is a fifth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the files and makes what a handshake with `host` needs.
///
/// `host` is a name or an IP address without brackets; a trailing dot, which keeps a resolver from
/// trying its search list, is no part of the name in a certificate and is cut.
///
/// # Errors
/// [`TlsError`]: a file or a name doesn't fit.
pub fn connector(
    options: &TlsOptions,
    host: &str,
) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
    let name = server_name(options.server_name.as_deref().unwrap_or(host))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots(options.ca_file.as_deref())?);
    let mut config = match (&options.cert_file, &options.key_file) {
        (None, None) => config.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let (chain, private_key) = (certificates(cert)?, private_key(key)?);
            config
                .with_client_auth_cert(chain, private_key)
                .map_err(|error| TlsError::Identity {
                    cert: cert.clone(),
                    key: key.clone(),
                    error,
                })?
        }
        (Some(path), None) => {
            return Err(TlsError::Unpaired {
                path: path.clone(),
                lacks: "key",
            });
        }
        (None, Some(path)) => {
            return Err(TlsError::Unpaired {
                path: path.clone(),
                lacks: "certificate",
            });
        }
    };
    // This configuration makes one connection, so there is no later one to resume the session.
    config.resumption = Resumption::disabled();
    Ok((TlsConnector::from(Arc::new(config)), name))
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

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let Some(path) = ca_file else {
        return Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authority {
                path: path.to_path_buf(),
                error,
            })?;
    }
    Ok(roots)
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
