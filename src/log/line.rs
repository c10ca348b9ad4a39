//! From an event to its line.
//!
//! The formatters of `tracing-subscriber` take an event of `tracing`, which lives as long as the
//! call that makes it and whose fields are fixed where it is made. The log keeps events, writes the
//! last of many a minute later with their number, and has two of its own (dropped lines, panics).

use std::fmt::Write as _;

use serde_json::Value;
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

use super::event::Event;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// Plain with the level in colour, for a terminal.
    Colour,
    Json,
}

impl Style {
    /// The line with its newline, the only one in it.
    pub fn line(self, event: &Event, timestamp: &str) -> String {
        match self {
            Style::Plain => text(event, timestamp, ["", ""]),
            Style::Colour => text(event, timestamp, [colour(event.level), "\x1b[0m"]),
            Style::Json => json(event, timestamp),
        }
    }
}

/// Now, by RFC 3339 in UTC.
pub(super) fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// `TIME LEVEL message name=value …`. A field that the message says already is left out: messages
/// are for people, and fields for what reads JSON.
fn text(event: &Event, timestamp: &str, [colour, plain]: [&str; 2]) -> String {
    let mut line = format!("{timestamp} {colour}{:>5}{plain} ", event.level.as_str());
    push_escaped(&mut line, &event.message);
    for (name, value) in &event.fields {
        let text = match value {
            Value::String(text) => text,
            value => &value.to_string(),
        };
        if says(&event.message, text) {
            continue;
        }
        let needs_quotes = text.is_empty() || text.contains(char::is_whitespace);
        let quote = if needs_quotes { "\"" } else { "" };
        let _ = write!(line, " {name}={quote}");
        push_escaped(&mut line, text);
        line.push_str(quote);
    }
    line.push('\n');
    line
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// Whether `word` is in `message`, not as a part of a longer word or number.
fn says(message: &str, word: &str) -> bool {
    !word.is_empty()
        && message.match_indices(word).any(|(at, _)| {
            let before = message[..at].chars().next_back();
            let after = message[at + word.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
}

/// Everything that does not print is escaped: line breaks, the escape sequences of terminals, marks
/// that turn the direction of writing around.
fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
}

fn json(event: &Event, timestamp: &str) -> String {
    let thread = event.thread.as_deref().map(|name| ("thread", name.into()));
    let members = [
        ("timestamp", timestamp.into()),
        ("level", event.level.as_str().into()),
        ("message", event.message.as_str().into()),
    ];
    let members = members.into_iter().chain(thread);
    let members: Vec<String> = members
        .chain(event.fields.iter().cloned())
        .map(|(name, value)| format!("{}:{value}", Value::from(name)))
        .collect();
    format!("{{{}}}\n", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(message: &str, fields: &[(&'static str, Value)]) -> Event {
        Event {
            level: Level::WARN,
            message: message.to_owned(),
            fields: fields.to_vec(),
            thread: Some("worker-1".to_owned()),
            origin: ("file", 1),
        }
    }

    #[test]
    fn text_lines() {
        #[track_caller]
        fn check(message: &str, fields: &[(&'static str, Value)], expected: &str) {
            let line = Style::Plain.line(&event(message, fields), "T");
            assert_eq!(line, format!("T  WARN {expected}\n"));
        }
        check("plain", &[], "plain");
        check("it's \"so\" \\o/ é", &[], "it's \"so\" \\o/ é");
        check(
            "lost; again in 37 ms",
            &[("role", "read".into()), ("wait_ms", 37.into())],
            "lost; again in 37 ms role=read",
        );
        // Part of a longer number, and of a longer word.
        check("in 370 ms", &[("n", 37.into())], "in 370 ms n=37");
        check("reading", &[("role", "read".into())], "reading role=read");
        check("m", &[("e", "two words".into())], "m e=\"two words\"");
        check("m", &[("e", "".into())], "m e=\"\"");
        check(
            "ERR x\r\nT  INFO forged\x1b[2J\u{85}\u{2028}\u{202e}\0",
            &[("e", "a\nb".into())],
            "ERR x\\r\\nT  INFO forged\\u{1b}[2J\\u{85}\\u{2028}\\u{202e}\\0 e=\"a\\nb\"",
        );
    }

    #[test]
    fn colour_is_around_the_level_only() {
        let line = Style::Colour.line(&event("m", &[]), "T");
        assert_eq!(line, "T \x1b[33m WARN\x1b[0m m\n");
    }

    #[test]
    fn json_lines() {
        let event = event(
            "ERR x\nINFO \"forged\"\u{1b}",
            &[("role", "read".into()), ("wait_ms", 37.into())],
        );
        let line = Style::Json.line(&event, "T");
        let expected = concat!(
            r#"{"timestamp":"T","level":"WARN","message":"ERR x\nINFO \"forged\"\u001b","#,
            r#""thread":"worker-1","role":"read","wait_ms":37}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let shape: String = timestamp()
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    }
}
