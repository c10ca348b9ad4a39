//! The limit of the socket API: one thread, one epoll, and per request one read and one write of a
//! constant. It doesn't parse: a request ends at an empty line, and bodies are not known. So
//! nothing that answers HTTP over sockets can cost much less per wake-up.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    access-control-allow-origin: *\r\ncontent-length: 16\r\n\
    date: Sat, 28 Nov 2026 00:00:00 GMT\r\n\r\n{\"current\":12.5}";

/// The listener's key; a connection's is its place.
const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    /// Bytes of a head that isn't whole yet.
    head: Vec<u8>,
}

impl Connection {
    /// Answers what has arrived. `false`: it is over.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        let Ok(1..) = self
            .stream
            .read(buffer)
            .inspect(|&n| self.head.extend(&buffer[..n]))
        else {
            return false;
        };
        let ends = memchr::memmem::find_iter(&self.head, b"\r\n\r\n");
        let (count, end) = ends.fold((0, 0), |(count, _), at| (count + 1, at + 4));
        self.head.drain(..end);
        // Pipelined requests share one write. Answers are far smaller than a socket's buffer.
        count == 0 || self.stream.write_all(&ANSWER.repeat(count)).is_ok()
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:8085".to_owned());
    let listener = TcpListener::bind(address)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let readable = epoll::EventFlags::IN;
    epoll::add(
        &epoll,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        readable,
    )?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = [0; 4096];
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let key = event.data.u64();
            if key == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                let place = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll::add(
                    &epoll,
                    &stream,
                    epoll::EventData::new_u64(place as u64),
                    readable,
                )?;
                let head = Vec::new();
                connections[place] = Some(Connection { stream, head });
                continue;
            }
            let place = key as usize;
            let open = connections[place]
                .as_mut()
                .is_some_and(|c| c.serve(&mut buffer));
            if !open {
                connections[place] = None;
                free.push(place);
            }
        }
    }
}
