//! Tracked reads: what is answered from memory, and each way in which that ends.

use super::*;
use crate::store::tracking::PAUSE;

const ON: &str = "CLIENT TRACKING ON";
const UPSTREAM: &str = "CLIENT LIST TYPE master";
/// Of a master.
const NO_UPSTREAM: &[u8] = b"$0\r\n\r\n";
const CHANGED: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\ncurrency\r\n";
const ALL_CHANGED: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
const OTHER_CHANGED: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nother\r\n";

/// With one link that is tracked, and nothing in memory.
fn tracked() -> Rig {
    let rig = Rig::new(ReadMode::Tracked, 1);
    track(rig.hand());
    rig
}

fn track(hand: &Hand<ReadWaiter>) {
    hand.connect();
    assert_eq!(hand.flush(), format!("{ON} {UPSTREAM} {QUESTIONS}"));
    assert_eq!(hand.receive(b"+OK\r\n"), Ok(()));
    assert_eq!(hand.receive(NO_UPSTREAM), Ok(()));
    assert_eq!(hand.receive(WELL), Ok(()));
    assert!(hand.link.is_admitted());
}

impl Rig {
    /// A read that is sent, and answered with this number.
    fn answered(&self, number: u32) {
        let mut read = self.read();
        assert_eq!(self.hand().flush(), HGET);
        let reply = format!("$1\r\n{number}\r\n");
        assert_eq!(self.hand().receive(reply.as_bytes()), Ok(()));
        assert_eq!(poll(&mut read), body(number));
    }

    /// A read that is answered from memory with this number.
    #[track_caller]
    fn kept(&self, number: u32) {
        let mut read = self.reads.current(Instant::now());
        assert_eq!(poll(&mut read), body(number));
        assert_eq!(self.hand().flush(), "", "nothing is sent");
    }
}

#[test]
fn a_value_is_kept_until_it_changes() {
    let rig = tracked();
    rig.answered(1);
    rig.kept(1);
    assert_eq!(rig.hand().receive(OTHER_CHANGED), Ok(()));
    rig.kept(1);
    for (push, number) in [(CHANGED, 2), (ALL_CHANGED, 3)] {
        assert_eq!(rig.hand().receive(push), Ok(()));
        rig.answered(number);
        rig.kept(number);
    }
    let metrics = &rig.reads.metrics;
    assert_eq!(metrics.tracked_invalidations.get(), 2);
    assert_eq!(metrics.tracked_hits.get(), 4);
    assert_eq!(metrics.tracked_misses.get(), 3);
}

#[test]
fn a_push_between_command_and_reply_keeps_the_reply_out() {
    let rig = tracked();
    let mut read = rig.read();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(CHANGED), Ok(()));
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n"), Ok(()));
    assert_eq!(poll(&mut read), body(1), "it is fresh enough for who asked");
    rig.answered(2);
    rig.kept(2);
}

#[test]
fn a_push_behind_the_reply_in_one_read_drops_it() {
    let rig = tracked();
    let mut read = rig.read();
    rig.hand().flush();
    let both = [b"$1\r\n1\r\n", CHANGED].concat();
    assert_eq!(rig.hand().receive(&both), Ok(()));
    assert_eq!(poll(&mut read), body(1));
    rig.answered(2);
}

#[test]
fn nothing_is_kept_of_a_connection_that_ended() {
    let rig = tracked();
    rig.answered(1);
    rig.hand().lose();
    let mut read = rig.reads.current(Instant::now());
    assert_eq!(poll(&mut read), Some(Err(ReadError::Unavailable)));
    track(rig.hand());
    rig.answered(2);
    rig.kept(2);
}

#[test]
fn nothing_is_kept_of_a_server_that_is_not_usable() {
    let rig = tracked();
    rig.answered(1);
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(LOADING), Ok(()));
    let mut read = rig.reads.current(Instant::now());
    assert_eq!(poll(&mut read), Some(Err(ReadError::Unavailable)));
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(WELL), Ok(()));
    rig.answered(2);
}

#[test]
fn nothing_is_kept_when_a_look_is_not_answered_before_the_next() {
    let rig = tracked();
    rig.answered(1);
    rig.reads.probe();
    rig.hand().flush();
    // One answer is missing yet.
    rig.kept(1);
    rig.reads.probe();
    let mut read = rig.read();
    rig.hand().flush();
    // What was asked for meanwhile is answered late, and kept no longer than the next look.
    assert_eq!(
        rig.hand()
            .receive(&[NO_UPSTREAM, WELL, NO_UPSTREAM, WELL, b"$1\r\n2\r\n"].concat()),
        Ok(())
    );
    assert_eq!(poll(&mut read), body(2));
    rig.kept(2);
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(WELL), Ok(()));
    rig.kept(2);
}

#[test]
fn nothing_is_kept_when_the_link_to_the_master_goes_down_or_comes_back() {
    let look = |rig: &Rig, answers: &[u8]| {
        rig.reads.probe();
        rig.hand().flush();
        assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
        assert_eq!(rig.hand().receive(answers), Ok(()));
    };
    let up = "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:0\r\n";
    let up = format!(
        "$9\r\nloading:0\r\n$-1\r\n${}\r\n{up}\r\n$0\r\n\r\n",
        up.len()
    );
    let rig = tracked();
    look(&rig, up.as_bytes());
    rig.answered(1);
    look(&rig, up.as_bytes());
    rig.kept(1);
    look(&rig, cut_off(0).as_bytes());
    rig.answered(2);
    look(&rig, cut_off(1).as_bytes());
    rig.kept(2);
    look(&rig, up.as_bytes());
    rig.answered(3);
    look(&rig, up.as_bytes());
    rig.kept(3);
}

/// Between two looks: all that `INFO` says is as before.
#[test]
fn nothing_is_kept_when_the_replica_follows_its_master_by_another_connection() {
    let rig = tracked();
    let look = |list: &str| {
        rig.reads.probe();
        rig.hand().flush();
        let list = format!("${}\r\n{list}\r\n", list.len());
        assert_eq!(rig.hand().receive(list.as_bytes()), Ok(()));
        assert_eq!(rig.hand().receive(WELL), Ok(()));
    };
    let by = |port: u32, age: u32| {
        format!("id=5 addr=10.0.0.1:6379 laddr=10.0.0.2:{port} fd=9 age={age} flags=M\n")
    };
    look(&by(36010, 1));
    rig.answered(1);
    look(&by(36010, 2));
    rig.kept(1);
    look(&by(36028, 3));
    rig.answered(2);
    look("");
    rig.answered(3);
    // Before Redis 6.2.
    look("id=5 addr=10.0.0.1:6379 fd=9 age=1 flags=M\n");
    rig.answered(4);
    look("id=5 addr=10.0.0.1:6379 fd=9 age=2 flags=M\n");
    rig.kept(4);
    look("id=8 addr=10.0.0.1:6379 fd=9 age=0 flags=M\n");
    rig.answered(5);
}

#[test]
fn who_may_not_ask_for_the_masters_connection_is_not_asked_again() {
    let rig = Rig::new(ReadMode::Tracked, 1);
    rig.hand().connect();
    rig.hand().flush();
    let refused = b"-NOPERM this user has no permissions to run the 'client|list' command\r\n";
    let answers = [b"+OK\r\n", &refused[..], WELL].concat();
    assert_eq!(rig.hand().receive(&answers), Ok(()));
    rig.answered(1);
    rig.reads.probe();
    assert_eq!(rig.hand().flush(), QUESTIONS);
    assert_eq!(rig.hand().receive(WELL), Ok(()));
    rig.kept(1);
    rig.hand().lose();
    track(rig.hand());
}

#[test]
fn what_the_age_of_the_data_is_goes_with_an_answer_from_memory() {
    let rig = tracked();
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(cut_off(7).as_bytes()), Ok(()));
    rig.answered(1);
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(cut_off(8).as_bytes()), Ok(()));
    let mut read = rig.reads.current(Instant::now());
    match Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(found)) => assert_eq!(found.age, Some(8)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_are_kept_together_and_apart() {
    let rig = tracked();
    let now = Instant::now;
    let names = || -> Box<[Box<[u8]>]> { ["A", "B"].map(|name| name.as_bytes().into()).into() };
    let mut many = rig.begun(rig.reads.many(names(), now()));
    rig.hand().flush();
    assert_eq!(rig.hand().receive(b"*2\r\n$1\r\n1\r\n$-1\r\n"), Ok(()));
    let both = Some(Ok(Some("{\"A\":1,\"B\":null}".to_owned())));
    assert_eq!(poll(&mut many), both);
    assert_eq!(poll(&mut rig.reads.many(names(), now())), both);
    assert_eq!(poll(&mut rig.reads.field(b"A", now())), body(1));
    assert_eq!(poll(&mut rig.reads.field(b"B", now())), Some(Ok(None)));
    assert_eq!(rig.hand().flush(), "");
    // One that is not known makes it a question for all.
    let more = ["A", "C"].map(|name| name.as_bytes().into()).into();
    let _read = rig.begun(rig.reads.many(more, now()));
    assert_eq!(rig.hand().flush(), "HMGET currency A C");
}

#[test]
fn what_is_no_value_is_not_kept() {
    let rig = tracked();
    for reply in ["$3\r\nnan\r\n", "-WRONGTYPE no\r\n", "-BUSY no\r\n"] {
        for _ in 0..2 {
            let mut read = rig.read();
            assert_eq!(rig.hand().flush(), HGET);
            assert_eq!(rig.hand().receive(reply.as_bytes()), Ok(()));
            assert!(matches!(poll(&mut read), Some(Err(_))), "{reply:?}");
        }
    }
    rig.answered(1);
    rig.kept(1);
}

#[test]
fn a_server_that_cannot_track_is_read_in_batches() {
    let rig = Rig::new(ReadMode::Tracked, 1);
    rig.hand().connect();
    rig.hand().flush();
    let refused = b"-ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.\r\n";
    assert_eq!(
        rig.hand().receive(&[refused, NO_UPSTREAM, WELL].concat()),
        Ok(())
    );
    for number in [1, 2] {
        let (mut a, mut b) = (rig.read(), rig.read());
        assert_eq!(rig.hand().flush(), HGET);
        let reply = format!("$1\r\n{number}\r\n");
        assert_eq!(rig.hand().receive(reply.as_bytes()), Ok(()));
        assert_eq!((poll(&mut a), poll(&mut b)), (body(number), body(number)));
    }
    // Another server behind the next connection can.
    rig.hand().lose();
    track(rig.hand());
    rig.answered(3);
    rig.kept(3);
}

#[test]
fn where_pushes_outnumber_the_answers_they_spare_tracking_is_turned_off_for_a_while() {
    let rig = tracked();
    let look = || {
        rig.reads.probe();
        assert_eq!(rig.hand().flush(), QUESTIONS);
    };
    for number in 0..9 {
        rig.answered(number);
        assert_eq!(rig.hand().receive(CHANGED), Ok(()));
    }
    rig.reads.probe();
    let look_on = format!("{UPSTREAM} {QUESTIONS}");
    assert_eq!(rig.hand().flush(), look_on, "not worth a word");
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(WELL), Ok(()));

    for _ in 0..10 {
        rig.answered(1);
        assert_eq!(rig.hand().receive(CHANGED), Ok(()));
    }
    rig.answered(1);
    rig.reads.probe();
    let turned_off = format!("CLIENT TRACKING OFF {QUESTIONS}");
    assert_eq!(rig.hand().flush(), turned_off);
    assert_eq!(rig.hand().receive(b"+OK\r\n"), Ok(()));
    assert_eq!(rig.hand().receive(WELL), Ok(()));
    for number in [1, 2] {
        rig.answered(number);
    }
    for _ in 1..PAUSE {
        look();
        assert_eq!(rig.hand().receive(WELL), Ok(()));
        rig.answered(3);
    }
    rig.reads.probe();
    assert_eq!(rig.hand().flush(), format!("{ON} {QUESTIONS}"));
    assert_eq!(rig.hand().receive(&[b"+OK\r\n", WELL].concat()), Ok(()));
    rig.answered(4);
    rig.kept(4);
}

#[test]
fn a_tracked_read_of_two_links_ends_with_either() {
    let rig = Rig::new(ReadMode::Tracked, 2);
    rig.hands.iter().for_each(track);
    rig.answered(1);
    rig.kept(1);
    rig.hands[1].lose();
    rig.answered(2);
    rig.kept(2);
}

#[test]
fn who_waits_for_changes_is_told_of_them_however_many_there_are() {
    let rig = tracked();
    rig.reads.watch().set_watched(true);
    let look = |said: &str| {
        rig.reads.probe();
        assert_eq!(rig.hand().flush(), said);
    };
    let change = || {
        rig.answered(1);
        let seen = rig.reads.watch().seen();
        assert_eq!(rig.hand().receive(CHANGED), Ok(()));
        assert_ne!(rig.reads.watch().seen(), seen);
    };
    (0..20).for_each(|_| change());
    look(&format!("{UPSTREAM} {QUESTIONS}"));
    assert_eq!(rig.hand().receive(NO_UPSTREAM), Ok(()));
    assert_eq!(rig.hand().receive(WELL), Ok(()));

    // And does not wait for the end of a pause that began before.
    rig.reads.watch().set_watched(false);
    (0..20).for_each(|_| change());
    look(&format!("CLIENT TRACKING OFF {QUESTIONS}"));
    assert_eq!(rig.hand().receive(&[b"+OK\r\n", WELL].concat()), Ok(()));
    rig.reads.watch().set_watched(true);
    look(&format!("{ON} {QUESTIONS}"));
    assert_eq!(rig.hand().receive(&[b"+OK\r\n", WELL].concat()), Ok(()));
    change();
}
