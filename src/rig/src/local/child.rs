//! The children that run: how each one is watched and stopped.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::launcher::{Launcher, Spec};
use super::output::{Sink, Tail, read};
use super::screen::Screen;
use super::{Error, STOP_TIMEOUT};

/// Between two looks at a child that isn't ready.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// One look; a frozen child accepts connections and says nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a dead child's last words may take through its pipe.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(200);

/// Of [`STOP_TIMEOUT`]: the part for SIGTERM. What still runs then gets SIGKILL, which needs
/// milliseconds.
const TERM_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A row, and how its child ended.
type Exit = (usize, io::Result<ExitStatus>);

/// The children that were started.
#[derive(Debug)]
pub(super) struct Children {
    launcher: Launcher,
    screen: Screen,
    rows: Vec<Row>,
    exits: JoinSet<Exit>,
    /// Ends that nobody asked for, and that were not told yet.
    failures: VecDeque<Exit>,
}

#[derive(Debug)]
struct Row {
    name: String,
    cure: &'static str,
    pid: u32,
    is_running: bool,
    tail: Tail,
    readers: Vec<JoinHandle<()>>,
}

impl Children {
    pub fn new(launcher: Launcher, screen: Screen) -> Children {
        Children {
            launcher,
            screen,
            rows: Vec::new(),
            exits: JoinSet::new(),
            failures: VecDeque::new(),
        }
    }

    /// Name and process id of each one that runs, in the order of their start.
    pub fn running(&self) -> impl Iterator<Item = (&str, u32)> {
        let rows = self.rows.iter().filter(|row| row.is_running);
        rows.map(|row| (row.name.as_str(), row.pid))
    }

    /// Starts a child and waits until it is ready. Must run on the main thread; see
    /// [`crate::guarded`].
    ///
    /// # Errors
    /// It can't be started, isn't ready in time, or another one (or itself) has ended meanwhile.
    ///
    /// # Cancel safety
    /// The child may have been started; [`Children::stop`] stops it too.
    pub async fn start(&mut self, spec: Spec) -> Result<u32, Error> {
        let child = self
            .launcher
            .command(&spec)
            .spawn()
            .map_err(Error::io(format!(
                "start {} ({})",
                spec.name,
                spec.program.display()
            )))?;
        let pid = child.id().unwrap_or_default();
        self.launcher.report('+', pid);
        self.watch(&spec, child, pid);
        let row = self.rows.len() - 1;

        let mut lacks = "it did not answer yet".to_owned();
        let ready = async {
            loop {
                match timeout(PROBE_TIMEOUT, spec.probe.look()).await {
                    Ok(Ok(())) => return,
                    Ok(Err(reason)) => lacks = reason,
                    Err(_) => lacks = "it does not answer".into(),
                }
                sleep(PROBE_INTERVAL).await;
            }
        };
        let outcome = tokio::select! {
            outcome = timeout(spec.timeout, ready) => Ok(outcome),
            error = died(&mut self.exits, &mut self.failures) => Err(error),
        };
        match outcome {
            Ok(Ok(())) => Ok(pid),
            Ok(Err(_)) => Err(Error::Slow {
                name: spec.name,
                timeout: spec.timeout,
                lacks,
                output: self.rows[row].tail.text(),
                cure: spec.cure,
            }),
            Err(None) => Err(self.failure().await),
            Err(Some(error)) => Err(error),
        }
    }

    /// Waits for the first child that ends by itself.
    ///
    /// # Cancel safety
    /// Safe: an end that was seen is told by the next call.
    pub async fn failure(&mut self) -> Error {
        loop {
            let Some(&(index, _)) = self.failures.front() else {
                if let Some(error) = died(&mut self.exits, &mut self.failures).await {
                    return error;
                }
                continue;
            };
            self.ended(index);
            let row = &mut self.rows[index];
            while let Some(reader) = row.readers.last_mut() {
                let _ = timeout(LAST_WORDS_TIMEOUT, reader).await;
                row.readers.pop();
            }
            if let Some((_, status)) = self.failures.pop_front() {
                return Error::Died {
                    name: row.name.clone(),
                    status: status.map_or_else(|error| error.to_string(), describe),
                    output: row.tail.text(),
                    cure: row.cure,
                };
            }
        }
    }

    /// Ends the children of that name, which is no failure: SIGTERM, and SIGKILL to those that
    /// still run after a second and a half.
    pub async fn end(&mut self, name: &str) {
        let is_named = |row: &&Row| row.name == name;
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            for row in self.rows.iter().filter(is_named) {
                row.signal(signal);
            }
            let deadline = Instant::now() + TERM_TIMEOUT;
            let is_over = |rows: &[Row]| !rows.iter().filter(is_named).any(|row| row.is_running);
            while !is_over(&self.rows) {
                let Ok(exit) = timeout_at(deadline, self.exits.join_next()).await else {
                    break;
                };
                match exit {
                    Some(Ok((row, _))) if self.rows[row].name == name => self.ended(row),
                    Some(Ok(exit)) => self.failures.push_back(exit),
                    Some(Err(_)) => {}
                    None => return,
                }
            }
        }
    }

    /// Ends all children, the last one first, within [`STOP_TIMEOUT`].
    pub async fn stop(&mut self) {
        let started = Instant::now();
        for row in (0..self.rows.len()).rev() {
            self.rows[row].signal(Signal::SIGTERM);
            self.ended_by(started + TERM_TIMEOUT, |rows| !rows[row].is_running)
                .await;
        }
        for row in &self.rows {
            row.signal(Signal::SIGKILL);
        }
        self.ended_by(started + STOP_TIMEOUT, |rows| {
            rows.iter().all(|row| !row.is_running)
        })
        .await;
    }

    /// Takes note of ends until `is_done` or the deadline.
    async fn ended_by(&mut self, deadline: Instant, is_done: impl Fn(&[Row]) -> bool) {
        while !is_done(&self.rows) {
            match timeout_at(deadline, self.exits.join_next()).await {
                Ok(Some(Ok((row, _)))) => self.ended(row),
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn watch(&mut self, spec: &Spec, mut child: Child, pid: u32) {
        let tail = Tail::default();
        let sink = Sink::new(self.screen.clone(), spec.lines, spec.name.clone());
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(read(stdout, tail.clone(), sink.clone())));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(read(stderr, tail.clone(), sink)));
        }
        let index = self.rows.len();
        self.exits.spawn(async move { (index, child.wait().await) });
        self.rows.push(Row {
            name: spec.name.clone(),
            cure: spec.cure,
            pid,
            is_running: true,
            tail,
            readers,
        });
    }

    fn ended(&mut self, row: usize) {
        self.rows[row].is_running = false;
        self.launcher.report('-', self.rows[row].pid);
    }
}

/// Waits for the next end, and takes note of it; an error if it can't be waited for.
///
/// # Cancel safety
/// Safe.
async fn died(exits: &mut JoinSet<Exit>, failures: &mut VecDeque<Exit>) -> Option<Error> {
    match exits.join_next().await {
        Some(Ok(exit)) => {
            failures.push_back(exit);
            None
        }
        Some(Err(error)) => Some(Error::io("wait for a child")(error.into())),
        None => Some(Error::io("wait for a child")(io::Error::other(
            "no child is running",
        ))),
    }
}

impl Row {
    /// To the child, unless it is reaped: its id may be another process' by then. SIGKILL, which it
    /// can't hand on, goes to its own children too: each child leads a process group.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap_or_default());
        if !self.is_running || pid.as_raw() <= 1 {
            return;
        }
        // It fails only when the child is ending, which is what is wanted.
        let _ = kill(pid, signal);
        if signal == Signal::SIGKILL {
            let _ = killpg(pid, signal);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests;
