//! What a reader wants to know of a certificate: whose, by whom, until when.
//!
//! A certificate is read as far as its subject, by the layout of RFC 5280 §4.1. It was verified
//! before; a form that isn't known gives nothing rather than a guess.

use std::ops::Range;

/// Tags of DER (X.690 §8.1.2).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// The attributes of a name that are shown (RFC 5280 appendix A.1), with their object identifiers.
const ATTRIBUTES: [(&[u8], &str); 3] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
];

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
    /// `None` if it has another form than RFC 5280's.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (body, _) = expect(certificate, SEQUENCE)?;
        let (tag, _, rest) = element(body)?;
        let body = if tag == VERSION { rest } else { body };
        let (_, _, body) = element(body)?; // serial number
        let (_, body) = expect(body, SEQUENCE)?; // algorithm of the signature
        let (issuer, body) = expect(body, SEQUENCE)?;
        let (validity, body) = expect(body, SEQUENCE)?;
        let (subject, _) = expect(body, SEQUENCE)?;
        let (_, _, validity) = element(validity)?; // not before
        let (tag, time, _) = element(validity)?;
        let (not_after, expires) = point(tag, time)?;
        Some(Certificate {
            subject: name(subject),
            issuer: name(issuer),
            not_after,
            expires,
        })
    }
}

/// The first element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // More than three bytes of length are no certificate.
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let fold = |len, byte: &u8| len << 8 | usize::from(*byte);
            (digits.iter().fold(0, fold), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

fn name(mut sets: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some((set, rest)) = expect(sets, SET) {
        sets = rest;
        parts.extend(attribute(set));
    }
    parts.join(", ")
}

fn attribute(set: &[u8]) -> Option<String> {
    let (pair, _) = expect(set, SEQUENCE)?;
    let (oid, rest) = expect(pair, OID)?;
    let (_, label) = ATTRIBUTES.iter().find(|(known, _)| *known == oid)?;
    let (_, value, _) = element(rest)?;
    let value = &value[..value.len().min(LONGEST)];
    Some(format!(
        "{label}={}",
        redis_api_wire::conn::printable(value)
    ))
}

/// A point in time (RFC 5280 §4.1.2.5), in seconds since the Unix epoch and as a date.
fn point(tag: u8, text: &[u8]) -> Option<(i64, String)> {
    let (year, rest) = match tag {
        // Two digits: 1950 to 2049.
        UTC_TIME => {
            let year = digits(text, 0..2)?;
            (year + if year < 50 { 2000 } else { 1900 }, text.get(2..)?)
        }
        GENERALIZED_TIME => (digits(text, 0..4)?, text.get(4..)?),
        _ => return None,
    };
    let (month, day) = (digits(rest, 0..2)?, digits(rest, 2..4)?);
    if !(1..=12).contains(&month) || rest.len() != 11 || rest[10] != b'Z' {
        return None;
    }
    let (hour, minute, second) = (
        digits(rest, 4..6)?,
        digits(rest, 6..8)?,
        digits(rest, 8..10)?,
    );
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds, format!("{year}-{month:02}-{day:02}")))
}

fn digits(text: &[u8], range: Range<usize>) -> Option<i64> {
    let text = text.get(range)?;
    let all = text.iter().all(u8::is_ascii_digit);
    all.then(|| {
        text.iter()
            .fold(0, |n, byte| n * 10 + i64::from(byte - b'0'))
    })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar from year 1 on.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is a year's last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before = 365 * year + year / 4 - year / 100 + year / 400;
    // From 0000-03-01 to 1970-01-01 there are 719,468 days.
    before + (153 * month + 2) / 5 + day - 1 - 719_468
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
    fn days_of_dates() {
        let check = |date: (i64, i64, i64), expected| {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        };
        check((1970, 1, 1), 0);
        check((1970, 3, 1), 59);
        check((2000, 2, 29), 11_016);
        check((2000, 3, 1), 11_017);
        check((2100, 3, 1), 47_541);
        check((1969, 12, 31), -1);
    }

    #[test]
    fn other_forms_give_nothing() {
        let check = |der: &[u8]| assert_eq!(Certificate::parse(der), None, "{der:?}");
        check(b"");
        check(&[SEQUENCE]);
        check(&[SEQUENCE, 5, 1]);
        check(&[SEQUENCE, 0x84, 1, 1, 1, 1]);
        check(&[SEQUENCE, 2, SEQUENCE, 0]);
        check(&[0; 64]);
    }
}
