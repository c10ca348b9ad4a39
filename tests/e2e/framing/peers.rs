//! Chunked bodies, side by side with the servers that stand before an API such as this one.
//!
//! Where the API and another server both take a body, they must see the same end of it. That this
//! API refuses what others take is right; the other way round costs nobody anything.

use std::net::SocketAddr;

use super::{NEXT, answers_of, start};
use crate::support::peer::peer;

/// Random bodies that are sent to each server.
const BODIES: usize = 300;

const NGINX: &str = "daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/error.log;
events {}
http {
  access_log off;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  server { listen 127.0.0.1:PORT; location / { return 200 ok; } }
}
";

const HAPROXY: &str = "defaults
  mode http
  option http-buffer-request
  timeout client 10s
  timeout http-request 10s
frontend f
  bind 127.0.0.1:PORT
  http-request return status 200 content-type text/plain string ok
";

/// A body that is well formed but for some bytes of interest that were put in or left out.
fn body(random: &mut fastrand::Rng) -> Vec<u8> {
    let extensions = ["", "", ";a", ";a=b", " ; a = \"b;\\\"\"", ";a;b=\"\""];
    let fields = ["", "", "A: b\r\n", "A: b\r\nC:\r\n"];
    let mut body = Vec::new();
    for _ in 0..random.usize(..3) {
        let data = random
            .choice(["x", "0\r\n\r\n", "\r\n"])
            .unwrap_or_default();
        let extension = random.choice(extensions).unwrap_or_default();
        body.extend(format!("{:x}{extension}\r\n{data}\r\n", data.len()).bytes());
    }
    let extension = random.choice(extensions).unwrap_or_default();
    let fields = random.choice(fields).unwrap_or_default();
    body.extend(format!("0{extension}\r\n{fields}\r\n").bytes());
    for _ in 0..random.usize(..4) {
        let place = random.usize(..body.len());
        let byte = random.choice(b"\r\r\n\n\n \t;=\"\\:0a2x\0\x0b\x7f,".iter().copied());
        match byte {
            Some(byte) if random.bool() => body.insert(place, byte),
            _ => drop(body.remove(place)),
        }
    }
    body
}

/// The statuses of all answers to a body in chunks and the request behind it.
fn statuses(addr: SocketAddr, body: &[u8]) -> Result<Vec<u16>, String> {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bytes = [head.as_bytes(), body, NEXT.as_bytes()].concat();
    let answers = answers_of(addr, &[&bytes], &["POST"])?;
    Ok(answers.iter().map(|answer| answer.status).collect())
}

fn check(program: &str, arguments: &[&str], configuration: &str) {
    let Some((_process, other)) = peer(program, arguments, configuration) else {
        return;
    };
    let (_redis, api) = start();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut both, mut refused) = (0, 0);
    for _ in 0..BODIES {
        let body = body(&mut random);
        let text = body.escape_ascii().to_string();
        let ours = statuses(api.addr(), &body).unwrap_or_else(|error| panic!("{text}: {error}"));
        // A posted body that is no JSON is 400 and goes on. One that is malformed, does not end in
        // what was sent, or is too large, ends the connection.
        if ours.len() < 2 {
            assert!(matches!(ours[..], [400 | 408 | 413]), "{text}: {ours:?}");
            refused += 1;
            continue;
        }
        let theirs = statuses(other, &body).unwrap_or_default();
        if theirs.first() == Some(&200) {
            assert_eq!(
                ours.len(),
                theirs.len(),
                "{text}: {ours:?}, {program}: {theirs:?}"
            );
            both += 1;
        }
    }
    println!("{program}: {both} bodies taken by both, {refused} refused here");
    assert!(both > BODIES / 10 && refused > BODIES / 10);
}

#[test]
fn nginx_sees_the_same_ends() {
    check("nginx", &["-c"], NGINX);
}

#[test]
fn haproxy_sees_the_same_ends() {
    check("haproxy", &["-db", "-f"], HAPROXY);
}
