use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::super::launcher::Lines;
use super::super::probe::Probe;
use super::*;

fn shell(script: &str, probe: Probe) -> Spec {
    Spec {
        name: "shell".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        folder: "/".into(),
        probe,
        timeout: Duration::from_millis(300),
        lines: Lines::Hidden,
        cure: "mend it",
    }
}

/// A listener, for children that are "ready" at once.
fn open() -> (TcpListener, Probe) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    (listener, Probe::Accepts(addr))
}

fn children() -> Children {
    Children::new(Launcher::unguarded(), Screen::new())
}

/// The error of a child that does not become ready.
async fn refusal(children: &mut Children, script: &str) -> String {
    let started = children.start(shell(script, closed())).await;
    started.expect_err("it is not ready").to_string()
}

/// Port 1 is the historic tcpmux: nothing listens there.
fn closed() -> Probe {
    Probe::Accepts(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
}

#[tokio::test]
async fn child_that_ends_is_named_with_its_last_words() {
    let mut children = children();
    let text = refusal(&mut children, "echo first; echo last >&2; exit 3").await;
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
    let mut children = children();
    let text = refusal(&mut children, "echo words; exec sleep 60").await;
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
    let mut children = children();
    children
        .start(shell("exec sleep 60", probe))
        .await
        .expect("it is ready");
    let curt = Spec {
        cure: "",
        ..shell("exec sleep 60", probe)
    };
    let pid = children.start(curt).await.expect("it is ready");
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    kill(pid, Signal::SIGKILL).expect("it runs");
    let text = children.failure().await.to_string();
    let silent = "shell ended by itself (killed by SIGKILL)\nshell has printed nothing";
    assert_eq!(text, silent, "what it printed can't be what to look at");
    children.stop().await;
    assert!(children.rows.iter().all(|row| !row.is_running));
}

#[tokio::test]
async fn stubborn_child_is_killed_in_time() {
    let (_listener, probe) = open();
    let mut children = children();
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

#[tokio::test]
async fn ended_child_is_no_failure_and_another_ones_end_is_kept() {
    let (_listener, probe) = open();
    let mut children = children();
    let named = |name: &str| Spec {
        name: name.into(),
        ..shell("exec sleep 60", probe)
    };
    let other = children.start(named("other")).await.expect("it is ready");
    children.start(named("extra")).await.expect("it is ready");
    let other = Pid::from_raw(other.try_into().expect("a process id"));
    kill(other, Signal::SIGKILL).expect("it runs");
    children.end("extra").await;
    let left: Vec<&str> = children.running().map(|(name, _)| name).collect();
    assert!(!left.contains(&"extra"), "{left:?}");
    let text = children.failure().await.to_string();
    assert!(text.starts_with("other ended by itself"), "{text}");
    children.stop().await;
}
