//! Whether bytes of an unfinished head are left in hyper's buffer once a request is answered.
//!
//! hyper does not tell, and those bytes came in the same read as the request before them, so no
//! further read shows that a head has begun. But hyper takes whole heads out of its buffer, and a
//! request without a body ends with its head's empty line: if the last read ended with such a line,
//! nothing is left; if not, the beginning of a head is. Four bytes are all that has to be kept.
//!
//! Behind a request with a body the bytes read may end with that body, so nothing is known until
//! more is read. Half a head there counts as idle until its next byte: it costs no more than an
//! idle connection does.

/// RFC 9112, section 2.2: a recipient may take a lone LF for the end of a line.
const CRLF_CRLF: u32 = u32::from_be_bytes(*b"\r\n\r\n");
const LF_LF: u32 = u32::from_be_bytes(*b"\0\0\n\n");
const LF_CRLF: u32 = u32::from_be_bytes(*b"\0\n\r\n");

/// The last four bytes read; `None` once a body was among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail(Option<u32>);

impl Tail {
    /// Nothing read of a next head.
    pub const START: Tail = Tail(Some(CRLF_CRLF));

    /// Whatever is read from now on may be a body.
    pub const UNKNOWN: Tail = Tail(None);

    /// After these further bytes.
    pub fn after(self, bytes: &[u8]) -> Self {
        let shift = |last, byte: &u8| last << 8 | u32::from(*byte);
        Tail(self.0.map(|last| match bytes.last_chunk::<4>() {
            Some(last) => u32::from_be_bytes(*last),
            None => bytes.iter().fold(last, shift),
        }))
    }

    /// Whether they end within a head, if no body came with them.
    pub fn is_inside_head(self) -> bool {
        self.0.is_some_and(|last| {
            last != CRLF_CRLF && last & 0xffff != LF_LF && last & 0x00ff_ffff != LF_CRLF
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_ends_a_head_however_it_was_split() {
        fn check(chunks: &[&[u8]], expected: bool) {
            let tail = chunks
                .iter()
                .fold(Tail::START, |tail, bytes| tail.after(bytes));
            assert_eq!(tail.is_inside_head(), expected, "{chunks:?}");
        }
        check(&[], false);
        check(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], false);
        check(&[b"GET / HTTP/1.1\r\nHost: a\r\n\r\nG"], true);
        check(
            &[b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n"],
            true,
        );
        check(&[b"G", b"E", b"T"], true);
        check(&[b"a\r", b"\n", b"\r", b"\n"], false);
        check(&[b"a\r\n\r", b"\n"], false);
        check(&[b"a\r\n", b"\r\n"], false);
        check(&[b"a\n", b"\n"], false);
        check(&[b"a\n\n"], false);
        check(&[b"a\n\r\n"], false);
        check(&[b"a\r\n\r\n", b"b"], true);
        check(&[b"\r\n"], false);
        assert!(!Tail::UNKNOWN.after(b"G").is_inside_head());
    }
}
