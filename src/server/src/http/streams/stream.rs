//! One client's stream.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::caching::Tag;
use super::super::response::ResponseDraft;
use super::super::server::Feed;
use super::Streams;
use super::event;
use super::limit::Place;
use super::topic::Topic;

/// A client's place in a topic, for as long as it lives.
pub struct Stream {
    hub: Rc<Streams>,
    topic: Rc<Topic>,
    seat: usize,
    /// The number of the body that was last sent; 0: none.
    number: u64,
    /// That the data are stale was said last.
    is_stale: bool,
    /// Heartbeats so far.
    beats: u64,
    _place: Place,
}

impl Stream {
    pub(super) fn new(hub: Rc<Streams>, topic: Rc<Topic>, place: Place) -> Self {
        hub.metrics.streams.add(1);
        let seat = topic.sit();
        Stream {
            beats: hub.beats(seat),
            hub,
            topic,
            seat,
            number: 0,
            is_stale: false,
            _place: place,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.hub.metrics.streams.sub(1);
        if self.topic.leave(self.seat) {
            self.hub.forget(&self.topic);
        }
    }
}

impl Feed for Stream {
    fn poll_part(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        let metrics = &self.hub.metrics;
        let known = self.topic.known.borrow();
        if self.is_stale && !known.is_stale {
            event::fresh(out);
            metrics.stream_events.add(1);
        }
        if self.number != known.number {
            out.extend_from_slice(&known.event);
            metrics.stream_events.add(1);
            if self.number > 0 {
                metrics.stream_conflated.add(known.number - self.number - 1);
            }
            self.number = known.number;
        }
        let beats = self.hub.beats(self.seat);
        let is_due = self.beats != beats;
        self.beats = beats;
        if known.is_stale && (is_due || !self.is_stale) {
            known.put_stale(self.hub.turn.now(), out);
            metrics.stream_events.add(1);
        } else if is_due && out.is_empty() {
            out.extend_from_slice(event::HEARTBEAT);
        }
        self.is_stale = known.is_stale;
        match out.is_empty() {
            false => Poll::Ready(()),
            true => {
                self.topic.listen(self.seat, cx.waker());
                Poll::Pending
            }
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        event::retry(self.hub.retry(), out);
    }

    fn on_cut(&mut self) {
        self.hub.metrics.streams_cut.add(1);
    }
}

/// A stream whose first answer is waited for.
///
/// # Cancel safety
/// Dropping it leaves nothing behind.
pub struct Opening {
    /// Taken when it is open.
    stream: Option<Stream>,
    /// Reads of the topic that had been begun before.
    begun: u64,
    /// The body that the client has already.
    had: Option<Tag>,
    /// The client speaks HTTP/1.1.
    pub chunked: bool,
}

impl Opening {
    pub(super) fn new(stream: Stream, had: Option<Tag>, chunked: bool) -> Self {
        Opening {
            begun: stream.topic.begun(),
            stream: Some(stream),
            had,
            chunked,
        }
    }
}

impl Future for Opening {
    /// The stream, or the answer of a read that is no `200`.
    type Output = Result<Box<dyn Feed>, ResponseDraft>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (begun, had) = (self.begun, self.had);
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        let Some(answer) = stream.topic.answer(begun) else {
            stream.topic.listen(stream.seat, cx.waker());
            return Poll::Pending;
        };
        if answer.status() != hyper::StatusCode::OK {
            return Poll::Ready(Err(answer));
        }
        stream.topic.opened(stream.seat);
        let known = stream.topic.known.borrow();
        if had.is_some() && had == known.tag {
            stream.number = known.number;
        }
        drop(known);
        Poll::Ready(match self.stream.take() {
            Some(stream) => Ok(Box::new(stream)),
            None => return Poll::Pending,
        })
    }
}
