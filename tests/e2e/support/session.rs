//! A connection to a Redis server that stays, for what `redis-cli` is too slow for: a look each few
//! milliseconds, and the last word to a server that lets nobody else in.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects, and logs in where there is a password. No call takes longer than `timeout`.
    pub fn open(
        addr: SocketAddr,
        password: Option<&str>,
        timeout: Duration,
    ) -> io::Result<Session> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut session = Session {
            stream: BufReader::new(stream),
        };
        if let Some(password) = password {
            session.call(&["AUTH", password])?;
        }
        Ok(session)
    }

    /// The text of a reply: a line without its type, or a bulk string; nil is empty.
    ///
    /// # Errors
    /// What the socket says, or `Other` with the text of an error reply.
    pub fn call(&mut self, words: &[&str]) -> io::Result<String> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(command.as_bytes())?;
        let line = self.line()?;
        match (line.get(..1), line.get(1..)) {
            (Some("+" | ":"), Some(text)) => Ok(text.into()),
            (Some("-"), Some(text)) => Err(io::Error::other(text)),
            (Some("$"), Some("-1")) => Ok(String::new()),
            (Some("$"), Some(length)) => {
                let length: usize = length.parse().map_err(io::Error::other)?;
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                String::from_utf8(bytes).map_err(io::Error::other)
            }
            _ => Err(io::Error::other(format!("a reply of another kind: {line}"))),
        }
    }

    /// The next line, without its end: what a server sends of its own, as after `MONITOR`.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().into())
    }
}
