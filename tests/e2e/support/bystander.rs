//! A client that asks for little, beside others that take more than their share.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::api::Api;
pub use super::cpu::REQUEST_TIMEOUT;
use super::http::Connection;
use super::poll::pass;

/// How long it is watched before an attack.
pub const CALM: Duration = Duration::from_millis(700);

/// Between two requests.
const PAUSE: Duration = Duration::from_millis(8);

/// Some hundred requests a second on one connection, each of which must be answered with `200` in
/// time. Those that were late because the machine had no CPU for them are left out: a tenth at most.
pub struct Bystander {
    stop: SyncSender<()>,
    thread: JoinHandle<Watched>,
    attacked: Instant,
}

/// When it asked and how long that took, and how often it was late for want of a CPU.
type Watched = (Vec<(Instant, Duration)>, usize);

/// How it fared before the attack, or during it.
#[derive(Clone, Copy, Debug)]
pub struct Fared {
    pub requests: usize,
    pub p99: Duration,
    pub longest: Duration,
}

impl Fared {
    fn of(mut took: Vec<Duration>) -> Fared {
        took.sort();
        Fared {
            requests: took.len(),
            p99: took[took.len() * 99 / 100],
            longest: took[took.len() - 1],
        }
    }
}

impl Bystander {
    /// Starts one, which must get this body, and watches it for a while before the attack begins.
    pub fn start(api: &Api, body: &'static str) -> Bystander {
        let passage = api.passage();
        let mut connection = Connection::open(api.addr()).expect("it listens");
        let (stop, stopped) = sync_channel(0);
        let thread = thread::spawn(move || {
            let (mut took, mut starved) = (Vec::new(), 0);
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let (asked, waited) = (Instant::now(), passage.waited());
                let response = connection.request("GET", "/", &[], b"");
                let time = asked.elapsed();
                if time >= REQUEST_TIMEOUT / 2 && passage.was_starved(waited) {
                    starved += 1;
                    continue;
                }
                took.push((asked, time));
                assert_eq!((response.status, response.text().as_str()), (200, body));
            }
            (took, starved)
        });
        pass(CALM);
        Bystander {
            stop,
            thread,
            attacked: Instant::now(),
        }
    }

    /// The attack is over: how the bystander fared before it and during it.
    ///
    /// # Panics
    /// When it was refused.
    #[track_caller]
    pub fn finish(self, attack: &str) -> [Fared; 2] {
        drop(self.stop);
        let Ok((took, starved)) = self.thread.join() else {
            panic!("a bystander of {attack} was refused");
        };
        let enough = starved * 10 <= took.len();
        assert!(enough, "the machine had no CPU for {starved} requests");
        let during = |(asked, _): &&(Instant, Duration)| *asked >= self.attacked;
        let (during, before): (Vec<_>, Vec<_>) = took.iter().partition(during);
        assert!(before.len() > 5 && during.len() > 5, "{}", took.len());
        let fared = [before, during].map(|some| {
            let took = some.iter().map(|(_, took)| *took);
            Fared::of(took.collect())
        });
        println!("{attack}: the bystander before and during it: {fared:?}");
        fared
    }

    /// The same.
    ///
    /// # Panics
    /// When it was refused, or kept waiting even once.
    #[track_caller]
    pub fn check(self, attack: &str) {
        let fared = self.finish(attack);
        let longest = fared.map(|fared| fared.longest);
        let in_time = longest.iter().all(|longest| *longest < REQUEST_TIMEOUT);
        assert!(in_time, "{attack}: {longest:?}");
    }
}
