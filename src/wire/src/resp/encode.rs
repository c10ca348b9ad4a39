//! Commands as bytes: [arrays of bulk strings], the only thing that a client sends.
//!
//! Lengths lead every argument, so that no byte of an argument can be taken for protocol: nothing
//! is ever escaped, and nothing can be injected.
//!
//! [arrays of bulk strings]:
//! https://redis.io/docs/latest/develop/reference/protocol-spec/#sending-commands-to-a-redis-server

use bytes::{Bytes, BytesMut};

/// Digits of the largest `usize`.
const DIGITS_MAX: usize = 20;

/// Appends a command to `out`: its name and arguments, any bytes. Makes room once, and allocates
/// only if `out` has not enough.
///
/// `args` must not be empty. Redis reads an empty command and answers nothing, so that every later
/// reply would go to the wrong waiter; an empty slice appends nothing.
pub fn command(out: &mut BytesMut, args: &[&[u8]]) {
    debug_assert!(!args.is_empty(), "Redis never answers an empty command");
    if args.is_empty() {
        return;
    }
    let len: usize = args
        .iter()
        .map(|arg| header_len(arg.len()) + arg.len() + 2)
        .sum();
    out.reserve(header_len(args.len()) + len);
    header(out, b'*', args.len());
    for arg in args {
        header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// A command that never changes, encoded once: sending it is then a single copy.
#[must_use]
pub fn constant(args: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    command(&mut out, args);
    out.freeze()
}

/// Appends a type byte, a length in decimal digits, and CRLF.
fn header(out: &mut BytesMut, kind: u8, len: usize) {
    // Written from the end: no second pass to turn the digits around.
    let mut text = [0; 1 + DIGITS_MAX + 2];
    let mut start = text.len();
    let mut rest = len;
    let mut push = |byte: u8| {
        start -= 1;
        text[start] = byte;
    };
    push(b'\n');
    push(b'\r');
    loop {
        push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    push(kind);
    out.extend_from_slice(&text[start..]);
}

/// Bytes that [`header`] appends.
fn header_len(len: usize) -> usize {
    let digits = len.checked_ilog10().unwrap_or(0) as usize + 1;
    1 + digits + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let check = |args: &[&[u8]], expected: &[u8]| {
            let mut out = BytesMut::from(&b"before"[..]);
            command(&mut out, args);
            assert_eq!(out.strip_prefix(b"before"), Some(expected));
            assert_eq!(constant(args), expected);
        };
        check(&[b"PING"], b"*1\r\n$4\r\nPING\r\n");
        check(
            &[b"HGET", b"currency", b"current-value"],
            b"*3\r\n$4\r\nHGET\r\n$8\r\ncurrency\r\n$13\r\ncurrent-value\r\n",
        );
        check(
            &[b"SET", b"", b"a\r\n$1"],
            b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$5\r\na\r\n$1\r\n",
        );
        check(
            &[&b"x"[..]; 10],
            [&b"*10\r\n"[..], &b"$1\r\nx\r\n".repeat(10)]
                .concat()
                .as_slice(),
        );
    }

    #[test]
    fn makes_room_once_and_exactly() {
        for len in [0, 1, 9, 10, 99, 100, 12_345] {
            let arg = vec![b'v'; len];
            let mut out = BytesMut::new();
            command(&mut out, &[b"ECHO", &arg]);
            let header = format!("*2\r\n$4\r\nECHO\r\n${len}\r\n");
            assert_eq!(out.len(), header.len() + len + 2);
            assert_eq!(out.capacity(), out.len(), "{len}");
            assert!(out.starts_with(header.as_bytes()), "{len}");
        }
    }

    #[test]
    fn headers_reach_the_largest_length() {
        for len in [0, 9, 10, 1_000, usize::MAX] {
            let mut out = BytesMut::new();
            header(&mut out, b'$', len);
            assert_eq!(out, format!("${len}\r\n"));
            assert_eq!(out.len(), header_len(len));
        }
    }
}
