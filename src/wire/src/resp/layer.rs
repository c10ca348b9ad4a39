//! The outermost layer of a reply in its validated bytes: what it is, and where it ends.
//!
//! To step over an aggregate its bytes are walked, so that reading a whole reply costs at most its
//! bytes times its depth, and the depth has a limit.
//!
//! Invariant: the bytes were accepted by the scan. Nothing here relies on it for memory safety or
//! against panics; bytes that were not accepted are `None`.

use memchr::memchr;

use super::number::{self, Length};

/// The outermost layer of a reply: all of it for a simple type, the header for an aggregate.
pub(super) enum Head<'b> {
    Line { kind: u8, line: &'b [u8] },
    Bulk { kind: u8, bytes: &'b [u8] },
    Null,
    Aggregate { kind: u8, count: usize },
}

/// Takes the outermost layer off `bytes`, and gives what follows it.
pub(super) fn head(bytes: &[u8]) -> Option<(Head<'_>, &[u8])> {
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
pub(super) fn split(bytes: &[u8], replies: usize) -> Option<(&[u8], &[u8])> {
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
