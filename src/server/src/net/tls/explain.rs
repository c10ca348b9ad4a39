//! A failed handshake in words: the cause, and what to do about it.
//!
//! Told apart by rustls' enums, never by texts, which change with its versions.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::net::endpoint::TlsOptions;

/// A certificate may hold thousands of names; a log line needn't.
const MAX_NAMES: usize = 8;

/// Says why a handshake failed, and the cure.
///
/// With TLS 1.3 a server refuses *our* certificate only after the handshake has ended for us
/// (RFC 8446 §4.4.2.4), so the error of the first read belongs here too. So does a deadline that
/// passed, as [`io::ErrorKind::TimedOut`]: a Redis port without TLS is silent.
pub fn explain(error: &io::Error, endpoint_host: &str, options: &TlsOptions) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let reason = match (tls, error.kind()) {
        (Some(error), _) => reason(error, endpoint_host, options),
        (
            None,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted,
        ) => format!("the server closed the connection within it; perhaps {SPEAKS_NO_TLS}"),
        // A Redis port without TLS takes our greeting for the beginning of a line (it has a zero
        // byte before any newline) and waits in silence for the rest. A server that hangs looks the
        // same.
        (None, io::ErrorKind::TimedOut) => SILENT.to_string(),
        (None, _) => error.to_string(),
    };
    format!("TLS handshake with {endpoint_host} failed: {reason}")
}

const SPEAKS_NO_TLS: &str = "the server doesn't speak TLS on this port: \
    drop rediss:// or --redis-tls, or use its TLS port";

const SILENT: &str = "no answer to the TLS greeting in time: the server hangs, or it speaks no TLS \
    on this port (then drop rediss:// or --redis-tls, or use its TLS port)";

fn reason(error: &Error, host: &str, options: &TlsOptions) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error, host, options),
        Error::AlertReceived(alert) => refused(*alert, options),
        // What isn't TLS fails in the header of the first record, or is taken for a record of an
        // impossible length; a record of a wrong kind comes from a server that sends first.
        Error::InvalidMessage(_)
        | Error::PeerSentOversizedRecord
        | Error::InappropriateMessage { .. } => format!("{SPEAKS_NO_TLS} ({error})"),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => TOO_OLD.to_string(),
        Error::PeerIncompatible(what) => {
            format!("the server supports nothing that we do ({what:?}): {UPDATE_CIPHERS}")
        }
        Error::NoCertificatesPresented => {
            "the server has no certificate: set its tls-cert-file".to_string()
        }
        error => error.to_string(),
    }
}

const TOO_OLD: &str =
    "the server speaks only TLS older than 1.2: set its tls-protocols to \"TLSv1.2 TLSv1.3\"";
const UPDATE_CIPHERS: &str = "allow current ones in its tls-ciphers and tls-ciphersuites";

/// We don't accept the server's certificate.
fn certificate(error: &CertificateError, host: &str, options: &TlsOptions) -> String {
    match error {
        CertificateError::UnknownIssuer => unknown_issuer(options),
        CertificateError::BadSignature => wrong_key(options),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => not_valid_for(&text(expected), presented),
        CertificateError::NotValidForName => {
            not_valid_for(options.server_name.as_deref().unwrap_or(host), &[])
        }
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = between(*not_after, *time);
            format!("the server's certificate expired {ago} ago: {RENEW}")
        }
        CertificateError::Expired => format!("the server's certificate has expired: {RENEW}"),
        CertificateError::NotValidYetContext { time, not_before } => {
            let wait = between(*time, *not_before);
            format!("the server's certificate is not valid before {wait} from now: {SET_CLOCK}")
        }
        CertificateError::NotValidYet => {
            format!("the server's certificate is not valid yet: {SET_CLOCK}")
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is for another purpose: \
             issue one with the extended key usage serverAuth"
                .to_string()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => CA_AS_LEAF.to_string(),
            Some(webpki::Error::UnsupportedCertVersion) => NOT_VERSION_3.to_string(),
            _ => format!("the server's certificate is refused ({other}): issue another"),
        },
        error => format!("the server's certificate is refused ({error}): issue another"),
    }
}

const RENEW: &str = "renew it and have the server load it, or set the clock of this machine";
const SET_CLOCK: &str = "set the clock of this machine, or of the one that issued it";
const CA_AS_LEAF: &str = "this certificate is its own CA: \
    issue a leaf certificate from it for the server, and trust the CA alone";
const NOT_VERSION_3: &str = "the server's certificate is not of X.509 version 3: \
    issue it anew with extensions (openssl x509 -req needs -extfile with a subjectAltName)";

fn unknown_issuer(options: &TlsOptions) -> String {
    match &options.ca_file {
        Some(path) => format!(
            "no CA in {} issued the server's certificate: give the CA that did by \
             --redis-ca-file (or that of the role), and have the server send its intermediate \
             certificates",
            path.display()
        ),
        None => "no public CA (built-in Mozilla roots) issued the server's certificate: \
                 give its own CA by --redis-ca-file (or that of the role)"
            .to_string(),
    }
}

/// The issuer's name is known, but not its key.
fn wrong_key(options: &TlsOptions) -> String {
    let roots = match &options.ca_file {
        Some(path) => path.display().to_string(),
        None => "the built-in Mozilla roots".to_string(),
    };
    format!(
        "the server's certificate names a CA of {roots}, but another key signed it: \
         the CA was made anew under its old name, or the certificate itself has that name; \
         give the current CA by --redis-ca-file, and CA and certificate different names"
    )
}

fn not_valid_for(expected: &str, presented: &[String]) -> String {
    if presented.is_empty() {
        return format!(
            "the server's certificate has no subjectAltName, so it is not for {expected} (a common \
             name doesn't count): issue one that has it"
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
    format!(
        "the server's certificate is not for {expected} but for {}: \
         connect to such a name, or give it by --redis-server-name (or that of the role)",
        names.join(", ")
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

/// The server doesn't accept something of ours, and said so (RFC 8446 §6.2).
fn refused(alert: AlertDescription, options: &TlsOptions) -> String {
    let own = match &options.cert_file {
        Some(path) => format!("our certificate {}", path.display()),
        None => "us without a certificate".to_string(),
    };
    match alert {
        AlertDescription::CertificateRequired => {
            "the server demands a client certificate: give one by \
             --redis-cert-file and --redis-key-file (or those of the role), or set its \
             tls-auth-clients to no"
                .to_string()
        }
        // Before TLS 1.3 this one is also how a missing client certificate is told.
        AlertDescription::HandshakeFailure if options.cert_file.is_none() => format!(
            "the server broke off: it demands a client certificate (give --redis-cert-file and \
             --redis-key-file, or set its tls-auth-clients to no), or it has no cipher in common \
             with us ({UPDATE_CIPHERS})"
        ),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            format!("the server has no cipher in common with us: {UPDATE_CIPHERS}")
        }
        AlertDescription::ProtocolVersion => TOO_OLD.to_string(),
        AlertDescription::UnknownCA => format!(
            "the server refused {own}, it doesn't know the CA: put the CA that issued it into the \
             server's tls-ca-cert-file"
        ),
        AlertDescription::CertificateExpired => {
            format!(
                "the server refused {own}, it has expired: renew it (or set the server's clock)"
            )
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => format!(
            "the server refused {own} ({alert:?}): issue one from a CA in the server's \
             tls-ca-cert-file, with the extended key usage clientAuth"
        ),
        AlertDescription::UnrecognisedName => {
            "the server knows no such name: give the one it serves \
             by --redis-server-name (or that of the role)"
                .to_string()
        }
        alert => format!("the server broke off with the alert {alert:?}: its log says why"),
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
