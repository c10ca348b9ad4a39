//! The admin server: liveness, readiness, metrics.
//!
//! | request | response |
//! | --- | --- |
//! | `GET /livez` | `200 {"live":true}` |
//! | `GET /readyz` | `200 {"ready":true}`, or `503 {"ready":false,"missing":["…"]}` |
//! | `GET /metrics` | the Prometheus text |
//! | `GET /openapi.yaml` | what the API is, for machines |
//!
//! Invariants: nothing here talks to Redis or waits for a worker, so that liveness says whether the
//! process runs and no more (a restart would not cure Redis); few connections at a time, of which
//! the idlest makes room for a new one, so that no slow client keeps the probes out.
//!
//! Non-goals: speed, TLS, authentication. The port is meant for the kubelet and for Prometheus.
//!
//! What the probes are for: <https://kubernetes.io/docs/concepts/workloads/pods/probes/>.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::http::small::{self, Body, Limits, answer};
use crate::metrics::{self, Registry};

/// Probes and scrapers need a handful of connections; 32 leaves room. A client that takes nothing
/// of its response is cut before the three failed probes in a row that make the kubelet act (10 s
/// apart by default).
const LIMITS: Limits = Limits {
    connections: 32,
    client_gone: Duration::from_secs(10),
};

/// The API as an OpenAPI document.
const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");

/// What the admin server knows of the process.
#[derive(Debug)]
pub struct State {
    /// The workers' tables: metrics, and whether they can answer reads.
    pub registry: Registry,
    /// Where the process is in its life.
    pub health: Health,
}

impl State {
    /// The state of a process that is not shutting down.
    pub fn new(registry: Registry) -> State {
        State {
            registry,
            health: Health::default(),
        }
    }

    /// What keeps the process from being ready, in sentences; empty when it is ready.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = self.registry.read_troubles();
        if self.health.is_unready() {
            missing.insert(0, "shutting down".to_owned());
        }
        missing
    }
}

/// Where the process is in its life.
///
/// A process that was told to end stays ready at first, while the load balancers learn of it: when
/// all pods of a service end at once, kube-proxy falls back to those that still say they are ready.
/// It turns unready when it stops listening, or at once if asked so for other load balancers.
#[derive(Debug, Default)]
pub struct Health {
    unready: AtomicBool,
}

impl Health {
    /// From now on the process is not ready, for good.
    pub fn set_unready(&self) {
        self.unready.store(true, Relaxed);
    }

    /// Whether [`Health::set_unready`] was called.
    pub fn is_unready(&self) -> bool {
        self.unready.load(Relaxed)
    }
}

/// Serves the admin routes on `listener`, for ever.
///
/// Must run in a tokio runtime with I/O and time.
///
/// # Cancel safety
///
/// Dropping the future closes the listener and cuts every connection.
pub async fn serve(listener: TcpListener, state: Arc<State>) {
    let respond = move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &state);
        async move { response }
    };
    small::serve(LIMITS, listener, respond).await;
}

fn respond(method: &Method, path: &str, state: &State) -> Response<Body> {
    let route: fn(&State) -> Response<Body> = match path {
        "/livez" => |_| json(StatusCode::OK, &Live { live: true }),
        "/readyz" => readyz,
        "/metrics" => metrics,
        "/openapi.yaml" => |_| answer(StatusCode::OK, "application/yaml", OPENAPI),
        _ => {
            return error(
                StatusCode::NOT_FOUND,
                "Not found: try /livez, /readyz, /metrics or /openapi.yaml",
            );
        }
    };
    match *method {
        // hyper leaves the body of a response to HEAD out and keeps its length.
        Method::GET | Method::HEAD => route(state),
        _ => {
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Use GET or HEAD");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    }
}

fn readyz(state: &State) -> Response<Body> {
    let missing = state.missing();
    let ready = missing.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, &Ready { ready, missing })
}

fn metrics(state: &State) -> Response<Body> {
    answer(StatusCode::OK, metrics::CONTENT_TYPE, state.registry.text())
}

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

fn error(status: StatusCode, error: &str) -> Response<Body> {
    json(status, &ErrorBody { error })
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Structs of strings and flags always serialise.
    let body = serde_json::to_vec(value).unwrap_or_default();
    answer(status, "application/json", body)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Far longer than any step takes: only a hang runs into it.
    const DEADLINE: Duration = Duration::from_secs(20);

    /// Runs `test` beside an admin server on a loopback port.
    fn with_server<F>(state: State, test: impl FnOnce(SocketAddr, Arc<State>) -> F)
    where
        F: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let state = Arc::new(state);
            let server = tokio::spawn(serve(listener, Arc::clone(&state)));
            timeout(DEADLINE, test(address, state))
                .await
                .expect("hangs");
            assert!(!server.is_finished(), "serves on");
            server.abort();
        });
    }

    /// Sends one request on a connection of its own; the whole response.
    async fn exchange(address: SocketAddr, line: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    /// Status, head in lower case, and body of a response.
    fn parts(response: &str) -> (u16, String, &str) {
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        (status, head.to_ascii_lowercase(), body)
    }

    async fn check(address: SocketAddr, line: &str, status: u16, body: &str) {
        let response = exchange(address, line).await;
        let (seen, head, text) = parts(&response);
        assert_eq!((seen, text), (status, body), "{line}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }

    #[test]
    fn routes() {
        with_server(
            State::new(Registry::new(2, false)),
            |address, _| async move {
                let unknown =
                    r#"{"error":"Not found: try /livez, /readyz, /metrics or /openapi.yaml"}"#;
                check(address, "GET /livez", 200, r#"{"live":true}"#).await;
                check(address, "GET /livez?verbose", 200, r#"{"live":true}"#).await;
                check(address, "GET /readyz", 200, r#"{"ready":true}"#).await;
                check(address, "HEAD /readyz", 200, "").await;
                check(address, "GET /", 404, unknown).await;
                check(address, "POST /livez/", 404, unknown).await;
                check(
                    address,
                    "POST /metrics",
                    405,
                    r#"{"error":"Use GET or HEAD"}"#,
                )
                .await;
            },
        );
    }

    #[test]
    fn head_keeps_the_length_and_405_names_the_methods() {
        with_server(
            State::new(Registry::new(1, false)),
            |address, _| async move {
                let response = exchange(address, "HEAD /livez").await;
                let (_, head, body) = parts(&response);
                assert!(head.contains("content-length: 13"), "{head}");
                assert_eq!(body, "");
                let response = exchange(address, "DELETE /livez").await;
                assert!(
                    parts(&response).1.contains("allow: get, head"),
                    "{response}"
                );
            },
        );
    }

    #[test]
    fn metrics_have_their_media_type() {
        with_server(
            State::new(Registry::new(3, true)),
            |address, _| async move {
                let response = exchange(address, "GET /metrics").await;
                let (status, head, body) = parts(&response);
                assert_eq!(status, 200);
                assert!(
                    head.contains("content-type: text/plain; version=0.0.4"),
                    "{head}"
                );
                assert!(body.contains("\nredis_api_workers 3\n"), "{body}");
                assert!(body.ends_with('\n'));
            },
        );
    }

    #[test]
    fn readiness_says_what_is_missing_and_liveness_does_not_care() {
        with_server(
            State::new(Registry::new(3, true)),
            |address, state| async move {
                let workers = &state.registry.workers;
                let unconnected =
                    r#"{"ready":false,"missing":["workers 0, 1, 2: no connection for reads yet"]}"#;
                check(address, "GET /readyz", 503, unconnected).await;
                check(address, "GET /livez", 200, r#"{"live":true}"#).await;

                workers[0].set_read_trouble(None);
                workers[1].set_read_trouble(Some("replica \"r\": refused".to_owned()));
                let two = concat!(
                    r#"{"ready":false,"missing":["worker 1: replica \"r\": refused","#,
                    r#""worker 2: no connection for reads yet"]}"#
                );
                check(address, "GET /readyz", 503, two).await;

                workers[1].set_read_trouble(None);
                workers[2].set_read_trouble(None);
                check(address, "GET /readyz", 200, r#"{"ready":true}"#).await;

                state.health.set_unready();
                let ending = r#"{"ready":false,"missing":["shutting down"]}"#;
                check(address, "GET /readyz", 503, ending).await;
                check(address, "GET /livez", 200, r#"{"live":true}"#).await;
            },
        );
    }

    #[test]
    fn a_connection_serves_several_requests() {
        with_server(
            State::new(Registry::new(1, false)),
            |address, _| async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let first = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
                let last = "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
                stream.write_all(first.as_bytes()).await.unwrap();
                let mut seen = Vec::new();
                while !seen.ends_with(br#"{"live":true}"#) {
                    assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "closed early");
                }
                stream.write_all(last.as_bytes()).await.unwrap();
                let mut rest = String::new();
                stream.read_to_string(&mut rest).await.unwrap();
                assert!(rest.ends_with(r#"{"ready":true}"#), "{rest}");
            },
        );
    }

    #[test]
    fn slow_clients_make_room_for_probes() {
        with_server(
            State::new(Registry::new(1, false)),
            |address, _| async move {
                let mut silent = Vec::new();
                for _ in 0..LIMITS.connections {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.write_all(b"GET /livez HTT").await.unwrap();
                    silent.push(stream);
                }
                check(address, "GET /livez", 200, r#"{"live":true}"#).await;
                let mut bytes = Vec::new();
                // A reset is an end too.
                let _ = silent[0].read_to_end(&mut bytes).await;
                assert_eq!(bytes, b"");
            },
        );
    }

    #[test]
    fn what_is_no_request_does_not_end_the_server() {
        with_server(
            State::new(Registry::new(1, false)),
            |address, _| async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream
                    .write_all(b"\x16\x03\x01 not a request\r\n\r\n")
                    .await
                    .unwrap();
                let mut bytes = Vec::new();
                let _ = stream.read_to_end(&mut bytes).await;
                assert!(!bytes.starts_with(b"HTTP/1.1 200"));
                check(address, "GET /livez", 200, r#"{"live":true}"#).await;
            },
        );
    }
}
