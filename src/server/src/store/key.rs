//! What is stored where in Redis.

use std::fmt;
use std::sync::Arc;

/// The field behind `/`.
pub const CURRENT: &str = "current-value";

/// The hash of the talk this service comes from.
const DEFAULT_HASH: &str = "currency";

/// Longest name of a hash, in bytes.
const MAX_HASH: usize = 512;

/// The name of the hash that holds all fields. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashName(Arc<str>);

impl HashName {
    /// Reads a name. Redis takes any bytes as a key; refused is what a rule of its access control
    /// lists, in which the name stands too, could not hold as it is.
    ///
    /// # Errors
    /// What would have been accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"*?[]\\\"'".contains(&byte);
        if (1..=MAX_HASH).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(HashName(text.into()));
        }
        Err(format!(
            "the name of a hash: 1 to {MAX_HASH} visible ASCII characters, without quotes and \
             * ? [ ] \\"
        ))
    }

    /// The name, as it stands in commands.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The name, for people.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for HashName {
    fn default() -> Self {
        HashName(DEFAULT_HASH.into())
    }
}

impl fmt::Display for HashName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hashes() {
        let longest = "x".repeat(MAX_HASH);
        for good in ["currency", "a", "app:{tag}:rates/v1", "~x", "1", &longest] {
            let name = HashName::parse(good).map(|name| name.as_str().to_owned());
            assert_eq!(name.as_deref(), Ok(good));
        }
        let too_long = format!("{longest}x");
        for wrong in [
            "", "a b", "a\n", "a\0", "é", "a*", "a?", "[a]", "a\\", "\"a\"", "'a'", &too_long,
        ] {
            assert!(HashName::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(HashName::default().as_str(), "currency");
    }
}
