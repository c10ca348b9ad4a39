//! A decoded reply and the views into it, borrowed from the buffer it arrived in.
//!
//! A view is a count and a slice: nothing is built, elements are parsed as they are asked for.
//!
//! Invariant: the bytes were accepted by the scan. Nothing here relies on it for memory safety or
//! against panics; bytes that were not accepted end an iterator early.

use std::fmt;
use std::iter::FusedIterator;

use super::layer::{Head, head, items, split};
use super::number;

/// One reply, or one element of one. It borrows from the buffer, is `Copy`, and allocates nothing.
///
/// RESP2's null bulk string (`$-1`) and null array (`*-1`) and RESP3's null (`_`) are one value, as
/// the [specification] recommends; so are simple and bulk errors.
///
/// [specification]: https://redis.io/docs/latest/develop/reference/protocol-spec/#nulls
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reply<'b> {
    /// `+`: a line of text, without CR and LF.
    Simple(&'b [u8]),
    /// `-` or `!`: the text of an error; [`ErrorKind::of`](super::ErrorKind::of) tells its kind.
    Error(&'b [u8]),
    /// `:`: a signed 64-bit integer.
    Integer(i64),
    /// `(`: an integer of any size: an optional sign and digits.
    BigNumber(&'b [u8]),
    /// `,`: a double; the nearest one to the text, infinite past the range.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `_`, `$-1` or `*-1`: nothing is there.
    Null,
    /// `$`: any bytes.
    Bulk(&'b [u8]),
    /// `=`: bytes with the format in which to show them.
    Verbatim {
        /// Three bytes, `txt` or `mkd` as of today.
        format: [u8; 3],
        /// The bytes after the format and its colon.
        text: &'b [u8],
    },
    /// `*`: ordered elements.
    Array(Elements<'b>),
    /// `~`: elements without order. The server may repeat one.
    Set(Elements<'b>),
    /// `>`: a message outside of the order of replies. Only ever at the top level.
    Push(Elements<'b>),
    /// `%`: keys and values.
    Map(Pairs<'b>),
    /// `|`: a value with attributes about it. May stand wherever a value may.
    Attributed(Attributed<'b>),
}

impl<'b> Reply<'b> {
    /// The reply without its attributes, which the [specification] lets a client ignore. Attributes
    /// of elements inside stay.
    ///
    /// [specification]: https://redis.io/docs/latest/develop/reference/protocol-spec/#attributes
    #[must_use]
    pub fn plain(self) -> Reply<'b> {
        let mut reply = self;
        while let Reply::Attributed(attributed) = reply {
            reply = attributed.value();
        }
        reply
    }

    /// The text of a simple, bulk or verbatim string. Errors and numbers are no text; attributes
    /// are looked through.
    #[must_use]
    pub fn as_text(self) -> Option<&'b [u8]> {
        match self.plain() {
            Reply::Simple(text) | Reply::Bulk(text) | Reply::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether this is a push, which answers no command. Attributes are looked through.
    #[must_use]
    pub fn is_push(self) -> bool {
        matches!(self.plain(), Reply::Push(_))
    }
}

/// The elements of an array, a set or a push, in the order of the wire.
#[derive(Clone, Copy)]
pub struct Elements<'b> {
    remaining: usize,
    bytes: &'b [u8],
}

/// The keys and values of a map, or of attributes, in the order of the wire.
#[derive(Clone, Copy)]
pub struct Pairs<'b> {
    remaining: usize,
    bytes: &'b [u8],
}

/// A value and the [attributes] sent ahead of it.
///
/// [attributes]: https://redis.io/docs/latest/develop/reference/protocol-spec/#attributes
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attributed<'b> {
    attributes: Pairs<'b>,
    value: &'b [u8],
}

impl<'b> Attributed<'b> {
    /// The attributes.
    #[must_use]
    pub fn attributes(&self) -> Pairs<'b> {
        self.attributes
    }

    /// The value that they are about; it may have further attributes.
    #[must_use]
    pub fn value(&self) -> Reply<'b> {
        // `build` has read it once already, so that the other branch is never taken.
        whole(self.value).unwrap_or(Reply::Null)
    }
}

impl<'b> Iterator for Elements<'b> {
    type Item = Reply<'b>;

    fn next(&mut self) -> Option<Reply<'b>> {
        self.remaining = self.remaining.checked_sub(1)?;
        match first(self.bytes) {
            Some((reply, rest)) => {
                self.bytes = rest;
                Some(reply)
            }
            None => {
                self.remaining = 0;
                None
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Elements<'_> {}
impl FusedIterator for Elements<'_> {}

impl PartialEq for Elements<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'b> Iterator for Pairs<'b> {
    type Item = (Reply<'b>, Reply<'b>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let pair = first(self.bytes).and_then(|(key, rest)| {
            let (value, rest) = first(rest)?;
            Some((key, value, rest))
        });
        match pair {
            Some((key, value, rest)) => {
                self.bytes = rest;
                Some((key, value))
            }
            None => {
                self.remaining = 0;
                None
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Pairs<'_> {}
impl FusedIterator for Pairs<'_> {}

impl PartialEq for Pairs<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(*self).finish()
    }
}

/// The reply that `bytes` consist of, to their last byte.
pub(super) fn whole(bytes: &[u8]) -> Option<Reply<'_>> {
    let (head, rest) = head(bytes)?;
    match head {
        Head::Aggregate { kind, count } => build(kind, count, rest),
        head => leaf(head),
    }
}

/// The reply that `bytes` start with, and what follows it.
fn first(bytes: &[u8]) -> Option<(Reply<'_>, &[u8])> {
    let (head, rest) = head(bytes)?;
    match head {
        Head::Aggregate { kind, count } => {
            let (body, rest) = split(rest, items(kind, count)?)?;
            Some((build(kind, count, body)?, rest))
        }
        head => Some((leaf(head)?, rest)),
    }
}

/// Inlined by force: as a call it hands both enums over in memory, which is half the cost of an
/// element.
#[inline(always)]
fn leaf(head: Head<'_>) -> Option<Reply<'_>> {
    Some(match head {
        Head::Line { kind, line } => match kind {
            b'+' => Reply::Simple(line),
            b'-' => Reply::Error(line),
            b':' => Reply::Integer(number::integer(line)?),
            b'(' => Reply::BigNumber(line),
            b',' => Reply::Double(number::double(line)?),
            b'#' => Reply::Boolean(line == b"t"),
            b'_' => Reply::Null,
            _ => return None,
        },
        Head::Bulk { kind, bytes } => match kind {
            b'$' => Reply::Bulk(bytes),
            b'!' => Reply::Error(bytes),
            _ => {
                let (&format, text) = bytes.split_first_chunk()?;
                let text = text.strip_prefix(b":")?;
                Reply::Verbatim { format, text }
            }
        },
        Head::Null => Reply::Null,
        Head::Aggregate { .. } => return None,
    })
}

/// Makes the view of an aggregate out of its items.
fn build(kind: u8, count: usize, bytes: &[u8]) -> Option<Reply<'_>> {
    let elements = Elements {
        remaining: count,
        bytes,
    };
    Some(match kind {
        b'*' => Reply::Array(elements),
        b'~' => Reply::Set(elements),
        b'>' => Reply::Push(elements),
        b'%' => Reply::Map(Pairs {
            remaining: count,
            bytes,
        }),
        b'|' => {
            let (bytes, value) = split(bytes, count.checked_mul(2)?)?;
            // Chained attributes are levels of nesting, so that the depth limit bounds this.
            whole(value)?;
            Reply::Attributed(Attributed {
                attributes: Pairs {
                    remaining: count,
                    bytes,
                },
                value,
            })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::resp::{Decoded, Decoder, Limits, Reply};

    #[test]
    fn texts_and_pushes_are_seen_through_attributes() {
        let check = |input: &[u8], text: Option<&[u8]>, push| {
            let decoded = Decoder::new(Limits::default()).decode(input);
            let reply =
                decoded.map(|decoded| decoded.map(|it| (it.reply.as_text(), it.reply.is_push())));
            assert_eq!(reply, Ok(Some((text, push))), "{}", input.escape_ascii());
        };
        check(b"+OK\r\n", Some(b"OK"), false);
        check(b"$2\r\nab\r\n", Some(b"ab"), false);
        check(b"=6\r\ntxt:ab\r\n", Some(b"ab"), false);
        check(b"|0\r\n$2\r\nab\r\n", Some(b"ab"), false);
        check(b"-ERR\r\n", None, false);
        check(b":1\r\n", None, false);
        check(b"_\r\n", None, false);
        check(b">1\r\n+x\r\n", None, true);
        check(b"|1\r\n+a\r\n+b\r\n>1\r\n+x\r\n", None, true);
        check(b"*1\r\n+x\r\n", None, false);
    }

    #[test]
    fn an_aggregate_knows_how_many_are_left() {
        let mut decoder = Decoder::new(Limits::default());
        let mut lengths = |input| match decoder.decode(input).ok().flatten().map(|it| it.reply) {
            Some(Reply::Array(mut left)) => [left.len(), left.by_ref().count(), left.len()],
            Some(Reply::Map(mut left)) => [left.len(), left.by_ref().count(), left.len()],
            other => panic!("{other:?}"),
        };
        assert_eq!(lengths(b"*3\r\n:1\r\n:2\r\n:3\r\n"), [3, 3, 0]);
        assert_eq!(lengths(b"%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n"), [2, 2, 0]);
        assert_eq!(lengths(b"%0\r\n"), [0, 0, 0]);
    }

    #[test]
    fn aggregates_are_equal_by_what_is_in_them() {
        let check = |one: &[u8], other: &[u8], equal: bool| {
            let decode = |input| Decoder::new(Limits::default()).decode(input).ok().flatten();
            let reply = |input| decode(input).map(|decoded: Decoded<'_>| decoded.reply);
            assert!(reply(one).is_some() && reply(other).is_some());
            let shown = (one.escape_ascii(), other.escape_ascii());
            assert_eq!(reply(one) == reply(other), equal, "{shown:?}");
        };
        check(b"*0\r\n", b"*0\r\n", true);
        check(b"*0\r\n", b"~0\r\n", false);
        check(b"*2\r\n:1\r\n_\r\n", b"*2\r\n:+1\r\n$-1\r\n", true);
        check(b"*1\r\n:1\r\n", b"*1\r\n:2\r\n", false);
        check(b"*1\r\n:1\r\n", b"*2\r\n:1\r\n:1\r\n", false);
        check(b"%1\r\n:1\r\n_\r\n", b"%1\r\n:1\r\n$-1\r\n", true);
        check(b"%1\r\n:1\r\n_\r\n", b"%1\r\n:1\r\n:0\r\n", false);
        check(b"%0\r\n", b"%1\r\n:1\r\n_\r\n", false);
    }
}
