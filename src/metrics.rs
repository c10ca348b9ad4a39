//! Per-worker counters and their Prometheus text.
//!
//! Each worker owns one [`Worker`] table and is its only writer, so that counting is a plain load and store on a
//! cache line that no other core writes; the admin thread only reads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number with one writer. `add` is a load and a store, not an atomic read-modify-write: a second
/// writing thread would lose counts.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Worker {
    // (stub: fields by method and code, histograms, roles)
    pub read: Role,
    pub write: Role,
    pub shed: Cell,
    pub not_initialised: Cell,
    pub http_connections: Cell,
    /// Why this worker can't answer reads; `None` while it can.
    pub read_trouble: Mutex<Option<String>>,
}

/// What one worker counts about its connection set to one server.
#[derive(Debug, Default)]
pub struct Role {
    pub commands: Cell,
    pub connects: Cell,
    /// Connections that are logged in.
    pub connections: Cell,
}

impl Worker {
    pub fn observe_request(&self, _method: usize, _code: u16, _duration: Duration) {}
}
