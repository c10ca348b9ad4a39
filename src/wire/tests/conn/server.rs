//! A model of a server: reads commands, answers each in order. Shared by the property tests and the
//! fuzzer.

use std::collections::VecDeque;

/// What a reply on its way to the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A step of the login that others follow.
    Step,
    /// The last step of the login.
    Welcome,
    /// The answer to the client's own `PING`.
    Pong,
    /// The answer to `ECHO` of this number.
    Echo(u64),
    Push,
}

/// A server that speaks RESP3, or RESP2 only.
pub struct Server {
    resp2: bool,
    /// Whether the client selects a database, which is then the last step of its login.
    selects: bool,
    received: Vec<u8>,
    /// Bytes of replies that have not been delivered yet.
    pub replies: VecDeque<u8>,
    /// For each reply of which some byte is in `replies`: what it is, and the offset of its end in
    /// all that was ever written.
    pub ends: VecDeque<(Kind, u64)>,
    written: u64,
}

impl Server {
    pub fn new(resp2: bool, selects: bool) -> Self {
        Server {
            resp2,
            selects,
            received: Vec::new(),
            replies: VecDeque::new(),
            ends: VecDeque::new(),
            written: 0,
        }
    }

    /// Takes bytes in, without acting on them.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Answers at most `commands` of the commands that are here in full.
    pub fn serve(&mut self, commands: usize) {
        for _ in 0..commands {
            let Some((args, len)) = command(&self.received) else {
                return;
            };
            self.received.drain(..len);
            self.answer(&args);
        }
    }

    /// Says something that answers no command.
    pub fn push(&mut self, text: &[u8]) {
        let push = [b">2\r\n+message\r\n", &bulk(text)[..]].concat();
        self.write(Kind::Push, &push);
    }

    fn answer(&mut self, args: &[Vec<u8>]) {
        let done = if self.selects {
            Kind::Step
        } else {
            Kind::Welcome
        };
        match args[0].as_slice() {
            b"HELLO" if self.resp2 => self.write(Kind::Step, b"-NOPROTO no such version\r\n"),
            b"HELLO" => self.write(done, b"%2\r\n+server\r\n+model\r\n+proto\r\n:3\r\n"),
            b"AUTH" => self.write(Kind::Step, b"+OK\r\n"),
            b"CLIENT" => self.write(done, b"+OK\r\n"),
            b"SELECT" => self.write(Kind::Welcome, b"+OK\r\n"),
            // An error is a sign of life as well.
            b"PING" if self.written.is_multiple_of(2) => {
                self.write(Kind::Pong, b"-LOADING not yet\r\n");
            }
            b"PING" => self.write(Kind::Pong, b"+PONG\r\n"),
            b"ECHO" => {
                let nonce = number(&args[1]).expect("ECHO has a number");
                self.write(Kind::Echo(nonce), &echo(nonce, &args[2]));
            }
            other => unreachable!("{other:?} is no command of ours"),
        }
    }

    fn write(&mut self, kind: Kind, bytes: &[u8]) {
        self.replies.extend(bytes);
        self.written += bytes.len() as u64;
        self.ends.push_back((kind, self.written));
    }
}

/// The nonce in one of several shapes, so that all kinds of replies are cut and matched.
fn echo(nonce: u64, padding: &[u8]) -> Vec<u8> {
    let text = nonce.to_string();
    match nonce % 6 {
        0 => bulk(text.as_bytes()),
        1 => format!(":{nonce}\r\n").into_bytes(),
        2 => format!("-ERR {nonce}\r\n").into_bytes(),
        3 => [b"*2\r\n", &bulk(text.as_bytes())[..], &bulk(padding)].concat(),
        4 => [b"|1\r\n+ttl\r\n:9\r\n", &bulk(text.as_bytes())[..]].concat(),
        _ => format!("+{nonce}\r\n").into_bytes(),
    }
}

fn bulk(text: &[u8]) -> Vec<u8> {
    let head = format!("${}\r\n", text.len()).into_bytes();
    [&head[..], text, b"\r\n"].concat()
}

/// The first command in `bytes`, if it is whole, and its length. What is no command fails the test.
fn command(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut rest = bytes;
    let count = header(&mut rest, b'*')?;
    let mut args = Vec::new();
    for _ in 0..count {
        let len = header(&mut rest, b'$')?;
        let (arg, after) = rest.split_at_checked(len)?;
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return None,
            other => panic!("an argument is followed by {other:?}"),
        };
        args.push(arg.to_vec());
    }
    Some((args, bytes.len() - rest.len()))
}

fn header(rest: &mut &[u8], kind: u8) -> Option<usize> {
    let line = rest.iter().position(|&byte| byte == b'\n')?;
    let text = rest[..line]
        .strip_suffix(b"\r")
        .expect("a line ends in CRLF");
    assert_eq!(text[0], kind, "{text:?}");
    *rest = &rest[line + 1..];
    Some(number(&text[1..]).expect("a length is a number") as usize)
}

/// The number that `text` begins with or, after one word, goes on with.
pub fn number(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    text.split(' ').next_back()?.parse().ok()
}
