//! The scan: finds where the next reply ends, and refuses what is not RESP.
//!
//! It resumes where it stopped when more bytes have come. Its whole state is a few offsets and a
//! stack of fixed size, so that no input can make it allocate or recurse.
//!
//! Invariants: `item <= searched <= buf.len()` between calls, unless the caller handed in a shorter
//! buffer than before, which is answered by waiting. Each decision depends only on the bytes before
//! it, never on where the input was cut.

use memchr::memchr2;

use super::decode_error::DecodeError;
use super::number::{self, Length};
use super::reply::{self, Reply};
use super::{Limits, layer};

/// The most levels of nesting that [`Limits::depth`] can allow: the size of the decoder's stack.
///
/// 32 frames are half a kilobyte for each connection, and twice the default limit.
pub const MAX_DEPTH: usize = 32;

const CRLF: &[u8] = b"\r\n";

/// A resumable decoder of replies, one for each connection.
///
/// ```
/// use redis_api_wire::resp::{Decoder, Limits, Reply};
///
/// let mut decoder = Decoder::new(Limits::default());
/// assert_eq!(decoder.decode(b"$4\r\n12"), Ok(None)); // more has to come
/// let decoded = decoder.decode(b"$4\r\n12.5\r\n+OK\r\n")?.ok_or("incomplete")?;
/// assert_eq!(decoded.reply, Reply::Bulk(b"12.5"));
/// assert_eq!(decoded.len, 10); // the next reply starts here
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Where the element being read starts.
    item: usize,
    /// Where the search for the end of its line goes on.
    searched: usize,
    /// The announced bytes that are awaited, once its line has been read.
    bulk: Option<Bulk>,
    /// Elements announced so far in this reply.
    elements: usize,
    /// The aggregates that are open, outermost first: `stack[..depth]`.
    stack: [Frame; MAX_DEPTH],
    depth: usize,
    failed: Option<DecodeError>,
    /// Bytes looked at so far, for the proof that cost is linear.
    #[cfg(test)]
    examined: usize,
}

/// A reply, and the room it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoded<'b> {
    /// The reply, borrowed from the buffer.
    pub reply: Reply<'b>,
    /// Its length on the wire, in bytes: where the next reply starts.
    pub len: usize,
}

/// The payload of a bulk string, bulk error or verbatim string, by offsets.
#[derive(Clone, Copy, Debug)]
struct Bulk {
    start: usize,
    /// Past the CRLF that follows the payload.
    end: usize,
}

/// An open aggregate.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Replies still to come in it; at least 1.
    remaining: usize,
    /// Attributes at the top level: their last item is a reply of the top level again.
    top_attribute: bool,
}

const NO_FRAME: Frame = Frame {
    remaining: 0,
    top_attribute: false,
};

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let depth = limits.depth.min(MAX_DEPTH);
        Self {
            limits: Limits { depth, ..limits },
            item: 0,
            searched: 0,
            bulk: None,
            elements: 0,
            stack: [NO_FRAME; MAX_DEPTH],
            depth: 0,
            failed: None,
            #[cfg(test)]
            examined: 0,
        }
    }

    /// Decodes the reply that `buf` starts with; `None` until the whole of it is there.
    ///
    /// `buf` starts at the first byte of a reply, and until `Some` is returned it must hold the
    /// same bytes again, with more appended. Then advance it by [`Decoded::len`].
    ///
    /// # Errors
    /// What rule was broken or which limit passed, as soon as the bytes show it. It is final: every
    /// later call returns it again, since nobody knows where the next reply would start.
    #[inline]
    pub fn decode<'b>(&mut self, buf: &'b [u8]) -> Result<Option<Decoded<'b>>, DecodeError> {
        if self.searched == 0
            && self.failed.is_none()
            && let Some(decoded) = self.short_bulk(buf)
        {
            return Ok(Some(decoded));
        }
        self.resume(buf)
    }

    /// How many bytes past the first `buf_len` the reply needs at least, as far as it has announced
    /// its length; 0 if that is not known. Never more than [`Limits::reply_len`].
    ///
    /// Lets a reader make room for a large bulk string at once, or in steps if it trusts less.
    #[must_use]
    pub fn missing(&self, buf_len: usize) -> usize {
        self.bulk.map_or(0, |bulk| bulk.end.saturating_sub(buf_len))
    }

    /// The fast path: a whole bulk string of 1 to 99 bytes, as all stored numbers are. It changes
    /// no state; whatever it does not know is left to the scan.
    #[inline]
    fn short_bulk<'b>(&self, buf: &'b [u8]) -> Option<Decoded<'b>> {
        let (text_len, rest) = match buf {
            [b'$', ones @ b'1'..=b'9', b'\r', b'\n', rest @ ..] => (ones - b'0', rest),
            [
                b'$',
                tens @ b'1'..=b'9',
                ones @ b'0'..=b'9',
                b'\r',
                b'\n',
                rest @ ..,
            ] => ((tens - b'0') * 10 + (ones - b'0'), rest),
            _ => return None,
        };
        let header_len = buf.len() - rest.len();
        let (text, rest) = rest.split_at_checked(text_len.into())?;
        let len = header_len + text.len() + CRLF.len();
        let fits = text.len() <= self.limits.bulk_len
            && len <= self.limits.reply_len
            && self.limits.line_len >= 2;
        let reply = Reply::Bulk(text);
        (fits && rest.starts_with(CRLF)).then_some(Decoded { reply, len })
    }

    fn resume<'b>(&mut self, buf: &'b [u8]) -> Result<Option<Decoded<'b>>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let decoded = self.scan(buf).and_then(|end| {
            let Some(len) = end else { return Ok(None) };
            let reply = buf.get(..len).and_then(reply::whole);
            let reply = reply.ok_or(DecodeError::Unreadable)?;
            Ok(Some(Decoded { reply, len }))
        });
        match decoded {
            Ok(Some(_)) => (self.item, self.searched, self.elements) = (0, 0, 0),
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
        decoded
    }

    /// Where the reply ends, or `None` if that has not come yet.
    fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, DecodeError> {
        loop {
            let end = match self.bulk {
                Some(bulk) => self.bulk_end(buf, bulk)?,
                None => match self.line(buf)? {
                    Some(line) => match self.header(line)? {
                        Header::Leaf => Some(line.end),
                        Header::Opened => continue,
                    },
                    None => None,
                },
            };
            let Some(end) = end else { return Ok(None) };
            if self.close(end) {
                return Ok(Some(end));
            }
        }
    }

    /// The line that the current element starts with, once it is there.
    ///
    /// Neither CR nor LF may stand inside a line, as the specification says of [simple strings]:
    /// the first of them has to be the CR of the CRLF that ends it.
    ///
    /// [simple strings]:
    /// https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-strings
    fn line<'b>(&mut self, buf: &'b [u8]) -> Result<Option<Line<'b>>, DecodeError> {
        let Some(&kind) = buf.get(self.item) else {
            return Ok(None);
        };
        let start = self.item + 1;
        if self.searched < start {
            self.check_type(kind)?;
            self.searched = start;
        }
        let limit = self.limits.line_len;
        let window = buf.len().min(start.saturating_add(limit).saturating_add(1));
        let unseen = buf.get(self.searched..window).unwrap_or_default();
        let Some(offset) = memchr2(b'\r', b'\n', unseen) else {
            self.examine(unseen.len());
            self.searched = self.searched.max(window);
            if self.searched - start > limit {
                return Err(DecodeError::LineTooLong { limit });
            }
            return Ok(None);
        };
        self.examine(offset + CRLF.len());
        let cr = self.searched + offset;
        self.searched = cr;
        match buf.get(cr..) {
            Some([b'\r', b'\n', ..]) => {
                let text = buf.get(start..cr).unwrap_or_default();
                let end = cr + CRLF.len();
                Ok(Some(Line { kind, text, end }))
            }
            Some([b'\r']) => Ok(None),
            _ => Err(DecodeError::LineEnd),
        }
    }

    fn check_type(&self, kind: u8) -> Result<(), DecodeError> {
        match kind {
            b'+' | b'-' | b':' | b'(' | b',' | b'#' | b'_' => Ok(()),
            b'$' | b'!' | b'=' | b'*' | b'~' | b'%' | b'|' => Ok(()),
            b'>' if self.at_top() => Ok(()),
            // "Push data may appear before or after any of RESP's data types but never inside
            // them." https://redis.io/docs/latest/develop/reference/protocol-spec/#pushes
            b'>' => Err(DecodeError::NestedPush),
            // The chunk and the end of https://github.com/redis/redis-specifications,
            // protocol/RESP3.md, "Streamed strings" and "Streamed aggregate data types".
            b';' | b'.' => Err(DecodeError::Streamed(kind)),
            _ => Err(DecodeError::UnknownType(kind)),
        }
    }

    /// Whether the current element is a reply by itself, or the one that top-level attributes are
    /// about.
    fn at_top(&self) -> bool {
        match self
            .depth
            .checked_sub(1)
            .and_then(|top| self.stack.get(top))
        {
            Some(frame) => frame.top_attribute && frame.remaining == 1,
            None => true,
        }
    }

    /// Validates the line of an element and takes up what it announces.
    fn header(&mut self, line: Line<'_>) -> Result<Header, DecodeError> {
        let text = line.text;
        self.examine(text.len());
        self.check_reply_len(line.end)?;
        let (valid, error) = match line.kind {
            b'+' | b'-' => return Ok(Header::Leaf),
            b':' => (number::integer(text).is_some(), DecodeError::Integer),
            b',' => (number::is_double(text), DecodeError::Double),
            b'(' => (number::is_big_number(text), DecodeError::BigNumber),
            b'#' => (matches!(text, b"t" | b"f"), DecodeError::Boolean),
            b'_' => (text.is_empty(), DecodeError::Null),
            _ => return self.announced(line),
        };
        if valid { Ok(Header::Leaf) } else { Err(error) }
    }

    /// Takes up an announced length or count.
    fn announced(&mut self, line: Line<'_>) -> Result<Header, DecodeError> {
        let Line { kind, text, end } = line;
        match (kind, number::length(text)) {
            (_, Some(Length::Streamed)) => Err(DecodeError::Streamed(kind)),
            // https://redis.io/docs/latest/develop/reference/protocol-spec/#null-bulk-strings
            // https://redis.io/docs/latest/develop/reference/protocol-spec/#null-arrays
            (b'$' | b'*', Some(Length::Null)) => Ok(Header::Leaf),
            (b'$' | b'!' | b'=', Some(Length::Of(len))) => self.expect(kind, len, end),
            (_, Some(Length::Of(count))) => self.open(kind, count, end),
            (_, Some(Length::Null) | None) => Err(DecodeError::Length(kind)),
        }
    }

    /// Awaits the payload of a bulk string, bulk error or verbatim string.
    fn expect(&mut self, kind: u8, len: usize, start: usize) -> Result<Header, DecodeError> {
        let limit = self.limits.bulk_len;
        if len > limit {
            return Err(DecodeError::BulkTooLong { len, limit });
        }
        if kind == b'=' && len < 4 {
            return Err(DecodeError::Verbatim);
        }
        let end = start.saturating_add(len).saturating_add(CRLF.len());
        self.check_reply_len(end)?;
        self.bulk = Some(Bulk { start, end });
        Ok(Header::Opened)
    }

    /// Opens an aggregate; one without items is over at once.
    fn open(&mut self, kind: u8, count: usize, end: usize) -> Result<Header, DecodeError> {
        let top_attribute = kind == b'|' && self.at_top();
        let Some(frame) = self
            .stack
            .get_mut(self.depth)
            .filter(|_| self.depth < self.limits.depth)
        else {
            return Err(DecodeError::TooDeep {
                limit: self.limits.depth,
            });
        };
        let remaining = layer::items(kind, count).unwrap_or(usize::MAX);
        // The value that attributes are about was announced by what holds it.
        let elements = remaining - usize::from(kind == b'|');
        let announced = self.elements.saturating_add(elements);
        let limit = self.limits.elements;
        if announced > limit {
            return Err(DecodeError::TooManyElements { announced, limit });
        }
        self.elements = announced;
        if remaining == 0 {
            return Ok(Header::Leaf);
        }
        *frame = Frame {
            remaining,
            top_attribute,
        };
        self.depth += 1;
        (self.item, self.searched) = (end, end);
        Ok(Header::Opened)
    }

    /// Where the awaited payload ends, once all of it is there and is followed by CRLF.
    fn bulk_end(&mut self, buf: &[u8], bulk: Bulk) -> Result<Option<usize>, DecodeError> {
        let Some(payload) = buf.get(bulk.start..bulk.end) else {
            return Ok(None);
        };
        self.examine(CRLF.len());
        if !payload.ends_with(CRLF) {
            return Err(DecodeError::BulkEnd);
        }
        // Three bytes of format and a colon, which the announced length includes:
        // https://redis.io/docs/latest/develop/reference/protocol-spec/#verbatim-strings
        if buf.get(self.item) == Some(&b'=') && payload.get(3) != Some(&b':') {
            return Err(DecodeError::Verbatim);
        }
        self.bulk = None;
        Ok(Some(bulk.end))
    }

    /// Ends the current element, and each aggregate whose last one it was. True at the end of the
    /// reply.
    fn close(&mut self, end: usize) -> bool {
        (self.item, self.searched) = (end, end);
        while let Some(top) = self.depth.checked_sub(1) {
            let Some(frame) = self.stack.get_mut(top) else {
                break;
            };
            frame.remaining -= 1;
            if frame.remaining > 0 {
                return false;
            }
            self.depth = top;
        }
        true
    }

    fn check_reply_len(&self, len: usize) -> Result<(), DecodeError> {
        let limit = self.limits.reply_len;
        if len > limit {
            Err(DecodeError::ReplyTooLong { len, limit })
        } else {
            Ok(())
        }
    }

    #[cfg(test)]
    fn examine(&mut self, bytes: usize) {
        self.examined += bytes;
    }

    #[cfg(not(test))]
    #[inline(always)]
    fn examine(&mut self, _bytes: usize) {}
}

/// The line at the start of an element, whole.
#[derive(Clone, Copy)]
struct Line<'b> {
    /// The type byte.
    kind: u8,
    /// What stands between it and the CRLF.
    text: &'b [u8],
    /// Where the line ends, after its CRLF.
    end: usize,
}

/// What a line turned out to be.
enum Header {
    /// The whole element.
    Leaf,
    /// The announcement of bytes or elements to come.
    Opened,
}

#[cfg(test)]
mod tests;
