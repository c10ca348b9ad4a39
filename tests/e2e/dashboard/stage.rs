//! A stand-in for the aggregator that shows what it is told, when it is told: states that a real
//! one gets into seldom.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use http_body_util::BodyExt;
use redis_api_rig::board::{Board, History, Point};
use redis_api_rig::pages;

use crate::support::{PATIENCE, eventually, free_port};

/// How long a thread may wait for news before it looks whether it is still needed.
const LOOK: Duration = Duration::from_millis(100);

/// A server with the pages. Gone when dropped, with all connections.
#[derive(Debug)]
pub struct Stage {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    scene: Mutex<Scene>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Scene {
    board: Option<Board>,
    history: History,
    closed: bool,
}

impl Stage {
    /// With nothing to show yet.
    pub fn open() -> Stage {
        Stage::open_at(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())))
    }

    /// Ends it, with all connections, and gives what opens the next one at the same address.
    pub fn close(self) -> impl FnOnce() -> Stage {
        let addr = self.addr;
        drop(self);
        move || Stage::open_at(addr)
    }

    fn open_at(addr: SocketAddr) -> Stage {
        let listener = eventually(PATIENCE, "the port is free", || TcpListener::bind(addr));
        let shared = Arc::new(Shared::default());
        let stage = Stage {
            addr,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.scene().closed {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A browser that went away concerns nobody.
                thread::spawn(move || serve(&stream, &shared).ok());
            }
        });
        stage
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Has had these seconds before.
    pub fn remember(&self, points: impl IntoIterator<Item = Point>) {
        let mut scene = self.shared.scene();
        points
            .into_iter()
            .for_each(|point| scene.history.push(point));
    }

    /// The next second.
    pub fn show(&self, board: Board) {
        let mut scene = self.shared.scene();
        scene.history.push(Point::of(&board));
        scene.board = Some(board);
        self.shared.news.notify_all();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shared.scene().closed = true;
        self.shared.news.notify_all();
        // Wakes the one who accepts, so that the port is free again.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().expect("nobody panics with it")
    }
}

/// Answers one request and ends the connection.
fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let target = first.split(' ').nth(1).unwrap_or("/");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    match path {
        "/events" => return send_events(stream, shared),
        "/history" => {
            let scene = shared.scene();
            let points: Vec<&Point> = scene.history.points().collect();
            let body = serde_json::to_vec(&points).expect("it is JSON");
            drop(scene);
            return send(
                stream,
                "200 OK",
                "content-type: application/json\r\n",
                &body,
            );
        }
        _ => {}
    }
    let scene = shared.scene();
    let response = pages::respond(path, query, scene.board.as_ref(), &scene.history);
    drop(scene);
    let Some(response) = response else {
        return send(&mut stream, "404 Not Found", "", b"");
    };
    let (parts, body) = response.into_parts();
    let headers: String = parts
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("it is text")))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let body = runtime.block_on(body.collect()).expect("it is whole");
    send(
        stream,
        &parts.status.to_string(),
        &headers,
        &body.to_bytes(),
    )
}

fn send(mut stream: impl Write, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())
}

/// Sends each board that is new, the last one first.
fn send_events(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n\
          connection: close\r\n\r\nretry: 200\n\n",
    )?;
    let mut sent_ms = None;
    loop {
        let scene = shared.scene();
        let (scene, _) = shared
            .news
            .wait_timeout_while(scene, LOOK, |scene| {
                !scene.closed && scene.board.as_ref().map(|board| board.at_ms) == sent_ms
            })
            .expect("nobody panics with it");
        if scene.closed {
            return Ok(());
        }
        let board = scene.board.clone();
        drop(scene);
        let Some(board) = board.filter(|board| Some(board.at_ms) != sent_ms) else {
            continue;
        };
        sent_ms = Some(board.at_ms);
        let text = serde_json::to_string(&board).expect("it is JSON");
        stream.write_all(format!("data: {text}\n\n").as_bytes())?;
    }
}
