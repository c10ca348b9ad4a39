//! A Redis of one value, that costs next to nothing: it compares bytes, and answers.

use std::cell::Cell;
use std::rc::Rc;

use redis_api_server::HashName;
use redis_api_server::parts::CURRENT;
use redis_api_wire::resp::{Decoder, Limits, Reply, constant};
use tokio::task::spawn_local;

use super::Far;

/// Counts what it is asked.
pub struct Redis {
    hgets: Cell<u64>,
}

impl Redis {
    /// Answers on `far`; to be called on the runtime.
    pub fn start(far: Far) -> Rc<Self> {
        let redis = Rc::new(Redis {
            hgets: Cell::new(0),
        });
        let hget = constant(&[b"HGET", HashName::default().as_bytes(), CURRENT.as_bytes()]);
        let task = redis.clone();
        spawn_local(async move {
            let mut replies = Vec::new();
            loop {
                far.receive(1, |bytes| task.answer(&hget, bytes, &mut replies))
                    .await;
                far.send(&replies);
                replies.clear();
            }
        });
        redis
    }

    /// `HGET`s so far.
    pub fn hgets(&self) -> u64 {
        self.hgets.get()
    }

    /// Answers all whole commands in `bytes`; how long they are together.
    fn answer(&self, hget: &[u8], bytes: &[u8], replies: &mut Vec<u8>) -> usize {
        let mut rest = bytes;
        loop {
            if let Some(next) = rest.strip_prefix(hget) {
                rest = next;
                self.hgets.set(self.hgets.get() + 1);
                replies.extend_from_slice(b"$4\r\n12.5\r\n");
            } else if let Some((len, reply)) = login(rest) {
                rest = &rest[len..];
                replies.extend_from_slice(reply);
            } else {
                return bytes.len() - rest.len();
            }
        }
    }
}

/// The length of the first command and the answer to it, for what is asked when a connection
/// begins.
fn login(bytes: &[u8]) -> Option<(usize, &'static [u8])> {
    let mut decoder = Decoder::new(Limits::default());
    let decoded = decoder
        .decode(bytes)
        .expect("what we send is RESP: a command is an array of bulk strings")?;
    let Reply::Array(mut words) = decoded.reply else {
        panic!("no command: {:?}", decoded.reply);
    };
    let mut word = || words.next().and_then(redis_api_wire::resp::Reply::as_text);
    let reply: &[u8] = match (word(), word()) {
        (Some(b"HELLO"), _) => b"%1\r\n$5\r\nproto\r\n:3\r\n",
        (Some(b"CLIENT"), Some(b"TRACKING")) => b"+OK\r\n",
        (Some(b"INFO"), Some(b"persistence")) => b"$11\r\nloading:0\r\n\r\n",
        (Some(b"INFO"), Some(b"replication")) => b"$13\r\nrole:master\r\n\r\n",
        (Some(b"INFO"), Some(b"cpu")) => b"$0\r\n\r\n",
        _ => b"-ERR not known here\r\n",
    };
    Some((decoded.len, reply))
}
