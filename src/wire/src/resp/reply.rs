//! A decoded reply, borrowed from the buffer it arrived in.

use super::view::{Attributed, Elements, Pairs};

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

#[cfg(test)]
mod tests {
    use crate::resp::{Decoder, Limits};

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
}
