//! How a rig ends: by a signal, by a child's death, by its own.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Rig, quiet};
use crate::support::{Api, PATIENCE, eventually};

/// A rig with little load.
#[track_caller]
fn loaded() -> Rig {
    Rig::start(Api::subcommand("local").args(["--rate", "50"]))
}

/// The processes whose command line, environment or working folder names one of these.
fn named(words: &[String]) -> Vec<(Pid, String)> {
    let entries = fs::read_dir("/proc").expect("this is Linux");
    let found = entries.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let text = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let line = text("cmdline");
        let all = format!("{line}\n{}\n{}", text("environ"), folder.display());
        let is_named = words.iter().any(|word| all.contains(word));
        is_named.then(|| (Pid::from_raw(pid), line))
    });
    found.collect()
}

#[track_caller]
fn assert_none_left(words: &[String]) {
    eventually(PATIENCE, "no process of the rig is left", || {
        let left = named(words);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn signals_stop_everything_in_time() {
    for (signal, mut rig) in [(Signal::SIGTERM, quiet()), (Signal::SIGINT, loaded())] {
        rig.api.wait_ready(PATIENCE);
        let children = rig.children();
        let started = Instant::now();
        rig.api.process().signal(signal);
        let status = rig.api.wait_exit(PATIENCE);
        let took = started.elapsed();
        assert!(status.success(), "{status}: {:?}", rig.api.log());
        assert!(took < Duration::from_secs(2), "{took:?}");
        rig.assert_all_gone(&children, Duration::ZERO);
    }
}

#[test]
fn child_that_dies_ends_the_rig_by_name() {
    let names = ["master", "replica", "api", "updater", "aggregator"];
    let quiet = names.map(|name| (name, quiet as fn() -> Rig));
    for (name, start) in quiet
        .into_iter()
        .chain([("vegetaserver", loaded as fn() -> Rig)])
    {
        let mut rig = start();
        let children = rig.children();
        let folder = [rig.folder.path().display().to_string()];
        kill(rig.child(name), Signal::SIGKILL).expect("it runs");
        let status = rig.api.wait_exit(PATIENCE);
        assert_eq!(status.code(), Some(1));
        rig.api.wait_log(
            &format!("{name} ended by itself (killed by SIGKILL)"),
            PATIENCE,
        );
        // Its last words, or that there are none, as lines of their own.
        let told = [
            format!("The last lines of {name}:"),
            format!("{name} has printed nothing"),
        ];
        eventually(PATIENCE, "its last words are told", || {
            rig.api.log().iter().any(|line| told.contains(line))
        });
        rig.assert_all_gone(&children, Duration::ZERO);
        // vegeta's processes among them: they may be a moment behind.
        assert_none_left(&folder);
    }
}

/// vegeta's processes are children of a child: they must not outlive it either.
#[test]
fn killed_parent_leaves_nothing_behind() {
    let mut rig = loaded();
    let children = rig.children();
    let words = [
        rig.folder.path().display().to_string(),
        rig.api.addr().to_string(),
        rig.dashboard().to_string(),
    ];
    let own = rig.api.process().pid();
    eventually(PATIENCE, "vegeta runs", || {
        let running = named(&words);
        running
            .iter()
            .any(|(_, line)| line.contains("vegeta") && line.contains(" attack "))
    });
    let mut running: Vec<Pid> = named(&words).into_iter().map(|(pid, _)| pid).collect();
    running.retain(|pid| *pid != own);
    assert!(
        children.iter().all(|child| running.contains(child)),
        "{running:?}"
    );

    rig.api.process().kill();
    assert_none_left(&words);
    rig.assert_all_gone(&children, PATIENCE);
}
