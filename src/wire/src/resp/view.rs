//! Lazy views into the bytes of a validated reply.
//!
//! A view is a count and a slice: nothing is built, elements are parsed as they are asked for. To
//! step over an aggregate its bytes are walked, so that reading a whole reply costs at most its
//! bytes times its depth, and the depth has a limit.
//!
//! Invariant: the bytes were accepted by the scan. Nothing here relies on it for memory safety or
//! against panics; bytes that were not accepted end an iterator early.

use std::fmt;
use std::iter::FusedIterator;

use memchr::memchr;

use super::number::{self, Length};
use super::reply::Reply;

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

/// The outermost layer of a reply: all of it for a simple type, the header for an aggregate.
enum Head<'b> {
    Line { kind: u8, line: &'b [u8] },
    Bulk { kind: u8, bytes: &'b [u8] },
    Null,
    Aggregate { kind: u8, count: usize },
}

fn head(bytes: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let (&kind, after) = bytes.split_first()?;
    let (line, rest) = after.split_at_checked(memchr(b'\r', after)?)?;
    let rest = rest.get(2..)?;
    match kind {
        b'$' | b'!' | b'=' | b'*' | b'~' | b'>' | b'%' | b'|' => match number::length(line)? {
            Length::Null => Some((Head::Null, rest)),
            Length::Streamed => None,
            Length::Of(len) if matches!(kind, b'$' | b'!' | b'=') => {
                let (bytes, rest) = rest.split_at_checked(len)?;
                Some((Head::Bulk { kind, bytes }, rest.get(2..)?))
            }
            Length::Of(count) => Some((Head::Aggregate { kind, count }, rest)),
        },
        _ => Some((Head::Line { kind, line }, rest)),
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

/// How many replies follow the header of an aggregate: a map has two for each pair; attributes are
/// followed by the value that they are about, and with it make one element of what holds them.
/// `None` on overflow.
pub(super) fn items(kind: u8, count: usize) -> Option<usize> {
    match kind {
        b'%' => count.checked_mul(2),
        b'|' => count.checked_mul(2)?.checked_add(1),
        _ => Some(count),
    }
}

/// Cuts `bytes` after so many whole replies.
fn split(bytes: &[u8], replies: usize) -> Option<(&[u8], &[u8])> {
    let mut rest = bytes;
    let mut pending = replies;
    while pending > 0 {
        let (head, after) = head(rest)?;
        rest = after;
        pending -= 1;
        if let Head::Aggregate { kind, count } = head {
            pending = pending.checked_add(items(kind, count)?)?;
        }
    }
    bytes.split_at_checked(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use crate::resp::{Decoded, Decoder, Limits};

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
