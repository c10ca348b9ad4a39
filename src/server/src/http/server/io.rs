//! The socket as hyper sees it: bytes of one request at a time, and of the answers of one turn the
//! first at once, the others in one write.
//!
//! What hyper reads passes [`Framing`], which knows where requests and bodies end. It comes by way
//! of an [`Inbox`], which costs a copy of some hundred bytes: what is read into hyper's own buffer
//! can't be seen here, nor held back. Between two requests hyper is not shown the socket at all: it
//! asks, and the connection's task reads and decides who gets it.
//!
//! hyper flushes after each answer; of 100 pipelined requests that is 100 writes. Here the first
//! write of a turn goes straight to the socket, which is all there is without pipelining and costs
//! no copy. Every further one lands in a buffer, a flush does nothing, and the connection's task
//! sends the buffer when hyper has no more to do this turn. Unlike hyper's `pipeline_flush` nothing
//! is held back by bytes that wait to be read, and nothing is lost at the end: shutdown sends
//! first.
//!
//! This relies on hyper, which the tests in `tests` hold:
//!
//! - It reads, while a request is in progress, nothing but that request's body.
//! - It asks for more once an answer is made, unless that was the last one, and is content with
//!   being polled when there is some.
//! - An end of input between two requests ends it, once its answers are flushed.
//!
//! Invariants: the buffer never grows past [`MAX_BUFFERED`] plus one write of hyper's: past it
//! `poll_write` waits for the socket, so that a client that never reads costs bounded memory, and
//! the table learns since when it has been waiting.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::chunks::Malformed;
use super::framing::{BodyFraming, Framing, Given, MAX_PLAIN_LINES};
use super::table::{Entry, State};
use crate::turn::Turn;

/// Bytes collected before the socket is waited for: a few hundred answers, what one turn of a
/// pipelining client can bring.
const MAX_BUFFERED: usize = 64 * 1024;

/// Bytes taken from the socket at once, as many as hyper makes room for at first.
const MAX_READ: usize = 8 * 1024;

/// Where what a socket brings is put first. One serves all connections of a worker, since it is
/// emptied before the next one is read.
pub struct Inbox(RefCell<Box<[u8]>>);

impl Default for Inbox {
    fn default() -> Self {
        Inbox(RefCell::new(vec![0; MAX_READ].into()))
    }
}

/// What a client may send behind the last answer before it is cut off.
pub const MAX_LINGER: u32 = 256 * 1024;

/// What a connection runs over: a TCP socket, or bytes in memory where no kernel is to be measured.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Whether something has arrived that the runtime may not have heard of yet.
    fn has_arrived(&self) -> bool;

    /// Makes dropping it throw away what the client has not taken yet.
    fn give_up(&self) {}

    /// From now on takes no more than can be sent at once, so that nothing grows old in between.
    fn send_only_newest(&self) {}
}

impl Transport for TcpStream {
    fn has_arrived(&self) -> bool {
        let peeked = SockRef::from(self).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_ok_and(|bytes| bytes > 0)
    }

    fn give_up(&self) {
        // Else the kernel would go on offering its send buffer to a client that doesn't read, for
        // minutes. If it fails, that is what happens.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn send_only_newest(&self) {
        // Else the kernel's buffer would be a queue of some MiB. If it fails, it is one.
        let _ = SockRef::from(self).set_tcp_notsent_lowat(1);
    }
}

/// The socket and the answers collected for it.
pub struct Socket<T> {
    stream: RefCell<T>,
    /// Answers that wait for the end of the turn.
    out: RefCell<BytesMut>,
    /// The first answer of this turn has been sent.
    sent: Cell<bool>,
    inbox: Rc<Inbox>,
    /// Bytes in the inbox that are ours.
    arrived: Cell<usize>,
    /// The head that has arrived, if it is to be remembered with what it asks for.
    candidate: Cell<Option<Box<[u8]>>>,
    /// What has come, and what of it hyper may have.
    framing: RefCell<Framing>,
    /// hyper has asked for a next request.
    asks: Cell<bool>,
    /// hyper waits for the socket to take more.
    stalled: Cell<bool>,
    /// A head has come that needs a roomier hyper: this one is told that the input has ended.
    too_small: Cell<bool>,
    /// The client was told that no more will come.
    shut: Cell<bool>,
    entry: Rc<Entry>,
    turn: Rc<Turn>,
}

impl<T: Transport> Socket<T> {
    pub fn new(stream: T, inbox: Rc<Inbox>, entry: Rc<Entry>, turn: Rc<Turn>) -> Rc<Self> {
        Rc::new(Socket {
            stream: RefCell::new(stream),
            out: RefCell::new(BytesMut::new()),
            sent: Cell::new(false),
            inbox,
            arrived: Cell::new(0),
            candidate: Cell::new(None),
            framing: RefCell::new(Framing::new(MAX_PLAIN_LINES)),
            asks: Cell::new(false),
            stalled: Cell::new(false),
            too_small: Cell::new(false),
            shut: Cell::new(false),
            entry,
            turn,
        })
    }

    /// What the table knows of the connection.
    pub fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }

    /// A turn begins: its first answer may go straight out.
    pub fn begin_turn(&self) {
        self.sent.set(false);
    }

    /// Whether no request is in progress, nothing of a next one is held, and it may be looked for:
    /// a hyper that there is has asked for it. A head may have begun all the same, with the empty
    /// lines that may stand before it, and must become complete in time.
    pub fn is_between(&self, has_hyper: bool) -> bool {
        matches!(self.entry.state(), State::Idle | State::Head)
            && (!has_hyper || (self.asks.get() && !self.stalled.get()))
            && self.arrived.get() == 0
            && self.framing.borrow().is_between()
    }

    /// Reads the socket into the inbox; how many bytes, 0 at the end of input.
    pub fn poll_arrive(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.0.borrow_mut();
        let mut buf = ReadBuf::new(&mut inbox);
        ready!(self.poll_stream(cx, &mut buf))?;
        self.arrived.set(buf.filled().len());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// What has arrived last.
    pub fn arrived<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&self.inbox.0.borrow()[..self.arrived.get()])
    }

    /// What has arrived was dealt with.
    pub fn take_arrived(&self) {
        self.arrived.set(0);
    }

    /// What has arrived was not taken by hyper, and the inbox is needed for others.
    pub fn hold_arrived(&self) {
        if self.arrived.get() > 0 {
            self.arrived(|bytes| self.framing.borrow_mut().put(bytes));
            self.candidate.set(None);
            self.take_arrived();
        }
    }

    /// The head that has arrived is to be remembered once it is parsed; or none.
    pub fn set_candidate(&self, head: Option<Box<[u8]>>) {
        self.candidate.set(head);
    }

    /// The head that hyper has just parsed, if it is to be remembered.
    pub fn take_candidate(&self) -> Option<Box<[u8]>> {
        self.candidate.take()
    }

    /// Whether something has arrived that the runtime may not have heard of yet: a request that has
    /// arrived is answered, and the kernel knows of it first.
    pub fn has_arrived(&self) -> bool {
        self.stream.borrow().has_arrived()
    }

    /// What `look` makes of the stream.
    pub fn with_stream<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.stream.borrow())
    }

    /// Sends an answer that hyper has no part in, or keeps it for [`poll_send`](Self::poll_send).
    pub fn send(&self, cx: &mut Context<'_>, answer: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.is_direct()
            && let Poll::Ready(written) = self.poll_socket(cx, answer)
        {
            sent = written?;
        }
        if sent < answer.len() {
            self.out.borrow_mut().extend_from_slice(&answer[sent..]);
        }
        Ok(())
    }

    /// Whether all answers have left, and nothing has come that nobody has looked at.
    pub fn is_empty(&self) -> bool {
        self.out.borrow().is_empty() && self.framing.borrow().is_between()
    }

    /// Sends what was collected, as far as the socket takes it. `Pending`: the task is woken when
    /// it takes more.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let mut progress = false;
        while !out.is_empty() {
            match self.poll_socket(cx, &out)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(n) => {
                    out.advance(n);
                    progress = true;
                }
                Poll::Pending => {
                    if progress || !self.entry.is_blocked() {
                        self.entry.block(self.turn.now());
                    }
                    return Poll::Pending;
                }
            }
        }
        self.entry.unblock();
        if self.entry.state() == State::Write {
            let next = if self.framing.borrow().is_inside_head() {
                State::Head
            } else {
                State::Idle
            };
            self.entry.enter(next, self.turn.now());
        }
        Poll::Ready(Ok(()))
    }

    /// The service is called for a request with such a body; `false`: not for the head that was
    /// given to hyper, and nothing is known of what follows.
    pub fn begin(&self, body: BodyFraming) -> bool {
        self.framing.borrow_mut().begin(body)
    }

    /// Whether hyper ended for want of room for a head, rather than the connection. The next hyper
    /// must have room for so many lines of headers.
    pub fn begin_again(&self, max_lines: usize) -> bool {
        self.framing.borrow_mut().set_max_lines(max_lines);
        self.too_small.replace(false)
    }

    /// Throws away the rest of a chunked body that nobody reads.
    ///
    /// # Errors
    /// It is not what the grammar allows, or breaks off.
    pub fn poll_skip(&self, cx: &mut Context<'_>) -> Poll<Result<(), Malformed>> {
        while !self.framing.borrow_mut().skip()? {
            match ready!(self.poll_arrive(cx)) {
                Ok(1..) => self.hold_arrived(),
                _ => return Poll::Ready(Err(Malformed)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Makes the end of the connection throw away what the client has not taken.
    pub fn give_up(&self) {
        self.stream.borrow().give_up();
    }

    /// See [`Transport::send_only_newest`].
    pub fn send_only_newest(&self) {
        self.stream.borrow().send_only_newest();
    }

    fn poll_stream(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf)
    }

    fn poll_socket(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        Pin::new(&mut *stream).poll_write(cx, buf)
    }

    /// Gives hyper what it may have of what has come.
    fn give(&self, buf: &mut ReadBufCursor<'_>) -> io::Result<Given> {
        let mut framing = self.framing.borrow_mut();
        let given = framing.give(buf.remaining(), |bytes| buf.put_slice(bytes));
        given.map_err(|Malformed| io::ErrorKind::InvalidData.into())
    }

    /// Gives hyper what has arrived as it stands, if that is one whole head.
    fn pass_arrived(&self, buf: &mut ReadBufCursor<'_>) -> bool {
        let passes = self.arrived.get() <= buf.remaining()
            && self.arrived(|bytes| {
                let passes = self.framing.borrow_mut().passes(bytes);
                if passes {
                    buf.put_slice(bytes);
                }
                passes
            });
        if passes {
            self.take_arrived();
        }
        passes
    }

    /// Whether a write may bypass the buffer: nothing waits there, and it is the turn's first.
    fn is_direct(&self) -> bool {
        self.out.borrow().is_empty() && !self.sent.replace(true)
    }

    /// The end of a connection: sends what is left, says that no more will come, and throws away
    /// what the client still sends until it closes too. Closing with unread bytes would make the
    /// kernel send a reset, which can destroy the last answer before the client has read it (RFC
    /// 9112, section 9.6).
    ///
    /// Gives up when the entry expires, and when what comes is more than `left`.
    pub fn poll_finish(&self, cx: &mut Context<'_>, left: &mut u32) -> Poll<()> {
        if self.entry.is_expired() || ready!(self.poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        self.poll_discard(cx, left)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        if !self.shut.get() {
            let mut stream = self.stream.borrow_mut();
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            self.shut.set(true);
        }
        Poll::Ready(Ok(()))
    }

    /// Throws away what arrives, up to `left` bytes; ready at its end, or past that.
    pub fn poll_discard(&self, cx: &mut Context<'_>, left: &mut u32) -> Poll<()> {
        while *left > 0 {
            match ready!(self.poll_arrive(cx)) {
                Ok(count @ 1..) => {
                    *left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// hyper's end of a [`Socket`].
pub struct Io<T>(pub Rc<Socket<T>>);

impl<T: Transport> Read for Io<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &self.0;
        loop {
            match socket.give(&mut buf)? {
                Given::Bytes(_) => return Poll::Ready(Ok(())),
                Given::TooManyLines => {
                    socket.too_small.set(true);
                    return Poll::Ready(Ok(()));
                }
                Given::Nothing => {}
            }
            if socket.arrived.get() == 0 {
                if socket.framing.borrow().is_between() {
                    socket.asks.set(true);
                    return Poll::Pending;
                }
                if ready!(socket.poll_arrive(cx))? == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            socket.asks.set(false);
            if socket.pass_arrived(&mut buf) {
                return Poll::Ready(Ok(()));
            }
            socket.hold_arrived();
        }
    }
}

impl<T: Transport> Write for Io<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = &self.0;
        if socket.is_direct()
            && let Poll::Ready(written) = socket.poll_socket(cx, buf)
        {
            return Poll::Ready(written);
        }
        if socket.out.borrow().len() >= MAX_BUFFERED {
            socket.stalled.set(true);
            ready!(socket.poll_send(cx))?;
            socket.stalled.set(false);
        }
        socket.out.borrow_mut().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.too_small.get() {
            return Poll::Ready(Ok(()));
        }
        self.0.stalled.set(true);
        self.0.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::Write as _;
    use std::net;
    use std::pin::pin;
    use std::task::Waker;
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::super::table::{Table, Timeouts};
    use super::*;

    /// A client in memory, and the server's end of its connection, on which `room` bytes may be
    /// under way.
    fn pair(room: usize) -> (DuplexStream, Rc<Socket<DuplexStream>>) {
        let long = Duration::from_secs(3_600);
        let entry = Table::new(Timeouts::new(long, long), fastrand::Rng::with_seed(1))
            .insert(Instant::now());
        let (client, stream) = duplex(room);
        (
            client,
            Socket::new(stream, Rc::default(), entry, Rc::default()),
        )
    }

    fn write(socket: &Rc<Socket<DuplexStream>>, bytes: &[u8]) {
        let mut context = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut Io(socket.clone())).poll_write(&mut context, bytes);
        assert!(matches!(written, Poll::Ready(Ok(n)) if n == bytes.len()));
    }

    /// What the client has to read now.
    fn read(client: &mut DuplexStream) -> String {
        let mut bytes = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = pin!(client.read_buf(&mut bytes)).poll(&mut context) {
            assert!(read.is_ok_and(|read| read > 0));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn the_first_answer_of_a_turn_leaves_at_once_and_none_overtakes_another() {
        let (mut client, socket) = pair(4);
        let mut context = Context::from_waker(Waker::noop());
        write(&socket, b"1111");
        write(&socket, b"22");
        assert_eq!(read(&mut client), "1111");
        socket.begin_turn();
        write(&socket, b"33");
        assert_eq!(read(&mut client), "", "behind what waits");
        assert!(socket.poll_send(&mut context).is_ready());
        assert_eq!(read(&mut client), "2233");
        socket.begin_turn();
        write(&socket, b"44");
        write(&socket, b"55");
        assert_eq!(read(&mut client), "44", "the first of its turn");
        assert!(socket.poll_send(&mut context).is_ready());
        assert_eq!(read(&mut client), "55");
    }

    #[test]
    fn a_client_that_takes_nothing_is_known_until_it_has_taken_all() {
        let (mut client, socket) = pair(2);
        let mut context = Context::from_waker(Waker::noop());
        write(&socket, b"11");
        write(&socket, b"2233");
        for taken in ["11", "22", "33"] {
            assert_eq!(socket.entry.is_blocked(), taken != "11");
            assert!(socket.poll_send(&mut context).is_pending() || taken == "33");
            assert_eq!(read(&mut client), taken);
        }
        assert!(socket.poll_send(&mut context).is_ready());
        assert!(!socket.entry.is_blocked());
    }

    #[test]
    fn the_kernel_is_asked_what_has_arrived() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let _inside = runtime.enter();
        let listener = net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let mut client = net::TcpStream::connect(addr).expect("it listens");
        let (stream, _) = listener.accept().expect("a client");
        stream.set_nonblocking(true).expect("a socket");
        let stream = TcpStream::from_std(stream).expect("a runtime");
        assert!(!stream.has_arrived());
        client.write_all(b"GET").expect("a connection");
        let deadline = Instant::now() + Duration::from_secs(10);
        while !stream.has_arrived() {
            assert!(Instant::now() < deadline, "it has not arrived");
        }
        let taken = SockRef::from(&stream).recv(&mut [MaybeUninit::uninit(); 8]);
        assert_eq!(taken.ok(), Some(3));
        drop(client);
        // Its end is no byte of a request.
        assert!(!stream.has_arrived());
    }
}
