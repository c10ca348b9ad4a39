//! The log: one line an event on stderr, as text or as JSON.
//!
//! Invariants:
//! - One event is one line, whatever its values hold: control characters are escaped, so that no
//!   server's words can forge a line, and a line has a bounded length.
//! - Repeated events are summed up (`repeats.rs`): a server that is down for hours costs some lines
//!   a minute, however many workers try to reach it. Memory is bounded too.
//! - Nothing here is on the path of a request: all threads share one lock and one stream.
//!
//! Non-goals: files, rotation, shipping (whoever runs the process keeps its stderr), and the texts
//! of a wrong command line, which are always plain.

mod event;
mod line;
mod repeats;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::{Event as TracingEvent, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use event::Event;
use line::Style;
use repeats::Repeats;

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

/// The running log. Dropping it writes the sums that are still to come.
#[must_use = "the last sums are written when it is dropped"]
pub struct Log {
    shared: Arc<Shared>,
}

/// What the layer, the thread of the sums and [`Log`] have in common.
struct Shared {
    style: Style,
    state: Mutex<State>,
    /// Signalled when the first of a kind is counted instead of written.
    counted: Condvar,
}

struct State {
    repeats: Repeats,
    output: Box<dyn Write + Send>,
}

/// Logs the whole process' events to stderr from now on.
///
/// Starts a thread that writes the sums when they are due; without it (the system refused one) they
/// come with the next event.
pub fn start(options: Options) -> Log {
    let style = match options.format {
        Format::Json => Style::Json,
        Format::Text if io::stderr().is_terminal() => Style::Colour,
        Format::Text => Style::Plain,
    };
    let shared = Shared::new(style, Box::new(io::stderr()));
    tracing_subscriber::registry()
        .with(Lines(shared.clone()).with_filter(options.level))
        .init();
    let summing = shared.clone();
    let thread = std::thread::Builder::new().name("log".to_owned());
    if let Err(error) = thread.spawn(move || summing.sum_up()) {
        tracing::warn!("no thread for the log: {error}; sums of repeated lines may come late");
    }
    Log { shared }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let sums = state.repeats.take_all(Instant::now());
        self.shared.write(&mut state, &sums);
    }
}

impl Shared {
    fn new(style: Style, output: Box<dyn Write + Send>) -> Arc<Shared> {
        Arc::new(Shared {
            style,
            state: Mutex::new(State {
                repeats: Repeats::default(),
                output,
            }),
            counted: Condvar::new(),
        })
    }

    /// A thread that panicked while it held the lock leaves nothing half done that matters here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, event: Event, now: Instant) {
        let mut state = self.lock();
        let sums = state.repeats.take_due(now);
        self.write(&mut state, &sums);
        match state.repeats.admit(event, now) {
            Some(event) => self.write(&mut state, &[event]),
            None => self.counted.notify_one(),
        }
    }

    /// Each line in one system call, so that lines of other processes on the same stream don't mix
    /// with ours. One that can't be written is lost: there is no one to tell.
    fn write(&self, state: &mut State, events: &[Event]) {
        for event in events {
            let line = self.style.line(event, &line::timestamp());
            let _ = state.output.write_all(line.as_bytes());
        }
    }

    /// Writes each sum when it is due; never returns.
    fn sum_up(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let sums = state.repeats.take_due(now);
            self.write(&mut state, &sums);
            state = match state.repeats.next_due() {
                None => self
                    .counted
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self
                        .counted
                        .wait_timeout(state, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
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
