//! A look at the certificate of a server that breaks a handshake off.
//!
//! A server whose key is of a kind that we don't offer to verify says no more than "handshake
//! failure". Offered all kinds, it shows its certificate, and that names the kind. Nothing is
//! verified, and nothing is sent: the handshake is ended at the certificate, always.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{TlsError, algorithm, provider};

/// `rsa_pss_pss_sha256`, `…_sha384`, `…_sha512` (RFC 8446 §4.2.3), for keys that are RSA-PSS'.
const RSA_PSS_KEYS: [u16; 3] = [0x0809, 0x080a, 0x080b];

/// The kind of the server's key, if it isn't supported; `None` if it is, or if the server doesn't
/// show it. `stream` is a new connection to it.
///
/// # Errors
/// The configuration can't be made; a fault of the build.
///
/// # Cancel safety
/// Dropping it closes the connection.
pub async fn unsupported_key(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    name: ServerName<'static>,
) -> Result<Option<String>, TlsError> {
    let seen = Arc::new(Peek::default());
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Versions)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(seen.clone());
    // Always an error: ours, if it comes as far as the certificate.
    let _ = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let leaf = seen.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(leaf.and_then(|leaf| algorithm::unsupported(&leaf)))
}

/// Keeps the certificate, and refuses it.
#[derive(Debug, Default)]
struct Peek(Mutex<Option<CertificateDer<'static>>>);

impl ServerCertVerifier for Peek {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(leaf.clone().into_owned());
        Err(refused())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refused())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refused())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PKCS1_SHA256,
        ];
        schemes.extend(RSA_PSS_KEYS.map(SignatureScheme::from));
        schemes
    }
}

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}
