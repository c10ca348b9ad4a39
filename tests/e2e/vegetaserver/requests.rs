//! What arrives at the target.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use super::bot;
use crate::support::PATIENCE;

/// A server that hands its first request on, head lines and body, and answers none.
fn first_request() -> (SocketAddr, Receiver<(Vec<String>, String)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("somebody connects");
        let mut input = BufReader::new(&stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            input.read_line(&mut line).expect("a head is text");
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let length = head
            .iter()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse().expect("it is a number"));
        let mut body = vec![0; length];
        input.read_exact(&mut body).expect("the body comes");
        let body = String::from_utf8(body).expect("the body is text");
        sender.send((head, body)).expect("the test waits");
        let _ = (&stream).write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    });
    (addr, receiver)
}

#[test]
fn requests_are_as_asked_for() {
    let (target, requests) = first_request();
    let mut bot = bot(target)
        .args(["--attack-rate=1", "--method=PUT", "--name=bot-7"])
        .args(["--body", "{\"value\":\n12.5} \"é\""])
        .args(["--header", "Accept: text/html, */*;q=0.8"])
        .args(["--header=authorization: Bearer hunter2", "--header=X-A: 1"])
        .args(["--header=x-a: \"2\", 3"])
        .args(["--header=host: example.com"])
        .start();
    let (head, body) = requests.recv_timeout(PATIENCE).expect("a request comes");
    assert_eq!(head[0], "PUT / HTTP/1.1");
    for line in [
        "Host: example.com",
        "Accept: text/html, */*;q=0.8",
        "Authorization: Bearer hunter2",
        "X-A: 1",
        "X-A: \"2\", 3",
        "X-Vegeta-Attack: bot-7",
    ] {
        assert!(head.iter().any(|found| found == line), "{line}: {head:#?}");
    }
    assert_eq!(body, "{\"value\":\n12.5} \"é\"");
    bot.check_running();
    assert!(!bot.log().join("\n").contains("hunter2"), "{:?}", bot.log());
    for child in children(&mut bot) {
        let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains("hunter2"), "{line}");
    }
}

fn children(bot: &mut crate::support::Api) -> Vec<String> {
    let pid = bot.process().pid();
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).expect("it runs");
    let children: Vec<String> = children.split_whitespace().map(String::from).collect();
    assert!(!children.is_empty());
    children
}

#[test]
fn secrets_come_by_the_environment_and_bodies_by_file() {
    let (target, requests) = first_request();
    let builder = bot(target).arg("--attack-rate=1");
    // More than a line of vegeta's reader, or a pipe, holds.
    let long = "0123456789abcdef".repeat(20_000);
    let file = builder.file("body", &long);
    let mut bot = builder
        .arg("--method=POST")
        .arg(format!("--body-file={}", file.display()))
        .env("REDIS_API_HEADER", "Authorization: Bearer a,b\nX-B: c, d\n")
        .start();
    let (head, body) = requests.recv_timeout(PATIENCE).expect("a request comes");
    assert_eq!(head[0], "POST / HTTP/1.1");
    for line in ["Authorization: Bearer a,b", "X-B: c, d"] {
        assert!(head.iter().any(|found| found == line), "{line}: {head:#?}");
    }
    assert!(body == long, "{} bytes came of {}", body.len(), long.len());
    bot.check_running();
}

#[test]
fn a_body_file_that_is_not_there_is_an_error() {
    let mut bot = bot(super::nobody())
        .arg("--body-file=/nowhere/body")
        .start();
    assert_eq!(bot.wait_exit(PATIENCE).code(), Some(1));
    bot.wait_log("/nowhere/body", PATIENCE);
}

/// As in a container whose root is read-only.
#[test]
fn it_needs_no_folder_for_temporary_files() {
    let (target, requests) = first_request();
    let mut bot = bot(target).env("TMPDIR", "/nowhere").start();
    requests.recv_timeout(PATIENCE).expect("a request comes");
    bot.check_running();
}
