//! The kinds of values, and what is stored as a reader gets it: always a JSON text.
//!
//! Of JSON, the grammar is serde_json's, which reads it here without building anything, numbers of
//! any size included. What it does not tell, [`Shape`] finds in a text that is known to be JSON:
//! how deep it is nested, and whether an object has two members of one name.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::de::IgnoredAny;

use super::number::is_json_number;

/// Longest stored number that is relayed. A double needs 25 bytes; more digits are allowed, a book
/// is not.
const MAX_NUMBER: usize = 1024;

/// Longest JSON or text that is relayed or stored, in bytes: an answer has up to 128 of them, in
/// memory as a whole.
pub const MAX_VALUE: usize = 64 * 1024;

/// Deepest nesting of JSON: parsers of many languages take 100 and no more, or use up a stack.
const MAX_DEPTH: usize = 64;

/// What the values of the hash are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueKind {
    /// A JSON number.
    #[default]
    Number,
    /// Any JSON text.
    Json,
    /// Any text in UTF-8, which goes out as a JSON string.
    Text,
}

/// Why a stored or posted value is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Not a number of JSON's grammar.
    NotANumber,
    /// Not of JSON's grammar.
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// An object has two members of one name: which of them counts differs from parser to parser.
    /// <https://www.rfc-editor.org/rfc/rfc8259#section-4>
    TwoOfAName,
    /// Not valid UTF-8.
    NotText,
    /// Longer than [`MAX_VALUE`].
    TooLong,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NotANumber => f.write_str("is not a JSON number"),
            Unfit::NotJson { line, column } => {
                write!(f, "is not valid JSON (line {line}, column {column})")
            }
            Unfit::TooDeep => write!(f, "is JSON of more than {MAX_DEPTH} levels"),
            Unfit::TwoOfAName => f.write_str("has an object with two members of the same name"),
            Unfit::NotText => f.write_str("is not valid UTF-8"),
            Unfit::TooLong => write!(f, "is longer than {MAX_VALUE} bytes"),
        }
    }
}

impl ValueKind {
    /// Appends what a reader gets of a stored value. `out` is as before if it is unfit.
    ///
    /// # Errors
    /// What is stored is of another kind.
    pub fn render(self, stored: &[u8], out: &mut BytesMut) -> Result<(), Unfit> {
        match self {
            ValueKind::Number if stored.len() <= MAX_NUMBER && is_json_number(stored) => {}
            ValueKind::Number => return Err(Unfit::NotANumber),
            ValueKind::Json => check_json(stored)?,
            ValueKind::Text => return render_text(stored, out),
        }
        out.put_slice(stored);
        Ok(())
    }
}

fn render_text(stored: &[u8], out: &mut BytesMut) -> Result<(), Unfit> {
    if stored.len() > MAX_VALUE {
        return Err(Unfit::TooLong);
    }
    let text = std::str::from_utf8(stored).map_err(|_| Unfit::NotText)?;
    // Into memory, and a text: it can't fail.
    serde_json::to_writer(out.writer(), text).map_err(|_| Unfit::NotText)
}

/// Whether this is a JSON text that may be relayed.
///
/// # Errors
/// What is wrong with it.
pub fn check_json(text: &[u8]) -> Result<(), Unfit> {
    if text.len() > MAX_VALUE {
        return Err(Unfit::TooLong);
    }
    // As a whole: the parser does not look into strings that are ignored.
    let text = std::str::from_utf8(text).map_err(|_| Unfit::NotText)?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| Unfit::NotJson {
        line: error.line(),
        column: error.column(),
    })?;
    Shape::default().check(text)
}

/// The same JSON text without the white space between its parts. It must be of JSON's grammar.
pub fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', ' ', '\n', '\r', '\t']) {
        out.push_str(&rest[..at]);
        let part = &rest[at..];
        let end = if part.starts_with('"') {
            string_len(part)
        } else {
            1
        };
        if part.starts_with('"') {
            out.push_str(&part[..end]);
        }
        rest = &part[end..];
    }
    out.push_str(rest);
    out
}

/// Bytes of the string that this JSON text begins with, both quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// What of a JSON text its grammar does not limit.
#[derive(Default)]
struct Shape<'t> {
    /// What is open, outermost first: the names so far of an object, `None` for an array.
    open: Vec<Option<HashSet<Cow<'t, str>>>>,
    /// A string is the name of a member if it stands here.
    at_name: bool,
}

impl<'t> Shape<'t> {
    fn check(mut self, text: &'t str) -> Result<(), Unfit> {
        let mut rest = text;
        while let Some(at) = rest.find(['"', '{', '[', '}', ']', ',']) {
            let part = &rest[at..];
            let mut end = 1;
            match part.as_bytes().first() {
                Some(b'"') => {
                    end = string_len(part);
                    if self.at_name {
                        self.name(&part[..end])?;
                        self.at_name = false;
                    }
                }
                Some(b'{') => self.enter(Some(HashSet::new()))?,
                Some(b'[') => self.enter(None)?,
                Some(b',') => self.at_name = matches!(self.open.last(), Some(Some(_))),
                _ => {
                    self.open.pop();
                    self.at_name = false;
                }
            }
            rest = &part[end..];
        }
        Ok(())
    }

    fn enter(&mut self, names: Option<HashSet<Cow<'t, str>>>) -> Result<(), Unfit> {
        if self.open.len() == MAX_DEPTH {
            return Err(Unfit::TooDeep);
        }
        self.at_name = names.is_some();
        self.open.push(names);
        Ok(())
    }

    /// Takes in the name of a member, with its quotes.
    fn name(&mut self, quoted: &'t str) -> Result<(), Unfit> {
        let name = match quoted.contains('\\') {
            false => Cow::Borrowed(quoted.trim_matches('"')),
            // Half a surrogate pair is of the grammar, and no text: it is its own name.
            true => serde_json::from_str(quoted).map_or(Cow::Borrowed(quoted), Cow::Owned),
        };
        let is_new = match self.open.last_mut() {
            Some(Some(names)) => names.insert(name),
            _ => true,
        };
        is_new.then_some(()).ok_or(Unfit::TwoOfAName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(kind: ValueKind, stored: &[u8]) -> Result<String, Unfit> {
        let mut out = BytesMut::from("x".as_bytes());
        let outcome = kind.render(stored, &mut out);
        let text = String::from_utf8(out.to_vec()).expect("it is UTF-8");
        outcome.map(|()| text[1..].to_owned())
    }

    #[test]
    fn numbers_and_json_go_out_as_they_are() {
        for stored in ["0", "-0", "12.50", "1e400"] {
            for kind in [ValueKind::Number, ValueKind::Json] {
                assert_eq!(render(kind, stored.as_bytes()).as_deref(), Ok(stored));
            }
        }
        for stored in [
            "null",
            "true",
            "\"a\\u00e9\\ud800 \u{e9}\"",
            " [1, {\"a\" : [ ] } ]\n",
            "{}",
            "{\"a\":{\"a\":1},\"b\":[{\"a\":1},{\"a\":2}],\"A\":1e999}",
            "[\"a\",\"a\",{\"x\":\"x\"},\"{\",\"\\\"\"]",
            "{\"\\ud800\":1,\"\\ud801\":2}",
        ] {
            let relayed = render(ValueKind::Json, stored.as_bytes());
            assert_eq!(relayed.as_deref(), Ok(stored));
            let number = render(ValueKind::Number, stored.as_bytes());
            assert_eq!(number, Err(Unfit::NotANumber));
        }
    }

    #[test]
    fn what_is_not_json_is_not_relayed() {
        for wrong in [
            "",
            " ",
            "nan",
            "+1",
            "01",
            "1.",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "1 2",
            "\"\n\"",
            "\"\\x\"",
            "\u{feff}1",
            "tru",
            "[1}",
            "{\"a\"}",
        ] {
            let outcome = render(ValueKind::Json, wrong.as_bytes());
            assert!(matches!(outcome, Err(Unfit::NotJson { .. })), "{wrong}");
        }
        assert_eq!(render(ValueKind::Json, b"\"\xff\""), Err(Unfit::NotText));
    }

    #[test]
    fn json_has_limits_that_its_grammar_has_not() {
        let twice = Err(Unfit::TwoOfAName);
        for wrong in [
            "{\"a\":1,\"a\":1}",
            "{\"a\":1, \"b\" : {} ,\"\\u0061\":2}",
            "[{\"x\":{\"\":1,\"\":2}}]",
            "{\"a\":[1,2],\"a\":[]}",
            "{\"a\\\"\":1,\"a\\\"\":1}",
        ] {
            assert_eq!(check_json(wrong.as_bytes()), twice, "{wrong}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check_json(nested(MAX_DEPTH).as_bytes()), Ok(()));
        let deeper = nested(MAX_DEPTH + 1);
        assert_eq!(check_json(deeper.as_bytes()), Err(Unfit::TooDeep));
        assert_eq!(check_json(nested(30_000).as_bytes()), Err(Unfit::TooDeep));
        let long = |len: usize| format!("\"{}\"", "x".repeat(len - 2));
        assert_eq!(check_json(long(MAX_VALUE).as_bytes()), Ok(()));
        let longer = long(MAX_VALUE + 1);
        assert_eq!(check_json(longer.as_bytes()), Err(Unfit::TooLong));
    }

    #[test]
    fn any_text_is_a_json_string() {
        for text in [
            "",
            "12.5",
            "a \"b\" \\n",
            "\n\t\0\u{1f}",
            "é\u{1f600}\u{7f}",
            "null",
        ] {
            let relayed = render(ValueKind::Text, text.as_bytes()).expect("it is text");
            let read: String = serde_json::from_str(&relayed).expect("it is JSON");
            assert_eq!(read, text);
        }
        assert_eq!(render(ValueKind::Text, b"a\xff"), Err(Unfit::NotText));
        let long = vec![b'x'; MAX_VALUE + 1];
        assert!(render(ValueKind::Text, &long[1..]).is_ok());
        assert_eq!(render(ValueKind::Text, &long), Err(Unfit::TooLong));
    }

    #[test]
    fn compact_keeps_all_but_the_space_between() {
        let check = |text: &str, expected: &str| {
            let compacted = compact(text);
            assert_eq!(compacted, expected);
            assert_eq!(compact(&compacted), expected);
            assert_eq!(check_json(expected.as_bytes()), Ok(()));
        };
        check(" 12.50\n", "12.50");
        check("\"a b\\\" c\" ", "\"a b\\\" c\"");
        check(
            "{ \"b\" : [ 1 ,\t2.0 , 9007199254740993 ] ,\r\n \"a\\\\\" : \"x  y\" }",
            "{\"b\":[1,2.0,9007199254740993],\"a\\\\\":\"x  y\"}",
        );
        check("\" \u{e9} \"", "\" \u{e9} \"");
    }
}
