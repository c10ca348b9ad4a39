//! The two processes of vegeta: killed, frozen, and at the end of the bot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{bot, helloworld, nobody, number, wait_window, window};
use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, eventually};

/// For vegeta to be back after a kill.
const BACK: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Child {
    pid: i32,
    /// `attack` or `encode`.
    role: &'static str,
}

/// Whoever has ended a moment ago may be one for as long as it takes to be reaped.
#[track_caller]
fn reaps(bot: &mut Api) {
    eventually(PATIENCE, "no zombie is left", || !children(bot).1);
}

/// The children of the bot, and whether one of them is a zombie.
fn children(bot: &mut Api) -> (Vec<Child>, bool) {
    let parent = bot.process().pid().to_string();
    let mut children = Vec::new();
    let mut has_zombie = false;
    for entry in fs::read_dir("/proc").expect("Linux has it").flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // `PID (NAME) STATE PARENT …`; a process may end while we look.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, ppid) = (fields.next(), fields.next());
        if ppid != Some(parent.as_str()) {
            continue;
        }
        has_zombie |= state == Some("Z");
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        // Before it becomes vegeta, a child is our own binary.
        let is_vegeta = words.first().is_some_and(|word| word.ends_with(b"vegeta"));
        for role in ["attack", "encode"] {
            if is_vegeta && words.contains(&role.as_bytes()) {
                children.push(Child { pid, role });
            }
        }
    }
    children.sort_by_key(|child| child.role);
    (children, has_zombie)
}

/// The two, once both run.
#[track_caller]
fn pair(bot: &mut Api, timeout: Duration) -> [Child; 2] {
    eventually(timeout, "both processes of vegeta run", || {
        let (children, has_zombie) = children(bot);
        match <[Child; 2]>::try_from(children) {
            Ok(pair) if !has_zombie && pair[0].role != pair[1].role => Ok(pair),
            Ok(pair) => Err(format!("{pair:?}, zombie: {has_zombie}")),
            Err(children) => Err(format!("{children:?}, zombie: {has_zombie}")),
        }
    })
}

fn send(children: &[Child], signal: Signal) {
    for child in children {
        kill(Pid::from_raw(child.pid), signal).expect("it runs");
    }
}

#[track_caller]
fn wait_gone(children: &[Child], timeout: Duration) {
    eventually(timeout, "no vegeta is left", || {
        let is_gone = |child: &Child| {
            // Its id may be taken by another process, or it may be a zombie of a slow `init`.
            let path = format!("/proc/{}/cmdline", child.pid);
            let line = fs::read(path).unwrap_or_default();
            !line.windows(6).any(|word| word == b"vegeta")
        };
        children.iter().all(is_gone)
    });
}

#[test]
fn a_killed_vegeta_is_back_at_once() {
    let target = helloworld();
    let mut bot = bot(target.addr())
        .args(["--window=1s", "--timeout=100ms"])
        .start();
    let mut restarts = 0.0;
    for victims in [&["attack"][..], &["encode"], &["attack", "encode"]] {
        wait_window(&mut bot, "answers", |window| {
            number(window, "requests") > 0.0
        });
        let before = pair(&mut bot, PATIENCE);
        let victims = before.iter().filter(|child| victims.contains(&child.role));
        let victims: Vec<Child> = victims.cloned().collect();
        let killed = Instant::now();
        send(&victims, Signal::SIGKILL);
        restarts += 1.0;
        let window = wait_window(&mut bot, "it is counted", |window| {
            number(window, "restarts") >= restarts
        });
        assert_eq!(
            number(&window, "restarts"),
            restarts,
            "{victims:?}: {window}"
        );
        let after = pair(&mut bot, BACK);
        assert!(
            before.iter().all(|child| !after.contains(child)),
            "{after:?}"
        );
        // A result of the new one.
        let since = killed.elapsed().as_secs_f64();
        wait_window(&mut bot, "results", |window| {
            number(window, "silent_seconds") < since.min(0.1)
        });
        assert!(
            killed.elapsed() < BACK,
            "{victims:?}: {:?}",
            killed.elapsed()
        );
        bot.wait_log("starting vegeta again", PATIENCE);
    }
}

#[test]
fn a_frozen_vegeta_shows() {
    let target = helloworld();
    let mut bot = bot(target.addr())
        .args(["--window=1s", "--timeout=500ms"])
        .start();
    wait_window(&mut bot, "answers", |window| {
        number(window, "requests") > 0.0
    });
    assert!(number(&window(&bot), "silent_seconds") < 1.0);
    let [attack, _] = pair(&mut bot, PATIENCE);
    send(std::slice::from_ref(&attack), Signal::SIGSTOP);
    let window = wait_window(&mut bot, "silence", |window| {
        number(window, "silent_seconds") > 2.0 && number(window, "requests") == 0.0
    });
    assert_eq!(number(&window, "achieved_rate"), 0.0);
    assert_eq!(number(&window, "target_rate"), 1000.0);
    assert_eq!(number(&window, "window_seconds"), 1.0);
    send(&[attack], Signal::SIGCONT);
    wait_window(&mut bot, "answers again", |window| {
        number(window, "silent_seconds") < 1.0 && number(window, "requests") > 0.0
    });
}

/// What is missing and what is made up for it are both in the window: the mean alone looks fine.
#[test]
fn a_vegeta_that_makes_up_for_a_stall_shows() {
    let target = helloworld();
    let mut bot = bot(target.addr())
        .args(["--window=10s", "--timeout=500ms"])
        .start();
    wait_window(&mut bot, "a whole window", |window| {
        number(window, "window_seconds") == 10.0 && number(window, "achieved_rate") > 0.0
    });
    let [attack, _] = pair(&mut bot, PATIENCE);
    send(std::slice::from_ref(&attack), Signal::SIGSTOP);
    wait_window(&mut bot, "silence", |window| {
        number(window, "silent_seconds") > 2.0
    });
    send(&[attack], Signal::SIGCONT);
    wait_window(&mut bot, "all was sent, and much of it late", |window| {
        number(window, "achieved_rate") >= 980.0 && number(window, "behind_rate") > 100.0
    });
    wait_window(&mut bot, "it is over", |window| {
        number(window, "behind_rate") < 50.0
    });
}

#[test]
fn no_vegeta_outlives_the_bot() {
    let target = helloworld();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let mut bot = bot(target.addr()).start();
        let pair = pair(&mut bot, PATIENCE);
        bot.process().signal(signal);
        let status = bot.wait_exit(BACK);
        let expected = (signal != Signal::SIGKILL).then_some(0);
        assert_eq!(status.code(), expected, "{signal}");
        // Nor as a zombie: not every process 1 of a container reaps what it inherits.
        let is_reaped = |child: &Child| !Path::new(&format!("/proc/{}", child.pid)).exists();
        assert!(
            signal == Signal::SIGKILL || pair.iter().all(is_reaped),
            "{signal}: {pair:?}"
        );
        wait_gone(&pair, BACK);
    }
}

#[test]
fn a_frozen_vegeta_ends_with_the_bot() {
    let target = helloworld();
    let mut bot = bot(target.addr()).start();
    let pair = pair(&mut bot, PATIENCE);
    send(&pair, Signal::SIGSTOP);
    bot.term();
    assert_eq!(bot.wait_exit(BACK).code(), Some(0));
    wait_gone(&pair, BACK);
}

/// Whichever is seen first, the end of the stream or that of its writer.
#[test]
fn a_stream_that_ends_before_its_writer_is_no_harm() {
    let builder = bot(nobody());
    let vegeta = fake_vegeta(&builder, "exec sleep 60", "exec >&- ; exec sleep 60");
    let mut bot = builder.arg(vegeta).start();
    wait_window(&mut bot, "it is tried again and again", |window| {
        number(window, "restarts") >= 3.0
    });
    bot.wait_log("the stream of results ended", PATIENCE);
    reaps(&mut bot);
}

/// A stand-in for vegeta: answers `-version`, passes results on, and attacks by this script.
fn fake_vegeta(builder: &Builder, attack: &str, encode: &str) -> String {
    let script = format!(
        "#!/bin/sh\ncase $1 in\n-version) echo Version: 12 ;;\nencode) {encode} ;;\n*) {attack} ;;\nesac\n"
    );
    let vegeta = builder.file("fake-vegeta", &script);
    fs::set_permissions(&vegeta, fs::Permissions::from_mode(0o755)).expect("it is ours");
    format!("--vegeta={}", vegeta.display())
}

#[test]
fn vegeta_gets_a_listed_environment() {
    let builder = bot(nobody());
    let vegeta = fake_vegeta(&builder, "env >&2; exit 3", "exec cat");
    let mut builder = builder.arg(vegeta);
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "NO_PROXY",
        "GODEBUG",
        "GOGC",
        "GOMAXPROCS",
        "GOMEMLIMIT",
        "RES_OPTIONS",
        "BODY",
    ] {
        builder = builder.env(name, "leaked");
    }
    let mut bot = builder.env("SSL_CERT_FILE", "/passed/on").start();
    let line = bot.wait_log("SSL_CERT_FILE=/passed/on", PATIENCE);
    assert!(line.contains("PATH="), "{line}");
    assert!(!line.contains("leaked"), "{line}");
    bot.term();
}

#[test]
fn last_words_of_a_vegeta_that_does_not_run_are_logged() {
    let builder = bot(nobody());
    let vegeta = fake_vegeta(&builder, "echo out of luck >&2; exit 3", "exec cat");
    let mut bot = builder.arg(vegeta).start();
    wait_window(&mut bot, "it is tried again and again", |window| {
        number(window, "restarts") >= 3.0
    });
    let line = bot.wait_log("out of luck", PATIENCE);
    assert!(
        line.contains("vegeta attack") && line.contains("exit status: 3"),
        "{line}"
    );
    reaps(&mut bot);
}
