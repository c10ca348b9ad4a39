//! The whole way from a macro to a line.

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

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
    let shared = Shared::new(style, Box::new(buffer.clone()));
    let lines = Lines(shared.clone()).with_filter(level);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), log);
    drop(Log { shared });
    let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
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
