//! A chunked body, byte by byte, as RFC 9112, section 7.1 has it and in no other form.
//!
//! hyper decodes chunks, and takes more than the grammar allows: blanks behind a size, anything in
//! an extension, a lone LF in the trailer section. Whatever stands before or behind us may read
//! such a form in another way, and then the two see different ends of the body. So each byte passes
//! here first, and the first one that the grammar does not allow ends the connection.
//!
//! Non-goals: the data, the extensions and the trailers, which are hyper's to decode or to drop.

/// Bytes of one line with a size, or of all trailers, beyond which the body is refused. hyper has
/// the same limit on them; it counts extensions only.
const MAX_LINES: usize = 16 * 1024;

/// The grammar does not allow this body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// How far a body has come. All whitespace in extensions is the grammar's `BWS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first digit of a size.
    Start,
    Size,
    /// Blanks behind a size or a value: an extension must follow.
    Blank,
    NameStart,
    Name,
    /// Blanks behind the name of an extension.
    NameBlank,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    QuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// A trailer's first byte, or the CR of the last line.
    Trailer,
    FieldName,
    FieldValue,
    FieldLf,
    EndLf,
    End,
}

/// One body.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    at: At,
    /// The size of the present chunk; in its data, what is left of it.
    size: u64,
    /// Bytes of the present line with a size, or of the trailers so far.
    line: usize,
}

impl Chunks {
    /// A body of which nothing has come.
    pub fn new() -> Self {
        Chunks {
            at: At::Start,
            size: 0,
            line: 0,
        }
    }

    /// Whether the last byte was the body's last.
    pub fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// Takes the bytes that follow, up to the body's end: how many of them are the body's.
    ///
    /// # Errors
    /// One of them is not allowed there.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken).copied() {
            match self.at {
                At::End => break,
                At::Data => {
                    let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                    let skipped = left.min(bytes.len() - taken);
                    taken += skipped;
                    self.size -= skipped as u64;
                    if self.size == 0 {
                        self.at = At::DataCr;
                    }
                }
                _ => {
                    self.line += 1;
                    if self.line > MAX_LINES {
                        return Err(Malformed);
                    }
                    self.at = self.next(byte)?;
                    taken += 1;
                }
            }
        }
        Ok(taken)
    }

    /// What follows `byte`.
    fn next(&mut self, byte: u8) -> Result<At, Malformed> {
        match self.at {
            At::Start | At::Size if byte.is_ascii_hexdigit() => self.digit(byte),
            At::Size | At::Value | At::QuotedEnd if is_blank(byte) => Ok(At::Blank),
            At::Size | At::Value | At::QuotedEnd | At::Name if byte == b'\r' => Ok(At::SizeLf),
            At::Size | At::Value | At::QuotedEnd | At::Name | At::Blank | At::NameBlank
                if byte == b';' =>
            {
                Ok(At::NameStart)
            }
            At::Name | At::NameBlank if byte == b'=' => Ok(At::ValueStart),
            At::Name if is_blank(byte) => Ok(At::NameBlank),
            At::Blank | At::NameStart | At::NameBlank | At::ValueStart if is_blank(byte) => {
                Ok(self.at)
            }
            At::NameStart | At::Name if is_token(byte) => Ok(At::Name),
            At::ValueStart if byte == b'"' => Ok(At::Quoted),
            At::ValueStart | At::Value if is_token(byte) => Ok(At::Value),
            At::Quoted if byte == b'"' => Ok(At::QuotedEnd),
            At::Quoted if byte == b'\\' => Ok(At::Escaped),
            At::Quoted | At::Escaped if is_text(byte) => Ok(At::Quoted),
            At::SizeLf if byte == b'\n' => {
                self.line = 0;
                Ok(if self.size == 0 {
                    At::Trailer
                } else {
                    At::Data
                })
            }
            At::DataCr if byte == b'\r' => Ok(At::DataLf),
            At::DataLf if byte == b'\n' => {
                self.line = 0;
                Ok(At::Start)
            }
            At::Trailer if byte == b'\r' => Ok(At::EndLf),
            At::Trailer | At::FieldName if is_token(byte) => Ok(At::FieldName),
            At::FieldName if byte == b':' => Ok(At::FieldValue),
            At::FieldValue if byte == b'\r' => Ok(At::FieldLf),
            At::FieldValue if is_text(byte) => Ok(At::FieldValue),
            At::FieldLf if byte == b'\n' => Ok(At::Trailer),
            At::EndLf if byte == b'\n' => Ok(At::End),
            _ => Err(Malformed),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<At, Malformed> {
        let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
        let size = self.size.checked_mul(16).ok_or(Malformed)?;
        self.size = size + u64::from(digit);
        Ok(At::Size)
    }
}

/// `SP` and `HTAB`.
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in a field's value and, but for quotes and backslashes, in a quoted string:
/// `HTAB`, `SP`, `VCHAR` and `obs-text` of RFC 9110, sections 5.5 and 5.6.4.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the body at the beginning of `bytes` ends; `Ok(None)`: not in them.
    fn end_of(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::new();
        let taken = chunks.take(bytes)?;
        Ok(chunks.is_done().then_some(taken))
    }

    #[test]
    fn what_the_grammar_allows_ends_where_it_says() {
        for body in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            "00000000000000000000003\r\n\r\n\r\r\n0\r\n\r\n",
            "3;a\r\nabc\r\n0;b;c\r\n\r\n",
            "3 ;\ta = b ; c\t=\t\"d \\\" \\\\ \u{e9};\"\r\nabc\r\n0\r\n\r\n",
            "3;a=\"\"\r\nabc\r\n0\r\n\r\n",
            "0\r\nA: b\r\nC:\r\nD: \t\u{e9} \r\n\r\n",
        ] {
            let bytes = [body, "GET / HTTP/1.1\r\n"].concat();
            assert_eq!(end_of(bytes.as_bytes()), Ok(Some(body.len())), "{body:?}");
            for cut in 0..body.len() {
                assert_eq!(
                    end_of(&body.as_bytes()[..cut]),
                    Ok(None),
                    "{body:?} to {cut}"
                );
            }
        }
    }

    #[test]
    fn what_it_does_not_allow_is_refused() {
        for body in [
            "",
            " 3",
            "+3",
            "0x3",
            "g",
            "3 \r\n",
            "3\t\r\n",
            "3 4\r\n",
            "3\n",
            "3\r\r\n",
            "3\rx",
            "3,a\r\n",
            "3;\r\n",
            "3;;a\r\n",
            "3;a \r\n",
            "3;a=\r\n",
            "3;a=b \r\n",
            "3;a==b\r\n",
            "3;a=b=c\r\n",
            "3;a=b c\r\n",
            "3;a b\r\n",
            "3;=b\r\n",
            "3;\"a\"\r\n",
            "3;a=\"b\"c\r\n",
            "3;a=\"b\r\n",
            "3;a=\"\\\r\n",
            "3;a\n",
            "3;a\0\r\n",
            "3;a=\"\0\"\r\n",
            "3;a=\"\u{7f}\"\r\n",
            "3;\u{e9}\r\n",
            "3\r\nabcd",
            "3\r\nabc\n",
            "3\r\nabc\r\r\n",
            "3\r\nabc0\r\n",
            "10000000000000000\r\n",
            "0\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
            "0\r\n A: b\r\n",
            "0\r\nA : b\r\n",
            "0\r\nA\r\n",
            "0\r\n: b\r\n",
            "0\r\nA: b\n",
            "0\r\nA: b\r\n c\r\n",
            "0\r\nA: b\0\r\n",
            "0\r\nA: b\rc\r\n",
            "0\r\nGET / HTTP/1.1\r\n",
        ] {
            // What follows is part of it where it is allowed.
            let bytes = [body, "\u{1}"].concat();
            assert_eq!(end_of(bytes.as_bytes()), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn lines_have_a_limit() {
        let long = "0".repeat(MAX_LINES + 1);
        assert_eq!(end_of(long.as_bytes()), Err(Malformed));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(MAX_LINES / 6 + 1));
        assert_eq!(end_of(trailers.as_bytes()), Err(Malformed));
        let many = "1\r\na\r\n".repeat(MAX_LINES);
        assert_eq!(end_of(many.as_bytes()), Ok(None), "data has none");
    }
}
