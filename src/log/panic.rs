//! The last words of a panic.
//!
//! The hook of the standard library writes to stderr on the thread that panicked, which may be a
//! worker, and waits for whoever reads it. This one leaves the message to the log's thread, waits
//! for [`LAST_WORDS`](super::LAST_WORDS) at most, and returns: the release build aborts then.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::thread;

use tracing::Level;

use super::Shared;
use super::event::{Event, bounded};

/// Replaces the hook of the standard library, for the whole process.
pub(super) fn set_hook(shared: Arc<Shared>) {
    panic::set_hook(Box::new(move |info| {
        // A log without its thread would keep the last words for itself.
        if thread::current().name() == Some(super::THREAD) {
            let _ = shared.start_writer(io::stderr());
        }
        shared.finish(last_words(info));
    }));
}

/// The message, and the backtrace where `RUST_BACKTRACE` asks for one, line by line.
fn last_words(info: &PanicHookInfo<'_>) -> Vec<Event> {
    let thread = thread::current().name().map(String::from);
    let event = |message: String| Event {
        level: Level::ERROR,
        message: bounded(message),
        fields: Vec::new(),
        thread: thread.clone(),
        origin: ("", 0),
    };
    let payload = info.payload();
    let why = payload.downcast_ref::<&str>().copied();
    let why = why.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map(ToString::to_string);
    let message = format!(
        "{} panicked at {}: {} (this is a bug in redis-api: please report it)",
        thread.as_deref().unwrap_or("a thread"),
        place.as_deref().unwrap_or("an unknown place"),
        why.unwrap_or("no message"),
    );
    let mut events = vec![event(message)];
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        let backtrace = backtrace.to_string();
        events.extend(backtrace.lines().map(|line| event(line.to_owned())));
    }
    events
}
