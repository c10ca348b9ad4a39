//! The children as a table: what to start, in which order, and how each one is watched and stopped.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::probe::Probe;
use super::{Error, STOP_TIMEOUT, guard};
use crate::guarded;

/// The last output of a child that is kept for error messages, in bytes.
const MAX_TAIL: usize = 4 * 1024;

/// Lines of it that are shown.
const SHOWN_LINES: usize = 10;

/// Between two looks at a child that isn't ready.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// One look; a frozen child accepts connections and says nothing.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a dead child's last words may take through its pipe.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(200);

/// Of [`STOP_TIMEOUT`]: the part for SIGTERM. What still runs then gets SIGKILL, which needs
/// milliseconds.
const TERM_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Variables that a child gets from our environment. All others stay away: nearly every flag of
/// `serve` has one, and the rig must be the same everywhere.
pub(super) const KEPT_VARIABLES: [&str; 6] =
    ["PATH", "HOME", "TMPDIR", "LANG", "TERM", "RUST_BACKTRACE"];

/// A row of the table: one child.
#[derive(Debug)]
pub(super) struct Spec {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Its working folder.
    pub folder: PathBuf,
    pub probe: Probe,
    /// For `probe` to succeed.
    pub timeout: Duration,
    /// Whether its output goes to our standard error too.
    pub is_shown: bool,
    /// What to do when it fails.
    pub cure: &'static str,
}

/// How children are started so that none outlives us.
#[derive(Debug)]
pub(super) struct Launcher {
    /// Our own binary, for its hidden subcommands; `None` in tests, whose binary has none.
    pub program: Option<PathBuf>,
    /// Waits for our end; see [`guard`].
    janitor: Option<process::Child>,
}

impl Launcher {
    /// Starts the janitor of `folder`.
    pub fn start(program: PathBuf, folder: &Path) -> Result<Launcher, Error> {
        use std::os::unix::process::CommandExt;
        let marker = folder.join(guard::MARKER);
        File::create(&marker).map_err(Error::io(format!("write {}", marker.display())))?;
        let janitor = process::Command::new(&program)
            .arg(guard::JANITOR)
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the terminal's Ctrl-C, as the children.
            .process_group(0)
            .spawn()
            .map_err(Error::io("start the janitor"))?;
        Ok(Launcher {
            program: Some(program),
            janitor: Some(janitor),
        })
    }

    /// Children that are started as they are, and may outlive us.
    #[cfg(test)]
    pub fn unguarded() -> Launcher {
        Launcher {
            program: None,
            janitor: None,
        }
    }

    fn command(&self, spec: &Spec) -> Command {
        let mut command = match &self.program {
            Some(program) => {
                let mut command = Command::new(program);
                command
                    .arg(guarded::SUBCOMMAND)
                    .arg(process::id().to_string())
                    .arg("--");
                command.arg(&spec.program);
                command
            }
            None => Command::new(&spec.program),
        };
        command.args(&spec.args).current_dir(&spec.folder);
        command.env_clear();
        for name in KEPT_VARIABLES {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // The terminal's Ctrl-C is for us: we stop the children in order.
        command.process_group(0).kill_on_drop(true);
        command
    }

    /// Tells the janitor that a child runs (`+`) or has ended (`-`).
    fn report(&mut self, sign: char, pid: u32) {
        if let Some(stdin) = self
            .janitor
            .as_mut()
            .and_then(|janitor| janitor.stdin.as_mut())
        {
            // Without a janitor the rig still works; only `kill -9` leaves something behind.
            let _ = writeln!(stdin, "{sign}{pid}");
        }
    }
}

impl Drop for Launcher {
    /// Ends the janitor, whose work is done when the folder is gone already.
    fn drop(&mut self) {
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            guard::await_janitor(&mut janitor);
        }
    }
}

/// The children that were started.
#[derive(Debug)]
pub(super) struct Children {
    launcher: Launcher,
    rows: Vec<Row>,
    exits: JoinSet<(usize, io::Result<ExitStatus>)>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    cure: &'static str,
    pid: u32,
    is_running: bool,
    tail: Arc<Mutex<Tail>>,
    readers: Vec<JoinHandle<()>>,
}

impl Children {
    pub fn new(launcher: Launcher) -> Children {
        Children {
            launcher,
            rows: Vec::new(),
            exits: JoinSet::new(),
        }
    }

    /// Starts a child and waits until it is ready. Must run on the main thread; see
    /// [`guarded::command`].
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
            exit = self.exits.join_next() => Err(exit),
        };
        match outcome {
            Ok(Ok(())) => Ok(pid),
            Ok(Err(_)) => Err(Error::Slow {
                name: spec.name,
                timeout: spec.timeout,
                lacks,
                output: self.rows[row].output(),
                cure: spec.cure,
            }),
            Err(exit) => Err(self.died(exit).await),
        }
    }

    /// Waits for the first child that ends by itself.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn failure(&mut self) -> Error {
        let exit = self.exits.join_next().await;
        self.died(exit).await
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
        let tail = Arc::new(Mutex::new(Tail::default()));
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(read(stdout, Arc::clone(&tail), spec.is_shown)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(read(stderr, Arc::clone(&tail), spec.is_shown)));
        }
        let index = self.rows.len();
        self.exits.spawn(async move { (index, child.wait().await) });
        let (name, cure) = (spec.name, spec.cure);
        self.rows.push(Row {
            name,
            cure,
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

    async fn died(
        &mut self,
        exit: Option<Result<(usize, io::Result<ExitStatus>), tokio::task::JoinError>>,
    ) -> Error {
        let (index, status) = match exit {
            Some(Ok(exit)) => exit,
            Some(Err(error)) => return Error::io("wait for a child")(error.into()),
            None => return Error::io("wait for a child")(io::Error::other("there is none")),
        };
        self.ended(index);
        let row = &mut self.rows[index];
        for reader in std::mem::take(&mut row.readers) {
            let _ = timeout(LAST_WORDS_TIMEOUT, reader).await;
        }
        let status = status.map_or_else(|error| error.to_string(), describe);
        Error::Died {
            name: row.name,
            status,
            output: row.output(),
            cure: row.cure,
        }
    }
}

impl Row {
    /// To the child, unless it is reaped: its id may be another process' by then.
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).unwrap_or_default();
        if self.is_running && pid > 1 {
            // It fails only when the child is ending, which is what is wanted.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn output(&self) -> String {
        // A reader that panicked leaves whole bytes behind.
        self.tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text()
    }
}

/// The end of what a child has printed.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        let surplus = self.0.len().saturating_sub(MAX_TAIL);
        self.0.drain(..surplus);
    }

    /// The last lines, at most [`SHOWN_LINES`].
    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

/// Reads a pipe to its end, so that the child never waits for us.
async fn read(mut pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>, is_shown: bool) {
    let mut chunk = [0; 4 * 1024];
    while let Ok(n @ 1..) = pipe.read(&mut chunk).await {
        let bytes = &chunk[..n];
        tail.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
        if is_shown {
            // Our own standard error may be closed: the child's work goes on.
            let _ = io::stderr().write_all(bytes);
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
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use super::*;

    fn shell(script: &str, probe: Probe) -> Spec {
        Spec {
            name: "shell",
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: "/".into(),
            probe,
            timeout: Duration::from_millis(300),
            is_shown: false,
            cure: "mend it",
        }
    }

    /// A listener, for children that are "ready" at once.
    fn open() -> (TcpListener, Probe) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        (listener, Probe::Accepts(addr))
    }

    /// Port 1 is the historic tcpmux: nothing listens there.
    fn closed() -> Probe {
        Probe::Accepts(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    #[tokio::test]
    async fn child_that_ends_is_named_with_its_last_words() {
        let mut children = Children::new(Launcher::unguarded());
        let error = children
            .start(shell("echo first; echo last >&2; exit 3", closed()))
            .await;
        let text = error.expect_err("it ended").to_string();
        assert!(
            text.starts_with("shell ended by itself (exit status 3); mend it\n"),
            "{text}"
        );
        assert!(
            text.contains("\n  first") && text.contains("\n  last"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn child_that_is_not_ready_is_named() {
        let mut children = Children::new(Launcher::unguarded());
        let error = children
            .start(shell("echo words; exec sleep 60", closed()))
            .await;
        let text = error.expect_err("nothing listens").to_string();
        assert!(
            text.starts_with("shell was not ready within 300ms: no connection"),
            "{text}"
        );
        assert!(text.contains("\n  words"), "{text}");
        children.stop().await;
        assert!(!children.rows[0].is_running);
    }

    #[tokio::test]
    async fn first_failure_is_reported_and_the_rest_stops() {
        let (_listener, probe) = open();
        let mut children = Children::new(Launcher::unguarded());
        children
            .start(shell("exec sleep 60", probe))
            .await
            .expect("it is ready");
        let pid = children
            .start(shell("exec sleep 60", probe))
            .await
            .expect("it is ready");
        let pid = Pid::from_raw(pid.try_into().expect("a process id"));
        kill(pid, Signal::SIGKILL).expect("it runs");
        let text = children.failure().await.to_string();
        assert!(
            text.starts_with("shell ended by itself (killed by SIGKILL)"),
            "{text}"
        );
        children.stop().await;
        assert!(children.rows.iter().all(|row| !row.is_running));
    }

    #[tokio::test]
    async fn stubborn_child_is_killed_in_time() {
        let (_listener, probe) = open();
        let mut children = Children::new(Launcher::unguarded());
        // SIGSTOP: SIGTERM waits for ever. The first child is not reached before the deadline.
        children
            .start(shell("exec sleep 60", probe))
            .await
            .expect("it is ready");
        let pid = children
            .start(shell("kill -STOP $$", probe))
            .await
            .expect("it is ready");
        assert!(pid > 1);
        let started = Instant::now();
        children.stop().await;
        assert!(children.rows.iter().all(|row| !row.is_running));
        assert!(started.elapsed() < STOP_TIMEOUT, "{:?}", started.elapsed());
    }

    #[test]
    fn tail_keeps_the_end() {
        let mut tail = Tail::default();
        for n in 0..1_000 {
            tail.push(format!("line {n}\n\n").as_bytes());
        }
        assert!(tail.0.len() <= MAX_TAIL);
        let text = tail.text();
        assert_eq!(text.lines().count(), SHOWN_LINES);
        assert!(
            text.starts_with("line 990\n") && text.ends_with("line 999"),
            "{text}"
        );
    }
}
