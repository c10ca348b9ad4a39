//! What a write is told, and that none is sent twice, on links that the test drives by hand.

mod confirm;

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::*;
use crate::metrics::{RoleMetrics, Side};
use crate::net::test::{self, Hand};
use crate::store::master::MAX_WAITING;
use redis_api_wire::conn::Error;

const HSET: &str = "HSET currency EUR 1.5";
const LONG: Duration = Duration::from_secs(3_600);

/// The write side, the hands that drive its links, and how far the write has come.
struct Rig {
    writes: Writes,
    hands: Vec<Hand<WriteWaiter>>,
    progress: Rc<Cell<Option<Progress>>>,
}

/// A write, or a question before one, under way.
type Task<'a> = Pin<Box<dyn Future<Output = Result<(), WriteError>> + 'a>>;

impl Rig {
    /// With `links` links, all of them connected.
    fn new(links: usize, replicas: u64) -> Rig {
        let metrics = Arc::new(metrics::Worker::default());
        let role = RoleMetrics::new(metrics.clone(), Side::Write);
        let options = WriteOptions {
            replicas,
            ..WriteOptions::default()
        };
        let set = Set::new(links, &role);
        let writes = Writes::new(options, "m:1".into(), set.clone(), Rc::default(), metrics);
        let hands = test::hands(&set, &writes.owner());
        hands.iter().for_each(Hand::connect);
        let progress = Rc::default();
        Rig {
            writes,
            hands,
            progress,
        }
    }

    /// A write that is not polled yet, and has until `deadline` for its replicas.
    fn write_until(&self, deadline: Instant) -> Task<'_> {
        let report = |progress| self.progress.set(Some(progress));
        Box::pin(async move { self.writes.set(b"EUR", b"1.5", deadline, &report).await })
    }

    /// A write that waits.
    fn write(&self) -> Task<'_> {
        self.begun(self.write_until(Instant::now() + LONG))
    }

    /// The question whether the hash has room for a field, of two at most.
    fn has_room(&self) -> Task<'_> {
        let report = |progress| self.progress.set(Some(progress));
        self.begun(Box::pin(async move {
            self.writes.has_room(b"EUR", 2, &report).await
        }))
    }

    fn begun<'a>(&self, mut task: Task<'a>) -> Task<'a> {
        assert_eq!(poll(&mut task), None);
        task
    }

    fn progress(&self) -> Progress {
        self.progress.get().expect("a report")
    }
}

fn poll(task: &mut Task<'_>) -> Option<Result<(), WriteError>> {
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(outcome) => Some(outcome),
    }
}

fn refused(kind: ErrorKind, text: &str) -> WriteError {
    let text = text.to_owned();
    WriteError::Refused { kind, text }
}

fn unfit(kind: ErrorKind, text: &str) -> Error {
    let text = text.to_owned();
    Error::Unusable { kind, text }
}

#[test]
fn the_reply_decides_what_a_write_is_told_and_whether_its_connection_goes_on() {
    let check = |reply: &[u8], expected: Result<(), WriteError>, end: Result<(), Error>| {
        let rig = Rig::new(1, 0);
        let mut write = rig.write();
        assert_eq!(rig.progress(), Progress::Sent);
        assert_eq!(rig.hands[0].flush(), HSET);
        let shown = reply.escape_ascii();
        assert_eq!(rig.hands[0].receive(reply), end, "{shown}");
        assert_eq!(poll(&mut write), Some(expected), "{shown}");
    };
    check(b":0\r\n", Ok(()), Ok(()));
    check(b":1\r\n", Ok(()), Ok(()));
    let oom = refused(ErrorKind::Oom, "OOM no");
    check(b"-OOM no\r\n", Err(oom), Ok(()));
    let (kind, text) = (ErrorKind::NoAuth, "NOAUTH no");
    check(
        b"-NOAUTH no\r\n",
        Err(refused(kind, text)),
        Err(unfit(kind, text)),
    );
    let confused = Error::Confused("the reply to HSET is not a number");
    check(b"+OK\r\n", Err(WriteError::WrongReply), Err(confused));
}

#[test]
fn a_write_of_unknown_fate_is_not_sent_again() {
    let rig = Rig::new(2, 0);
    let mut write = rig.write();
    assert_eq!(rig.hands[0].flush(), HSET);
    rig.hands[0].lose();
    let why = "the server closed the connection".to_owned();
    assert_eq!(poll(&mut write), Some(Err(WriteError::Lost(why))));
    assert_eq!(rig.hands[1].flush(), "");
}

#[test]
fn a_write_that_was_not_sent_goes_to_another_connection() {
    let rig = Rig::new(2, 0);
    let mut write = rig.write();
    rig.hands[0].lose();
    assert_eq!(poll(&mut write), None);
    assert_eq!(rig.hands[1].flush(), HSET);
    assert_eq!(rig.hands[1].receive(b":1\r\n"), Ok(()));
    assert_eq!(poll(&mut write), Some(Ok(())));
}

/// Each connection that was made before a failover may refuse it once.
#[test]
fn a_write_refused_by_a_replica_is_sent_again_while_there_may_be_another_server() {
    for links in [1, 3] {
        let rig = Rig::new(links, 0);
        let mut write = rig.write();
        let (kind, text) = (ErrorKind::ReadOnly, "READONLY no");
        let refuse = |hand: &Hand<WriteWaiter>| {
            assert_eq!(hand.flush(), HSET);
            let end = Err(unfit(kind, text));
            assert_eq!(hand.receive(b"-READONLY no\r\n"), end);
            hand.lose();
        };
        for hand in &rig.hands {
            refuse(hand);
            assert_eq!(poll(&mut write), None);
        }
        assert_eq!(rig.progress(), Progress::ReadOnly);
        rig.hands[0].connect();
        assert_eq!(poll(&mut write), None);
        refuse(&rig.hands[0]);
        assert_eq!(poll(&mut write), Some(Err(refused(kind, text))));
    }
}

#[test]
fn without_a_connection_a_write_waits_if_there_is_a_place() {
    let rig = Rig::new(1, 0);
    rig.hands[0].lose();
    assert_eq!(rig.writes.trouble(), "master m:1: lost");
    let mut write = rig.write();
    assert_eq!(rig.progress(), Progress::Waiting);
    let others: Vec<_> = (1..MAX_WAITING).map(|_| rig.write()).collect();
    let mut late = rig.write_until(Instant::now() + LONG);
    assert_eq!(poll(&mut late), Some(Err(WriteError::Shed)));
    drop(others);
    drop(rig.write());
    rig.hands[0].connect();
    assert_eq!(poll(&mut write), None);
    assert_eq!(rig.hands[0].flush(), HSET);
}

#[test]
fn whoever_may_not_know_the_cpu_time_is_asked_again_after_the_next_login() {
    let rig = Rig::new(1, 0);
    let ask = || {
        rig.writes.ask_cpu();
        rig.hands[0].flush()
    };
    assert_eq!(ask(), "INFO cpu");
    let told = b"$36\r\nused_cpu_sys:1.25\r\nused_cpu_user:0.5\r\n";
    assert_eq!(rig.hands[0].receive(told), Ok(()));
    assert_eq!(rig.writes.master.metrics.write.cpu_micros.get(), 1_750_000);
    assert_eq!(ask(), "INFO cpu");
    assert_eq!(rig.hands[0].receive(b"-NOPERM no\r\n"), Ok(()));
    assert_eq!(ask(), "");
    rig.hands[0].lose();
    rig.hands[0].connect();
    assert_eq!(ask(), "INFO cpu");
}

#[test]
fn room_is_asked_for_by_two_questions() {
    let check = |replies: &[u8], expected: Result<(), WriteError>, end: Result<(), Error>| {
        let rig = Rig::new(1, 0);
        let mut asked = rig.has_room();
        assert_eq!(rig.progress(), Progress::Checking);
        assert_eq!(rig.hands[0].flush(), "HEXISTS currency EUR HLEN currency");
        let shown = replies.escape_ascii();
        assert_eq!(rig.hands[0].receive(replies), end, "{shown}");
        assert_eq!(poll(&mut asked), Some(expected), "{shown}");
    };
    check(b":0\r\n:0\r\n", Ok(()), Ok(()));
    check(b":0\r\n:1\r\n", Ok(()), Ok(()));
    check(b":0\r\n:2\r\n", Err(WriteError::NoRoom(2)), Ok(()));
    check(b":0\r\n:3\r\n", Err(WriteError::NoRoom(2)), Ok(()));
    check(b":1\r\n:3\r\n", Ok(()), Ok(()));
    let (kind, text) = (ErrorKind::NoPerm, "NOPERM no".to_owned());
    let not_checked = WriteError::NotChecked { kind, text };
    check(b":0\r\n-NOPERM no\r\n", Err(not_checked), Ok(()));
    let confused = Error::Confused("the reply to HEXISTS or HLEN is not a number");
    check(b"+OK\r\n", Err(WriteError::WrongCount), Err(confused));
}

#[test]
fn questions_of_a_lost_connection_are_asked_again() {
    let rig = Rig::new(2, 0);
    let mut asked = rig.has_room();
    rig.hands[0].flush();
    rig.hands[0].lose();
    assert_eq!(poll(&mut asked), None);
    assert_eq!(rig.hands[1].flush(), "HEXISTS currency EUR HLEN currency");
    assert_eq!(rig.hands[1].receive(b":0\r\n:0\r\n"), Ok(()));
    assert_eq!(poll(&mut asked), Some(Ok(())));
}
