//! Where each request on a connection begins and ends, decided before hyper sees a byte of it.
//!
//! hyper is given the bytes of one request at a time: a whole head, then that head's body, and the
//! next head only behind them. So it never holds a byte of which nobody knows what it belongs to,
//! and a connection always knows whether a next head has begun. What comes behind is held here.
//!
//! Of a head only its end is looked for, in the forms that hyper knows too: the first empty line
//! behind another one, where a lone LF ends a line as CRLF does (RFC 9112, section 2.2). How long a
//! body is, and whether it is in chunks, hyper says when it calls the service. This relies on hyper
//! to call the service as soon as it has a whole head, without reading on. Should it read on, the
//! two disagree about where the head ends: then the connection ends.
//!
//! Invariants: what is held is a head that is not complete, of at most [`MAX_HEAD`] bytes, and what
//! one read brought beyond the request in progress.
//!
//! Non-goals: whether a head is valid, which hyper says.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::MAX_HEAD;
use super::chunks::{Chunks, Malformed};

/// Lines of headers that hyper has room for on the stack. For more it allocates twice a request.
pub const MAX_PLAIN_LINES: usize = 100;

/// How the body of the request in progress is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

/// What the next byte belongs to.
enum Phase {
    Head(HeadScan),
    /// So many bytes of a whole head are still to be given to hyper.
    Handing(usize),
    /// hyper has a whole head, and calls the service next.
    Called,
    /// hyper will refuse this head, and needs no more of it than has come.
    Hopeless,
    Length(u64),
    Chunked(Chunks),
    Broken,
}

/// One connection's requests.
pub struct Framing {
    phase: Phase,
    /// What has come and may not yet be given to hyper.
    held: BytesMut,
    /// Lines of headers that hyper has room for.
    max_lines: usize,
}

/// What there is for hyper to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// These many bytes, which were copied.
    Bytes(usize),
    /// More must come first.
    Nothing,
    /// A head with more lines than hyper has room for now.
    TooManyLines,
}

impl Framing {
    /// A connection on which nothing has come, to a hyper with room for so many lines of headers.
    pub fn new(max_lines: usize) -> Self {
        Framing {
            phase: Phase::Head(HeadScan::default()),
            held: BytesMut::new(),
            max_lines,
        }
    }

    /// From now on hyper has room for so many lines of headers.
    pub fn set_max_lines(&mut self, max_lines: usize) {
        self.max_lines = max_lines;
    }

    /// Whether something of a next head has come, and the service was not called for it.
    pub fn is_inside_head(&self) -> bool {
        match self.phase {
            Phase::Head(_) => !self.held.is_empty(),
            Phase::Handing(_) | Phase::Called | Phase::Hopeless => true,
            Phase::Length(_) | Phase::Chunked(_) | Phase::Broken => false,
        }
    }

    /// Whether the last request has ended, and nothing is held of a next one.
    pub fn is_between(&self) -> bool {
        self.held.is_empty() && matches!(self.phase, Phase::Head(_))
    }

    /// Whether `bytes` are one whole head, as they mostly are: then they may be given to hyper as
    /// they stand. Else [`put`](Self::put) them.
    pub fn passes(&mut self, bytes: &[u8]) -> bool {
        if !self.held.is_empty() || !matches!(self.phase, Phase::Head(_)) {
            return false;
        }
        let mut scan = HeadScan::default();
        let passes = scan.end(bytes) == Some(bytes.len())
            && scan.lines <= self.max_lines
            && !is_newer(&bytes[..scan.first])
            && bytes[0].is_ascii_alphabetic();
        if passes {
            self.phase = Phase::Called;
        }
        passes
    }

    /// Takes what has come.
    pub fn put(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Gives hyper what it may have, by way of `give`, up to `room` bytes.
    ///
    /// # Errors
    /// The body is not what it must be, or hyper reads where it should not.
    pub fn give(&mut self, room: usize, give: impl FnOnce(&[u8])) -> Result<Given, Malformed> {
        if self.held.is_empty() && !matches!(self.phase, Phase::Called | Phase::Broken) {
            return Ok(Given::Nothing);
        }
        if let Phase::Head(scan) = &mut self.phase {
            match scan.look(&mut self.held) {
                Found::Partial => return Ok(Given::Nothing),
                Found::Hopeless => self.phase = Phase::Hopeless,
                Found::Whole { lines, .. } if lines > self.max_lines => {
                    return Ok(Given::TooManyLines);
                }
                Found::Whole { length, .. } => self.phase = Phase::Handing(length),
            }
        }
        let there = room.min(self.held.len());
        let count = match &mut self.phase {
            Phase::Head(_) => 0,
            Phase::Handing(left) => there.min(*left),
            Phase::Hopeless => there,
            Phase::Length(left) => there.min(usize::try_from(*left).unwrap_or(usize::MAX)),
            Phase::Chunked(chunks) => match chunks.take(&self.held[..there]) {
                Ok(count) => count,
                Err(malformed) => {
                    self.phase = Phase::Broken;
                    return Err(malformed);
                }
            },
            Phase::Called | Phase::Broken => return Err(Malformed),
        };
        if count == 0 {
            return Ok(Given::Nothing);
        }
        give(&self.held[..count]);
        self.drop_front(count);
        Ok(Given::Bytes(count))
    }

    /// Takes what has come of a chunked body that nobody reads; whether it has ended.
    ///
    /// # Errors
    /// It is not what it must be.
    pub fn skip(&mut self) -> Result<bool, Malformed> {
        match &mut self.phase {
            Phase::Broken => return Err(Malformed),
            Phase::Chunked(chunks) => match chunks.take(&self.held) {
                Ok(count) => self.drop_front(count),
                Err(malformed) => {
                    self.phase = Phase::Broken;
                    return Err(malformed);
                }
            },
            _ => {}
        }
        Ok(!matches!(self.phase, Phase::Chunked(_)))
    }

    /// The service is called for the head that hyper was given last; whether that was to be
    /// expected.
    pub fn begin(&mut self, body: BodyFraming) -> bool {
        let expected = matches!(self.phase, Phase::Called);
        self.phase = match body {
            _ if !expected => Phase::Broken,
            BodyFraming::None | BodyFraming::Length(0) => Phase::Head(HeadScan::default()),
            BodyFraming::Length(length) => Phase::Length(length),
            BodyFraming::Chunked => Phase::Chunked(Chunks::new()),
        };
        expected
    }

    /// Forgets `count` bytes that were dealt with, and goes on to what follows them.
    fn drop_front(&mut self, count: usize) {
        self.held.advance(count);
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        match &mut self.phase {
            Phase::Handing(left) => {
                *left -= count;
                if *left == 0 {
                    self.phase = Phase::Called;
                }
            }
            Phase::Length(left) => {
                *left -= count as u64;
                if *left == 0 {
                    self.phase = Phase::Head(HeadScan::default());
                }
            }
            Phase::Chunked(chunks) if chunks.is_done() => {
                self.phase = Phase::Head(HeadScan::default());
            }
            _ => {}
        }
    }
}

/// What there is of a head.
enum Found {
    Partial,
    Whole { length: usize, lines: usize },
    Hopeless,
}

/// The search for a head's end, which goes on where it stopped.
#[derive(Default)]
struct HeadScan {
    /// Bytes of the request line.
    first: usize,
    /// Bytes of all whole lines.
    whole: usize,
    /// Whole lines behind the request line.
    lines: usize,
    /// The empty line was found.
    done: bool,
}

impl HeadScan {
    /// Bytes to the end of the head; `None`: it is not there yet.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while !self.done {
            let length = memchr(b'\n', &bytes[self.whole..])?;
            let line = &bytes[self.whole..self.whole + length];
            self.whole += length + 1;
            match line {
                // Behind the request line: those before it are dropped.
                b"" | b"\r" if self.first > 0 => self.done = true,
                _ if self.first == 0 => self.first = self.whole,
                _ => self.lines += 1,
            }
        }
        Some(self.whole)
    }

    /// Looks at what has come, after dropping the empty lines that may stand before a request (RFC
    /// 9112, section 2.2).
    ///
    /// A version of HTTP/1 newer than ours becomes ours: a recipient is to read such a message as
    /// one of the newest version that it knows (RFC 9110, section 2.5). hyper would refuse it.
    fn look(&mut self, held: &mut BytesMut) -> Found {
        let is_new = self.first == 0;
        while let Some(empty) = empty_line(held).filter(|_| is_new) {
            held.advance(empty);
        }
        if held.is_empty() {
            // An idle connection holds no memory.
            *held = BytesMut::new();
            return Found::Partial;
        }
        let end = self.end(held);
        if is_new
            && is_newer(&held[..self.first])
            && let Some(minor) = held[..self.first].iter().rposition(u8::is_ascii_digit)
        {
            held[minor] = b'1';
        }
        match (end, &held[..self.first]) {
            (Some(length), _) => Found::Whole {
                length,
                lines: self.lines,
            },
            // hyper refuses at once what another protocol begins with, and what is too long.
            _ if held.len() > MAX_HEAD => Found::Hopeless,
            (None, []) if held[0] == b'\r' || is_token(held[0]) => Found::Partial,
            (None, []) => Found::Hopeless,
            (None, line) if version(line).is_some() => Found::Partial,
            (None, _) => Found::Hopeless,
        }
    }
}

/// Whether a byte may stand in a method (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The length of an empty line that the bytes begin with.
fn empty_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// What follows `HTTP/1.` at the end of a request line.
fn version(line: &[u8]) -> Option<u8> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (minor, line) = line.split_last()?;
    line.ends_with(b" HTTP/1.").then_some(*minor)
}

/// Whether a request line ends with a minor version of HTTP/1 beyond ours.
fn is_newer(line: &[u8]) -> bool {
    version(line).is_some_and(|minor| matches!(minor, b'2'..=b'9'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// All that hyper is given of `parts`, one slice for each time that it reads, `room` bytes at
    /// most; `body` frames each request.
    fn given(parts: &[&[u8]], room: usize, body: BodyFraming) -> Vec<String> {
        let mut framing = Framing::new(MAX_PLAIN_LINES);
        let mut given = Vec::new();
        for part in parts {
            if part.len() <= room && framing.passes(part) {
                given.push(part.to_vec());
                assert!(framing.begin(body));
                continue;
            }
            framing.put(part);
            loop {
                let mut bytes = Vec::new();
                match framing.give(room, |some| bytes.extend_from_slice(some)) {
                    Ok(Given::Bytes(count)) => assert_eq!(count, bytes.len()),
                    Ok(Given::Nothing) => break,
                    other => {
                        given.push(format!("{other:?}").into_bytes());
                        break;
                    }
                }
                given.push(bytes);
                if matches!(framing.phase, Phase::Called) {
                    assert!(framing.begin(body));
                }
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        given.into_iter().map(text).collect()
    }

    #[track_caller]
    fn check(text: &str, body: BodyFraming, expected: &[&str]) {
        let seen = given(&[text.as_bytes()], usize::MAX, body);
        assert_eq!(seen, expected, "{text:?}");
        // However it is split, and however little hyper has room for, it is the same.
        for cut in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            for room in [usize::MAX, 3] {
                let seen = given(&[first, second], room, body);
                assert_eq!(seen.concat(), expected.concat(), "{text:?} at {cut}");
            }
        }
    }

    #[test]
    fn hyper_is_given_one_request_at_a_time() {
        let two = [GET, GET].concat();
        check(&two, BodyFraming::None, &[GET, GET]);
        check(
            "\r\n\nGET / HTTP/1.1\n\n\r\n",
            BodyFraming::None,
            &["GET / HTTP/1.1\n\n"],
        );
        check(
            "GET / HTTP/1.0\r\n\n",
            BodyFraming::None,
            &["GET / HTTP/1.0\r\n\n"],
        );
        check(
            "GET / HTTP/1.0\n\r\n",
            BodyFraming::None,
            &["GET / HTTP/1.0\n\r\n"],
        );
        let length = [GET, "12345", GET, "12345", GET].concat();
        let expected = [GET, "12345", GET, "12345", GET];
        check(&length, BodyFraming::Length(5), &expected);
        let chunks = "2\r\n\r\n\r\n0\r\n\r\n";
        let chunked = [GET, chunks, GET, chunks].concat();
        check(&chunked, BodyFraming::Chunked, &[GET, chunks, GET, chunks]);
    }

    #[test]
    fn a_newer_http_1_is_read_as_ours() {
        for newer in ["GET / HTTP/1.2\r\nA: b\r\n\r\n", "GET / HTTP/1.9\nA: b\n\n"] {
            let ours = newer.replace("1.2", "1.1").replace("1.9", "1.1");
            check(newer, BodyFraming::None, &[&ours]);
        }
        for same in ["GET / HTTP/2.2\r\n\r\n", "GET /1.2 HTTP/1.0\r\n\r\n"] {
            assert_eq!(given(&[same.as_bytes()], 99, BodyFraming::None), [same]);
        }
    }

    #[test]
    fn what_hyper_will_refuse_it_is_given_at_once() {
        let large = ["GET / HTTP/1.1\r\nA: ", &"b".repeat(MAX_HEAD)].concat();
        for text in [
            "\u{16}\u{3}\u{1}",
            "GARBAGE\r\n",
            "GET / HTTP/2.0\r\nA",
            &large,
        ] {
            assert_eq!(
                given(&[text.as_bytes()], usize::MAX, BodyFraming::None),
                [text]
            );
        }
        for text in ["GE", "GET / HTTP/1.1\r\nA", "\r"] {
            let none: [&str; 0] = [];
            assert_eq!(
                given(&[text.as_bytes()], usize::MAX, BodyFraming::None),
                none
            );
        }
    }

    #[test]
    fn nothing_is_guessed_when_hyper_disagrees() {
        let mut framing = Framing::new(MAX_PLAIN_LINES);
        assert!(!framing.begin(BodyFraming::None), "for no head");
        let mut framing = Framing::new(MAX_PLAIN_LINES);
        assert!(framing.passes(GET.as_bytes()));
        assert_eq!(framing.give(99, |_| ()), Err(Malformed), "it reads on");
        let broken = [GET, "2\r\nabc\r\n"].concat();
        let seen = given(&[broken.as_bytes()], usize::MAX, BodyFraming::Chunked);
        assert_eq!(seen, [GET, "Err(Malformed)"]);
    }

    #[test]
    fn lines_beyond_the_room_wait_for_a_roomier_hyper() {
        let head = |lines| {
            let lines = "A: b\r\n".repeat(lines);
            format!("GET / HTTP/1.1\r\n{lines}\r\n").into_bytes()
        };
        for (lines, many) in [(MAX_PLAIN_LINES, false), (MAX_PLAIN_LINES + 1, true)] {
            let mut framing = Framing::new(MAX_PLAIN_LINES);
            assert_eq!(framing.passes(&head(lines)), !many);
            if many {
                framing.put(&head(lines));
                for _ in 0..2 {
                    assert_eq!(framing.give(9_999, |_| ()), Ok(Given::TooManyLines));
                }
                framing.set_max_lines(usize::MAX);
                let whole = Ok(Given::Bytes(head(lines).len()));
                assert_eq!(framing.give(9_999, |_| ()), whole);
            }
            assert!(framing.is_inside_head());
            assert!(framing.begin(BodyFraming::None));
            assert!(!framing.is_inside_head());
        }
    }
}
