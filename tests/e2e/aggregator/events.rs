//! A reader of the stream of events.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::PATIENCE;

/// An open stream.
#[derive(Debug)]
pub struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// Asks by HTTP/1.0, so that the events come without a transfer coding.
    #[track_caller]
    pub fn open(addr: SocketAddr) -> Events {
        let mut stream = TcpStream::connect(addr).expect("it listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a valid timeout");
        let request = b"GET /events HTTP/1.0\r\nHost: test\r\n\r\n";
        stream.write_all(request).expect("it reads");
        let mut events = Events {
            lines: BufReader::new(stream),
        };
        let status = events.line();
        assert!(status.contains(" 200 "), "{status}");
        while !events.line().is_empty() {}
        events
    }

    /// The next board.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        loop {
            let line = self.line();
            if let Some(data) = line.strip_prefix("data: ") {
                assert_eq!(self.line(), "", "an event ends with an empty line");
                return serde_json::from_str(data).expect("an event is JSON");
            }
        }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("the stream goes on");
        assert!(length > 0, "the stream has ended");
        line.trim_end().to_owned()
    }
}
