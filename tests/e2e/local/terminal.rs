//! The table in a terminal, by a pseudoterminal and as much of an emulator as it takes.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::tcgetattr;

use super::{START_PATIENCE, UP, starting};
use crate::support::process::Process;
use crate::support::{PATIENCE, eventually, free_port};

/// The rows of a terminal that is never full: what would have scrolled away is still in it.
#[derive(Debug, Default)]
struct Terminal {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Terminal {
    /// What stands there after these bytes, which hold no other control sequence than CUU, ED and
    /// EL (ECMA-48).
    fn showing(bytes: &[u8]) -> Vec<String> {
        let mut terminal = Terminal::default();
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\r' => terminal.column = 0,
                '\n' => terminal.row += 1,
                '\x1b' => terminal.control(&mut chars),
                char => terminal.put(char),
            }
        }
        let rows = terminal.rows.iter();
        rows.map(|row| row.iter().collect::<String>().trim_end().to_owned())
            .collect()
    }

    fn put(&mut self, char: char) {
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        let row = &mut self.rows[self.row];
        if row.len() <= self.column {
            row.resize(self.column + 1, ' ');
        }
        row[self.column] = char;
        self.column += 1;
    }

    fn control(&mut self, chars: &mut impl Iterator<Item = char>) {
        assert_eq!(chars.next(), Some('['), "only CSI is known");
        let mut number = String::new();
        let end = loop {
            match chars.next() {
                Some(digit) if digit.is_ascii_digit() => number.push(digit),
                Some(end) => break end,
                None => return,
            }
        };
        match end {
            'A' => {
                let up: usize = number.parse().expect("how far is said");
                self.row = self.row.checked_sub(up).expect("not above the first row");
            }
            'K' => {
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.truncate(self.column);
                }
            }
            'J' => {
                self.rows.truncate(self.row + 1);
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.truncate(self.column);
                }
            }
            other => panic!("{other:?}: a mode was changed, or something is new"),
        }
    }
}

#[test]
fn emulator_knows_what_is_needed() {
    let check = |bytes: &str, expected: &[&str]| {
        assert_eq!(Terminal::showing(bytes.as_bytes()), expected);
    };
    check("one\r\ntwo\r\n\x1b[1Aµ\x1b[K\r\n\x1b[J", &["one", "µ"]);
    check("one\r\ntwo\r\n\x1b[2A\x1b[J", &[""]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn table_is_drawn_in_place_and_nothing_is_left_changed() {
    let size = Winsize {
        ws_row: 40,
        ws_col: 60,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).expect("there are pseudoterminals");
    let modes = tcgetattr(&pty.slave).expect("it is a terminal");
    let output = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&output);
    let mut screen = File::from(pty.master);
    // Ends by EIO when nobody has the other side open.
    let collector = thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = screen.read(&mut chunk) {
            collected
                .lock()
                .expect("nobody panics with it")
                .extend(&chunk[..n]);
        }
    });

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let one_at_a_time = starting();
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-api"));
    let side = || Stdio::from(pty.slave.try_clone().expect("there are descriptors"));
    command.args(["local", "--rate", "50", "--log-level", "warn"]);
    for flag in ["--listen", "--admin-listen", "--dashboard-listen"] {
        command.args([flag, &format!("127.0.0.1:{}", free_port())]);
    }
    command.env("TMPDIR", folder.path()).env("TERM", "xterm");
    command.stdin(side()).stdout(side()).stderr(side());
    let mut rig = Process::spawn(&mut command);
    drop(command);

    let shown = || Terminal::showing(&output.lock().expect("nobody panics with it"));
    let text =
        || String::from_utf8_lossy(&output.lock().expect("nobody panics with it")).into_owned();
    eventually(START_PATIENCE, "the rig is up", || {
        if text().contains(UP) {
            Ok(())
        } else {
            Err(text())
        }
    });
    drop(one_at_a_time);
    eventually(START_PATIENCE, "the table has load and is redrawn", || {
        let rows = shown();
        let is_there = |start: &str| rows.iter().any(|row| row.starts_with(start));
        let is_whole = is_there("target/s") && is_there("vegeta-attack") && is_there("aggregator");
        let redraws = text().matches("\x1b[J").count();
        if is_whole && redraws > 3 {
            Ok(())
        } else {
            Err(rows)
        }
    });
    rig.signal(Signal::SIGINT);
    assert!(rig.wait_exit(PATIENCE).success());
    assert_eq!(tcgetattr(&pty.slave).expect("it is a terminal"), modes);
    drop(pty.slave);
    collector.join().expect("it only reads");

    let rows = shown();
    let count = |start: &str| rows.iter().filter(|row| row.starts_with(start)).count();
    assert_eq!(count("process "), 1, "{rows:#?}");
    assert_eq!(count("target/s"), 1, "{rows:#?}");
    assert_eq!(
        rows.last().map(String::as_str),
        Some("Stopping."),
        "{rows:#?}"
    );
    let table = rows.iter().skip_while(|row| !row.starts_with("target/s"));
    let widest = table.map(|row| row.chars().count()).max();
    assert!(widest <= Some(60), "{rows:#?}");
}
