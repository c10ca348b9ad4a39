//! Who is connected, and which of them has been idle for longest.
//!
//! Invariants: never more connections than seats; one with a request in progress keeps its seat; a
//! request is in progress until the last of its response's body is taken.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::{AbortHandle, Id, JoinSet};

use super::Body;

/// All connections, each a task.
pub(super) struct Seats {
    most: usize,
    tasks: JoinSet<()>,
    taken: HashMap<Id, (Seat, AbortHandle)>,
    /// How often one became idle: this orders them, and needs no clock.
    idled: Arc<AtomicU64>,
}

impl Seats {
    pub fn new(most: usize) -> Seats {
        Seats {
            most,
            tasks: JoinSet::new(),
            taken: HashMap::new(),
            idled: Arc::default(),
        }
    }

    /// Waits until there is a seat. Where all are taken, whoever has been idle for longest is cut:
    /// HTTP lets a server close an idle connection whenever it wants to (RFC 9112 §9.5).
    pub async fn make_room(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.leave(ended);
        }
        while self.tasks.len() >= self.most {
            let idle = self.taken.values();
            let idle = idle.filter_map(|(seat, task)| Some(((*seat.idle_since())?, task)));
            if let Some((_, idlest)) = idle.min_by_key(|(since, _)| *since) {
                idlest.abort();
            }
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.leave(ended),
                None => return,
            }
        }
    }

    /// Starts a connection, for which there is room.
    pub fn take<F>(&mut self, serve: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let seat = Seat {
            idle_since: Arc::default(),
            idled: self.idled.clone(),
        };
        seat.become_idle();
        let task = self.tasks.spawn(serve(seat.clone()));
        self.taken.insert(task.id(), (seat, task));
    }

    fn leave(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.taken.remove(&id);
    }
}

/// One connection's place.
#[derive(Clone)]
pub(super) struct Seat {
    /// Since when it is idle; `None`: it has a request in progress.
    idle_since: Arc<Mutex<Option<u64>>>,
    idled: Arc<AtomicU64>,
}

impl Seat {
    /// A request has come.
    pub fn begin(&self) -> InProgress {
        *self.idle_since() = None;
        InProgress(self.clone())
    }

    fn become_idle(&self) {
        *self.idle_since() = Some(self.idled.fetch_add(1, Relaxed));
    }

    fn idle_since(&self) -> MutexGuard<'_, Option<u64>> {
        let since = self.idle_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request is in progress until this is dropped.
pub(super) struct InProgress(Seat);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.become_idle();
    }
}

/// The body of a response, until whose end a request is in progress.
pub(super) struct Held {
    body: Body,
    _in_progress: InProgress,
}

impl Held {
    pub fn new(body: Body, in_progress: InProgress) -> Held {
        Held {
            body,
            _in_progress: in_progress,
        }
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
