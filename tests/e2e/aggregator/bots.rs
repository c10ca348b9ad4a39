//! Load bots that say what they are told to, one behind each address of 127.0.0.0/8 and all on one
//! port.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use redis_api_rig::window::{Generator, Sample, Tally, Window};
use tokio::net::{TcpListener, TcpStream};

use super::background::Background;
use crate::support::free_port;

/// What a bot does when it is asked.
#[derive(Clone, Debug)]
pub enum Act {
    Answer(Bytes),
    AnswerAfter(Duration, Bytes),
    Status(u16),
    /// Closes the connection.
    HangUp,
}

type Acts = Arc<Mutex<BTreeMap<IpAddr, Act>>>;

/// The bots; they end when this is dropped.
#[derive(Debug)]
pub struct Bots {
    port: u16,
    acts: Acts,
    _background: Background,
}

impl Bots {
    /// Bots that hang up until they are told better.
    pub fn start() -> Bots {
        let port = free_port();
        let acts = Acts::default();
        let told = Arc::clone(&acts);
        let background = Background::start(move |ready| async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
            let listener = listener.expect("the port is free");
            ready.send(()).expect("the test waits");
            serve(listener, told).await;
        });
        Bots {
            port,
            acts,
            _background: background,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where bot `number` is, as the aggregator shows it.
    pub fn address(&self, number: u16) -> String {
        format!("{}:{}", ip(number), self.port)
    }

    /// What bot `number` does from now on.
    pub fn tell(&self, number: u16, act: Act) {
        let mut acts = self.acts.lock().expect("nobody panics with it");
        acts.insert(ip(number), act);
    }
}

/// The loopback address of bot `number`.
pub fn ip(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

async fn serve(listener: TcpListener, acts: Acts) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_connection(stream, Arc::clone(&acts)));
        }
    }
}

async fn serve_connection(stream: TcpStream, acts: Acts) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let service = service_fn(|_| {
        let act = acts
            .lock()
            .expect("nobody panics with it")
            .get(&local.ip())
            .cloned();
        async move {
            let (status, body) = match act {
                Some(Act::Answer(body)) => (200, body),
                Some(Act::AnswerAfter(delay, body)) => {
                    tokio::time::sleep(delay).await;
                    (200, body)
                }
                Some(Act::Status(status)) => (status, Bytes::new()),
                Some(Act::HangUp) | None => return Err(std::io::Error::other("hanging up")),
            };
            let mut response = Response::new(Full::new(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            Ok(response)
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Requests of one kind: how many, their latency in ms, their status.
pub type Requests = (u32, u64, u16);

/// The window of a bot that was to send `rate` requests a second, and sent these in 10 s.
pub fn window(rate: f64, requests: &[Requests]) -> Bytes {
    let sent: u32 = requests.iter().map(|(count, ..)| count).sum();
    let generator = Generator {
        target_rate: rate,
        achieved_rate: f64::from(sent) / 10.0,
        window_seconds: 10.0,
        silent_seconds: Some(0.05),
        ..Generator::default()
    };
    json(generator, requests)
}

/// A window with whatever its generator says of itself.
pub fn json(generator: Generator, requests: &[Requests]) -> Bytes {
    let mut tally = Tally::default();
    for (count, latency_ms, code) in requests {
        let error = match code {
            0 => "connection refused",
            500.. => "server error",
            _ => "",
        };
        for _ in 0..*count {
            tally.record(&Sample {
                sent_ns: 1_700_000_000_000_000_000,
                latency_ns: latency_ms * 1_000_000,
                code: *code,
                bytes_in: 16,
                bytes_out: 0,
                error,
            });
        }
    }
    let window = Window::new(&tally, generator);
    serde_json::to_vec(&window)
        .expect("a window is JSON")
        .into()
}
