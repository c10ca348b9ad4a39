//! Whom the drivers of the read links tell what arrives.

use std::rc::{Rc, Weak};

use super::super::fallback::Fallback;
use super::super::found::ReadWaiter;
use super::super::source::{ReadServer, Source};
use super::super::tracking::Tracking;
use super::Reads;
use crate::net::{Link, Owner};
use redis_api_wire::conn::{Error, Fate, Greeting, Verdict};
use redis_api_wire::resp::Reply;

/// Takes in what arrives from one of the two servers. Weak, since the drivers that hold it belong
/// to the set that the reads hold.
pub struct LinkOwner {
    pub reads: Weak<Reads>,
    pub server: ReadServer,
}

/// One of the two servers, as its [`LinkOwner`] sees it.
struct ServerSide<'a> {
    reads: &'a Reads,
    source: &'a Source,
    /// Of the fallback.
    fallback: Option<&'a Fallback>,
    /// Of the replica.
    tracking: Option<&'a Tracking>,
}

impl LinkOwner {
    fn with<T>(&self, act: impl FnOnce(ServerSide<'_>) -> T) -> Option<T> {
        let reads = self.reads.upgrade()?;
        let fallback = match self.server {
            ReadServer::Replica => None,
            ReadServer::Fallback => reads.fallback.as_ref(),
        };
        Some(act(ServerSide {
            reads: &reads,
            source: fallback.map_or(&reads.replica, Fallback::source),
            fallback,
            tracking: reads.tracking.as_ref().filter(|_| fallback.is_none()),
        }))
    }
}

impl Owner<ReadWaiter> for LinkOwner {
    fn ready(&self, link: &Rc<Link<ReadWaiter>>, greeting: Greeting) {
        self.with(|side| {
            let now = side.reads.turn.now();
            side.source.connected(link, greeting);
            if let Some(tracking) = side.tracking {
                tracking.connected(link, greeting.protocol, now);
            }
            side.source.probe_link(link, now);
        });
    }

    fn reply(&self, link: &Link<ReadWaiter>, waiter: ReadWaiter, reply: Reply<'_>) -> Verdict {
        let verdict = self.with(|side| {
            if let Some(fallback) = side.fallback {
                fallback.ended(&waiter);
            }
            let verdict = side
                .reads
                .on_reply(side.source, side.tracking, link, waiter, reply);
            if let Some(tracking) = side.tracking.filter(|_| !link.is_admitted()) {
                tracking.drop_all();
            }
            verdict
        });
        verdict.unwrap_or(Verdict::Continue)
    }

    fn push(&self, _link: &Link<ReadWaiter>, push: Reply<'_>) {
        self.with(|side| {
            if let Some(tracking) = side.tracking {
                tracking.on_push(push);
            }
        });
    }

    fn lost(&self, waiter: ReadWaiter, _fate: Fate, _error: &Error) {
        self.with(|side| {
            if let Some(fallback) = side.fallback {
                fallback.ended(&waiter);
            }
        });
        waiter.lose();
    }

    fn down(&self, link: &Link<ReadWaiter>, why: &str) {
        self.with(|side| {
            if let Some(tracking) = side.tracking {
                tracking.ended(link);
            }
            side.source.down(why);
        });
    }
}
