//! What the PEM decoder would pass over in silence: byte order marks, and sections that it doesn't
//! know. A CA that is dropped so shows up weeks later, as a server that suddenly isn't trusted.

/// UTF-8's, as some editors write it; also between files that were joined to a bundle.
const MARK: &[u8] = b"\xef\xbb\xbf";

const BEGIN: &[u8] = b"-----BEGIN";

/// Sections beside certificates that a file may have for others to use.
const OTHERS: [&str; 6] = [
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "EC PARAMETERS",
    "DH PARAMETERS",
];

/// The text for the decoder, and how many certificates it must find there.
///
/// # Errors
/// A section would be passed over; in words, without a part of the file.
pub(super) fn certificates(text: &[u8]) -> Result<(Vec<u8>, usize), String> {
    let text = without_marks(text)?;
    let mut found = 0;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = number + 1;
        let line = line.trim_ascii_end();
        if !line.windows(BEGIN.len()).any(|window| window == BEGIN) {
            continue;
        }
        let label = line
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_prefix(b" ")?.strip_suffix(b"-----"));
        match label.map(String::from_utf8_lossy).as_deref() {
            Some("CERTIFICATE") => found += 1,
            Some(label) if OTHERS.contains(&label) => {}
            // A name of a section is no secret, but what stands there may be anything.
            Some("TRUSTED CERTIFICATE" | "X509 CERTIFICATE") => {
                return Err(format!(
                    "line {number} begins a TRUSTED or X509 CERTIFICATE, of which only plain \
                     CERTIFICATE sections can be read (openssl x509 writes such a one)"
                ));
            }
            Some("X509 CRL") => {
                return Err(format!(
                    "line {number} begins a revocation list, and none is looked at here"
                ));
            }
            Some(_) => {
                return Err(format!("line {number} begins a section that isn't known"));
            }
            None => {
                return Err(format!(
                    "a BEGIN line is broken: line {number} has more than `-----BEGIN …-----`"
                ));
            }
        }
    }
    Ok((text, found))
}

/// The text without the byte order marks at the beginning of its lines.
///
/// # Errors
/// It is UTF-16.
pub(super) fn without_marks(text: &[u8]) -> Result<Vec<u8>, String> {
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16, where PEM is ASCII".to_string());
    }
    let mut plain = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        plain.extend_from_slice(line.strip_prefix(MARK).unwrap_or(line));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn marks_are_read_over() {
        let bundle = format!("\u{feff}{CERTIFICATE}# the next\n\u{feff}{CERTIFICATE}");
        let (text, found) = certificates(bundle.as_bytes()).unwrap();
        let expected = format!("{CERTIFICATE}# the next\n{CERTIFICATE}");
        assert_eq!((text, found), (expected.into_bytes(), 2));
    }

    #[test]
    fn nothing_is_passed_over() {
        let check = |text: &str, words: &str| {
            let error = certificates(text.as_bytes()).expect_err("is refused");
            assert!(error.contains(words), "{error}");
        };
        let named = |name: &str| CERTIFICATE.replace("CERTIFICATE", name);
        check(&named("TRUSTED CERTIFICATE"), "line 1 begins a TRUSTED");
        check(&(CERTIFICATE.to_owned() + &named("X509 CRL")), "line 4");
        check(&named("PKCS7"), "isn't known");
        check(
            &format!("  {CERTIFICATE}"),
            "a BEGIN line is broken: line 1",
        );
        check("-----BEGIN CERTIFICATE----\n", "a BEGIN line is broken");
        for other in OTHERS {
            let text = named(other) + CERTIFICATE;
            assert_eq!(certificates(text.as_bytes()).unwrap().1, 1, "{other}");
        }
        assert_eq!(certificates(b"no PEM").unwrap().1, 0);
        let error = certificates(b"\xff\xfe-\0-\0").unwrap_err();
        assert!(error.contains("UTF-16"), "{error}");
    }
}
