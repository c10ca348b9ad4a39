//! Standard output and standard error, which may be one terminal with a table at its end.
//!
//! Invariants:
//! - What is printed goes above the table, which is drawn again below it.
//! - No mode of the terminal is ever changed and the cursor is never hidden, so there is nothing to
//!   restore, whatever ends this process.
//! - A closed stream (`| head`) is no reason to stop.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use terminal_size::{Height, Width, terminal_size_of};

/// Shared by all that print. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    state: Arc<Mutex<State>>,
    is_terminal: bool,
}

#[derive(Debug, Default)]
struct State {
    /// What stands at the end of the terminal.
    table: Vec<String>,
}

impl Screen {
    /// The streams of this process.
    pub fn new() -> Screen {
        let is_dumb = env::var_os("TERM").is_none_or(|name| name == "dumb");
        Screen {
            state: Arc::default(),
            is_terminal: io::stdout().is_terminal() && !is_dumb,
        }
    }

    /// Whether [`Screen::draw`] draws.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints a line on standard output.
    pub fn say(&self, line: fmt::Arguments<'_>) {
        self.above(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        });
    }

    /// Writes whole lines to standard error.
    pub fn pass_on(&self, lines: &[u8]) {
        self.above(|| io::stderr().write_all(lines));
    }

    /// Draws the table in the place of the last one; nothing where there is no terminal.
    pub fn draw(&self, table: Vec<String>) {
        if !self.is_terminal {
            return;
        }
        let mut state = self.lock();
        let table = match terminal_size_of(io::stdout()) {
            Some((Width(width), Height(height))) => fitted(table, width.into(), height.into()),
            None => table,
        };
        let _ = print(&redrawn(&state.table, &table));
        state.table = table;
    }

    /// Leaves the table where it stands; what is printed from now on goes below.
    pub fn leave(&self) {
        let mut state = self.lock();
        if !state.table.is_empty() {
            state.table.clear();
            // The terminal has echoed the ^C that may have ended us.
            let _ = print("\r\x1b[K");
        }
    }

    /// Lets `write` print between what was printed before and the table.
    fn above(&self, write: impl FnOnce() -> io::Result<()>) {
        let state = self.lock();
        if state.table.is_empty() {
            let _ = write();
            return;
        }
        let _ = print(&erased(&state.table));
        let _ = write();
        let _ = print(&redrawn(&[], &state.table));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has left a whole table behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line that wraps would take two, and one that has scrolled away can't be reached.
fn fitted(table: Vec<String>, width: usize, height: usize) -> Vec<String> {
    let rows = height.saturating_sub(1).max(1);
    let lines = table.into_iter().take(rows);
    lines
        .map(|line| line.chars().take(width).collect())
        .collect()
}

/// The control sequences (ECMA-48: CUU, ED) that erase a table above the cursor.
fn erased(table: &[String]) -> String {
    match table.len() {
        0 => String::new(),
        rows => format!("\r\x1b[{rows}A\x1b[J"),
    }
}

/// `new` in the place of `old`, without a moment in which there is none: each line is erased (EL)
/// where it ends.
fn redrawn(old: &[String], new: &[String]) -> String {
    let mut text = match old.len() {
        0 => String::new(),
        rows => format!("\r\x1b[{rows}A"),
    };
    for line in new {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn table_takes_the_place_of_the_last_one() {
        let (old, new) = (lines(&["one", "two", "three"]), lines(&["four"]));
        assert_eq!(redrawn(&[], &new), "four\x1b[K\n\x1b[J");
        assert_eq!(redrawn(&old, &new), "\r\x1b[3Afour\x1b[K\n\x1b[J");
        assert_eq!(erased(&old), "\r\x1b[3A\x1b[J");
        assert_eq!(erased(&[]), "");
    }

    #[test]
    fn table_fits_the_terminal() {
        let table = lines(&["µµµµ", "a", "b", "c"]);
        assert_eq!(
            fitted(table.clone(), 3, 4),
            lines(&["µµµ", "a", "b"]),
            "a row is left for the cursor"
        );
        assert_eq!(fitted(table.clone(), 80, 24), table);
        assert_eq!(fitted(table, 80, 0), lines(&["µµµµ"]));
    }
}
