//! A Redis server that behaves as a test says: a master with an endless hash, until the script
//! says otherwise.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use super::load::VERSIONS;

/// What the fake does about one command.
#[derive(Clone)]
pub enum Act {
    /// What a master would do.
    Behave,
    /// These bytes.
    Send(Vec<u8>),
    /// These bytes, and the end.
    Close(Vec<u8>),
    /// These bytes, and no other on this connection.
    Silence(Vec<u8>),
    /// These bytes, when the test calls [`Fake::release`]; every later reply waits behind them.
    Hold(Vec<u8>),
    /// Reads no more on this connection until the test calls [`Fake::release`].
    Deaf,
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = match self {
            Act::Behave => ("behave", None),
            Act::Send(bytes) => ("send", Some(bytes)),
            Act::Close(bytes) => ("close after", Some(bytes)),
            Act::Silence(bytes) => ("silence after", Some(bytes)),
            Act::Hold(bytes) => ("hold", Some(bytes)),
            Act::Deaf => ("deaf", None),
        };
        let bytes = bytes.map_or(&[][..], |bytes| &bytes[..bytes.len().min(60)]);
        write!(f, "{name} {}", bytes.escape_ascii())
    }
}

type Script = Box<dyn FnMut(&[String]) -> Act + Send>;

/// See the module. Stops listening, and closes what is open, when dropped.
pub struct Fake {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    /// What every new connection gets before anything else; if not empty, it is closed then.
    welcome: Mutex<Vec<u8>>,
    accepted: AtomicUsize,
    /// Commands by name.
    seen: Mutex<HashMap<String, usize>>,
    connections: Mutex<Vec<Arc<Peer>>>,
    over: AtomicBool,
}

struct Peer {
    stream: TcpStream,
    state: Mutex<PeerState>,
    changed: Condvar,
}

#[derive(Default)]
struct PeerState {
    held: Option<Vec<u8>>,
    silent: bool,
    deaf: bool,
}

impl Fake {
    pub fn start() -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            script: Mutex::new(Box::new(|_| Act::Behave)),
            welcome: Mutex::new(Vec::new()),
            accepted: AtomicUsize::new(0),
            seen: Mutex::default(),
            connections: Mutex::new(Vec::new()),
            over: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Fake { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on asks `script` what to do about a command (its words).
    pub fn script(&self, script: impl FnMut(&[String]) -> Act + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    /// `act` for the next command of this name (and its last word, if given); for all others, and
    /// from then on, it behaves.
    pub fn once(&self, name: &'static str, last: Option<&'static str>, act: Act) {
        let mut act = Some(act);
        self.script(move |command| {
            let is_it = command.first().is_some_and(|word| word == name)
                && last.is_none_or(|last| command.last().is_some_and(|word| word == last));
            match act.take_if(|_| is_it) {
                Some(act) => act,
                None => Act::Behave,
            }
        });
    }

    /// What a new connection gets before it has said anything, and is closed then; nothing: it is
    /// served.
    pub fn welcome(&self, bytes: &[u8]) {
        *lock(&self.shared.welcome) = bytes.to_vec();
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Commands of this name received so far, but for `HGET`s of the field behind `/`: the API sends
    /// one each second to see whether it is answered.
    pub fn seen(&self, name: &str) -> usize {
        lock(&self.shared.seen).get(name).copied().unwrap_or(0)
    }

    /// Sends what is held, and hears again.
    pub fn release(&self) {
        for peer in lock(&self.shared.connections).iter() {
            let mut state = lock(&peer.state);
            if let Some(held) = state.held.take() {
                // The peer may have closed it meanwhile.
                let _ = (&peer.stream).write_all(&held);
            }
            state.deaf = false;
            peer.changed.notify_all();
        }
    }

    /// Closes every connection.
    pub fn hang_up(&self) {
        for peer in lock(&self.shared.connections).drain(..) {
            let _ = peer.stream.shutdown(Shutdown::Both);
            lock(&peer.state).deaf = false;
            peer.changed.notify_all();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.addr);
        self.hang_up();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with a lock")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let welcome = lock(&shared.welcome).clone();
        if !welcome.is_empty() {
            turn_away(stream, welcome);
            continue;
        }
        let peer = Arc::new(Peer {
            stream,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        lock(&shared.connections).push(Arc::clone(&peer));
        let shared = Arc::clone(shared);
        // Ends with the connection; what the peer did wrong shows in its own behaviour.
        thread::spawn(move || {
            let _ = serve(&peer, &shared);
            let _ = peer.stream.shutdown(Shutdown::Both);
        });
    }
}

/// Sends its last words. They must arrive, so the peer's are read: closing with bytes unread would
/// reset the connection.
fn turn_away(mut stream: TcpStream, words: Vec<u8>) {
    thread::spawn(move || {
        let _ = stream.write_all(&words);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
}

fn serve(peer: &Peer, shared: &Shared) -> std::io::Result<()> {
    let mut input = BufReader::new(&peer.stream);
    while let Some(command) = read_command(&mut input)? {
        let act = (lock(&shared.script))(&command);
        let name = command.first().cloned().unwrap_or_default();
        let mut state = lock(&peer.state);
        if name != "HGET" || command.last().is_none_or(|field| field != "current-value") {
            *lock(&shared.seen).entry(name).or_default() += 1;
        }
        let bytes = match act {
            Act::Behave => master(&command),
            Act::Send(bytes) => bytes,
            Act::Hold(bytes) => {
                state.held.get_or_insert_default();
                bytes
            }
            Act::Silence(bytes) => {
                (&peer.stream).write_all(&bytes)?;
                state.silent = true;
                Vec::new()
            }
            Act::Close(bytes) => {
                (&peer.stream).write_all(&bytes)?;
                return Ok(());
            }
            Act::Deaf => {
                state.deaf = true;
                let ended = |state: &mut PeerState| state.deaf;
                drop(peer.changed.wait_while(state, ended));
                continue;
            }
        };
        if state.silent {
            continue;
        }
        match &mut state.held {
            Some(held) => held.extend_from_slice(&bytes),
            None => (&peer.stream).write_all(&bytes)?,
        }
    }
    Ok(())
}

/// The words of the next command; `None` at the end.
pub fn read_command(input: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let Some(count) = read_length(input, '*')? else {
        return Ok(None);
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let length = read_length(input, '$')?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut word = vec![0; length + 2];
        input.read_exact(&mut word)?;
        word.truncate(length);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Ok(Some(words))
}

fn read_length(input: &mut impl BufRead, kind: char) -> std::io::Result<Option<usize>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let length = line
        .trim_end()
        .strip_prefix(kind)
        .and_then(|n| n.parse().ok());
    length
        .map(Some)
        .ok_or(std::io::ErrorKind::InvalidData.into())
}

/// What a master says whose hash has every field.
fn master(command: &[String]) -> Vec<u8> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["HELLO", ..] => b"%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n".to_vec(),
        ["PING"] => b"+PONG\r\n".to_vec(),
        ["INFO", "persistence"] => bulk("# Persistence\r\nloading:0\r\n"),
        ["INFO", "replication"] => bulk("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n"),
        ["INFO", "cpu"] => bulk("# CPU\r\nused_cpu_sys:1.0\r\nused_cpu_user:1.0\r\n"),
        ["HGET", _, field] => bulk(&stored(field)),
        ["HMGET", _, fields @ ..] => {
            let values = fields.iter().flat_map(|field| bulk(&stored(field)));
            [
                format!("*{}\r\n", fields.len()).into_bytes(),
                values.collect(),
            ]
            .concat()
        }
        ["HSET", ..] => b":1\r\n".to_vec(),
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}

/// The value of a field, which says whose it is: that of `f07` is 7000.
pub fn stored(field: &str) -> String {
    let number: u32 = field
        .strip_prefix('f')
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    (number * VERSIONS).to_string()
}

/// A bulk string.
pub fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}
