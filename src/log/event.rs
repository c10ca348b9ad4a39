//! One event: its level, message and fields as texts.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event as TracingEvent, Level};

/// Longest message or value, in bytes: runtimes cut lines at 16 KiB and more.
const LONGEST: usize = 2048;

/// The field whose numbers tell one kind of event from another.
const ADDRESS: &str = "address";

/// An event, taken out of `tracing`.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub level: Level,
    pub message: String,
    /// In the order of the source.
    pub fields: Vec<(&'static str, Value)>,
    pub thread: Option<String>,
    /// File and line of the source.
    pub origin: (&'static str, u32),
}

/// What makes two events the same: the place in the source and the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub origin: (&'static str, u32),
    pub words: String,
}

impl Event {
    pub fn of(event: &TracingEvent<'_>) -> Event {
        let metadata = event.metadata();
        let mut own = Event {
            level: *metadata.level(),
            message: String::new(),
            fields: Vec::new(),
            thread: std::thread::current().name().map(String::from),
            origin: (
                metadata.file().unwrap_or_default(),
                metadata.line().unwrap_or_default(),
            ),
        };
        event.record(&mut own);
        own
    }

    /// Numbers don't count, in the message, in texts or as fields: they are waits, local ports and
    /// the like, and differ each time. The address of a server does count, to the letter.
    pub fn kind(&self) -> Kind {
        let mut words = without_numbers(&self.message);
        for (name, value) in &self.fields {
            let Value::String(text) = value else {
                continue;
            };
            words.push('\n');
            if *name == ADDRESS {
                words.push_str(text);
            } else {
                words.push_str(&without_numbers(text));
            }
        }
        Kind {
            origin: self.origin,
            words,
        }
    }

    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Event {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, bounded(format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, bounded(value.to_owned()).into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }
}

/// The text, cut where it is longer than [`LONGEST`].
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// The text with every run of digits as one `0`.
fn without_numbers(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut in_number = false;
    for c in text.chars() {
        let is_digit = c.is_ascii_digit();
        if !is_digit {
            words.push(c);
        } else if !in_number {
            words.push('0');
        }
        in_number = is_digit;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_out() {
        let check = |text: &str, expected: &str| assert_eq!(without_numbers(text), expected);
        check("", "");
        check("no number", "no number");
        check("next attempt in 1234 ms", "next attempt in 0 ms");
        check("10.0.0.17:40001->10.0.0.2:6379", "0.0.0.0:0->0.0.0.0:0");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let text = "é".repeat(LONGEST);
        let cut = bounded(format!("x{text}"));
        assert!(cut.len() <= LONGEST + '…'.len_utf8() && cut.ends_with("é…"));
        assert_eq!(bounded("short".to_owned()), "short");
    }
}
