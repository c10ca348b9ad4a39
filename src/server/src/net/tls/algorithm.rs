//! The names of keys and signatures, for errors that say which one isn't supported.

use x509_parser::asn1_rs::Oid;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The keys that can be used, as the end of a sentence.
pub(super) const KEYS: &str = "RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, or Ed25519";

/// The signatures that can be verified, as the end of a sentence.
pub(super) const SIGNATURES: &str = "RSA with SHA-256, SHA-384 or SHA-512, ECDSA P-256 or P-384 \
                                     with SHA-256 or SHA-384, or Ed25519";

/// Object identifiers of keys, curves and signatures (RFC 3279, 4055, 5480, 5758, 8410, 9881).
const NAMES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384"),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512"),
    ("1.2.840.113549.1.1.14", "RSA with SHA-224"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.10045.2.1", "ECDSA"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.1", "ECDSA with SHA-224"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.156.10197.1.501", "SM2 with SM3"),
    ("2.16.840.1.101.3.4.3.2", "DSA with SHA-256"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

/// Keys that can be used.
const SUPPORTED: [&str; 4] = ["RSA", "ECDSA P-256", "ECDSA P-384", "Ed25519"];

/// The name of an algorithm by the inside of its DER (RFC 5280 §4.1.1.2): an object identifier, and
/// its parameters, of which a curve is named too.
pub(super) fn name(der: &[u8]) -> String {
    let mut names = Vec::new();
    let mut rest = der;
    while let Ok((behind, oid)) = Oid::from_der(rest) {
        names.push(named(&oid.to_id_string()));
        rest = behind;
    }
    if names.is_empty() {
        return "an algorithm without a name".to_string();
    }
    names.join(" ")
}

fn named(oid: &str) -> String {
    let known = NAMES.iter().find(|(id, _)| *id == oid);
    known.map_or_else(
        || format!("the algorithm {oid}"),
        |(_, name)| (*name).to_string(),
    )
}

/// The kind of a certificate's key, if it isn't supported.
pub(super) fn unsupported(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = &certificate.public_key().algorithm;
    let mut name = named(&algorithm.algorithm.to_id_string());
    let curve = algorithm.parameters.as_ref();
    if let Some(curve) = curve.and_then(|curve| curve.as_oid().ok()) {
        name = format!("{name} {}", named(&curve.to_id_string()));
    }
    (!SUPPORTED.contains(&name.as_str())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_by_their_der() {
        let check = |der: &[u8], expected: &str| assert_eq!(name(der), expected);
        // 1.2.840.10045.4.3.4
        check(
            &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4],
            "ECDSA with SHA-512",
        );
        // 1.2.840.10045.2.1 and 1.3.132.0.35
        let key = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
        check(
            &[&key[..], &[6, 5, 0x2b, 0x81, 4, 0, 35]].concat(),
            "ECDSA P-521",
        );
        check(&[6, 3, 0x2b, 0x65, 0x71], "Ed448");
        check(&[6, 2, 0x2a, 3], "the algorithm 1.2.3");
        check(&[], "an algorithm without a name");
        check(&[0x30, 0], "an algorithm without a name");
    }
}
