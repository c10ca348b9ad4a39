//! The harness itself: without these, a failure elsewhere might be the rig's.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use crate::support::{Certs, PATIENCE, Redis, eventually, request};

#[test]
fn replica_in_plaintext_follows_tls_master_with_password() {
    let certs = Certs::new();
    let master = Redis::builder().tls(&certs).password("a secret").start();
    let replica = Redis::builder().replica_of(&master).unix_socket().start();
    replica.wait_synced();

    assert_eq!(
        master.cli(&["HSET", "currency", "current-value", "12.5"]),
        "1"
    );
    eventually(PATIENCE, "the value is on the replica", || {
        replica.cli(&["HGET", "currency", "current-value"]) == "12.5"
    });
    assert!(replica.socket().exists());
    let refused = replica.cli(&["HSET", "currency", "current-value", "1"]);
    assert!(refused.starts_with("READONLY"), "{refused}");
}

#[test]
fn killed_server_is_empty_after_restart() {
    let mut redis = Redis::start_plain();
    redis.cli(&["SET", "key", "1"]);
    redis.kill();
    assert!(redis.try_cli(&["PING"]).is_err());
    redis.restart();
    assert_eq!(redis.cli(&["EXISTS", "key"]), "0");
}

#[test]
fn stopped_replica_of_lost_master_says_so() {
    let mut master = Redis::start_plain();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    master.stop();
    eventually(PATIENCE, "the link is down", || {
        replica.info("replication", "master_link_status").as_deref() == Some("down")
    });
}

#[test]
fn frozen_server_is_silent_until_thawed() {
    let mut redis = Redis::start_plain();
    redis.freeze();
    eventually(PATIENCE, "the process is stopped", || {
        let mut stream = std::net::TcpStream::connect(redis.addr())?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        stream.write_all(b"PING\r\n")?;
        match stream.read(&mut [0; 16]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(std::io::Error::other("it answered")),
        }
    });
    redis.thaw();
    assert_eq!(redis.cli(&["PING"]), "PONG");
    // Dropped while frozen: the test would hang here if SIGKILL had to wait.
    redis.freeze();
}

#[test]
fn http_client_reads_what_a_server_sends() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        let mut request = Vec::new();
        let end = b"\r\n\r\nbody";
        while !request.ends_with(end) {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .expect("the request has an end");
            request.push(byte[0]);
        }
        let response = b"HTTP/1.1 404 Not Found\r\nA: b\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(response).expect("the client reads");
        String::from_utf8(request).expect("we send UTF-8")
    });
    let response = request(addr, "POST", "/x", &[("C", "d")], b"body");
    assert_eq!(response.status, 404);
    assert_eq!(response.header("a"), Some("b"));
    assert_eq!(response.text(), "{}");
    let expected = "POST /x HTTP/1.1\r\nHost: test\r\nC: d\r\nConnection: close\r\n\
                    Content-Length: 4\r\n\r\nbody";
    assert_eq!(server.join().expect("the server got a request"), expected);
}
