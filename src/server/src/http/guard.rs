//! Who may write, and which fields there are.
//!
//! Invariants: whatever is refused here is refused before a byte of the body is read or a command
//! is sent; of all rules the strictest holds. Nothing here runs for a plain `GET /`.
//!
//! Non-goals: users and roles. What Redis lets us do is its own matter.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::header::HeaderMap;

use super::cors::Cors;
use super::route::is_field;
use super::token::Token;
use crate::store::CURRENT;
use crate::token_file;

/// What is allowed, as configured. By default everything.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Nobody may write.
    pub read_only: bool,
    /// Whoever writes must have the token in this file.
    pub token_file: Option<PathBuf>,
    /// No other fields are read or written.
    pub fields: Option<Fields>,
    /// A write may not make the hash larger than this.
    pub max_fields: Option<NonZeroU64>,
    /// Which web pages may use the API.
    pub cors: Cors,
}

/// What is allowed. Cheap to clone; clones have the same token.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    read_only: bool,
    token: Option<Arc<Token>>,
    fields: Option<Arc<Fields>>,
    max_fields: Option<NonZeroU64>,
    cors: Cors,
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Nobody may write.
    ReadOnly,
    /// The token is missing, wrong, or there twice.
    Token,
}

impl Guard {
    /// Reads the token file, if there is one. Blocks.
    ///
    /// # Errors
    /// The token file holds no usable token.
    pub fn open(options: Options) -> Result<Self, token_file::Error> {
        let token = options.token_file.map(Token::open).transpose()?;
        Ok(Guard {
            read_only: options.read_only,
            token: token.map(Arc::new),
            fields: options.fields.map(Arc::new),
            max_fields: options.max_fields,
            cors: options.cors,
        })
    }

    /// Whether this field exists for clients.
    pub fn serves(&self, field: &[u8]) -> bool {
        let fields = self.fields.as_ref();
        fields.is_none_or(|fields| fields.contains(field))
    }

    /// The field by which a read server is judged: that of `/`, or the first that is served.
    pub fn probed_field(&self) -> &[u8] {
        let current = CURRENT.as_bytes();
        match &self.fields {
            Some(fields) if !fields.contains(current) => fields.first(),
            _ => current,
        }
    }

    /// Whether writes are refused whoever asks.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether a request with these headers may write.
    ///
    /// # Errors
    /// Why it may not.
    pub fn may_write(&self, headers: &HeaderMap) -> Result<(), Denial> {
        if self.read_only {
            return Err(Denial::ReadOnly);
        }
        match &self.token {
            Some(token) if !token.is_in(headers) => Err(Denial::Token),
            _ => Ok(()),
        }
    }

    /// The token that writes need.
    pub fn token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref()
    }

    /// How many fields the hash may have after a write.
    pub fn max_fields(&self) -> Option<NonZeroU64> {
        self.max_fields
    }

    /// Which web pages may use the API.
    pub fn cors(&self) -> &Cors {
        &self.cors
    }
}

/// Names of fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// In order, so that one is found by halving.
    names: Box<[Box<[u8]>]>,
}

impl Fields {
    /// Reads names with commas between.
    ///
    /// # Errors
    /// What would have been accepted, and what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut wrong: Vec<String> = Vec::new();
        for item in text.split(',') {
            if !is_field(item) {
                wrong.push(format!("{item:?} is not a field name"));
                continue;
            }
            match names.binary_search_by(|name| (**name).cmp(item.as_bytes())) {
                Ok(_) => wrong.push(format!("{item:?} is listed twice")),
                Err(place) => names.insert(place, item.as_bytes().into()),
            }
        }
        if wrong.is_empty() {
            return Ok(Fields {
                names: names.into(),
            });
        }
        Err(format!(
            "a comma-separated list of names, each 1 to 128 letters, digits or . _ ~ -; {}",
            wrong.join(", ")
        ))
    }

    /// The first by name.
    fn first(&self) -> &[u8] {
        self.names.first().map_or(b"", |name| name)
    }

    /// Whether `name` is one of them.
    pub fn contains(&self, name: &[u8]) -> bool {
        let found = self.names.binary_search_by(|known| (**known).cmp(name));
        found.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_fields_are_found_and_no_others() {
        let fields = Fields::parse("b,current-value,a,zz").expect("is right");
        for (name, expected) in [
            ("a", true),
            ("b", true),
            ("zz", true),
            ("current-value", true),
            ("A", false),
            ("c", false),
            ("z", false),
            ("zzz", false),
            ("", false),
            ("a,b", false),
        ] {
            assert_eq!(fields.contains(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn servers_are_judged_by_a_field_that_is_served() {
        let check = |fields: Option<&str>, expected: &str| {
            let fields = fields.map(|text| Fields::parse(text).expect("is right"));
            let guard = Guard::open(Options {
                fields,
                ..Options::default()
            });
            let guard = guard.expect("there is no file to read");
            assert_eq!(guard.probed_field(), expected.as_bytes());
        };
        check(None, "current-value");
        check(Some("EUR,current-value"), "current-value");
        check(Some("USD,EUR"), "EUR");
    }

    #[test]
    fn wrong_lists_are_named_item_by_item() {
        let check = |text: &str, parts: &[&str]| {
            let error = Fields::parse(text).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        check("", &["\"\" is not a field name"]);
        check("a,", &["\"\" is not a field name"]);
        check("a, b", &["\" b\" is not a field name"]);
        check(
            "a,b/c,a,..",
            &[
                "\"b/c\" is not a field name",
                "\"a\" is listed twice",
                "\"..\" is not",
            ],
        );
    }

    #[test]
    fn without_rules_everything_is_allowed() {
        let guard = Guard::default();
        assert!(guard.serves(b"any"));
        assert_eq!(guard.may_write(&HeaderMap::new()), Ok(()));
        let guard = Guard::open(Options {
            read_only: true,
            ..Options::default()
        })
        .expect("there is no file to read");
        assert_eq!(guard.may_write(&HeaderMap::new()), Err(Denial::ReadOnly));
    }
}
