//! A client that posts, and remembers what it was told of every value.

use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::http::Connection;
use super::redis::Redis;

/// Between two posts.
const PAUSE: Duration = Duration::from_millis(2);

/// One post of a field that nobody else writes.
#[derive(Clone, Debug)]
pub struct Post {
    pub field: String,
    pub status: u16,
    pub body: String,
    pub answered: Instant,
}

impl Post {
    pub fn outcome(&self) -> Option<&str> {
        let (_, rest) = self.body.split_once("\"outcome\":\"")?;
        rest.split('"').next()
    }
}

/// Posts one field after the other, each with its own number. Ends when dropped.
#[derive(Debug)]
pub struct Writer {
    posts: Arc<Mutex<Vec<Post>>>,
    thread: Option<JoinHandle<()>>,
    stop: Option<SyncSender<()>>,
}

impl Writer {
    /// Posts fields whose names begin with `prefix`.
    pub fn start(addr: SocketAddr, prefix: &str) -> Writer {
        Writer::every(PAUSE, addr, prefix)
    }

    /// As [`Writer::start`], with this pause between two posts.
    pub fn every(pause: Duration, addr: SocketAddr, prefix: &str) -> Writer {
        let posts = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = sync_channel::<()>(0);
        let (prefix, written) = (prefix.to_owned(), Arc::clone(&posts));
        let thread = thread::spawn(move || {
            let mut connection = Connection::open(addr).expect("the API accepts");
            for number in 0.. {
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let field = format!("{prefix}{number}");
                let body = format!("{{\"value\":{number}}}");
                let response =
                    connection.request("POST", &format!("/{field}"), &[], body.as_bytes());
                let post = Post {
                    field,
                    status: response.status,
                    body: response.text(),
                    answered: Instant::now(),
                };
                written.lock().expect("no thread panics with it").push(post);
            }
        });
        Writer {
            posts,
            thread: Some(thread),
            stop: Some(stop),
        }
    }

    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("no thread panics with it").clone()
    }

    /// When the first success after `since` came.
    pub fn success_after(&self, since: Instant) -> Option<Instant> {
        let posts = self.posts();
        let mut good = posts.iter().filter(|post| post.status == 200);
        good.find(|post| post.answered > since)
            .map(|post| post.answered)
    }

    /// Ends it and compares what it was told with what the master has.
    ///
    /// # Panics
    /// When a success is not there, when something is there that was said not to be, or when an
    /// answer was neither a success nor 503 nor 504 with its outcome.
    #[track_caller]
    pub fn check(mut self, master: &Redis) -> Vec<Post> {
        self.stop.take();
        let thread = self.thread.take().expect("it is joined once");
        thread.join().expect("every post was answered");
        let stored = master.cli(&["HKEYS", "currency"]);
        let stored: std::collections::HashSet<&str> = stored.lines().collect();
        let posts = self.posts();
        for post in &posts {
            let is_stored = stored.contains(post.field.as_str());
            match (post.status, post.outcome()) {
                (200, None) => assert!(is_stored, "lost: {post:?}"),
                // 502: the master's own errors that have no meaning of their own here, as MISCONF.
                (503, Some("not-sent" | "refused")) | (502, Some("refused")) => {
                    assert!(!is_stored, "carried out all the same: {post:?}");
                }
                (504, Some("not-sent")) => assert!(!is_stored, "carried out: {post:?}"),
                (503 | 504, Some("unknown")) => {}
                _ => panic!("{post:?}"),
            }
        }
        posts
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of its own is the first cause only where `check` was not reached.
            let _ = thread.join();
        }
    }
}
