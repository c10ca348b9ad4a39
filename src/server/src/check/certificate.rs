//! What a reader wants to know of a certificate: whose, by whom, until when.

use redis_api_wire::conn::printable;
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT,
};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

/// One value of a name is cut here.
const LONGEST: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// As `CN=…, O=…`; empty if it has none of these.
    pub subject: String,
    pub issuer: String,
    /// Seconds since the Unix epoch.
    pub not_after: i64,
    /// The same as a date: `2027-01-31`.
    pub expires: String,
}

impl Certificate {
    /// `None` if it has another form than RFC 5280's. It was verified before, so that this is rare.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let not_after = certificate.validity().not_after;
        Some(Certificate {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            not_after: not_after.timestamp(),
            expires: not_after.to_datetime().date().to_string(),
        })
    }
}

fn name(name: &X509Name<'_>) -> String {
    let labels = [
        (OID_X509_COMMON_NAME, "CN"),
        (OID_X509_ORGANIZATION_NAME, "O"),
        (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
    ];
    let shown = name.iter_attributes().filter_map(|attribute| {
        let label = labels.iter().find(|(oid, _)| oid == attribute.attr_type());
        let value = attribute.as_slice();
        let value = printable(&value[..value.len().min(LONGEST)]);
        label.map(|(_, label)| format!("{label}={value}"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn subject_issuer_and_expiry() {
        let check = |year, expires: &str, not_after| {
            let mut params = CertificateParams::new(vec!["h".to_string()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::CommonName, "redis\nmaster");
            params
                .distinguished_name
                .push(DnType::OrganizationName, "o");
            params.not_after = date_time_ymd(year, 2, 28);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let parsed = Certificate::parse(certificate.der()).unwrap();
            assert_eq!(parsed.subject, "CN=redis?master, O=o");
            assert_eq!(parsed.issuer, parsed.subject);
            assert_eq!(
                (parsed.expires.as_str(), parsed.not_after),
                (expires, not_after)
            );
        };
        // By `date -u -d … +%s`.
        check(2027, "2027-02-28", 1_803_772_800);
        check(2049, "2049-02-28", 2_498_083_200);
        check(2051, "2051-02-28", 2_561_155_200);
    }

    #[test]
    fn other_forms_give_nothing() {
        let check = |der: &[u8]| assert_eq!(Certificate::parse(der), None, "{der:?}");
        check(b"");
        check(&[0x30, 5, 1]);
        check(&[0; 64]);
    }
}
