//! TLS to Redis: what to trust, whom to expect, who we are, and what a failure means.
//!
//! - The certificate of the server is verified, always; there is no switch against it.
//! - TLS 1.2 and 1.3, with the `ring` provider named here: with two providers in one build, rustls
//!   would panic at the first connect if left to choose.
//! - Nothing is kept here: `credentials` decides when files are read, and goes on with the last
//!   good content of one that is broken.
//!
//! Not here: the handshake itself, and its deadline.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::endpoint::{Sources, TlsOptions};
use super::explanation::Explanation;
use super::files::{self, Pipes};

mod algorithm;
mod failure;
mod peek;
mod pem_file;
mod records;

pub use failure::Failure;
pub use peek::unsupported_key;
pub use records::Records;

/// No PEM file is read further. The whole Mozilla bundle is a fifth of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The CAs to trust.
pub type Trust = Arc<RootCertStore>;

/// Our own certificate chain and its key.
pub type Identity = Arc<dyn ResolvesClientCert>;

/// What one TLS handshake uses.
pub struct TlsMaterial {
    /// The CAs that may have issued the server's certificate.
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

/// The CAs in the PEM file at `path`. Blocks.
///
/// # Errors
/// [`TlsError`]: the file can't be used.
pub(super) fn roots(path: &Path, pipes: &Pipes) -> Result<Trust, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pipes)? {
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
/// Blocks.
///
/// # Errors
/// [`TlsError`]: a file can't be used, or the key is not that of the certificate.
pub(super) fn identity(options: &TlsOptions, pipes: &Pipes) -> Result<Option<Identity>, TlsError> {
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
    let pair = match certified_key(cert, key, pipes) {
        Err(TlsError::Identity { .. }) => certified_key(cert, key, pipes)?,
        other => other?,
    };
    Ok(Some(Arc::new(SingleCertAndKey::from(pair))))
}

fn certified_key(cert: &Path, key: &Path, pipes: &Pipes) -> Result<CertifiedKey, TlsError> {
    let (chain, private_key) = (certificates(cert, pipes)?, private_key(key, pipes)?);
    let algorithm = chain.first().and_then(|leaf| algorithm::unsupported(leaf));
    CertifiedKey::from_der(chain, private_key, &provider()).map_err(|error| match algorithm {
        Some(algorithm) => TlsError::OwnAlgorithm {
            cert: cert.to_path_buf(),
            algorithm,
        },
        None => TlsError::Identity {
            cert: cert.to_path_buf(),
            key: key.to_path_buf(),
            error,
        },
    })
}

fn certificates(path: &Path, pipes: &Pipes) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let broken = |cause| TlsError::Pem {
        path: path.to_path_buf(),
        cause,
    };
    let text = read(path, pipes)?;
    let (text, sections) = pem_file::certificates(&text).map_err(broken)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(pem_cause(&error).to_string()))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty {
            path: path.to_path_buf(),
            lacks: "CERTIFICATE",
        });
    }
    if certificates.len() != sections {
        return Err(broken("a section has no END line".to_string()));
    }
    Ok(certificates)
}

fn private_key(path: &Path, pipes: &Pipes) -> Result<PrivateKeyDer<'static>, TlsError> {
    let broken = |cause: &str| TlsError::Pem {
        path: path.to_path_buf(),
        cause: cause.to_string(),
    };
    let text = pem_file::without_marks(&read(path, pipes)?).map_err(|cause| broken(&cause))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::Empty {
            path: path.to_path_buf(),
            lacks: "(unencrypted) PRIVATE KEY",
        },
        error => broken(pem_cause(&error)),
    })
}

fn read(path: &Path, pipes: &Pipes) -> Result<Vec<u8>, TlsError> {
    files::read(path, MAX_FILE_BYTES, pipes).map_err(|error| TlsError::Unreadable {
        path: path.to_path_buf(),
        error,
    })
}

/// Why there can be no handshake: one of our own files or names doesn't fit.
#[derive(Debug)]
pub enum TlsError {
    /// The file can't be opened or read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's.
        error: io::Error,
    },
    /// The file has PEM sections, of which one is broken or can't be used.
    Pem {
        /// The file.
        path: PathBuf,
        /// Never a part of the file.
        cause: String,
    },
    /// The file has no such section.
    Empty {
        /// The file.
        path: PathBuf,
        /// The name of the section.
        lacks: &'static str,
    },
    /// A certificate in the CA file can't be a CA.
    Authority {
        /// The CA file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// Our key is of a kind that isn't supported.
    OwnAlgorithm {
        /// The file of our certificate.
        cert: PathBuf,
        /// The kind.
        algorithm: String,
    },
    /// Our certificate and key aren't a pair, or can't be used.
    Identity {
        /// The file of our certificate.
        cert: PathBuf,
        /// The file of our key.
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// A certificate without a key, or the reverse.
    Unpaired {
        /// The file that was given.
        path: PathBuf,
        /// What the other one would be.
        lacks: &'static str,
    },
    /// Neither a DNS name nor an IP address.
    ServerName {
        /// As it was given.
        name: String,
    },
    /// The provider has no cipher for the protocol versions; a fault of the build.
    Versions(rustls::Error),
}

impl TlsError {
    /// The cause, and the cure by what gave the settings.
    pub fn explain(&self, sources: &Sources) -> Explanation {
        let cure = match self {
            Self::Unreadable { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => "check the path, or mount the file".to_string(),
                io::ErrorKind::PermissionDenied => {
                    "let the user of this process read it".to_string()
                }
                _ => "give a readable PEM file".to_string(),
            },
            Self::Pem { .. } => "write the file again as a whole".to_string(),
            Self::Empty { .. } => "give a PEM file with one".to_string(),
            Self::Authority { .. } => "replace it".to_string(),
            Self::OwnAlgorithm { .. } => {
                format!("issue one with a supported key: {}", algorithm::KEYS)
            }
            Self::Identity { .. } => "give the key of that certificate".to_string(),
            Self::Unpaired { .. } => "give both".to_string(),
            Self::ServerName { .. } => format!("correct it, or set {}", sources.server_name),
            Self::Versions(_) => "build it with a TLS provider".to_string(),
        };
        Explanation::new(format!("TLS: {self}"), cure)
    }
}

/// The cause alone.
impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(f, "{}: can't be read ({error})", path.display())
            }
            Self::Pem { path, cause } => {
                write!(f, "{}: is not a usable PEM file: {cause}", path.display())
            }
            Self::Empty { path, lacks } => {
                let path = path.display();
                write!(f, "{path}: has no `-----BEGIN {lacks}-----` section")
            }
            Self::Authority { path, error } => {
                let path = path.display();
                write!(
                    f,
                    "{path}: holds a certificate that can't be a CA ({error})"
                )
            }
            Self::OwnAlgorithm { cert, algorithm } => {
                let cert = cert.display();
                write!(f, "{cert}: its key is {algorithm}, which isn't supported")
            }
            Self::Identity { cert, key, error } => {
                let (cert, key) = (cert.display(), key.display());
                match error {
                    rustls::Error::InconsistentKeys(_) => {
                        write!(f, "{cert} and {key}: can't be used: they are not a pair")
                    }
                    error => write!(f, "{cert} and {key}: can't be used: {error}"),
                }
            }
            Self::Unpaired { path, lacks } => {
                write!(f, "{}: is useless without its {lacks}", path.display())
            }
            Self::ServerName { name } => {
                write!(f, "{name:?} is neither a DNS name nor an IP address")
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
        pem::Error::Base64Decode(_) => "a section is not base64",
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
            | Self::OwnAlgorithm { .. }
            | Self::Empty { .. }
            | Self::Unpaired { .. }
            | Self::ServerName { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
