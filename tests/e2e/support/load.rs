//! A small load generator that looks at every answer.
//!
//! It reads [`FIELDS`] fields at once over many keep-alive connections. A field's value says whose
//! it is, so an answer that belongs to another request shows.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::api::Api;
use super::cpu::Passage;
use super::http::{Connection, Response};
use super::poll::{Attempt, eventually};
use super::redis::Redis;

/// Fields read at the same time.
pub const FIELDS: u32 = 50;

/// Values of one field: `number * VERSIONS + version`.
pub const VERSIONS: u32 = 1000;

/// How much is asked, and what counts as an answer that hangs.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Threads, and connections of each: all of a thread's requests are out before it reads an
    /// answer.
    pub threads: u32,
    pub connections: u32,
    /// Between two rounds of a thread.
    pub pause: Duration,
    /// An answer later than this is one that hangs.
    pub hung: Duration,
}

/// A rate that leaves the machine to the servers, and five times the default request timeout.
pub const FULL: Shape = Shape {
    threads: 4,
    connections: 16,
    pause: Duration::from_millis(10),
    hung: Duration::from_secs(2),
};

/// Good answers in a row that each connection of a thread must have had before reads count as back:
/// each worker's several times.
const STREAK: u32 = 5;

/// The name of the field with this number.
pub fn field(number: u32) -> String {
    format!("f{number:02}")
}

/// Stores a first value in every field, and in the one behind `/`.
#[track_caller]
pub fn fill(master: &Redis) {
    assert_eq!(
        master.cli(&["HSET", "currency", "current-value", "12.5"]),
        "1"
    );
    assert_eq!(store(master, 0), FIELDS.to_string());
}

/// Stores this version of every field; gives what the server said.
#[track_caller]
pub fn store(master: &Redis, version: u32) -> String {
    let pairs: Vec<String> = (0..FIELDS)
        .flat_map(|number| [field(number), (number * VERSIONS + version).to_string()])
        .collect();
    let mut command = vec!["HSET", "currency"];
    command.extend(pairs.iter().map(String::as_str));
    master.cli(&command)
}

/// What was answered so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub good: u64,
    /// 503.
    pub unavailable: u64,
    /// 504.
    pub late: u64,
    /// 504, while the machine had no CPU for it: neither good nor bad.
    pub starved: u64,
    /// Older than demanded, and said to be: an answer with `X-Data-Age`.
    pub stale: u64,
    /// All answers that said how old their data may be.
    pub aged: u64,
    /// What must never be; the first few, in words.
    pub wrong: Vec<String>,
    pub last_bad: Option<Instant>,
    /// Good answers in a row, of each thread.
    streaks: Vec<u32>,
}

impl Tally {
    pub fn bad(&self) -> u64 {
        self.unavailable + self.late
    }

    /// All requests but those that got no right answer at all.
    pub fn answered(&self) -> u64 {
        self.good + self.stale + self.bad() + self.starved
    }

    fn wrong(&mut self, what: String) {
        if self.wrong.len() < 20 {
            self.wrong.push(what);
        }
    }
}

/// A running load. Ends when dropped.
#[derive(Debug)]
pub struct Load {
    shape: Shape,
    tally: Arc<Mutex<Tally>>,
    /// Older versions are wrong by now.
    oldest: Arc<AtomicU32>,
    threads: Vec<JoinHandle<()>>,
    /// Closed to end the threads.
    stop: Vec<SyncSender<()>>,
}

impl Load {
    /// Starts to read from the API at `addr`.
    pub fn start(addr: SocketAddr) -> Load {
        Load::with(addr, FULL)
    }

    /// As [`Load::start`], of this shape.
    pub fn with(addr: SocketAddr, shape: Shape) -> Load {
        Load::through(addr, shape, &Passage::default())
    }

    /// As [`Load::with`]; answers that are late because the machine had no CPU are told apart.
    pub fn fair(api: &Api, shape: Shape) -> Load {
        Load::through(api.addr(), shape, &api.passage())
    }

    fn through(addr: SocketAddr, shape: Shape, passage: &Passage) -> Load {
        let tally = Arc::new(Mutex::new(Tally {
            streaks: vec![0; shape.threads as usize],
            ..Tally::default()
        }));
        let oldest = Arc::new(AtomicU32::new(0));
        let (mut threads, mut stop) = (Vec::new(), Vec::new());
        for thread in 0..shape.threads {
            let (sender, receiver) = sync_channel(0);
            let (tally, oldest) = (Arc::clone(&tally), Arc::clone(&oldest));
            let (place, passage) = ((addr, thread), passage.clone());
            threads.push(thread::spawn(move || {
                run(place, shape, &receiver, &tally, &oldest, &passage);
            }));
            stop.push(sender);
        }
        Load {
            shape,
            tally,
            oldest,
            threads,
            stop,
        }
    }

    /// From now on an answer with an older version than this is wrong. It counts for requests
    /// sent from now on.
    pub fn demand(&self, version: u32) {
        self.oldest.store(version, Ordering::Relaxed);
    }

    /// What [`Load::demand`] sets, for a thread that follows a server.
    pub fn oldest(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.oldest)
    }

    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Waits until `condition` holds for the answers so far.
    #[track_caller]
    pub fn wait<A: Attempt>(
        &self,
        timeout: Duration,
        what: &str,
        mut condition: impl FnMut(&Tally) -> A,
    ) -> A::Value {
        eventually(timeout, what, || condition(&self.tally()))
    }

    /// Waits until all reads are good again, and gives how long after `since` the last bad answer
    /// came.
    ///
    /// # Panics
    /// When that takes longer than `timeout`.
    #[track_caller]
    pub fn wait_good(&self, since: Instant, timeout: Duration) -> Duration {
        for streak in &mut lock(&self.tally).streaks {
            *streak = 0;
        }
        let enough = STREAK * self.shape.connections;
        self.wait(timeout, "only good answers", |tally| {
            tally
                .streaks
                .iter()
                .all(|streak| *streak >= enough)
                .then_some(())
                .ok_or_else(|| format!("{tally:?}"))
        });
        let last_bad = self.tally().last_bad.unwrap_or(since);
        last_bad.saturating_duration_since(since)
    }

    /// Ends the load.
    ///
    /// # Panics
    /// When an answer was neither a value of its own field nor 503 nor 504.
    #[track_caller]
    pub fn finish(mut self) -> Tally {
        self.end();
        let tally = self.tally();
        assert!(tally.wrong.is_empty(), "{tally:#?}");
        tally
    }

    fn end(&mut self) {
        self.stop.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                lock(&self.tally).wrong("a thread of the load panicked".into());
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().expect("no thread panics with the tally")
}

/// A request that is out.
#[derive(Clone, Copy)]
struct Asked {
    number: u32,
    oldest: u32,
    since: Instant,
}

impl Asked {
    /// The version of the field that this body has; `None` if it has none of the field.
    fn version(self, body: &str) -> Option<u32> {
        let value = body
            .strip_prefix("{\"current\":")
            .and_then(|rest| rest.strip_suffix('}'))
            .and_then(|value| value.parse::<u32>().ok())?;
        (value / VERSIONS == self.number).then_some(value % VERSIONS)
    }
}

fn run(
    (addr, thread): (SocketAddr, u32),
    shape: Shape,
    stop: &Receiver<()>,
    tally: &Mutex<Tally>,
    oldest: &AtomicU32,
    passage: &Passage,
) {
    let mut connections: Vec<Option<Connection>> = (0..shape.connections).map(|_| None).collect();
    let mut next = thread * shape.connections;
    while stop.recv_timeout(shape.pause) == Err(RecvTimeoutError::Timeout) {
        let (mut sent, waited) = (Vec::new(), passage.waited());
        for place in &mut connections {
            let number = next % FIELDS;
            next += 1;
            let asked = Asked {
                number,
                oldest: oldest.load(Ordering::Relaxed),
                since: Instant::now(),
            };
            sent.push((asked, send(place, addr, number, shape.hung)));
        }
        for (place, (asked, sent)) in connections.iter_mut().zip(sent) {
            let answer = sent.and_then(|()| {
                let connection = place.as_mut().ok_or("no connection")?;
                let response = connection.read_response("GET");
                response.map_err(|error| error.to_string())
            });
            if answer.is_err() {
                *place = None;
            }
            let is_late = answer.as_ref().is_ok_and(|answer| answer.status == 504);
            if is_late && passage.was_starved(waited) {
                lock(tally).starved += 1;
                continue;
            }
            record(&mut lock(tally), thread, (asked, shape.hung), answer);
        }
    }
}

fn send(
    place: &mut Option<Connection>,
    addr: SocketAddr,
    number: u32,
    hung: Duration,
) -> Result<(), String> {
    let connection = match place {
        Some(connection) => connection,
        None => {
            let connection = Connection::open(addr).map_err(|error| error.to_string())?;
            let timeout = connection.stream().set_read_timeout(Some(hung));
            timeout.map_err(|error| error.to_string())?;
            place.insert(connection)
        }
    };
    let path = format!("/{}", field(number));
    let sent = connection.send("GET", &path, &[], b"");
    sent.map_err(|error| error.to_string())
}

fn record(
    tally: &mut Tally,
    thread: u32,
    (asked, hung): (Asked, Duration),
    answer: Result<Response, String>,
) {
    let (number, took) = (asked.number, asked.since.elapsed());
    if took > hung {
        tally.wrong(format!("{}: answered after {took:?}", field(number)));
    }
    let streak = thread as usize;
    match answer {
        Ok(response) if response.status == 200 => {
            let is_stale = response.header("x-data-age").is_some();
            tally.aged += u64::from(is_stale);
            let version = asked.version(&response.text());
            match version {
                Some(version) if version >= asked.oldest => tally.good += 1,
                Some(_) if is_stale => tally.stale += 1,
                _ => {
                    let (oldest, text) = (asked.oldest, response.text());
                    tally.wrong(format!("{}: at least {oldest}: {text}", field(number)));
                }
            }
            tally.streaks[streak] += 1;
            return;
        }
        Ok(response) if response.status == 503 => tally.unavailable += 1,
        Ok(response) if response.status == 504 => tally.late += 1,
        Ok(response) => tally.wrong(format!(
            "{}: {} {}",
            field(number),
            response.status,
            response.text()
        )),
        Err(error) => tally.wrong(format!("{}: {error}", field(number))),
    }
    tally.last_bad = Some(Instant::now());
    tally.streaks[streak] = 0;
}
