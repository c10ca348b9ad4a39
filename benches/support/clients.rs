//! Clients that ask, wait for their answers, and look at no more than their length.

use std::time::{Duration, Instant};

use redis_api_server::parts::{Limits, Server, Service, Timeouts};
use tokio::task::spawn_local;

use super::{Far, LONG, Worker, pipe};

/// As wrk sends it.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// The clients of one server.
pub struct Clients {
    connections: Vec<Far>,
    /// Bytes of one response.
    response: usize,
    request: &'static [u8],
}

impl Clients {
    /// Connects to `service`, and checks an answer of each connection.
    pub async fn connect(
        worker: &Worker,
        service: impl Service,
        connections: usize,
        request: &'static [u8],
        body: &[u8],
    ) -> Self {
        let limits = Limits {
            timeouts: Timeouts::new(LONG, LONG),
            max_requests: usize::MAX,
        };
        let server = Server::new(
            service,
            limits,
            worker.turn.clone(),
            fastrand::Rng::with_seed(1),
        );
        spawn_local(server.clone().sweep());
        let connections = (0..connections).map(|_| {
            let (near, far) = pipe();
            spawn_local(server.clone().serve(near, ()));
            far
        });
        let mut clients = Clients {
            connections: connections.collect(),
            response: 0,
            request,
        };
        for client in &clients.connections {
            client.send(request);
            client
                .receive(1, |bytes| {
                    check(bytes, body);
                    clients.response = bytes.len();
                    bytes.len()
                })
                .await;
        }
        clients
    }

    /// One request on each connection, and its response.
    pub async fn round(&self) {
        for client in &self.connections {
            client.send(self.request);
        }
        for client in &self.connections {
            client
                .receive(self.response, |bytes| {
                    assert_eq!(bytes.len(), self.response);
                    bytes.len()
                })
                .await;
        }
    }

    pub async fn time(&self, rounds: u64) -> Duration {
        let started = Instant::now();
        for _ in 0..rounds {
            self.round().await;
        }
        started.elapsed()
    }
}

fn check(response: &[u8], body: &[u8]) {
    let text = String::from_utf8_lossy(response);
    let (head, rest) = text.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    assert_eq!(rest.as_bytes(), body);
}
