//! Answers without an end: parts that are sent as things happen, until either side has had enough.
//!
//! Once the service has begun one, hyper is thrown away: what is left of the connection is what an
//! idle one is, and the service's feed. The connection ends with the answer, so nothing that comes
//! behind its request has a meaning; it is thrown away, and ends the stream when it ends.
//!
//! Invariants:
//! - The feed is asked for a next part only when the client has taken the last one, and the kernel
//!   is told to hold back no more than it can send: a client that is slow gets what is newest then,
//!   and costs no more memory than one that is not.
//! - A stream is no request in progress: it counts as a connection.

use std::io::Write;
use std::task::{Context, Poll};

use super::feed::Streamed;
use super::io::{MAX_LINGER, Socket, Transport};
use super::{Server, Service};

impl Streamed {
    /// The server has this connection now.
    pub(super) fn begin<S: Service, T: Transport>(
        &mut self,
        server: &Server<S>,
        socket: &Socket<T>,
    ) {
        self.left = MAX_LINGER;
        socket.send_only_newest();
        server
            .table
            .stream_begins(socket.entry(), server.turn.now());
    }

    /// Sends what there is; ready when the connection is to end.
    pub(super) fn poll<S: Service, T: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        server: &Server<S>,
        socket: &Socket<T>,
    ) -> Poll<()> {
        let entry = socket.entry();
        if socket.poll_discard(cx, &mut self.left).is_ready() {
            return Poll::Ready(());
        }
        loop {
            match socket.poll_send(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                // Nothing of it is worth to be waited for.
                Poll::Pending if entry.is_closing() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            let mut out = server.out.borrow_mut();
            out.clear();
            if !self.head.is_empty() {
                let head = std::mem::take(&mut self.head);
                server.end_streamed_head(&head, self.chunked, &mut out);
            }
            let mut part = server.part.borrow_mut();
            part.clear();
            let ends = entry.is_closing();
            if ends {
                self.feed.end(&mut part);
            } else if self.feed.poll_part(cx, &mut part).is_pending() && out.is_empty() {
                return Poll::Pending;
            }
            self.put(&part, &mut out);
            if ends && self.chunked {
                out.extend_from_slice(b"0\r\n\r\n");
            }
            if socket.send(cx, &out).is_err() || ends {
                return Poll::Ready(());
            }
        }
    }

    /// Adds `part` to `out`, framed.
    fn put(&self, part: &[u8], out: &mut Vec<u8>) {
        if part.is_empty() {
            return;
        }
        if !self.chunked {
            out.extend_from_slice(part);
            return;
        }
        // Writing to memory can't fail.
        let _ = write!(out, "{:x}\r\n", part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

impl<S: Service> Server<S> {
    /// Adds the head of an answer without an end.
    fn end_streamed_head(&self, head: &[u8], chunked: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(head);
        out.extend_from_slice(b"connection: close\r\n");
        if chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        let turn = &self.turn;
        self.date.put(out, turn.now(), || turn.wall_clock());
        out.extend_from_slice(b"\r\n");
    }
}
