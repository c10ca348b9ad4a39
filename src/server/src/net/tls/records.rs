//! A TLS stream that takes one record at a time, so that a failed write is one of which the server
//! has read nothing.
//!
//! tokio-rustls cuts one write into as many records as it takes, and gives the socket one after the
//! other. When the second fails, the write as a whole has failed, though the server can read, and
//! carry out, what was in the first: a command that was carried out would count as never sent, and
//! be sent again.
//!
//! Invariant: what an error is about is at most a part of one record. Nobody can decrypt that
//! ([RFC 8446] section 5.2).
//!
//! [RFC 8446]: https://www.rfc-editor.org/rfc/rfc8446

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

/// Bytes of plaintext in a record at most ([RFC 8446] section 5.1).
///
/// [RFC 8446]: https://www.rfc-editor.org/rfc/rfc8446
const MAX_RECORD: usize = 1 << 14;

/// See the module.
pub struct Records<T>(TlsStream<T>);

impl<T> Records<T> {
    /// Over a stream whose handshake is done.
    pub fn new(stream: TlsStream<T>) -> Self {
        Records(stream)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Records<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Records<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // What is left of earlier records goes first: beside it there might be no room for this one
        // as a whole.
        ready!(Pin::new(&mut self.0).poll_flush(cx))?;
        let record = buf.get(..MAX_RECORD).unwrap_or(buf);
        Pin::new(&mut self.0).poll_write(cx, record)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
