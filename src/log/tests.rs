//! The whole way from a macro to a line.

use std::io::{Read as _, pipe};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use nix::fcntl::{FcntlArg, fcntl};

use super::*;

/// How long to wait on a busy machine for what should take a second.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `log` leads to, with those of the end.
fn lines(style: Style, level: LevelFilter, log: impl FnOnce()) -> Vec<String> {
    let buffer = Buffer::default();
    let shared = Shared::new(style, Box::leak(Box::default()));
    shared.start_writer(buffer.clone()).unwrap();
    let lines = Lines(shared.clone()).with_filter(level);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
    drop(Log { shared });
    let text = buffer.text();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(String::from).collect()
}

#[test]
fn levels_below_the_one_asked_for_are_left_out() {
    let log = || {
        tracing::error!("an error");
        tracing::warn!("a warning");
        tracing::info!("news");
        tracing::debug!("a detail");
    };
    for (level, expected) in [
        (LevelFilter::ERROR, 1),
        (LevelFilter::WARN, 2),
        (LevelFilter::INFO, 3),
        (LevelFilter::DEBUG, 4),
    ] {
        assert_eq!(lines(Style::Plain, level, log).len(), expected, "{level}");
    }
}

#[test]
fn json_has_the_fields_in_their_types() {
    let lines = lines(Style::Json, LevelFilter::INFO, || {
        tracing::warn!(role = "read", address = %"h:1", wait_ms = 37_u64, up = false, "a\n{}", "b");
    });
    let [line] = lines.try_into().expect("one event is one line");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    for (name, expected) in [
        ("level", "WARN".into()),
        ("message", "a\nb".into()),
        ("role", "read".into()),
        ("address", "h:1".into()),
        ("wait_ms", serde_json::Value::from(37)),
        ("up", false.into()),
    ] {
        assert_eq!(value[name], expected, "{line}");
    }
}

#[test]
fn many_threads_leave_the_first_and_one_sum() {
    let lines = lines(Style::Plain, LevelFilter::INFO, || {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    tracing::dispatcher::with_default(&dispatch, || {
                        for wait in 0..25 {
                            tracing::warn!("refused; next attempt in {wait} ms");
                        }
                    });
                });
            }
        });
    });
    let expected = repeats::AT_ONCE as usize + 1;
    assert_eq!(lines.len(), expected, "{lines:?}");
    let last = lines.last().unwrap();
    assert!(last.contains("(repeated 95 times in the last "), "{last}");
}

/// Takes nothing until its gate is opened, by dropping the other end.
struct Stalled(Receiver<()>, Buffer);

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nobody_waits_for_a_stalled_reader() {
    let dropped: &AtomicU64 = Box::leak(Box::default());
    let shared = Shared::new(Style::Plain, dropped);
    let (gate, closed) = sync_channel(0);
    let buffer = Buffer::default();
    shared
        .start_writer(Stalled(closed, buffer.clone()))
        .unwrap();
    let log = Log { shared };
    let line = "x".repeat(1023);
    let mut said = 0;
    while dropped.load(Relaxed) < 3 {
        log.lines(&line);
        said += 1;
    }
    // One line is with the writer, if it has come so far.
    let room = (ROOM + RESERVE) / 1024;
    assert!((room + 3..=room + 4).contains(&said), "{said}");
    log.settle();
    assert_eq!(buffer.text(), "");

    drop(gate);
    drop(log);
    let text = buffer.text();
    let (lines, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| *l == line);
    assert_eq!(lines.len(), said - 3);
    let [report] = others[..] else {
        panic!("{others:?}")
    };
    assert!(
        report.contains(" WARN 3 log lines dropped in the last "),
        "{report}"
    );
}

#[test]
fn a_stream_that_would_block_is_tried_again() {
    /// Takes three bytes of each second attempt.
    #[derive(Default)]
    struct Reluctant(Vec<u8>, bool);

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.write(&bytes[..bytes.len().min(3)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut output = Reluctant::default();
    write_line(&mut output, b"12345678\n").unwrap();
    assert_eq!(output.0, b"12345678\n");
}

/// Tells the process of [`panic_in_a_process_of_its_own`] from other runs of the tests.
const PANIC: &str = "REDIS_API_TEST_PANIC";

/// Ends the process where the release build, which does not unwind, would.
struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Not a test by itself: the others below start it, for a hook is set for the whole process.
#[test]
#[ignore = "started by other tests"]
fn panic_in_a_process_of_its_own() {
    if std::env::var_os(PANIC).is_none() {
        return;
    }
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    let (format, level) = (Format::Text, LevelFilter::INFO);
    let _log = start(Options { format, level }, &DROPPED).unwrap();
    let worker = thread::Builder::new().name("worker-7".to_owned());
    let panicking = || {
        let _abort = Abort;
        panic!("the last\nwords");
    };
    let _ = worker.spawn(panicking).unwrap().join();
}

fn panicking(stderr: impl Into<Stdio>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        // The hook of the standard library would leave its words to the test harness.
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("log::tests::panic_in_a_process_of_its_own")
        .env(PANIC, "1")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

fn ended(mut child: Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            panic!("still running after {PATIENCE:?}");
        }
        thread::park_timeout(RETRY);
    }
}

/// SIGABRT.
const ABORTED: Option<i32> = Some(6);

#[test]
fn a_panic_is_a_line_of_the_log() {
    let (mut reader, writer) = pipe().unwrap();
    assert_eq!(ended(panicking(writer)).signal(), ABORTED);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let [line] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    for part in [
        " ERROR worker-7 panicked at src/log/tests.rs:",
        ": the last\\nwords (this is a bug",
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_panic_ends_the_process_though_nobody_reads() {
    let (_reader, mut writer) = pipe().unwrap();
    let size = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap();
    writer
        .write_all(&vec![b'.'; size.try_into().unwrap()])
        .unwrap();
    assert_eq!(ended(panicking(writer)).signal(), ABORTED);
}
