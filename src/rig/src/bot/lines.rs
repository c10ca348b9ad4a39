//! Bytes as they come to whole lines, without copying them. Pure.
//!
//! Invariant: never holds more than a line of [`LINE_MAX`] and a read of [`READ_MAX`] bytes. A line
//! that is longer is skipped to its end, and counted.

use bytes::{Buf, BytesMut};
use memchr::{memchr, memchr_iter, memrchr};

/// The longest line, in bytes. One of vegeta's holds up to 4 KB of a body in base64 and all headers
/// of a response, in JSON: some hundred bytes, and 64 KiB with a server that sends many.
pub const LINE_MAX: usize = 256 * 1024;

/// Most bytes read at a time: what a pipe holds by default on Linux.
pub const READ_MAX: usize = 64 * 1024;

/// What was read and is no whole line yet.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: BytesMut,
    /// So much of it holds no end of a line.
    searched: usize,
    /// Within a line that is too long.
    skipping: bool,
    skipped: u64,
}

impl Lines {
    /// Where to read into, with room for [`READ_MAX`] bytes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(READ_MAX);
        &mut self.buffer
    }

    /// All whole lines that were read since the last call; see [`each`].
    pub fn take(&mut self) -> Option<BytesMut> {
        if self.skipping {
            match memchr(b'\n', &self.buffer) {
                Some(at) => {
                    self.buffer.advance(at + 1);
                    self.skipping = false;
                }
                None => self.buffer.clear(),
            }
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(at) = memrchr(b'\n', unsearched) {
            let whole = self.buffer.split_to(self.searched + at + 1);
            self.searched = self.buffer.len();
            return Some(whole);
        }
        if self.buffer.len() > LINE_MAX {
            self.buffer.clear();
            self.skipping = true;
            self.skipped += 1;
        }
        self.searched = self.buffer.len();
        None
    }

    /// Lines that were too long.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// Each line of `whole`, without its end. What follows the last end is no line.
pub fn each(whole: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr_iter(b'\n', whole).map(move |end| {
        let line = whole.get(start..end).unwrap_or_default();
        start = end + 1;
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `text`, read `step` bytes at a time.
    fn read(text: &[u8], step: usize) -> (Vec<Vec<u8>>, u64) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in text.chunks(step) {
            lines.buffer().extend_from_slice(chunk);
            if let Some(whole) = lines.take() {
                found.extend(each(&whole).map(<[u8]>::to_vec));
            }
        }
        (found, lines.skipped())
    }

    #[test]
    fn any_split_gives_the_same_lines() {
        let text = b"one\n\nthree is longer\nfour\nno end";
        let expected: Vec<&[u8]> = vec![b"one", b"", b"three is longer", b"four"];
        for step in 1..=text.len() {
            let (found, skipped) = read(text, step);
            assert_eq!(found, expected, "{step} bytes at a time");
            assert_eq!(skipped, 0);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let long = vec![b'x'; LINE_MAX + 2 * READ_MAX];
        let text = [b"one\n", long.as_slice(), b"\ntwo\n"].concat();
        let (found, skipped) = read(&text, READ_MAX);
        assert_eq!(found, [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!(skipped, 1);
    }
}
