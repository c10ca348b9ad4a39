//! Why a reply was refused.

use std::fmt;

/// A broken rule of the protocol, or a limit passed. The connection it came from has to be closed:
/// where the next reply starts is not known any more.
///
/// Only type bytes and numbers are kept, never text from the wire, so that it can be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The first byte of a reply or an element is no type of RESP.
    UnknownType(u8),
    /// A streamed string or aggregate; holds the type byte.
    Streamed(u8),
    /// A line with a CR that no LF follows, or an LF that no CR precedes.
    LineEnd,
    /// The bytes of a bulk string, bulk error or verbatim string are not followed by CRLF.
    BulkEnd,
    /// A length or count that isn't plain decimal digits, or overflows; holds the type byte.
    Length(u8),
    /// An integer that isn't one, or needs more than 64 bits.
    Integer,
    /// A double outside the grammar.
    Double,
    /// A big number with anything but a sign and digits.
    BigNumber,
    /// A boolean other than `t` and `f`.
    Boolean,
    /// A null with content.
    Null,
    /// A verbatim string without its three-byte format and colon.
    Verbatim,
    /// A push inside an aggregate.
    NestedPush,
    /// More levels of nesting than [`Limits::depth`](super::Limits::depth).
    TooDeep {
        /// The limit, in levels.
        limit: usize,
    },
    /// More elements than [`Limits::elements`](super::Limits::elements).
    TooManyElements {
        /// Elements announced so far in this reply.
        announced: usize,
        /// The limit, in elements.
        limit: usize,
    },
    /// A line longer than [`Limits::line_len`](super::Limits::line_len).
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// An announced string longer than [`Limits::bulk_len`](super::Limits::bulk_len).
    BulkTooLong {
        /// The announced length, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A reply longer than [`Limits::reply_len`](super::Limits::reply_len).
    ReplyTooLong {
        /// What the reply has come to with the lengths announced so far, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The scan accepted a reply that the views cannot read: a bug of this module. It is an error
    /// so that it can never become a wrong value.
    Unreadable,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownType(byte) => {
                write!(f, "'{}' is not a RESP type", byte.escape_ascii())
            }
            Self::Streamed(byte) => write!(
                f,
                "streamed reply (type '{}'), which is not supported",
                byte.escape_ascii()
            ),
            Self::LineEnd => f.write_str("a line does not end in CRLF"),
            Self::BulkEnd => f.write_str("a bulk string is not followed by CRLF"),
            Self::Length(byte) => write!(f, "the length after '{}' is not valid", byte as char),
            Self::Integer => f.write_str("not an integer of 64 bits"),
            Self::Double => f.write_str("not a double"),
            Self::BigNumber => f.write_str("not a big number"),
            Self::Boolean => f.write_str("a boolean is neither t nor f"),
            Self::Null => f.write_str("a null has content"),
            Self::Verbatim => f.write_str("a verbatim string has no format"),
            Self::NestedPush => f.write_str("a push inside another reply"),
            Self::TooDeep { limit } => write!(f, "nested deeper than {limit} levels"),
            Self::TooManyElements { announced, limit } => {
                write!(f, "{announced} elements, over the limit of {limit}")
            }
            Self::LineTooLong { limit } => write!(f, "a line of more than {limit} bytes"),
            Self::BulkTooLong { len, limit } => {
                write!(f, "a string of {len} bytes, over the limit of {limit}")
            }
            Self::ReplyTooLong { len, limit } => {
                write!(f, "a reply of {len} bytes, over the limit of {limit}")
            }
            Self::Unreadable => f.write_str("a validated reply could not be read (a bug)"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_how_much() {
        let check = |error: DecodeError, expected: &str| assert_eq!(error.to_string(), expected);
        check(DecodeError::UnknownType(b'H'), "'H' is not a RESP type");
        check(DecodeError::UnknownType(0x16), "'\\x16' is not a RESP type");
        check(
            DecodeError::Length(b'$'),
            "the length after '$' is not valid",
        );
        check(
            DecodeError::BulkTooLong { len: 70, limit: 64 },
            "a string of 70 bytes, over the limit of 64",
        );
        check(
            DecodeError::TooDeep { limit: 16 },
            "nested deeper than 16 levels",
        );
    }
}
