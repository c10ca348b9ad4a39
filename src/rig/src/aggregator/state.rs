//! What the rounds leave for those who ask: the latest board, and the history.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::board::{Board, History, Point};

/// All of one second.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub board: Board,
    /// The board as an event: `data: {…}` and an empty line.
    pub event: Bytes,
    /// The windows of all bots that are alive, as they came.
    pub windows: Vec<Bytes>,
}

impl Snapshot {
    pub fn new(board: Board, windows: Vec<Bytes>) -> Snapshot {
        // Serialised once for all clients. JSON has no raw line breaks, so it is one line of data;
        // a board can always be written, all its keys are texts or numbers.
        let json = serde_json::to_string(&board).unwrap_or_default();
        Snapshot {
            event: format!("data: {json}\n\n").into(),
            board,
            windows,
        }
    }
}

/// The latest snapshot, `None` before the first round.
pub(super) type Latest = Option<Arc<Snapshot>>;

/// Shared by the rounds, which write, and the server, which reads.
#[derive(Debug)]
pub(super) struct State {
    latest: watch::Sender<Latest>,
    history: Mutex<History>,
}

impl State {
    pub fn new() -> State {
        State {
            latest: watch::Sender::new(None),
            history: Mutex::default(),
        }
    }

    /// The next second.
    pub fn publish(&self, snapshot: Snapshot) {
        self.history().push(Point::of(&snapshot.board));
        self.latest.send_replace(Some(Arc::new(snapshot)));
    }

    pub fn latest(&self) -> Latest {
        self.latest.borrow().clone()
    }

    /// Every snapshot from the latest on; one who is slow misses some, never the newest.
    pub fn follow(&self) -> watch::Receiver<Latest> {
        let mut receiver = self.latest.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// Not to be held across an `await`.
    pub fn history(&self) -> MutexGuard<'_, History> {
        // Whoever panicked with it has at worst not pushed its point.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
