//! A connection with all that is around it, in memory: a transport that takes and delivers any
//! number of bytes, a server, requests that wait or give up, and a clock that only the script
//! moves. Shared by the property tests and the fuzzer.
//!
//! The model keeps its own books of what was written, sent and answered, and compares after every
//! step.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use redis_api_wire::conn::{Conn, Error, Event, Fate, Login, Options, Refusal, Verdict};
use redis_api_wire::resp::{Limits, Reply, command};

use crate::server::{Kind, Server, number};

pub const STALL: Duration = Duration::from_millis(800);
pub const PING: Duration = Duration::from_millis(1_000);
pub const LOGIN: Duration = Duration::from_millis(2_000);
pub const WINDOW: usize = 6;

/// Low enough that hostile bytes run into them soon.
pub const LIMITS: Limits = Limits {
    depth: 4,
    elements: 64,
    line_len: 256,
    bulk_len: 2_048,
    reply_len: 4_096,
};

/// Unread bytes that limits allow: a whole reply less one byte, whose last line may be too long
/// already.
const MAX_INPUT: usize = LIMITS.reply_len + LIMITS.line_len + 2;

/// Bytes that may wait to be sent, one command of ours above the limit of the connection.
const MAX_OUTPUT: usize = (1 << 20) + 64;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request comes; its command has so many bytes more than it needs.
    Ask(usize),
    /// The request at this place, modulo their number, waits no longer.
    GiveUp(usize),
    /// The transport takes up to so many bytes.
    Send(usize),
    /// The server answers up to so many commands.
    Serve(usize),
    /// The server says something unasked that is allowed.
    Push(usize),
    /// Up to so many bytes of replies arrive.
    Deliver(usize),
    /// These bytes arrive, which the server never sent.
    Inject(Vec<u8>),
    /// Time passes, and the timer is looked at, due or not.
    Pass(Duration),
    /// The deadline of the moment comes, a nanosecond less at first.
    Due,
}

/// What a request leaves in the connection.
struct Waiter {
    nonce: u64,
    request: Weak<Request>,
}

/// A request that waits: how often it was told what became of it.
#[derive(Default)]
struct Request {
    told: Cell<u32>,
}

/// A command in flight, as the model sees it; `nonce` is `None` for the connection's own `PING`.
struct Sent {
    nonce: Option<u64>,
    /// Offsets in all output of its first byte and past its last.
    start: u64,
    end: u64,
    since: Instant,
}

/// What the connection told its owner.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Ready,
    /// Whose reply it was said to be, and whose it was.
    Reply(u64, Option<u64>),
    Push,
}

pub struct Model {
    conn: Option<Conn<Waiter>>,
    server: Server,
    now: Instant,
    login_deadline: Instant,
    last_input: Instant,
    /// Oldest first.
    in_flight: VecDeque<Sent>,
    requests: Vec<Rc<Request>>,
    next_nonce: u64,
    /// That were handed to a waiter.
    replies: u64,
    taken: u64,
    delivered: u64,
    ready: bool,
    /// Bytes of another origin came: from then on replies can't be foretold.
    tainted: bool,
}

impl Model {
    pub fn new(resp2: bool, database: u32, password: bool) -> Self {
        let login = Login {
            password: password.then(|| "secret".to_owned()),
            client_name: "model".to_owned(),
            database,
            ..Login::default()
        };
        let options = Options {
            stall_timeout: STALL,
            ping_interval: PING,
            max_in_flight: WINDOW,
            limits: LIMITS,
        };
        let now = Instant::now();
        Model {
            conn: Some(Conn::new(options, login, now + LOGIN, now)),
            server: Server::new(resp2, database != 0),
            now,
            login_deadline: now + LOGIN,
            last_input: now,
            in_flight: VecDeque::new(),
            requests: Vec::new(),
            next_nonce: 0,
            replies: 0,
            taken: 0,
            delivered: 0,
            ready: false,
            tainted: false,
        }
    }

    /// Lets `step` happen and compares. After the end of the connection nothing happens any more.
    ///
    /// # Errors
    /// The connection ended with this, and all who waited were told.
    pub fn step(&mut self, step: &Step) -> Result<(), Error> {
        let Some(mut conn) = self.conn.take() else {
            return Ok(());
        };
        let outcome = match step {
            Step::Ask(padding) => self.ask(&mut conn, *padding),
            Step::GiveUp(place) => self.give_up(*place),
            Step::Send(most) => self.send(&mut conn, *most),
            Step::Serve(commands) => self.serve(*commands),
            Step::Push(len) => self.push(*len),
            Step::Deliver(most) => self.deliver(&mut conn, *most),
            Step::Inject(bytes) => self.inject(&mut conn, bytes),
            Step::Pass(time) => self.pass(&mut conn, *time),
            Step::Due => self.due(&mut conn),
        };
        if let Err(error) = outcome {
            self.drain(conn);
            return Err(error);
        }
        self.compare(&mut conn);
        self.conn = Some(conn);
        Ok(())
    }

    /// Closes the connection if it is still open, and checks that every request was told exactly
    /// once.
    pub fn end(mut self) {
        if let Some(conn) = self.conn.take() {
            self.drain(conn);
        }
        assert!(self.in_flight.is_empty());
        for request in &self.requests {
            assert_eq!(request.told.get(), 1);
        }
    }

    /// How many replies were handed to a waiter.
    #[allow(dead_code)] // The fuzzer doesn't ask.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Brings the login to its end.
    pub fn log_in(&mut self) {
        for _ in 0..4 {
            self.step(&Step::Send(4_096)).expect("a login is taken");
            self.settle();
        }
        assert!(self.ready, "this server lets everyone in");
    }

    /// The server answers all that it was sent, and all of it arrives.
    pub fn settle(&mut self) {
        self.server.serve(usize::MAX);
        while self.conn.is_some() && !self.server.replies.is_empty() {
            let arrived = self.step(&Step::Deliver(usize::MAX));
            arrived.expect("a server that keeps to the rules");
        }
    }

    fn ask(&mut self, conn: &mut Conn<Waiter>, padding: usize) -> Result<(), Error> {
        let nonce = self.next_nonce;
        let request = Rc::new(Request::default());
        let waiter = Waiter {
            nonce,
            request: Rc::downgrade(&request),
        };
        let before = conn.output().len();
        let padding = vec![b'.'; padding];
        let accepted = conn.enqueue(waiter, self.now, |out| {
            command(out, &[b"ECHO", nonce.to_string().as_bytes(), &padding]);
        });
        let full = self.in_flight.len() >= WINDOW || before >= 1 << 20;
        match accepted {
            Ok(()) => {
                assert!(self.ready && !full);
                self.note(Some(nonce), before, conn.output().len());
                self.requests.push(request);
                self.next_nonce += 1;
            }
            Err((waiter, refusal)) => {
                assert_eq!(waiter.nonce, nonce, "another waiter was given back");
                assert_eq!(conn.output().len(), before, "something was written");
                let expected = match self.ready {
                    true => Refusal::Full,
                    false => Refusal::NotReady,
                };
                assert_eq!(refusal, expected);
                assert!(full || !self.ready);
            }
        }
        Ok(())
    }

    fn note(&mut self, nonce: Option<u64>, before: usize, after: usize) {
        assert!(after > before);
        self.in_flight.push_back(Sent {
            nonce,
            start: self.taken + before as u64,
            end: self.taken + after as u64,
            since: self.now,
        });
    }

    fn give_up(&mut self, place: usize) -> Result<(), Error> {
        if !self.requests.is_empty() {
            self.requests.swap_remove(place % self.requests.len());
        }
        Ok(())
    }

    fn send(&mut self, conn: &mut Conn<Waiter>, most: usize) -> Result<(), Error> {
        let n = most.min(conn.output().len());
        self.server.receive(&conn.output()[..n]);
        conn.sent(n);
        self.taken += n as u64;
        Ok(())
    }

    fn serve(&mut self, commands: usize) -> Result<(), Error> {
        self.server.serve(commands);
        Ok(())
    }

    fn push(&mut self, len: usize) -> Result<(), Error> {
        self.server.push(&vec![b'p'; len]);
        Ok(())
    }

    fn deliver(&mut self, conn: &mut Conn<Waiter>, most: usize) -> Result<(), Error> {
        // As a socket is read: never more than the buffer has room for.
        let buffer = conn.input();
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "a full buffer would be read into for ever");
        let n = most.min(self.server.replies.len()).min(room);
        if n == 0 {
            return Ok(());
        }
        buffer.extend(self.server.replies.drain(..n));
        self.delivered += n as u64;
        let mut expected = Vec::new();
        while let Some(&(kind, end)) = self.server.ends.front()
            && end <= self.delivered
        {
            self.server.ends.pop_front();
            match kind {
                Kind::Step | Kind::Pong => {}
                Kind::Welcome => expected.push(Told::Ready),
                Kind::Echo(nonce) => expected.push(Told::Reply(nonce, Some(nonce))),
                Kind::Push => expected.push(Told::Push),
            }
        }
        let (told, outcome) = self.take_in(conn);
        if !self.tainted {
            assert_eq!(told, expected);
            assert_eq!(outcome, Ok(()), "a server that keeps to the rules");
        }
        outcome
    }

    fn inject(&mut self, conn: &mut Conn<Waiter>, bytes: &[u8]) -> Result<(), Error> {
        self.tainted = true;
        let buffer = conn.input();
        let n = bytes.len().min(buffer.capacity() - buffer.len());
        buffer.extend_from_slice(&bytes[..n]);
        self.take_in(conn).1
    }

    /// Hands the input over and checks what must hold whoever sent it.
    fn take_in(&mut self, conn: &mut Conn<Waiter>) -> (Vec<Told>, Result<(), Error>) {
        self.last_input = self.now;
        let mut told = Vec::new();
        let outcome = conn.on_input(self.now, |event| {
            told.push(match event {
                Event::Ready(_) => {
                    assert!(!self.ready, "told twice that login is done");
                    self.ready = true;
                    Told::Ready
                }
                Event::Push(_) => Told::Push,
                Event::Reply(waiter, reply) => {
                    if self
                        .in_flight
                        .front()
                        .is_some_and(|sent| sent.nonce.is_none())
                    {
                        self.in_flight.pop_front();
                    }
                    let sent = self.in_flight.pop_front().expect("something is awaited");
                    assert_eq!(sent.nonce, Some(waiter.nonce), "not the oldest waiter");
                    assert!(sent.end <= self.taken, "answered before it was sent");
                    tell(&waiter);
                    self.replies += 1;
                    Told::Reply(waiter.nonce, nonce(reply))
                }
            });
            Verdict::Continue
        });
        // The answer to a PING, which is the owner's to know only by the length of the queue.
        if self.in_flight.len() > conn.in_flight() {
            let ping = self.in_flight.pop_front().expect("it is longer");
            assert_eq!(ping.nonce, None, "a waiter vanished");
            assert!(ping.end <= self.taken, "answered before it was sent");
        }
        (told, outcome)
    }

    fn pass(&mut self, conn: &mut Conn<Waiter>, time: Duration) -> Result<(), Error> {
        self.now += time;
        let before = (conn.output().len(), conn.deadline());
        let due = self.now >= before.1;
        let outcome = conn.on_timer(self.now);
        let expected = match self.in_flight.front() {
            _ if !due => Ok(()),
            _ if !self.ready => Err(Error::LoginTimeout),
            Some(oldest) => Err(Error::Stalled(self.now - oldest.since)),
            None => {
                self.note(None, before.0, conn.output().len());
                Ok(())
            }
        };
        assert_eq!(outcome, expected);
        if outcome.is_ok() {
            let after = (conn.output().len(), conn.deadline());
            assert!(after.1 > self.now, "a timer that is due at once again");
            assert_eq!(after != before, due);
        }
        outcome
    }

    fn due(&mut self, conn: &mut Conn<Waiter>) -> Result<(), Error> {
        let left = conn.deadline() - self.now;
        self.pass(conn, left.saturating_sub(Duration::from_nanos(1)))?;
        self.pass(conn, Duration::from_nanos(1))
    }

    /// What must hold after every step.
    fn compare(&self, conn: &mut Conn<Waiter>) {
        assert_eq!(conn.is_ready(), self.ready);
        assert_eq!(conn.in_flight(), self.in_flight.len());
        assert!(conn.in_flight() <= WINDOW);
        assert!(conn.output().len() <= MAX_OUTPUT);
        let deadline = match self.in_flight.front() {
            _ if !self.ready => self.login_deadline,
            Some(oldest) => oldest.since + STALL,
            None => self.last_input + PING,
        };
        assert_eq!(conn.deadline(), deadline);
        let input = conn.input();
        assert!(input.len() <= MAX_INPUT, "{} bytes unread", input.len());
        assert!(input.capacity() <= 4 * (MAX_INPUT + 4_096));
    }

    /// Ends the connection and checks what its waiters are told.
    fn drain(&mut self, conn: Conn<Waiter>) {
        let mut expected = self.in_flight.drain(..).filter(|sent| sent.nonce.is_some());
        for (waiter, fate) in conn.end() {
            let sent = expected.next().expect("nobody is told who does not wait");
            assert_eq!(sent.nonce, Some(waiter.nonce), "oldest first");
            let untouched = sent.start >= self.taken;
            assert_eq!(fate == Fate::NotSent, untouched, "{fate:?}");
            tell(&waiter);
        }
        assert!(expected.next().is_none(), "a waiter was forgotten");
    }
}

fn tell(waiter: &Waiter) {
    if let Some(request) = waiter.request.upgrade() {
        request.told.set(request.told.get() + 1);
    }
}

/// The number that a reply carries.
fn nonce(reply: Reply<'_>) -> Option<u64> {
    match reply.plain() {
        Reply::Bulk(text) | Reply::Simple(text) | Reply::Error(text) => number(text),
        Reply::Integer(value) => value.try_into().ok(),
        Reply::Array(mut elements) => nonce(elements.next()?),
        _ => None,
    }
}
