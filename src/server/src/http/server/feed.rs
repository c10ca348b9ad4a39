//! What the service gives the server to send for as long as both sides want it: see
//! [`streaming`](super::streaming).

use std::task::{Context, Poll};

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
    pub(super) head: Vec<u8>,
    /// The parts go out as chunks, so that the client knows the end when it comes.
    pub(super) chunked: bool,
    pub(super) feed: Box<dyn Feed>,
    /// Bytes that the client may still send for nothing.
    pub(super) left: u32,
}

impl Streamed {
    /// `chunked`: the client speaks HTTP/1.1.
    pub fn new(head: Vec<u8>, chunked: bool, feed: Box<dyn Feed>) -> Self {
        Streamed {
            head,
            chunked,
            feed,
            left: 0,
        }
    }
}
