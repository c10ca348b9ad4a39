//! Waiting for replicas: which `WAIT` is sent where, and what the write is told.

use super::*;

const WAIT: &str = "WAIT 1 50";

/// What a write is told whose master has it.
fn unconfirmed(why: &str) -> Option<Result<(), WriteError>> {
    Some(Err(WriteError::Unconfirmed(why.to_owned())))
}

impl Rig {
    /// A write that is done on the master and waits for one replica until `deadline`, by `wait`.
    fn written(&self, deadline: Instant, wait: &str) -> Task<'_> {
        let mut write = self.begun(self.write_until(deadline));
        assert_eq!(self.hands[0].flush(), HSET);
        assert_eq!(self.hands[0].receive(b":1\r\n"), Ok(()));
        assert_eq!(poll(&mut write), None);
        assert_eq!(self.hands[0].flush(), wait);
        assert_eq!(self.confirmed(), None);
        write
    }

    /// How many replicas had the write when they were last counted.
    fn confirmed(&self) -> Option<u64> {
        match self.progress.get() {
            Some(Progress::Written {
                confirmed,
                wanted: 1,
            }) => confirmed,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_reply_decides_what_a_write_is_told() {
    let check = |reply: &[u8], expected: Option<Result<(), WriteError>>, end: Result<(), Error>| {
        let rig = Rig::new(1, 1);
        let mut write = rig.written(Instant::now() + LONG, WAIT);
        let shown = reply.escape_ascii();
        assert_eq!(rig.hands[0].receive(reply), end, "{shown}");
        assert_eq!(poll(&mut write), expected, "{shown}");
    };
    check(b":1\r\n", Some(Ok(())), Ok(()));
    check(b":2\r\n", Some(Ok(())), Ok(()));
    check(b":0\r\n", None, Ok(()));
    check(b":-1\r\n", None, Ok(()));
    let (kind, text) = (ErrorKind::NoPerm, "NOPERM no".to_owned());
    let refused = WriteError::WaitRefused { kind, text };
    check(b"-NOPERM no\r\n", Some(Err(refused)), Ok(()));
    let what = "the reply to WAIT is not a number";
    check(b"+OK\r\n", unconfirmed(what), Err(Error::Confused(what)));
}

#[test]
fn replicas_are_counted_again_until_the_deadline() {
    let rig = Rig::new(1, 1);
    let mut write = rig.written(Instant::now() + LONG, WAIT);
    assert_eq!(rig.hands[0].receive(b":0\r\n"), Ok(()));
    assert_eq!(poll(&mut write), None);
    assert_eq!(rig.confirmed(), Some(0));
    assert_eq!(rig.hands[0].flush(), WAIT);
    assert_eq!(rig.hands[0].receive(b":1\r\n"), Ok(()));
    assert_eq!(poll(&mut write), Some(Ok(())));

    // 0 ms would be no timeout at all.
    let mut write = rig.written(Instant::now(), "WAIT 1 1");
    assert_eq!(rig.hands[0].receive(b":0\r\n"), Ok(()));
    let outcome = poll(&mut write);
    let Some(Err(WriteError::TooFew {
        confirmed, wanted, ..
    })) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((confirmed, wanted), (0, 1));
}

#[test]
fn writes_on_one_connection_share_a_wait_and_none_is_put_behind_it() {
    let rig = Rig::new(1, 1);
    let mut early = [rig.write(), rig.write()];
    rig.hands[0].flush();
    assert_eq!(rig.hands[0].receive(b":1\r\n:1\r\n"), Ok(()));
    for write in &mut early {
        assert_eq!(poll(write), None);
    }
    assert_eq!(rig.hands[0].flush(), WAIT);
    let busy = "all wait for replicas to confirm earlier writes (--write-wait)";
    assert_eq!(rig.writes.trouble(), busy);
    let mut late = rig.write();
    assert_eq!(rig.hands[0].flush(), "");
    assert_eq!(rig.hands[0].receive(b":1\r\n"), Ok(()));
    for write in &mut early {
        assert_eq!(poll(write), Some(Ok(())));
    }
    assert_ne!(rig.writes.trouble(), busy);
    assert_eq!(poll(&mut late), None);
    assert_eq!(rig.hands[0].flush(), HSET);
}

#[test]
fn a_wait_never_goes_to_another_connection_than_its_write() {
    let rig = Rig::new(2, 1);
    let mut write = rig.write();
    rig.hands[0].flush();
    assert_eq!(rig.hands[0].receive(b":1\r\n"), Ok(()));
    rig.hands[0].lose();
    rig.hands[0].connect();
    let another = unconfirmed("the connection was lost, and there is a new one");
    assert_eq!(poll(&mut write), another);
    assert_eq!(
        (rig.hands[0].flush(), rig.hands[1].flush()),
        Default::default()
    );

    let rig = Rig::new(2, 1);
    let mut write = rig.written(Instant::now() + LONG, WAIT);
    rig.hands[0].lose();
    let closed = unconfirmed("the server closed the connection");
    assert_eq!(poll(&mut write), closed);
    rig.hands[0].connect();
    drop(rig.written(Instant::now() + LONG, WAIT));
}

#[test]
fn as_many_replicas_are_waited_for_as_asked_for() {
    let rig = Rig::new(1, 2);
    let mut write = rig.write();
    rig.hands[0].flush();
    assert_eq!(rig.hands[0].receive(b":1\r\n"), Ok(()));
    for (count, expected) in [(1, None), (2, Some(Ok(())))] {
        assert_eq!(poll(&mut write), None);
        assert_eq!(rig.hands[0].flush(), "WAIT 2 50");
        let reply = format!(":{count}\r\n");
        assert_eq!(rig.hands[0].receive(reply.as_bytes()), Ok(()));
        assert_eq!(poll(&mut write), expected);
    }
}
