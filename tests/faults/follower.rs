//! Writes a new version of all fields to the master again and again, and watches until the replica
//! has it: from then on an older one is wrong, unless the answer says that it is stale.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::load::{FIELDS, VERSIONS, field};
use crate::support::{PATIENCE, Session, eventually};

/// A server that takes longer is as good as away.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A server, and the password for it.
pub type Target = (SocketAddr, Option<String>);

/// Whose answers must be how new.
pub struct Demand {
    /// The oldest version that is right.
    pub oldest: Arc<AtomicU32>,
    /// How long after the replica has a version an older one is still right.
    pub slack: Duration,
}

/// Which servers are written and watched.
#[derive(Clone, Debug)]
pub struct Servers {
    pub master: Target,
    /// All that may be read: a version counts once each has it.
    pub replicas: Vec<Target>,
}

/// A running follower. Ends when dropped.
pub struct Follower {
    /// With the number of this change of them.
    servers: Arc<Mutex<(u64, Servers)>>,
    /// The number of the last change since which all replicas had all that is demanded.
    agreed: Arc<AtomicU64>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// With so long between two versions: all must end within [`VERSIONS`] times that.
    pub fn start(servers: Servers, demands: Vec<Demand>, pause: Duration) -> Follower {
        let servers = Arc::new(Mutex::new((0, servers)));
        let agreed = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = sync_channel::<()>(0);
        let (shared, common) = (Arc::clone(&servers), Arc::clone(&agreed));
        let thread = thread::spawn(move || {
            let mut work = Work {
                demands,
                visible: Vec::new(),
                sessions: Vec::new(),
            };
            for version in 1..VERSIONS {
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let (change, servers) = shared.lock().expect("no thread panics with it").clone();
                if work.round(version, &servers) {
                    common.store(change, Ordering::Relaxed);
                }
            }
        });
        Follower {
            servers,
            agreed,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Other servers from now on.
    pub fn follow(&self, servers: Servers) {
        let mut shared = self.servers.lock().expect("no thread panics with it");
        *shared = (shared.0 + 1, servers);
    }

    /// The same, and waits until each of these replicas has all that is demanded by then. One that
    /// has just begun may lag behind the other on a busy machine.
    pub fn follow_all(&self, servers: Servers) {
        self.follow(servers);
        let change = self.servers.lock().expect("no thread panics with it").0;
        eventually(PATIENCE, "all replicas have caught up", || {
            self.agreed.load(Ordering::Relaxed) == change
        });
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    demands: Vec<Demand>,
    /// Versions that all replicas had, and since when.
    visible: Vec<(u32, Instant)>,
    sessions: Vec<(Target, Session)>,
}

impl Work {
    /// Whether all replicas have all that is demanded.
    fn round(&mut self, version: u32, servers: &Servers) -> bool {
        let mut command = vec!["HSET".to_owned(), "currency".to_owned()];
        for number in 0..FIELDS {
            command.extend([field(number), (number * VERSIONS + version).to_string()]);
        }
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        // A master that is away, or refuses, leaves this version out.
        let _ = self.call(&servers.master, &command);
        let last = FIELDS - 1;
        let seen = servers.replicas.iter().map(|replica| {
            let value = self.call(replica, &["HGET", "currency", &field(last)])?;
            value.parse::<u32>().ok()?.checked_sub(last * VERSIONS)
        });
        // One that can't be asked may have any.
        let seen: Option<Vec<u32>> = seen.collect();
        let now = Instant::now();
        let oldest = seen.and_then(|seen| seen.into_iter().min());
        if let Some(oldest) = oldest
            && self.visible.last().is_none_or(|(known, _)| oldest > *known)
        {
            self.visible.push((oldest, now));
        }
        for demand in &self.demands {
            let due = |(_, since): &&(u32, Instant)| now - *since >= demand.slack;
            if let Some((oldest, _)) = self.visible.iter().rfind(due) {
                demand.oldest.store(*oldest, Ordering::Relaxed);
            }
        }
        oldest >= self.visible.last().map(|(known, _)| *known)
    }

    fn call(&mut self, target: &Target, words: &[&str]) -> Option<String> {
        let known = self.sessions.iter().position(|(known, _)| known == target);
        let mut session = match known {
            Some(place) => self.sessions.swap_remove(place).1,
            None => Session::open(target.0, target.1.as_deref(), TIMEOUT).ok()?,
        };
        // After an error of any kind the next call connects anew.
        let reply = session.call(words).ok()?;
        self.sessions.push((target.clone(), session));
        Some(reply)
    }
}
