//! A small blocking HTTP/1.1 client over a raw socket, which sends what it is told, wrong or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read or write may wait.
const IO_TIMEOUT: Duration = Duration::from_secs(10);

/// A response, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Names as they came, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }

    /// The body as text; bytes that aren't UTF-8 show as U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own.
///
/// # Panics
/// When there is no whole response.
#[track_caller]
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    match try_request(addr, method, path, headers, body) {
        Ok(response) => response,
        Err(error) => panic!("{method} {path} at {addr}: {error}"),
    }
}

/// As [`request`], for a server that may not be there.
pub fn try_request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut connection = Connection::open(addr)?;
    let mut with_close = headers.to_vec();
    with_close.push(("Connection", "close"));
    connection.send(method, path, &with_close, body)?;
    connection.read_response(method)
}

/// A connection for keep-alive, pipelining and raw bytes.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Received, and not yet part of a response.
    buffer: Vec<u8>,
}

impl Connection {
    pub fn open(addr: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&addr, IO_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(IO_TIMEOUT))?;
        stream.set_read_timeout(Some(IO_TIMEOUT))?;
        Ok(Connection {
            stream,
            buffer: Vec::new(),
        })
    }

    /// The stream itself: for its address, options and timeouts.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request. `Host` is added unless it is given, `Content-Length` unless it or
    /// `Transfer-Encoding` is given or there is no body to tell of.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !has("host") {
            head += "Host: test\r\n";
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let tells_length = has("content-length") || has("transfer-encoding");
        if !tells_length && (!body.is_empty() || method == "POST") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send_raw(&bytes)
    }

    /// Sends these bytes and nothing else.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that no more bytes will come; responses can still be read.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sends a request and reads its response.
    ///
    /// # Panics
    /// When there is no whole response.
    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let sent = self.send(method, path, headers, body);
        match sent.and_then(|()| self.read_response(method)) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Reads the next response; `method` is its request's, since a `HEAD` has no body.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closes before the end, `InvalidData` when this isn't a
    /// response with a `Content-Length` (or an end by closing), else what the socket says.
    pub fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let head_len = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.buffer.drain(..head_len).collect();
        let mut response = parse_head(&head)?;
        let no_body = method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        if no_body {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some() {
            return Err(invalid("this client reads no transfer codings"));
        }
        let Some(length) = response.header("content-length") else {
            response.body = self.read_to_end()?;
            return Ok(response);
        };
        let length: usize = length
            .parse()
            .map_err(|_| invalid("a bad Content-Length"))?;
        while self.buffer.len() < length {
            self.fill()?;
        }
        response.body = self.buffer.drain(..length).collect();
        Ok(response)
    }

    /// All bytes until the peer closes.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.buffer)?;
        Ok(std::mem::take(&mut self.buffer))
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk)?;
        if n == 0 {
            let got = String::from_utf8_lossy(&self.buffer).into_owned();
            let text = format!("closed in the middle of a response: {got:?}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(())
    }
}

fn parse_head(head: &[u8]) -> io::Result<Response> {
    let text = std::str::from_utf8(head).map_err(|_| invalid("a head that isn't UTF-8"))?;
    let mut lines = text.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.split(' ').next())
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| invalid(&format!("a bad status line: {status_line:?}")))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(&format!("a bad header: {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok(Response {
        status,
        headers,
        body: Vec::new(),
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
