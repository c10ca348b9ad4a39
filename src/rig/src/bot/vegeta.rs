//! `vegeta attack | vegeta encode` as two children of ours.
//!
//! Invariants: the two live and die together; both are reaped before the next pair starts, and
//! before we end by ourselves; neither outlives us, however we end (see [`guarded`]). The target
//! goes in by an open file without a name, so that nothing is left behind on disk and no secret
//! stands in a command line. Nothing but the target says where load goes: the environment is clean.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::reader;
use super::recorder::Recorder;
use crate::{Error, environment, guarded};

/// For `vegeta -version`: milliseconds on an idle machine.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// When one of the pair has ended: for what the other still has to say, results or last words.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(200);

/// For a child that was killed to be gone, when we end: less than a millisecond on an idle machine.
const REAP_TIMEOUT: Duration = Duration::from_millis(200);

/// The last output on standard error that is kept, in bytes.
const TAIL_MAX: usize = 2 * 1024;

/// What is to be started.
#[derive(Debug)]
pub(super) struct Launch {
    /// A path, or a name to look for on PATH.
    pub vegeta: PathBuf,
    /// Of the attack.
    pub arguments: Vec<String>,
    /// One line of JSON.
    pub target: String,
}

/// The two children.
#[derive(Debug)]
pub(super) struct Pair {
    attack: Half,
    encode: Half,
}

#[derive(Debug)]
struct Half {
    name: &'static str,
    child: Child,
    /// Collects the end of its standard error; `None`: taken.
    last_words: Option<JoinHandle<String>>,
}

/// Looks whether there is a vegeta; the first line of what it says of itself.
///
/// # Errors
/// It is missing, or something else; the text says how to install it.
pub(super) async fn version(vegeta: &Path) -> Result<String, Error> {
    let mut command = Command::new(vegeta);
    environment::clean(command.as_std_mut());
    command.arg("-version").stdin(Stdio::null());
    let output = command.kill_on_drop(true).output();
    let missing = |why: &dyn std::fmt::Display| {
        Error::Missing(format!(
            "can't run {}: {why}; install vegeta with `make setup`, `go install \
             github.com/tsenart/vegeta/v12@v12.13.0` (the folder of `go env GOPATH` and /bin must \
             be on PATH) or `brew install vegeta`, or name it with --vegeta",
            vegeta.display()
        ))
    };
    let output = timeout(VERSION_TIMEOUT, output)
        .await
        .map_err(|_| missing(&format_args!("no version within {VERSION_TIMEOUT:?}")))?
        .map_err(|error| missing(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("Version:") {
        return Err(missing(
            &"it does not seem to be vegeta: it prints no version",
        ));
    }
    // One that was built from source knows none, but names its Go.
    let lines = text.lines().map(|line| line.split_whitespace().collect());
    Ok(lines.collect::<Vec<Vec<_>>>().concat().join(" "))
}

impl Pair {
    /// Starts both. Must be called on the main thread; see [`guarded::command`].
    pub fn start(launch: &Launch) -> io::Result<Pair> {
        let (from_attack, to_encode) = io::pipe()?;
        let target = nameless_file(launch.target.as_bytes())?;
        let attack = Half::start("vegeta attack", &launch.vegeta, |command| {
            command
                .args(&launch.arguments)
                .stdin(target)
                .stdout(to_encode);
        })?;
        let encode = Half::start("vegeta encode", &launch.vegeta, |command| {
            command
                .arg("encode")
                .stdin(from_attack)
                .stdout(Stdio::piped());
        })?;
        Ok(Pair { attack, encode })
    }

    /// Reads the results until one of the two ends, then ends and reaps the other, and says why.
    ///
    /// # Cancel safety
    /// Both are killed and reaped when this is dropped, which blocks until then.
    pub async fn run(mut self, recorder: &Mutex<Recorder>, now_ns: impl Fn() -> u64) -> String {
        let Some(results) = self.encode.child.stdout.take() else {
            return "vegeta encode has no output".to_owned();
        };
        let mut reading = std::pin::pin!(reader::read(results, recorder, now_ns));
        let mut is_read = false;
        let first = tokio::select! {
            biased;
            why = self.first_end() => why,
            read = &mut reading => {
                is_read = true;
                let why = match read {
                    Ok(()) => "the stream of results ended".to_owned(),
                    Err(error) => format!("the results can't be read: {error}"),
                };
                // It ends with its writer, whose status says more.
                let end = timeout(LAST_WORDS_TIMEOUT, self.first_end());
                end.await.unwrap_or(why)
            }
        };
        // What is in the pipes is still good. (A future that is done must not be polled again.)
        if !is_read {
            let _ = timeout(LAST_WORDS_TIMEOUT, reading).await;
        }
        let mut why = first;
        for half in [self.attack, self.encode] {
            let (name, words) = half.end().await;
            if !words.is_empty() {
                why += &format!("; {name} said: {words}");
            }
        }
        why
    }

    /// Waits for the first of the two that ends.
    async fn first_end(&mut self) -> String {
        tokio::select! {
            biased;
            status = self.attack.child.wait() => describe(self.attack.name, status),
            status = self.encode.child.wait() => describe(self.encode.name, status),
        }
    }
}

impl Half {
    fn start(
        name: &'static str,
        vegeta: &Path,
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> io::Result<Half> {
        let mut command = guarded::command(vegeta);
        prepare(&mut command);
        let mut command = Command::from(command);
        command.stderr(Stdio::piped()).kill_on_drop(true);
        // The terminal's Ctrl-C is for us.
        command.process_group(0);
        let mut child = command.spawn()?;
        let last_words = child.stderr.take().map(|pipe| tokio::spawn(tail(pipe)));
        Ok(Half {
            name,
            child,
            last_words,
        })
    }

    /// Kills it if it still runs, and reaps it.
    async fn end(mut self) -> (&'static str, String) {
        // It fails when the child is reaped already.
        let _ = self.child.kill().await;
        let words = match self.last_words.take() {
            Some(words) => timeout(LAST_WORDS_TIMEOUT, words).await,
            None => return (self.name, String::new()),
        };
        (
            self.name,
            words.unwrap_or(Ok(String::new())).unwrap_or_default(),
        )
    }
}

/// Kills it and reaps it, at the end of the process: later there is nobody to do so but process 1,
/// and that of a container may never wait for what it has inherited.
impl Drop for Half {
    #[expect(
        clippy::disallowed_methods,
        reason = "some milliseconds, when the process ends"
    )]
    fn drop(&mut self) {
        // It fails when the child is reaped already.
        let _ = self.child.start_kill();
        let killed = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && killed.elapsed() < REAP_TIMEOUT {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// An open file that has no name and begins with `content`.
fn nameless_file(content: &[u8]) -> io::Result<File> {
    // In memory: a container may have no file system that can be written to.
    let mut file = File::from(memfd_create(c"target", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn describe(name: &str, status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("{name} ended by itself ({status})"),
        Err(error) => format!("{name} can't be waited for: {error}"),
    }
}

/// The end of what comes, on one line.
async fn tail(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(n @ 1..) = pipe.read(&mut chunk).await {
        kept.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let surplus = kept.len().saturating_sub(TAIL_MAX);
        kept.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&kept);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn target_is_read_from_its_start() {
        let mut text = String::new();
        let mut file = nameless_file(b"a target\n").expect("a file can be made");
        file.read_to_string(&mut text).expect("it can be read");
        assert_eq!(text, "a target\n");
    }

    #[tokio::test]
    async fn last_words_are_bounded() {
        let long = [b"first\n".repeat(TAIL_MAX), b"second\n\n last\n".to_vec()].concat();
        let words = tail(long.as_slice()).await;
        assert!(words.len() <= 2 * TAIL_MAX, "{}", words.len());
        assert!(words.ends_with("first | second | last"), "{words}");
    }

    #[tokio::test]
    async fn what_is_no_vegeta_is_refused() {
        for program in ["/nowhere/vegeta", "vegeta-that-nobody-has", "/", "/bin/sh"] {
            let error = version(Path::new(program)).await.expect_err(program);
            let text = error.to_string();
            assert!(
                text.contains(program) && text.contains("go install"),
                "{text}"
            );
        }
    }
}
