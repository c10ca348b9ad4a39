//! A name server that knows one name. Written out by hand (RFC 1035 §4), so that what the
//! aggregator's resolver understands is not what the resolver itself has written.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::background::Background;
use crate::support::free_port;

/// What fits into a datagram (RFC 1035 §4.2.1): what is longer must be asked for over TCP.
const DATAGRAM: usize = 512;

const A: u16 = 1;
const AAAA: u16 = 28;

/// What is said of the name.
#[derive(Clone, Debug)]
pub enum Records {
    Of(Vec<IpAddr>),
    /// The same, but SERVFAIL to who asks for those of IPv4.
    OfWithoutV4(Vec<IpAddr>),
    /// NXDOMAIN.
    NoName,
    /// SERVFAIL.
    Failure,
    /// No answer at all.
    Silence,
}

#[derive(Debug)]
struct Zone {
    records: Mutex<Records>,
    over_tcp: AtomicUsize,
    questions: Mutex<BTreeMap<String, usize>>,
}

/// The name server; it ends when this is dropped.
#[derive(Debug)]
pub struct Dns {
    port: u16,
    zone: Arc<Zone>,
    _background: Background,
}

/// The name that it knows.
pub const NAME: &str = "bots.load.test";

impl Dns {
    pub fn start(records: Records) -> Dns {
        let port = free_port();
        let zone = Arc::new(Zone {
            records: Mutex::new(records),
            over_tcp: AtomicUsize::new(0),
            questions: Mutex::default(),
        });
        let of = Arc::clone(&zone);
        let background = Background::start(move |ready| async move {
            let at = (Ipv4Addr::LOCALHOST, port);
            let udp = UdpSocket::bind(at).await.expect("the port is free");
            let tcp = TcpListener::bind(at).await.expect("the port is free");
            ready.send(()).expect("the test waits");
            tokio::select! {
                () = serve_udp(udp, &of) => {}
                () = serve_tcp(tcp, Arc::clone(&of)) => {}
            }
        });
        Dns {
            port,
            zone,
            _background: background,
        }
    }

    /// For `--dns-server`.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What is said from now on.
    pub fn say(&self, records: Records) {
        *self.zone.records.lock().expect("nobody panics with it") = records;
    }

    /// How many questions came over TCP.
    pub fn over_tcp(&self) -> usize {
        self.zone.over_tcp.load(Relaxed)
    }

    /// How often it was asked for the name.
    pub fn asked(&self) -> usize {
        let questions = self.zone.questions.lock().expect("nobody panics with it");
        questions.get(NAME).copied().unwrap_or(0)
    }
}

async fn serve_udp(socket: UdpSocket, zone: &Zone) {
    let mut query = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut query).await else {
            continue;
        };
        if let Some(answer) = zone.answer(&query[..length], DATAGRAM) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_connection(stream, Arc::clone(&zone)));
        }
    }
}

async fn serve_connection(mut stream: TcpStream, zone: Arc<Zone>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        zone.over_tcp.fetch_add(1, Relaxed);
        let Some(answer) = zone.answer(&query, usize::from(u16::MAX)) else {
            continue;
        };
        let length = u16::try_from(answer.len()).expect("it is within the limit");
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

impl Zone {
    /// The answer to a query; cut to nothing but a mark if it has more bytes than `most`.
    fn answer(&self, query: &[u8], most: usize) -> Option<Vec<u8>> {
        let (name, question_end) = name_of(query);
        let kind = u16::from_be_bytes([query[question_end - 4], query[question_end - 3]]);
        *(self.questions.lock().expect("nobody panics with it"))
            .entry(name.clone())
            .or_default() += 1;
        let records = self.records.lock().expect("nobody panics with it").clone();
        let (code, ips) = match records {
            Records::OfWithoutV4(_) if kind == A => (2, Vec::new()),
            Records::Of(ips) | Records::OfWithoutV4(ips) if name == NAME => (0, ips),
            Records::Of(_) | Records::OfWithoutV4(_) | Records::NoName => (3, Vec::new()),
            Records::Failure => (2, Vec::new()),
            Records::Silence => return None,
        };
        let records: Vec<Vec<u8>> = ips
            .iter()
            .filter(|ip| kind == if ip.is_ipv4() { A } else { AAAA })
            .map(|ip| record(kind, *ip))
            .collect();
        let count = u16::try_from(records.len()).expect("fewer than 65536");
        let whole = message(query, question_end, code, count, &records.concat(), false);
        Some(match whole.len() > most {
            true => message(query, question_end, code, 0, &[], true),
            false => whole,
        })
    }
}

/// The name asked for, in small letters, and where the question ends.
fn name_of(query: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), at + 5)
}

/// One that points back to the name of the question; valid for no time.
fn record(kind: u16, ip: IpAddr) -> Vec<u8> {
    let data = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let length = u16::try_from(data.len()).expect("it is 4 or 16");
    let mut bytes = vec![0xc0, 12];
    for part in [kind, 1, 0, 0, length] {
        bytes.extend(part.to_be_bytes());
    }
    bytes.extend(data);
    bytes
}

fn message(
    query: &[u8],
    question_end: usize,
    code: u16,
    count: u16,
    records: &[u8],
    truncated: bool,
) -> Vec<u8> {
    // Response, authoritative, recursion desired and available.
    let flags = 0x8580 | code | if truncated { 0x0200 } else { 0 };
    let mut bytes = query[..2].to_vec();
    for part in [flags, 1, count, 0, 0] {
        bytes.extend(part.to_be_bytes());
    }
    bytes.extend(&query[12..question_end]);
    bytes.extend(records);
    bytes
}
