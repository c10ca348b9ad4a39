//! What is said to be written, and what the server can read, when the socket fails.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;

/// A socket that takes so many bytes more, some at a time, and fails then.
struct Failing {
    stream: DuplexStream,
    left: usize,
}

/// What [`Failing`] takes at once: less than a record.
const STEP: usize = 5_000;

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.left.min(STEP).min(buf.len());
        if room == 0 {
            // For the server to see an end.
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &buf[..room]))?;
        self.left -= taken;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Writes much over a socket that fails after `left` bytes: how much was said to be written, and how
/// much the server could read.
async fn write_until_it_fails(left: usize) -> (usize, usize) {
    let (ca, files) = (ca("ca"), Files::new());
    let (stream, theirs) = duplex(1 << 20);
    let acceptor = TlsAcceptor::from(Arc::new(config(&good(&ca))));
    let server = async move {
        let mut stream = acceptor.accept(theirs).await.unwrap();
        let (mut all, mut bytes) = (0, [0; 1024]);
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            all += read;
        }
        all
    };
    let client = async {
        let (connector, name) = prepared(&files.trusting(&ca), "redis.example").unwrap();
        let enough = usize::MAX;
        let mut stream = connector
            .connect(
                name,
                Failing {
                    stream,
                    left: enough,
                },
            )
            .await
            .unwrap();
        stream.get_mut().0.left = left;
        let mut stream = Records::new(stream);
        let commands = vec![b'*'; 60_000];
        let mut written = 0;
        while let Ok(taken @ 1..) = stream.write(&commands[written..]).await {
            written += taken;
        }
        (written, stream)
    };
    // Ours stays open until the server has come to the end.
    let ((written, _stream), read) = tokio::join!(client, server);
    (written, read)
}

#[tokio::test]
async fn of_a_write_that_failed_the_server_reads_nothing() {
    for (left, expected) in [
        (0, 0),
        (16_000, 0),
        (17_000, 16_384),
        (20_000, 16_384),
        (34_000, 32_768),
        (50_000, 49_152),
    ] {
        let (written, read) = write_until_it_fails(left).await;
        assert_eq!(read, expected, "what the server reads of {left} bytes");
        assert!(read <= written, "{left}: {read} read, {written} written");
    }
}
