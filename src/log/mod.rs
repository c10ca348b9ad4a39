//! The log: one line an event on stderr, as text or as JSON.
//!
//! Invariants:
//! - No thread that logs waits for stderr, whose reader may have stopped: lines go through a
//!   bounded queue (`queue.rs`) to a thread of its own, the only one that writes. What does not fit
//!   is dropped, counted, and reported once there is room again.
//! - The end of the process waits for the last lines [`LAST_WORDS`] at most, in a panic too
//!   (`panic.rs`).
//! - One event is one line, whatever its values hold: control characters are escaped, so that no
//!   server's words can forge a line, and a line has a bounded length.
//! - Repeated events are summed up (`repeats.rs`): a server that is down for hours costs some lines
//!   a minute, however many workers try to reach it. Memory is bounded too.
//! - Nothing here is on the path of a request: all threads share one lock, which nobody holds while
//!   writing.
//!
//! `tracing-appender` is not used: at the end it waits 0.1 s if its queue is full and then prints
//! to stdout, which may be the stream that is stuck; a panic hook can't make it write; its queue is
//! bounded in lines of any length; and the sums would need one more thread.
//!
//! Non-goals: files, rotation, shipping (whoever runs the process keeps its stderr), and the texts
//! of a wrong command line, which are always plain.

mod event;
mod line;
mod panic;
mod queue;
mod repeats;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::{Event as TracingEvent, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use event::Event;
use line::Style;
use queue::{Queue, RESERVE, ROOM};
use repeats::Repeats;

/// The name of the thread that writes.
const THREAD: &str = "log";

/// How long the end of the process may wait for its last lines. A reader that works takes
/// milliseconds; a longer wait would only add to the drain.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Between two attempts where somebody else has made the stream non-blocking, and where a lock is
/// waited for with a deadline.
const RETRY: Duration = Duration::from_millis(5);

/// The look of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; coloured on a terminal.
    Text,
    /// One object a line: `timestamp`, `level`, `message`, `thread`, and the event's fields.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub format: Format,
    /// The least severe level that is logged.
    pub level: LevelFilter,
}

/// The running log. Dropping it writes the sums that are still to come, and waits until all lines
/// are written, for [`LAST_WORDS`] at most.
#[must_use = "the last lines are written when it is dropped"]
pub struct Log {
    shared: Arc<Shared>,
}

/// What the layer, the thread that writes and [`Log`] have in common.
struct Shared {
    style: Style,
    /// Lines that nobody will read.
    dropped: &'static AtomicU64,
    state: Mutex<State>,
    /// Signalled when there is something to do for the thread that writes.
    news: Condvar,
    /// Signalled when it has nothing left to write.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    repeats: Repeats,
    queue: Queue,
    /// A line has left the queue and is not written yet.
    writing: bool,
}

/// Logs the whole process' events, and panics, to stderr from now on. Lines that are dropped are
/// added to `dropped`.
///
/// # Errors
/// The system refuses the thread that writes.
pub fn start(options: Options, dropped: &'static AtomicU64) -> io::Result<Log> {
    let style = match options.format {
        Format::Json => Style::Json,
        Format::Text if io::stderr().is_terminal() => Style::Colour,
        Format::Text => Style::Plain,
    };
    let shared = Shared::new(style, dropped);
    shared.start_writer(io::stderr())?;
    panic::set_hook(shared.clone());
    tracing_subscriber::registry()
        .with(Lines(shared.clone()).with_filter(options.level))
        .init();
    Ok(Log { shared })
}

impl Log {
    /// Writes a text of several lines as it is.
    #[cfg(any(feature = "rig", test))]
    pub fn lines(&self, text: &str) {
        let mut state = self.shared.lock();
        let (text, limit) = (format!("{text}\n"), ROOM + RESERVE);
        self.shared.push(&mut state, text, limit, Instant::now());
    }

    /// Waits until what was logged is written, for [`LAST_WORDS`] at most: before something else is
    /// printed that should come after it.
    pub fn settle(&self) {
        let deadline = Instant::now() + LAST_WORDS;
        self.shared.wait_until_idle(self.shared.lock(), deadline);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.finish(Vec::new());
    }
}

impl Shared {
    fn new(style: Style, dropped: &'static AtomicU64) -> Arc<Shared> {
        Arc::new(Shared {
            style,
            dropped,
            state: Mutex::default(),
            news: Condvar::new(),
            idle: Condvar::new(),
        })
    }

    /// A thread that panicked while it held the lock leaves nothing half done that matters here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a panic, which may have come while this very thread holds the lock.
    fn lock_before(&self, deadline: Instant) -> Option<MutexGuard<'_, State>> {
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => thread::park_timeout(RETRY),
            }
        }
    }

    fn log(&self, event: Event, now: Instant) {
        let mut state = self.lock();
        for sum in state.repeats.take_due(now) {
            self.enqueue(&mut state, &sum, now);
        }
        match state.repeats.admit(event, now) {
            Some(event) => self.enqueue(&mut state, &event, now),
            // The thread that writes has one more time to wake up at.
            None => self.news.notify_one(),
        }
    }

    fn enqueue(&self, state: &mut State, event: &Event, now: Instant) {
        let limit = match event.level {
            Level::ERROR => ROOM + RESERVE,
            _ => ROOM,
        };
        let line = self.style.line(event, &line::timestamp());
        self.push(state, line, limit, now);
    }

    fn push(&self, state: &mut State, line: String, limit: usize, now: Instant) {
        if state.queue.push(line, limit, now) {
            self.news.notify_one();
        } else {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Takes all sums and `last` into the queue, and waits until it is empty. Takes [`LAST_WORDS`]
    /// at most, whatever happens.
    fn finish(&self, last: Vec<Event>) {
        let deadline = Instant::now() + LAST_WORDS;
        let Some(mut state) = self.lock_before(deadline) else {
            return;
        };
        let now = Instant::now();
        let sums = state.repeats.take_all(now);
        for event in sums.iter().chain(&last) {
            self.enqueue(&mut state, event, now);
        }
        self.wait_until_idle(state, deadline);
    }

    fn wait_until_idle(&self, state: MutexGuard<'_, State>, deadline: Instant) {
        let wait = deadline.saturating_duration_since(Instant::now());
        let busy = |state: &mut State| state.writing || !state.queue.is_empty();
        drop(self.idle.wait_timeout_while(state, wait, busy));
    }

    /// Starts the thread that writes to `output`. It ends with the process.
    fn start_writer(self: &Arc<Shared>, output: impl Write + Send + 'static) -> io::Result<()> {
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name(THREAD.to_owned());
        builder.spawn(move || shared.write_lines(output)).map(drop)
    }

    /// Writes line by line, each in one system call, so that lines of other processes on the same
    /// stream don't mix with ours; adds each sum when it is due. Never returns.
    fn write_lines(&self, mut output: impl Write) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            for sum in state.repeats.take_due(now) {
                self.enqueue(&mut state, &sum, now);
            }
            if let Some((count, since)) = state.queue.take_dropped() {
                self.enqueue(&mut state, &report(count, since, now), now);
            }
            if let Some(line) = state.queue.pop() {
                state.writing = true;
                drop(state);
                if write_line(&mut output, line.as_bytes()).is_err() {
                    self.dropped.fetch_add(1, Relaxed);
                }
                state = self.lock();
                state.writing = false;
                continue;
            }
            self.idle.notify_all();
            state = match state.repeats.next_due() {
                None => self
                    .news
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    let waited = self.news.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// What is said of dropped lines.
fn report(count: u64, since: Instant, now: Instant) -> Event {
    let seconds = now.saturating_duration_since(since).as_secs().max(1);
    let lines = if count == 1 { "line" } else { "lines" };
    Event {
        level: Level::WARN,
        message: format!(
            "{count} log {lines} dropped in the last {seconds} s: whatever reads stderr is too slow"
        ),
        fields: vec![("dropped", count.into())],
        thread: Some(THREAD.to_owned()),
        origin: ("", 0),
    }
}

/// `write_all`, but patient with a stream that another process made non-blocking.
fn write_line(output: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match output.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The end of the line for what `tracing` collects.
struct Lines(Arc<Shared>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &TracingEvent<'_>, _context: Context<'_, S>) {
        // Before the lock: a value may log while it is formatted.
        let event = Event::of(event);
        self.0.log(event, Instant::now());
    }
}

#[cfg(test)]
mod tests;
