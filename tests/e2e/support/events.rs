//! A client of server-sent events that sees what is on the wire.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::http::Response;
use super::poll::PATIENCE;

/// One event, as the HTML standard reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// `message` unless it is named.
    pub kind: String,
    pub data: String,
    pub id: Option<String>,
    /// In milliseconds.
    pub retry: Option<u64>,
    /// It is nothing but a comment.
    pub is_comment: bool,
}

/// A stream of events. It ends when dropped.
#[derive(Debug)]
pub struct Events {
    stream: TcpStream,
    /// Received, and not looked at.
    raw: Vec<u8>,
    /// Out of its chunks, and not yet an event.
    text: Vec<u8>,
    pub head: Response,
    chunked: bool,
    /// The last chunk has come.
    ended: bool,
}

impl Events {
    /// Opens a stream, whatever the status of the answer.
    ///
    /// # Errors
    /// What the socket says.
    pub fn ask(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> io::Result<Events> {
        let mut head =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        Events::ask_raw(addr, &(head + "\r\n"))
    }

    /// The same with this head.
    ///
    /// # Errors
    /// What the socket says.
    pub fn ask_raw(addr: SocketAddr, head: &str) -> io::Result<Events> {
        let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(head.as_bytes())?;
        let mut events = Events {
            stream,
            raw: Vec::new(),
            text: Vec::new(),
            head: Response {
                status: 0,
                headers: Vec::new(),
                body: Vec::new(),
            },
            chunked: false,
            ended: false,
        };
        events.read_head()?;
        Ok(events)
    }

    /// Opens a stream.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn open(addr: SocketAddr, path: &str) -> Events {
        Events::open_with(addr, path, &[])
    }

    /// The same with these headers.
    #[track_caller]
    pub fn open_with(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Events {
        let events = Events::ask(addr, path, headers).expect("it answers");
        assert_eq!(events.head.status, 200, "{:?}", events.head);
        assert_eq!(
            events.head.header("Content-Type"),
            Some("text/event-stream")
        );
        events
    }

    fn read_head(&mut self) -> io::Result<()> {
        let length = loop {
            if let Some(at) = find(&self.raw, b"\r\n\r\n") {
                break at;
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = self.raw.drain(..length + 4).collect();
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        self.head.status = status.and_then(|code| code.parse().ok()).unwrap_or(0);
        let headers = lines.filter_map(|line| line.split_once(": "));
        self.head.headers = headers.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        self.chunked = self.head.header("Transfer-Encoding") == Some("chunked");
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.raw.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// The next event, comments included; `None`: the stream has ended as it should.
    ///
    /// # Errors
    /// `UnexpectedEof` when it broke off, else what the socket says.
    pub fn next_of_any_kind(&mut self) -> io::Result<Option<Event>> {
        loop {
            self.unchunk();
            if let Some(at) = find(&self.text, b"\n\n") {
                let text: Vec<u8> = self.text.drain(..at + 2).collect();
                return Ok(Some(event(&String::from_utf8_lossy(&text))));
            }
            if self.ended {
                return Ok(None);
            }
            if self.fill()? == 0 {
                let is_end = !self.chunked && self.raw.is_empty() && self.text.is_empty();
                return match is_end {
                    true => Ok(None),
                    false => Err(ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The next event.
    ///
    /// # Panics
    /// When none comes within the usual patience, or the stream ends.
    #[track_caller]
    pub fn next(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.next_of_any_kind() {
                Ok(Some(event)) if event.is_comment => {}
                Ok(Some(event)) => return event,
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing but comments");
    }

    /// The data of the next event, which must be a `message`.
    #[track_caller]
    pub fn next_data(&mut self) -> String {
        let event = self.next();
        assert_eq!(event.kind, "message", "{event:?}");
        event.data
    }

    /// Reads events until there is one of this kind.
    #[track_caller]
    pub fn next_of(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next();
            if event.kind == kind {
                return event;
            }
        }
    }

    /// Reads events until there is one with these data; what came before it.
    #[track_caller]
    pub fn until_data(&mut self, data: &str) -> Vec<Event> {
        let mut before = Vec::new();
        loop {
            let event = self.next();
            if event.kind == "message" && event.data == data {
                return before;
            }
            before.push(event);
            assert!(before.len() < 100_000, "{data} does not come");
        }
    }

    /// Whether nothing but comments comes for so long.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let is_silent = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break true;
            }
            let set = self.stream.set_read_timeout(Some(left));
            set.expect("it is a socket");
            match self.next_of_any_kind() {
                Ok(Some(event)) if event.is_comment => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break true;
                }
                _ => break false,
            }
        };
        let set = self.stream.set_read_timeout(Some(PATIENCE));
        set.expect("it is a socket");
        is_silent
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn unchunk(&mut self) {
        if !self.chunked {
            self.text.append(&mut self.raw);
            return;
        }
        while let Some(line) = find(&self.raw, b"\r\n") {
            let size = String::from_utf8_lossy(&self.raw[..line]).into_owned();
            let size = usize::from_str_radix(&size, 16).expect("the size of a chunk");
            let end = line + 2 + size + 2;
            if self.raw.len() < end {
                return;
            }
            assert_eq!(&self.raw[end - 2..end], b"\r\n", "the end of a chunk");
            self.ended = size == 0;
            self.text.extend_from_slice(&self.raw[line + 2..end - 2]);
            self.raw.drain(..end);
        }
    }
}

fn event(text: &str) -> Event {
    let mut event = Event {
        kind: "message".to_owned(),
        is_comment: true,
        ..Event::default()
    };
    let mut data = Vec::new();
    for line in text.trim_end_matches('\n').split('\n') {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => continue,
            "event" => event.kind = value.to_owned(),
            "data" => data.push(value),
            "id" => event.id = Some(value.to_owned()),
            "retry" => event.retry = Some(value.parse().expect("milliseconds")),
            other => panic!("a line of an unknown kind: {other:?} in {text:?}"),
        }
        event.is_comment = false;
    }
    event.data = data.join("\n");
    event
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut windows = haystack.windows(needle.len());
    windows.position(|window| window == needle)
}
