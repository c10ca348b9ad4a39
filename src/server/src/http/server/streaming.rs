//! Answers without an end: parts that are sent as things happen, until either side has had enough.
//!
//! Once the service has begun one, hyper is thrown away: what is left of the connection is what an
//! idle one is, and the service's [`Feed`]. The connection ends with the answer, so nothing that
//! comes behind its request has a meaning; it is thrown away, and the client's end of it is the end.
//!
//! Invariants:
//! - The feed is asked for a next part only when the client has taken the last one, and the kernel
//!   is told to hold back no more than it can send: a client that is slow gets what is newest then,
//!   and costs no more memory than one that is not.
//! - A stream is no request in progress: it counts as a connection.

use std::io::Write;
use std::task::{Context, Poll};

use super::connection::{Connection, Step};
use super::io::{MAX_LINGER, Transport};
use super::{Server, Service};

/// What an answer without an end is made of.
pub trait Feed {
    /// Adds the next part to `out`. Pending: there is none yet; the task is woken for it.
    fn poll_part(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()>;

    /// Adds the last part: the server ends the answer.
    fn end(&mut self, out: &mut Vec<u8>);

    /// The client has taken nothing for too long.
    fn on_cut(&mut self);
}

/// An answer that has begun.
pub struct Streamed {
    /// Status line and header lines, but for those that concern the connection; empty once sent.
    pub head: Vec<u8>,
    /// The parts go out as chunks, so that the client knows the end when it comes.
    pub chunked: bool,
    pub feed: Box<dyn Feed>,
    /// Bytes that the client may still send for nothing.
    left: u32,
}

impl Streamed {
    /// `chunked`: the client speaks HTTP/1.1.
    pub fn new(head: Vec<u8>, chunked: bool, feed: Box<dyn Feed>) -> Self {
        Streamed {
            head,
            chunked,
            feed,
            left: MAX_LINGER,
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

impl<S: Service, T: Transport, K> Connection<S, T, K> {
    /// Sends what there is; ready when the connection is to end.
    pub(super) fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.take_stream();
        let (server, socket) = (&*self.server, &self.socket);
        let entry = socket.entry();
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Step::End);
        };
        if socket.poll_discard(cx, &mut stream.left).is_ready() {
            return Poll::Ready(Step::End);
        }
        loop {
            match socket.poll_send(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Step::End),
                // Nothing of it is worth to be waited for.
                Poll::Pending if entry.is_closing() => return Poll::Ready(Step::End),
                Poll::Pending => return Poll::Pending,
            }
            let mut out = server.out.borrow_mut();
            out.clear();
            if !stream.head.is_empty() {
                server.end_streamed_head(
                    &std::mem::take(&mut stream.head),
                    stream.chunked,
                    &mut out,
                );
            }
            let mut part = server.part.borrow_mut();
            part.clear();
            let ends = entry.is_closing();
            if ends {
                stream.feed.end(&mut part);
            } else if stream.feed.poll_part(cx, &mut part).is_pending() && out.is_empty() {
                return Poll::Pending;
            }
            stream.put(&part, &mut out);
            if ends && stream.chunked {
                out.extend_from_slice(b"0\r\n\r\n");
            }
            if socket.send(cx, &out).is_err() || ends {
                return Poll::Ready(Step::End);
            }
        }
    }

    /// Takes over the answer that the service has begun.
    fn take_stream(&mut self) {
        let entry = self.socket.entry();
        if let Some(stream) = entry.take_stream() {
            self.stream = Some(stream);
            self.socket.send_only_newest();
            let now = self.server.turn.now();
            self.server.table.stream_begins(entry, now);
        }
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
