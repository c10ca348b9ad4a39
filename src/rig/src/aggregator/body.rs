//! Bodies that are not one buffer: a list of others' JSON, and a stream of events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;

use super::state::Latest;

/// Buffers one after another, without a copy.
#[derive(Debug)]
pub(super) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    /// A JSON array of what is JSON already.
    pub fn array(items: &[Bytes]) -> Pieces {
        let mut pieces = VecDeque::with_capacity(2 * items.len() + 2);
        pieces.push_back(Bytes::from_static(b"["));
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                pieces.push_back(Bytes::from_static(b","));
            }
            pieces.push_back(item.clone());
        }
        pieces.push_back(Bytes::from_static(b"]"));
        Pieces(pieces)
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.0.iter().map(|piece| piece.len() as u64).sum();
        SizeHint::with_exact(bytes)
    }
}

/// The next snapshot, and the receiver back.
type Next = Pin<Box<dyn Future<Output = (watch::Receiver<Latest>, bool)> + Send>>;

/// The event of each snapshot, in the format of [server-sent events]; never ends by itself.
///
/// hyper asks for more only when the client has taken what it was given, and by then the latest
/// snapshot counts: one who is slow skips some, and holds one event at most.
///
/// [server-sent events]: https://html.spec.whatwg.org/multipage/server-sent-events.html
pub(super) struct Events(Next);

impl Events {
    pub fn new(receiver: watch::Receiver<Latest>) -> Events {
        Events(Box::pin(changed(receiver)))
    }
}

async fn changed(mut receiver: watch::Receiver<Latest>) -> (watch::Receiver<Latest>, bool) {
    let goes_on = receiver.changed().await.is_ok();
    (receiver, goes_on)
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let (mut receiver, goes_on) = ready!(self.0.as_mut().poll(cx));
            if !goes_on {
                return Poll::Ready(None);
            }
            let latest = receiver.borrow_and_update().clone();
            self.0 = Box::pin(changed(receiver));
            if let Some(snapshot) = latest {
                return Poll::Ready(Some(Ok(Frame::data(snapshot.event.clone()))));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn pieces_make_an_array() {
        fn check(items: &[&'static str], expected: &str) {
            let items: Vec<Bytes> = items
                .iter()
                .map(|item| Bytes::from_static(item.as_bytes()))
                .collect();
            let pieces = Pieces::array(&items);
            assert_eq!(pieces.size_hint().exact(), Some(expected.len() as u64));
            let runtime = Builder::new_current_thread().build().expect("a runtime");
            let body = runtime.block_on(pieces.collect()).expect("it can't fail");
            assert_eq!(body.to_bytes(), expected);
        }
        check(&[], "[]");
        check(&["{}"], "[{}]");
        check(&["{}", "{\"a\":1}"], "[{},{\"a\":1}]");
    }
}
