//! What the workers count, and its Prometheus text.
//!
//! Each worker owns one [`Worker`] table and is its only writer; the admin thread only reads. So
//! counting is a plain load and store on a cache line that no other core writes.
//!
//! Invariants:
//! - one writer per table: a second writing thread would lose counts (never corrupt them);
//! - a table shares no cache line with another table, nor with a reference count;
//! - sums over the workers, cumulative buckets and units of seconds exist only in the text.
//!
//! Non-goals: metrics made at run time, labels taken from requests (their number would be the
//! client's choice), a figure per worker.

mod exposition;
mod family;
mod histogram;
mod log;
mod process;
mod role;

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use family::CONTENT_TYPE;
pub use histogram::{Bounds, Histogram};
pub use log::LOG_DROPPED;
pub use role::{ErrorLabel, Reading, Replica, Role};

pub use family::{encode, family, gauge, gauge_value};

/// Request duration buckets, in nanoseconds.
///
/// In steps of 1, 2.5, 5 from 50 µs to 1 s. 400 ms stands in for 500 ms: it is the default time
/// limit of a request, so that with it the requests beyond are exactly those that ran out of time.
pub static DURATION_BOUNDS_NS: Bounds<14> = Bounds::new([
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    400_000_000,
    1_000_000_000,
]);

/// Upper bounds of the read batch buckets, in commands per write: the powers of two, since batches
/// grow with load over several orders of magnitude.
pub static BATCH_BOUNDS: Bounds<13> =
    Bounds::new([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]);

/// Status codes that the server sends, and so counts apart; any other is counted as `other`.
const CODES: [u16; 15] = [
    200, 204, 304, 400, 401, 404, 405, 408, 409, 413, 431, 500, 502, 503, 504,
];
/// The last slot is `other`.
const CODE_SLOTS: usize = CODES.len() + 1;
/// The slot of each status code: one load for each request in place of a search.
const CODE_SLOT: [u8; 600] = code_slots();

const fn code_slots() -> [u8; 600] {
    let mut slots = [CODES.len() as u8; 600];
    let mut slot = 0;
    while slot < CODES.len() {
        slots[CODES[slot] as usize] = slot as u8;
        slot += 1;
    }
    slots
}

/// A number with one writer. `add` is a load and a store, not an atomic read-modify-write: a second
/// writing thread would lose counts.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`, wrapping.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` off, wrapping: for gauges.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number as it stands; other threads may see it late.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Request methods that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `OPTIONS`
    Options,
    /// Every other method: its name is the client's choice and never becomes a label.
    Other,
}

impl Method {
    const ALL: [Method; 5] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Options,
        Method::Other,
    ];

    /// How a request's method is counted.
    pub fn of(method: &hyper::Method) -> Method {
        match *method {
            hyper::Method::GET => Method::Get,
            hyper::Method::HEAD => Method::Head,
            hyper::Method::POST => Method::Post,
            hyper::Method::OPTIONS => Method::Options,
            _ => Method::Other,
        }
    }

    /// The value of the label `method`.
    pub fn label(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Options => "OPTIONS",
            Method::Other => "other",
        }
    }
}

/// What became of a write that did not end in `200`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// No byte of it was sent.
    NotSent,
    /// It was sent, and no reply came.
    Unknown,
    /// The master said no.
    Refused,
    /// The master did it, but too few replicas confirmed it in time.
    Applied,
}

impl WriteOutcome {
    const ALL: [WriteOutcome; 4] = [
        WriteOutcome::NotSent,
        WriteOutcome::Unknown,
        WriteOutcome::Refused,
        WriteOutcome::Applied,
    ];

    /// The value of the label `outcome`, the same word as in the response.
    pub fn label(self) -> &'static str {
        match self {
            WriteOutcome::NotSent => "not-sent",
            WriteOutcome::Unknown => "unknown",
            WriteOutcome::Refused => "refused",
            WriteOutcome::Applied => "applied",
        }
    }
}

/// What one worker counts.
///
/// Aligned to 128 bytes, two cache lines: x86 fetches lines in pairs and some ARM cores have lines
/// of 128. In an [`Arc`] this also keeps the reference counts off the table's first line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Worker {
    requests: [[Cell; CODE_SLOTS]; Method::ALL.len()],
    durations_ns: Histogram<14>,
    /// The connection set that reads.
    pub read: Role,
    /// The connection set that writes.
    pub write: Role,
    /// The replica as this worker last saw it.
    pub replica: Replica,
    /// Commands per write on the read side.
    pub read_batch_size: Histogram<13>,
    write_failures: [Cell; WriteOutcome::ALL.len()],
    /// Requests refused because of too much work.
    pub shed: Cell,
    /// Reads of the main value that found nothing stored.
    pub not_initialised: Cell,
    /// Reads that went to the master because the replica was not usable.
    pub fallback_reads: Cell,
    /// Reads answered from what is kept, in tracked mode.
    pub tracked_hits: Cell,
    /// Reads in tracked mode that had to be asked for.
    pub tracked_misses: Cell,
    /// Pushes that made what is kept invalid.
    pub tracked_invalidations: Cell,
    /// Fields of which something is kept (a gauge).
    pub tracked_entries: Cell,
    /// Client connections that are open (a gauge).
    pub http_connections: Cell,
    /// Client connections that came from another worker.
    pub http_connections_moved: Cell,
    /// Streams that are open (a gauge).
    pub streams: Cell,
    /// Events that were sent on streams.
    pub stream_events: Cell,
    /// Values that a stream went past, because a newer one came before it could send them.
    pub stream_conflated: Cell,
    /// Streams that were refused because there were too many.
    pub streams_refused: Cell,
    /// Streams that were cut because the client took nothing.
    pub streams_cut: Cell,
    /// How often the worker slept before a look at its sockets.
    pub wake_sleeps: Cell,
    /// 1 while this worker is to have all connections (a gauge).
    pub packed: Cell,
    /// For how long the worker was at work, in nanoseconds; where it may sleep.
    pub work_nanos: Cell,
    /// Written only when it changes and read only by probes: a lock costs nothing there.
    read_trouble: Mutex<Option<String>>,
}

impl Default for Worker {
    fn default() -> Worker {
        Worker {
            requests: array::from_fn(|_| array::from_fn(|_| Cell::default())),
            durations_ns: Histogram::new(&DURATION_BOUNDS_NS),
            read: Role::default(),
            write: Role::default(),
            replica: Replica::default(),
            read_batch_size: Histogram::new(&BATCH_BOUNDS),
            write_failures: Default::default(),
            shed: Cell::default(),
            not_initialised: Cell::default(),
            fallback_reads: Cell::default(),
            tracked_hits: Cell::default(),
            tracked_misses: Cell::default(),
            tracked_invalidations: Cell::default(),
            tracked_entries: Cell::default(),
            http_connections: Cell::default(),
            http_connections_moved: Cell::default(),
            streams: Cell::default(),
            stream_events: Cell::default(),
            stream_conflated: Cell::default(),
            streams_refused: Cell::default(),
            streams_cut: Cell::default(),
            wake_sleeps: Cell::default(),
            packed: Cell::default(),
            work_nanos: Cell::default(),
            read_trouble: Mutex::new(None),
        }
    }
}

impl Worker {
    /// Counts a request that was answered with `code`, `duration` after its headers were complete.
    pub fn observe_request(&self, method: Method, code: u16, duration: Duration) {
        let slot = CODE_SLOT.get(usize::from(code)).copied();
        let slot = slot.map_or(CODES.len(), usize::from);
        if let Some(count) = self
            .requests
            .get(method as usize)
            .and_then(|row| row.get(slot))
        {
            count.add(1);
        }
        // Nanoseconds: whole microseconds would lose a twentieth of a fast request's time. No
        // overflow within 584 years; beyond, the worst is a wrong sum.
        let nanos = duration.as_secs().wrapping_mul(1_000_000_000);
        self.durations_ns
            .observe(nanos.wrapping_add(u64::from(duration.subsec_nanos())));
    }

    /// Requests answered so far, wrapping.
    pub fn answered(&self) -> u64 {
        self.durations_ns.count()
    }

    /// Counts a write that did not end in `200`.
    pub fn write_failed(&self, outcome: WriteOutcome) {
        if let Some(count) = self.write_failures.get(outcome as usize) {
            count.add(1);
        }
    }

    /// Says why this worker can't answer reads, as a sentence without its number; `None`: it can.
    pub fn set_read_trouble(&self, trouble: Option<String>) {
        *self
            .read_trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Why this worker can't answer reads; `None` while it can.
    pub fn read_trouble(&self) -> Option<String> {
        self.read_trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One role's part of a worker's table, for those who serve either.
#[derive(Clone, Debug)]
pub struct RoleMetrics {
    worker: Arc<Worker>,
    side: Side,
}

/// The two sides of the service towards Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads: the replica, and the master as its fallback.
    Read,
    /// Writes: the master.
    Write,
}

impl RoleMetrics {
    /// The part of `worker`'s table that is about `side`.
    pub fn new(worker: Arc<Worker>, side: Side) -> RoleMetrics {
        RoleMetrics { worker, side }
    }

    /// The role's counters.
    pub fn role(&self) -> &Role {
        match self.side {
            Side::Read => &self.worker.read,
            Side::Write => &self.worker.write,
        }
    }
}

/// What the task that accepts clients counts: a table of its own, because it is not a worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Acceptor {
    /// Failed accepts, mostly for lack of file descriptors.
    pub errors: Cell,
    /// How often accepting had to wait for one of the open connections to end.
    pub pauses: Cell,
    /// How often clients had waited for too long for that, and the port was closed for a while.
    pub refusals: Cell,
}

/// The tables of all workers of the process.
#[derive(Debug)]
pub struct Registry {
    /// One table per worker, by its number.
    pub workers: Vec<Arc<Worker>>,
    /// What the task that accepts clients counts.
    pub acceptor: Arc<Acceptor>,
    /// Whether the workers talk to Redis; the families about Redis are left out otherwise.
    pub redis: bool,
}

impl Registry {
    /// Tables for `workers` workers. With `redis`, each has read trouble until its worker clears
    /// it, so that a worker that has not started yet doesn't count as ready.
    pub fn new(workers: usize, redis: bool) -> Registry {
        let table = |_| {
            let worker = Worker::default();
            if redis {
                worker.set_read_trouble(Some("no connection for reads yet".to_owned()));
            }
            Arc::new(worker)
        };
        Registry {
            workers: (0..workers).map(table).collect(),
            acceptor: Arc::default(),
            redis,
        }
    }

    /// Why reads can't be answered, a sentence for each cause with the workers it holds for; empty
    /// when every worker can.
    pub fn read_troubles(&self) -> Vec<String> {
        let mut causes: Vec<(String, Vec<String>)> = Vec::new();
        for (number, worker) in self.workers.iter().enumerate() {
            let Some(trouble) = worker.read_trouble() else {
                continue;
            };
            let number = number.to_string();
            match causes.iter_mut().find(|(cause, _)| *cause == trouble) {
                Some((_, numbers)) => numbers.push(number),
                None => causes.push((trouble, vec![number])),
            }
        }
        let sentence = |(cause, numbers): (String, Vec<String>)| match numbers.as_slice() {
            [number] => format!("worker {number}: {cause}"),
            _ => format!("workers {}: {cause}", numbers.join(", ")),
        };
        causes.into_iter().map(sentence).collect()
    }

    /// Everything counted so far, in the Prometheus text format 0.0.4 ([`CONTENT_TYPE`]).
    pub fn text(&self) -> String {
        encode(&exposition::families(self))
    }
}

/// What every process of ours says of itself: what the kernel knows, and what its log lost.
pub fn process_families() -> Vec<prometheus::proto::MetricFamily> {
    let mut families = process::families();
    families.push(log::family());
    families
}

#[cfg(test)]
mod tests;
