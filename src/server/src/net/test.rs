//! Links that a test drives by hand, in place of sockets and driver tasks; and for tests of the
//! driver tasks, an owner that notes what it is told.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime};

use super::endpoint::{Address, Endpoint, Password, SetOptions, Sources};
use super::link::{Link, Owner};
use super::set::Set;
use super::{Credentials, Driver, Resolver};
use crate::metrics::{RoleMetrics, Side};
use crate::turn::Turn;
use redis_api_wire::conn::{Conn, Error, Event, Fate, Greeting, Login, Options, Verdict};
use redis_api_wire::resp::{Limits, Reply};

/// A runtime as a worker has it.
pub fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("a runtime")
}

/// Counters of a read side.
pub fn metrics() -> RoleMetrics {
    RoleMetrics::new(std::sync::Arc::default(), Side::Read)
}

/// A driver for the server at `address`, without credentials; to be made on a runtime.
pub fn driver(address: Address, metrics: &RoleMetrics) -> Driver {
    let endpoint = Endpoint {
        address,
        username: None,
        password: Password::None,
        database: 0,
        tls: None,
        sources: Sources::default(),
    };
    let options = SetOptions {
        endpoint,
        connections: 1,
        connect_timeout: Duration::from_secs(60),
        stall_timeout: Duration::from_secs(60),
        ping_interval: Duration::from_secs(60),
        max_in_flight: 1 << 20,
    };
    Driver {
        options: Rc::new(options),
        client_name: "test".to_owned(),
        role: "read",
        resolver: Resolver::new(Handle::current()),
        turn: Rc::new(Turn::default()),
        wall_clock: SystemTime::now,
        metrics: metrics.clone(),
        credentials: Rc::new(Credentials::new("read", metrics.clone())),
        random: fastrand::Rng::with_seed(1),
    }
}

/// An owner that admits each link, and notes what it is told.
pub struct Told {
    /// Texts of replies, by their waiters.
    pub replies: RefCell<Vec<(u64, Vec<u8>)>>,
    /// When a link lost its connection, or failed to get one.
    pub downs: RefCell<Vec<Instant>>,
}

impl Told {
    pub fn new() -> Rc<Self> {
        Rc::new(Told {
            replies: RefCell::default(),
            downs: RefCell::default(),
        })
    }

    pub fn owner(self: &Rc<Self>) -> Rc<dyn Owner<u64>> {
        self.clone()
    }
}

impl Owner<u64> for Told {
    fn ready(&self, link: &Rc<Link<u64>>, _greeting: Greeting) {
        link.admit(true);
    }

    fn reply(&self, _link: &Link<u64>, waiter: u64, reply: Reply<'_>) -> Verdict {
        let text = reply.as_text().unwrap_or_default().to_vec();
        self.replies.borrow_mut().push((waiter, text));
        Verdict::Continue
    }

    fn push(&self, _link: &Link<u64>, _push: Reply<'_>) {}

    fn lost(&self, _waiter: u64, _fate: Fate, _error: &Error) {}

    fn down(&self, _link: &Link<u64>, _why: &str) {
        let now = tokio::time::Instant::now();
        self.downs.borrow_mut().push(now.into_std());
    }
}

/// What a driver does to its link, step by step.
pub struct Hand<W> {
    pub link: Rc<Link<W>>,
    owner: Rc<dyn Owner<W>>,
}

/// The hands that drive the links of a set.
pub fn hands<W: 'static>(set: &Set<W>, owner: &Rc<dyn Owner<W>>) -> Vec<Hand<W>> {
    let hand = |link: &Rc<Link<W>>| Hand {
        link: link.clone(),
        owner: owner.clone(),
    };
    set.links().iter().map(hand).collect()
}

impl<W: 'static> Hand<W> {
    /// Connects and logs in.
    pub fn connect(&self) {
        let options = Options {
            stall_timeout: Duration::from_secs(1),
            ping_interval: Duration::from_secs(1),
            max_in_flight: 1 << 20,
            limits: Limits::default(),
        };
        let now = Instant::now();
        let deadline = now + Duration::from_secs(1);
        self.link
            .open(Conn::new(options, Login::default(), deadline, now));
        assert!(self.flush().contains("HELLO"));
        assert_eq!(self.receive(b"%0\r\n"), Ok(()));
    }

    /// The transport takes all that was written: its words, without lengths.
    pub fn flush(&self) -> String {
        let output = self.link.with(|conn| {
            self.link.begin_flush();
            let output = String::from_utf8_lossy(conn.output()).into_owned();
            conn.sent(output.len());
            output
        });
        let output = output.expect("a connection");
        let words = output.split("\r\n");
        let words = words.filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ")
    }

    /// These bytes arrive.
    pub fn receive(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut greeting = None;
        let outcome = self.link.with(|conn| {
            conn.input().extend_from_slice(bytes);
            conn.on_input(Instant::now(), |event| match event {
                Event::Reply(waiter, reply) => self.owner.reply(&self.link, waiter, reply),
                Event::Push(push) => {
                    self.owner.push(&self.link, push);
                    Verdict::Continue
                }
                Event::Ready(hello) => {
                    greeting = Some(hello);
                    Verdict::Continue
                }
            })
        });
        if let Some(greeting) = greeting {
            self.owner.ready(&self.link, greeting);
        }
        outcome.expect("a connection")
    }

    /// The connection is lost.
    pub fn lose(&self) {
        let conn = self.link.take().expect("a connection");
        for (waiter, fate) in conn.end() {
            self.owner.lost(waiter, fate, &Error::Closed);
        }
        self.owner.down(&self.link, "lost");
    }
}
