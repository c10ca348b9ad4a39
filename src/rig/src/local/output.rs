//! What a child prints: read at once, its end kept for errors, its lines shown if wanted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::launcher::Lines;
use super::screen::Screen;

/// The last output of a child that is kept for error messages, in bytes.
const MAX_TAIL: usize = 4 * 1024;

/// Lines of it that are shown.
const SHOWN_LINES: usize = 10;

/// A line that is longer is shown in pieces, in bytes.
const MAX_LINE: usize = 8 * 1024;

/// The end of what a child has printed.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        // A reader that panicked leaves whole bytes behind.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(MAX_TAIL);
        kept.drain(..surplus);
    }

    /// The last lines, at most [`SHOWN_LINES`].
    pub fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

/// Where the lines of one child go, and under which name.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    screen: Screen,
    lines: Lines,
    name: String,
}

impl Sink {
    pub fn new(screen: Screen, lines: Lines, name: String) -> Sink {
        Sink {
            screen,
            lines,
            name,
        }
    }

    /// `text` is one line, with or without its end.
    fn line(&self, text: &[u8]) {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut line = match self.lines {
            Lines::Hidden => return,
            Lines::Shown => Vec::new(),
            Lines::Prefixed => format!("{}: ", self.name).into_bytes(),
        };
        line.extend_from_slice(text);
        line.push(b'\n');
        self.screen.pass_on(&line);
    }
}

/// Reads a pipe to its end, so that the child never waits for us.
pub(super) async fn read(mut pipe: impl AsyncRead + Unpin, tail: Tail, sink: Sink) {
    let mut chunk = [0; 4 * 1024];
    let mut line = Vec::new();
    while let Ok(n @ 1..) = pipe.read(&mut chunk).await {
        let bytes = &chunk[..n];
        tail.push(bytes);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || line.len() >= MAX_LINE {
                sink.line(&line);
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        sink.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_end() {
        let tail = Tail::default();
        for n in 0..1_000 {
            tail.push(format!("line {n}\n\n").as_bytes());
        }
        assert!(tail.0.lock().expect("nobody panicked").len() <= MAX_TAIL);
        let text = tail.text();
        assert_eq!(text.lines().count(), SHOWN_LINES);
        assert!(
            text.starts_with("line 990\n") && text.ends_with("line 999"),
            "{text}"
        );
    }
}
