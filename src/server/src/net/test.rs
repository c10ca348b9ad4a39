//! Links that a test drives by hand, in place of sockets and driver tasks.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::link::{Link, Owner};
use super::set::Set;
use crate::metrics;
use redis_api_wire::conn::{Conn, Error, Event, Login, Options, Verdict};
use redis_api_wire::resp::Limits;

/// What a driver does to its link, step by step.
pub struct Hand<W> {
    pub link: Rc<Link<W>>,
    owner: Rc<dyn Owner<W>>,
}

/// A set of `links` links, none of them connected, and the hands that drive them.
pub fn set<W: 'static>(
    links: usize,
    metrics: &metrics::RoleOf,
    owner: &Rc<dyn Owner<W>>,
) -> (Set<W>, Vec<Hand<W>>) {
    let hand = |index| Hand {
        link: Rc::new(Link::new(index, metrics.clone())),
        owner: owner.clone(),
    };
    let hands: Vec<_> = (0..links).map(hand).collect();
    let links = hands.iter().map(|hand| hand.link.clone()).collect();
    (Set::of(links), hands)
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
