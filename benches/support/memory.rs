//! Two ends of a connection on one thread, without a kernel between them: what one writes, the
//! other reads.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use redis_api_server::parts::Transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction.
#[derive(Default)]
struct Lane {
    bytes: RefCell<Vec<u8>>,
    reader: RefCell<Option<Waker>>,
}

impl Lane {
    fn put(&self, bytes: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(bytes);
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// `Ready` once `least` bytes are there.
    fn poll_filled(&self, cx: &mut Context<'_>, least: usize) -> Poll<()> {
        if self.bytes.borrow().len() >= least {
            return Poll::Ready(());
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The end that the code under test holds.
pub struct Near {
    input: Rc<Lane>,
    output: Rc<Lane>,
}

/// The end that the bench holds.
pub struct Far {
    input: Rc<Lane>,
    output: Rc<Lane>,
}

/// A connection that nobody closes.
pub fn pipe() -> (Near, Far) {
    let (there, back) = (Rc::new(Lane::default()), Rc::new(Lane::default()));
    let near = Near {
        input: there.clone(),
        output: back.clone(),
    };
    let far = Far {
        input: back,
        output: there,
    };
    (near, far)
}

impl Far {
    pub fn send(&self, bytes: &[u8]) {
        self.output.put(bytes);
    }

    /// Waits for `least` bytes and hands all that have come to `read`, which says how many it
    /// takes.
    pub async fn receive(&self, least: usize, read: impl FnOnce(&[u8]) -> usize) {
        poll_fn(|cx| self.input.poll_filled(cx, least)).await;
        let mut bytes = self.input.bytes.borrow_mut();
        let taken = read(&bytes);
        bytes.drain(..taken);
    }
}

impl Transport for Near {
    fn has_arrived(&self) -> bool {
        false
    }
}

impl AsyncRead for Near {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.input.poll_filled(cx, 1).map(|()| {
            let mut bytes = self.input.bytes.borrow_mut();
            let taken = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..taken]);
            bytes.drain(..taken);
            Ok(())
        })
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.put(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
