//! A failed handshake: the cause, and what to do about it.
//!
//! Told apart by rustls' enums, never by texts, which change with its versions.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use super::algorithm;
use crate::net::endpoint::{Sources, TlsOptions};
use crate::net::explanation::Explanation;

/// A certificate may hold thousands of names; a log line needn't.
const MAX_NAMES: usize = 8;

/// Why there is no session.
///
/// With TLS 1.3 a server refuses *our* certificate only after the handshake has ended for us
/// (RFC 8446 §4.4.2.4), so the error of the first read is one of these too.
#[derive(Debug)]
pub enum Failure {
    /// The session's own reasons: the server's certificate, an alert from it, no TLS at all.
    Session(Error),
    /// The server closed the connection.
    Closed,
    /// The deadline passed.
    Silent,
    /// The server's key is of this kind, which isn't supported.
    UnsupportedKey(String),
    /// The socket's.
    Io(io::Error),
}

impl Failure {
    /// By the error of a handshake, or of the first read after it.
    pub fn of(error: io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match (tls, error.kind()) {
            (Some(error), _) => Failure::Session(error.clone()),
            (
                None,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted,
            ) => Failure::Closed,
            (None, io::ErrorKind::TimedOut) => Failure::Silent,
            (None, _) => Failure::Io(error),
        }
    }

    /// The server broke off without showing its certificate, whose key may be the reason.
    pub fn hides_the_certificate(&self) -> bool {
        matches!(
            self,
            Failure::Session(Error::AlertReceived(AlertDescription::HandshakeFailure))
        )
    }

    /// The cause, and the cure by what gave the settings.
    pub fn explain(&self, host: &str, options: &TlsOptions, sources: &Sources) -> Explanation {
        let context = Context {
            host,
            options,
            sources,
        };
        let reason = match self {
            Failure::Session(error) => context.session(error),
            Failure::Closed => context.no_tls("the server closed the connection within it"),
            // A Redis port without TLS takes our greeting for the beginning of a line (it has a
            // zero byte before any newline) and waits in silence for the rest. A server that hangs
            // looks the same.
            Failure::Silent => context.no_tls("no answer to the TLS greeting in time"),
            Failure::UnsupportedKey(algorithm) => Explanation::new(
                format!(
                    "the key of the server's certificate is {algorithm}, which isn't supported"
                ),
                format!("issue one with a supported key: {}", algorithm::KEYS),
            ),
            Failure::Io(error) => Explanation::new(error.to_string(), SEE_LOG),
        };
        Explanation {
            cause: format!("TLS handshake with {host} failed: {}", reason.cause),
            ..reason
        }
    }
}

const SEE_LOG: &str = "look at the server's log";
const TOO_OLD: (&str, &str) = (
    "the server speaks only TLS older than 1.2",
    "set its tls-protocols to \"TLSv1.2 TLSv1.3\"",
);
const UPDATE_CIPHERS: &str = "allow current ones in its tls-ciphers and tls-ciphersuites";
const RENEW: &str = "renew it and have the server load it, or set the clock of this machine";
const SET_CLOCK: &str = "set the clock of this machine, or of the one that issued it";

/// What a failure is explained by.
struct Context<'a> {
    host: &'a str,
    options: &'a TlsOptions,
    sources: &'a Sources,
}

impl Context<'_> {
    fn no_tls(&self, cause: &str) -> Explanation {
        Explanation::new(
            format!("{cause}: the server hangs, or it does not speak TLS on this port"),
            format!("drop {}, or use its TLS port", self.sources.tls),
        )
    }

    fn session(&self, error: &Error) -> Explanation {
        match error {
            Error::InvalidCertificate(error) => self.certificate(error),
            Error::AlertReceived(alert) => self.alert(*alert),
            // What isn't TLS fails in the header of the first record, or is taken for a record of
            // an impossible length; a record of a wrong kind comes from a server that sends first.
            Error::InvalidMessage(_)
            | Error::PeerSentOversizedRecord
            | Error::InappropriateMessage { .. } => Explanation::new(
                format!("the server doesn't speak TLS on this port ({error})"),
                format!("drop {}, or use its TLS port", self.sources.tls),
            ),
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Explanation::new(TOO_OLD.0, TOO_OLD.1),
            Error::PeerIncompatible(what) => Explanation::new(
                format!("the server supports nothing that we do ({what:?})"),
                UPDATE_CIPHERS,
            ),
            Error::NoCertificatesPresented => {
                Explanation::new("the server has no certificate", "set its tls-cert-file")
            }
            error => Explanation::new(error.to_string(), SEE_LOG),
        }
    }

    /// We don't accept the server's certificate.
    fn certificate(&self, error: &CertificateError) -> Explanation {
        match error {
            CertificateError::UnknownIssuer => self.unknown_issuer(),
            CertificateError::BadSignature => self.wrong_key(),
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => self.not_valid_for(&text(expected), presented),
            CertificateError::NotValidForName => {
                let name = self.options.server_name.as_deref();
                self.not_valid_for(name.unwrap_or(self.host), &[])
            }
            CertificateError::ExpiredContext { time, not_after } => Explanation::new(
                format!(
                    "the server's certificate expired {} ago",
                    between(*not_after, *time)
                ),
                RENEW,
            ),
            CertificateError::Expired => {
                Explanation::new("the server's certificate has expired", RENEW)
            }
            CertificateError::NotValidYetContext { time, not_before } => Explanation::new(
                format!(
                    "the server's certificate is not valid before {} from now",
                    between(*time, *not_before)
                ),
                SET_CLOCK,
            ),
            CertificateError::NotValidYet => {
                Explanation::new("the server's certificate is not valid yet", SET_CLOCK)
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Explanation::new(
                    "the server's certificate is for another purpose",
                    "issue one with the extended key usage serverAuth",
                )
            }
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id,
                ..
            } => unsupported_signature(&algorithm::name(signature_algorithm_id)),
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id,
                public_key_algorithm_id,
            } => unsupported_signature(&format!(
                "{} by a key that is {}",
                algorithm::name(signature_algorithm_id),
                algorithm::name(public_key_algorithm_id)
            )),
            CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => Explanation::new(
                    "this certificate is its own CA",
                    "issue a leaf certificate from it for the server, and trust the CA alone",
                ),
                Some(webpki::Error::UnsupportedCertVersion) => Explanation::new(
                    "the server's certificate is not of X.509 version 3",
                    "issue it anew with extensions (openssl x509 -req needs -extfile with a \
                     subjectAltName)",
                ),
                _ => refused(other),
            },
            error => refused(error),
        }
    }

    /// As the operator knows them.
    fn roots(&self) -> String {
        match &self.options.ca_file {
            Some(path) => path.display().to_string(),
            None => "the built-in Mozilla roots".to_string(),
        }
    }

    fn unknown_issuer(&self) -> Explanation {
        let flag = &self.sources.ca_file;
        match &self.options.ca_file {
            Some(path) => Explanation::new(
                format!(
                    "no CA in {} issued the server's certificate",
                    path.display()
                ),
                format!(
                    "give the CA that did by {flag}, and have the server send its intermediate \
                     certificates"
                ),
            ),
            None => Explanation::new(
                "no public CA (built-in Mozilla roots) issued the server's certificate",
                format!("give its own CA by {flag}"),
            ),
        }
    }

    /// The issuer's name is known, but not its key.
    fn wrong_key(&self) -> Explanation {
        Explanation::new(
            format!(
                "the server's certificate names a CA of {}, but another key signed it: the CA was \
                 made anew under its old name, or the certificate itself has that name",
                self.roots()
            ),
            format!(
                "give the current CA by {}, and CA and certificate different names",
                self.sources.ca_file
            ),
        )
    }

    fn not_valid_for(&self, expected: &str, presented: &[String]) -> Explanation {
        if presented.is_empty() {
            return Explanation::new(
                format!(
                    "the server's certificate has no subjectAltName, so it is not for {expected} \
                     (a common name doesn't count)"
                ),
                "issue one that has it",
            );
        }
        // The names come from the server: they are escaped, and few.
        let mut names: Vec<_> = presented
            .iter()
            .take(MAX_NAMES)
            .map(|name| plain_name(name))
            .collect();
        if presented.len() > MAX_NAMES {
            names.push("…".to_string());
        }
        Explanation::new(
            format!(
                "the server's certificate is not for {expected} but for {}",
                names.join(", ")
            ),
            format!(
                "connect to such a name, or give it by {}",
                self.sources.server_name
            ),
        )
    }

    /// The server doesn't accept something of ours, and said so (RFC 8446 §6.2).
    fn alert(&self, alert: AlertDescription) -> Explanation {
        let Sources {
            cert_file,
            key_file,
            ..
        } = self.sources;
        let own = match &self.options.cert_file {
            Some(path) => format!("our certificate {}", path.display()),
            None => "us without a certificate".to_string(),
        };
        match alert {
            AlertDescription::CertificateRequired => Explanation::new(
                "the server demands a client certificate",
                format!(
                    "give one by {cert_file} and {key_file}, or set its tls-auth-clients to no"
                ),
            ),
            // Before TLS 1.3 this one is also how a missing client certificate is told.
            AlertDescription::HandshakeFailure if self.options.cert_file.is_none() => {
                Explanation::new(
                    format!(
                        "the server broke off: it has no cipher in common with us, or its \
                         certificate has a key of a kind that isn't supported (supported: {}), or \
                         it demands a client certificate",
                        algorithm::KEYS
                    ),
                    format!(
                        "{UPDATE_CIPHERS}, replace its certificate, or give {cert_file} and \
                         {key_file}; its log says which"
                    ),
                )
            }
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                Explanation::new(
                    format!(
                        "the server has no cipher in common with us, or its certificate has a key \
                         of a kind that isn't supported (supported: {})",
                        algorithm::KEYS
                    ),
                    format!("{UPDATE_CIPHERS}, or replace its certificate; its log says which"),
                )
            }
            AlertDescription::ProtocolVersion => Explanation::new(TOO_OLD.0, TOO_OLD.1),
            AlertDescription::UnknownCA => Explanation::new(
                format!("the server refused {own}: it doesn't know the CA"),
                "put the CA that issued it into the server's tls-ca-cert-file",
            ),
            AlertDescription::CertificateExpired => Explanation::new(
                format!("the server refused {own}: it has expired"),
                "renew it, or set the server's clock",
            ),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => Explanation::new(
                format!("the server refused {own} ({alert:?})"),
                format!(
                    "give one by {cert_file} that a CA in the server's tls-ca-cert-file issued, \
                     with the extended key usage clientAuth"
                ),
            ),
            AlertDescription::UnrecognisedName => Explanation::new(
                "the server knows no such name",
                format!("give the one it serves by {}", self.sources.server_name),
            ),
            alert => Explanation::new(
                format!("the server broke off with the alert {alert:?}"),
                "its log says why",
            ),
        }
    }
}

fn unsupported_signature(algorithm: &str) -> Explanation {
    Explanation::new(
        format!(
            "the server's certificate, or that of its CA, is signed with {algorithm}, which isn't \
             supported"
        ),
        format!("have it signed with {}", algorithm::SIGNATURES),
    )
}

fn refused(error: &impl std::fmt::Display) -> Explanation {
    Explanation::new(
        format!("the server's certificate is refused ({error})"),
        "issue another",
    )
}

/// A name as rustls shows it, `DnsName("a")` or `IpAddress(0::1)`, in its usual form.
fn plain_name(name: &str) -> String {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(name);
    let inner = inner.trim_matches('"');
    match inner.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => inner.escape_debug().to_string(),
    }
}

fn text(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(address) => IpAddr::from(*address).to_string(),
        name => name.to_str().into_owned(),
    }
}

/// The time between two points, in its largest unit.
fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = Duration::from_secs(to.as_secs().saturating_sub(from.as_secs())).as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}
