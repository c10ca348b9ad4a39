//! The rules of joining, sending again and refusing, on links that the test drives by hand.

mod ages;
mod simulation;
mod tracked;

use std::task::Waker;

use super::*;
use crate::metrics::{RoleMetrics, Side};
use crate::net::test::{self, Hand};
use crate::store::joinable::MAX_WAITERS;
use crate::store::{ReadRole, TrackedOptions};
use redis_api_wire::resp::ErrorKind;

/// What a usable server says when asked how it is: persistence, a read, replication, CPU.
const WELL: &[u8] = b"$9\r\nloading:0\r\n$1\r\n1\r\n$11\r\nrole:master\r\n$0\r\n\r\n";
/// The same of one that loads, but for the read.
const LOADING: &[u8] = b"$9\r\nloading:1\r\n$-1\r\n$11\r\nrole:master\r\n$0\r\n\r\n";

/// The questions to which those are the answers.
const QUESTIONS: &str = "INFO persistence HGET currency current-value INFO replication INFO cpu";

/// What a server says that is well but for this answer to the read.
fn well_but(read: &str) -> Vec<u8> {
    let (before, behind) = ("$9\r\nloading:0\r\n", "$11\r\nrole:master\r\n$0\r\n\r\n");
    [before, read, behind].concat().into_bytes()
}

const HGET: &str = "HGET currency current-value";

/// The read side and the hands that drive its links.
struct Rig {
    reads: Rc<Reads>,
    hands: Vec<Hand<ReadWaiter>>,
}

impl Rig {
    /// With `links` links, none of them connected.
    fn new(mode: ReadMode, links: usize) -> Rig {
        let metrics = Arc::new(metrics::Worker::default());
        let options = ReadOptions {
            hash: HashName::default(),
            values: ValueKind::Number,
            mode,
            role: ReadRole::Any,
            max_stale: None,
            tracked: TrackedOptions {
                max_bytes: 1 << 20,
                max_age: None,
            },
        };
        let role = RoleMetrics::new(metrics.clone(), Side::Read);
        let set = Set::new(links, &role);
        let reads = Reads::new(
            options,
            "r:1".into(),
            set.clone(),
            CURRENT.as_bytes(),
            None,
            Rc::default(),
            metrics,
        );
        let hands = test::hands(&set, &reads.owner(ReadServer::Replica));
        Rig { reads, hands }
    }

    /// With one usable link.
    fn usable(mode: ReadMode) -> Rig {
        let rig = Rig::new(mode, 1);
        rig.hands[0].make_usable();
        rig
    }

    /// The one link.
    fn hand(&self) -> &Hand<ReadWaiter> {
        &self.hands[0]
    }

    /// A read of the field behind `/`, which waits.
    fn read(&self) -> Read {
        self.begun(self.reads.current(Instant::now()))
    }

    fn begun(&self, mut read: Read) -> Read {
        assert_eq!(poll(&mut read), None);
        read
    }
}

impl Hand<ReadWaiter> {
    fn make_usable(&self) {
        self.connect();
        assert!(!self.link.is_admitted(), "not before it says how it is");
        assert_eq!(self.flush(), QUESTIONS);
        assert_eq!(self.receive(WELL), Ok(()));
        assert!(self.link.is_admitted());
    }
}

/// The outcome with the body as text, or `None` if the read still waits.
fn poll(read: &mut Read) -> Option<Result<Option<String>, ReadError>> {
    match Pin::new(read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(outcome) => {
            let text = |body: Bytes| String::from_utf8_lossy(&body).into_owned();
            Some(outcome.map(|found| found.body.map(text)))
        }
    }
}

fn body(number: u32) -> Option<Result<Option<String>, ReadError>> {
    Some(Ok(Some(format!("{{\"current\":{number}}}"))))
}

#[test]
fn reads_share_a_command_until_it_begins_to_be_sent() {
    let rig = Rig::usable(ReadMode::Batch);
    let (mut a, mut b) = (rig.read(), rig.read());
    assert_eq!(rig.hand().flush(), HGET);
    // The server may have looked already: who comes now needs a command of their own.
    let mut c = rig.read();
    assert_eq!(rig.hand().flush(), HGET);
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n"), Ok(()));
    assert_eq!(
        (poll(&mut a), poll(&mut b), poll(&mut c)),
        (body(1), body(1), None)
    );
    assert_eq!(rig.hand().receive(b"$1\r\n2\r\n"), Ok(()));
    assert_eq!(poll(&mut c), body(2));
}

#[test]
fn a_server_that_keeps_its_cpu_time_to_itself_is_usable() {
    let rig = Rig::new(ReadMode::Batch, 1);
    rig.hand().connect();
    assert_eq!(rig.hand().flush(), QUESTIONS);
    let (well, _cpu) = WELL.split_at(WELL.len() - b"$0\r\n\r\n".len());
    let kept = [well, b"-NOPERM no\r\n"].concat();
    assert_eq!(rig.hand().receive(&kept), Ok(()));
    assert!(rig.hand().link.is_admitted());
}

#[test]
fn each_field_has_a_command_of_its_own() {
    let rig = Rig::usable(ReadMode::Batch);
    let field = |name: &[u8]| rig.begun(rig.reads.field(name, Instant::now()));
    let (mut a, mut b, mut again) = (field(b"A"), field(b"B"), field(b"A"));
    assert_eq!(rig.hand().flush(), "HGET currency A HGET currency B");
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n$-1\r\n"), Ok(()));
    assert_eq!(poll(&mut a), body(1));
    assert_eq!(poll(&mut b), Some(Ok(None)));
    assert_eq!(poll(&mut again), body(1));
    let _later = field(b"A");
    assert_eq!(rig.hand().flush(), "HGET currency A");
}

#[test]
fn what_was_sent_is_forgotten() {
    let rig = Rig::usable(ReadMode::Batch);
    for number in 0..10 * MIN_SWEEP {
        let name = number.to_string();
        let _read = rig.begun(rig.reads.field(name.as_bytes(), Instant::now()));
        rig.hand().flush();
        assert_eq!(rig.hand().receive(b"$-1\r\n"), Ok(()));
        assert!(rig.reads.fields.borrow().len() <= MIN_SWEEP);
    }
}

#[test]
fn a_turn_full_of_fields_is_not_searched_for_each_of_them() {
    let rig = Rig::usable(ReadMode::Batch);
    let read = |number: usize| {
        rig.begun(
            rig.reads
                .field(number.to_string().as_bytes(), Instant::now()),
        )
    };
    let _reads: Vec<_> = (0..3 * MIN_SWEEP).map(read).collect();
    // Nothing could be dropped at one and at two times the least.
    assert_eq!(rig.reads.sweep_at.get(), 4 * MIN_SWEEP);
}

#[test]
fn direct_reads_share_nothing() {
    let rig = Rig::usable(ReadMode::Direct);
    let (mut a, mut b) = (rig.read(), rig.read());
    assert_eq!(rig.hand().flush(), format!("{HGET} {HGET}"));
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n$1\r\n2\r\n"), Ok(()));
    assert_eq!((poll(&mut a), poll(&mut b)), (body(1), body(2)));
}

#[test]
fn who_gave_up_shifts_no_answer() {
    let rig = Rig::usable(ReadMode::Direct);
    let (a, mut b) = (rig.read(), rig.read());
    drop(a);
    rig.hand().flush();
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n$1\r\n2\r\n"), Ok(()));
    assert_eq!(poll(&mut b), body(2));
}

#[test]
fn a_lost_read_is_sent_again_on_another_link_three_times_in_all() {
    let rig = Rig::new(ReadMode::Batch, 4);
    rig.hands.iter().for_each(Hand::make_usable);
    let mut read = rig.read();
    for hand in &rig.hands[..2] {
        assert_eq!(hand.flush(), HGET);
        hand.lose();
        assert_eq!(poll(&mut read), None);
    }
    assert_eq!(rig.hands[2].flush(), HGET);
    rig.hands[2].lose();
    assert_eq!(poll(&mut read), Some(Err(ReadError::Lost)));
    assert_eq!(rig.hands[3].flush(), "");
}

#[test]
fn a_lost_read_is_not_sent_again() {
    let check = |mode, links, expected| {
        let rig = Rig::new(mode, links);
        rig.hands.iter().for_each(Hand::make_usable);
        let mut read = rig.read();
        assert_eq!(rig.hands[0].flush(), HGET);
        rig.hands[0].lose();
        assert_eq!(poll(&mut read), Some(Err(expected)), "{mode:?}");
    };
    check(ReadMode::Direct, 2, ReadError::Lost);
    // Nothing to send it on, and the reader is told why.
    check(ReadMode::Batch, 1, ReadError::Unavailable);
}

#[test]
fn a_command_of_a_lost_connection_is_not_joined_on_the_next() {
    let rig = Rig::usable(ReadMode::Batch);
    let _lost = rig.read();
    rig.hand().lose();
    rig.hand().make_usable();
    let mut read = rig.read();
    assert_eq!(rig.hand().flush(), HGET);
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n"), Ok(()));
    assert_eq!(poll(&mut read), body(1));
}

#[test]
fn without_a_usable_link_a_read_is_refused_at_once() {
    let rig = Rig::new(ReadMode::Batch, 1);
    let refused = |rig: &Rig| {
        let mut read = rig.reads.current(Instant::now());
        assert_eq!(poll(&mut read), Some(Err(ReadError::Unavailable)));
    };
    refused(&rig);
    rig.hand().connect();
    refused(&rig);
    rig.hand().flush();
    assert_eq!(rig.hand().receive(LOADING), Ok(()));
    refused(&rig);
}

#[test]
fn a_reply_is_not_believed_after_its_server_lost_our_trust() {
    let rig = Rig::usable(ReadMode::Direct);
    rig.reads.probe();
    let mut read = rig.read();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(&[LOADING, b"$-1\r\n"].concat()), Ok(()));
    assert_eq!(poll(&mut read), Some(Err(ReadError::Lost)));
    let mut next = rig.reads.current(Instant::now());
    assert_eq!(poll(&mut next), Some(Err(ReadError::Unavailable)));
}

#[test]
fn what_a_server_said_earlier_does_not_count_for_what_it_refuses_to_say() {
    const REFUSED: &[u8] = b"-NOPERM no\r\n";
    let rest = &WELL[b"$9\r\nloading:0\r\n".len()..];
    let rig = Rig::usable(ReadMode::Batch);
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(&[REFUSED, rest].concat()), Ok(()));
    assert!(!rig.hand().link.is_admitted(), "it may be loading");
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(WELL), Ok(()));
    assert!(rig.hand().link.is_admitted());
}

#[test]
fn an_open_command_is_not_joined_once_its_link_may_not_answer() {
    let rig = Rig::usable(ReadMode::Batch);
    let _open = rig.read();
    rig.hand().link.admit(false);
    let mut late = rig.reads.current(Instant::now());
    assert_eq!(poll(&mut late), Some(Err(ReadError::Unavailable)));
}

#[test]
fn a_full_batch_is_shed() {
    let rig = Rig::usable(ReadMode::Batch);
    let reads: Vec<Read> = (0..MAX_WAITERS).map(|_| rig.read()).collect();
    let mut late = rig.reads.current(Instant::now());
    assert_eq!(poll(&mut late), Some(Err(ReadError::Shed)));
    assert_eq!(rig.hand().flush(), HGET);
    assert_eq!(rig.hand().receive(b"$1\r\n1\r\n"), Ok(()));
    for mut read in reads {
        assert_eq!(poll(&mut read), body(1));
    }
}

#[test]
fn a_reply_that_is_no_value_is_told_apart_and_may_end_its_connection() {
    let check = |many: bool, reply: &[u8], expected: ReadError, end: Result<(), Error>| {
        let rig = Rig::usable(ReadMode::Batch);
        let now = Instant::now();
        let mut read = rig.begun(match many {
            true => rig.reads.many([b"A"[..].into()].into(), now),
            false => rig.reads.current(now),
        });
        rig.hand().flush();
        let shown = reply.escape_ascii();
        assert_eq!(rig.hand().receive(reply), end, "{shown}");
        assert_eq!(poll(&mut read), Some(Err(expected)), "{shown}");
    };
    let refused = |kind, text: &str| ReadError::Refused {
        kind,
        text: text.into(),
    };
    let unfit = |kind, text: &str| Error::Unusable {
        kind,
        text: text.into(),
    };
    let (no_text, no_list) = (
        "the reply to HGET is not text",
        "the reply to HMGET is not a list of texts",
    );
    for many in [false, true] {
        let wrong = refused(ErrorKind::WrongType, "WRONGTYPE no");
        check(many, b"-WRONGTYPE no\r\n", wrong, Ok(()));
        let (stranger, end) = (ErrorKind::NoAuth, "NOAUTH no");
        let ended = Err(unfit(stranger, end));
        check(many, b"-NOAUTH no\r\n", refused(stranger, end), ended);
    }
    let wrong = |what| (ReadError::WrongReply(what), Err(Error::Confused(what)));
    let (error, end) = wrong(no_text);
    check(false, b":1\r\n", error, end);
    let (error, end) = wrong(no_list);
    check(true, b":1\r\n", error, end);
    check(
        false,
        b"$1\r\nx\r\n",
        ReadError::Unfit {
            field: None,
            why: crate::store::Unfit::NotANumber,
        },
        Ok(()),
    );
}

#[test]
fn a_server_that_refuses_all_reads_is_asked_no_more() {
    let check = |error: &str, many: bool, usable: bool| {
        let rig = Rig::usable(ReadMode::Batch);
        let now = Instant::now();
        let ask = || match many {
            true => rig.reads.many([b"A"[..].into()].into(), now),
            false => rig.reads.current(now),
        };
        let mut read = rig.begun(ask());
        rig.hand().flush();
        let reply = format!("-{error}\r\n");
        assert_eq!(rig.hand().receive(reply.as_bytes()), Ok(()));
        let refused = Some(Err(ReadError::refused(error.as_bytes())));
        assert_eq!(poll(&mut read), refused, "{error}");
        assert_eq!(rig.hand().link.is_admitted(), usable, "{error}");
        if !usable {
            assert_eq!(poll(&mut ask()), refused, "at once, and the same");
            let why = rig.reads.trouble().expect("a reason");
            assert_eq!(why, format!("replica r:1: refuses reads: {error}"));
        }
    };
    for many in [false, true] {
        for error in [
            "LOADING no",
            "MASTERDOWN no",
            "MOVED 1 h:1",
            "CLUSTERDOWN no",
        ] {
            check(error, many, false);
        }
        check("BUSY no", many, true);
        check("WRONGTYPE no", many, true);
        check("ERR no", many, true);
    }
    // A user may be granted HGET and not HMGET.
    check("NOPERM no", false, false);
    check("NOPERM no", true, true);
}

#[test]
fn a_server_is_usable_only_when_it_answers_a_read() {
    let check = |answer: &str, refusal: Option<&str>| {
        let rig = Rig::new(ReadMode::Batch, 1);
        rig.hand().connect();
        assert_eq!(rig.hand().flush(), QUESTIONS);
        assert_eq!(rig.hand().receive(&well_but(answer)), Ok(()));
        let usable = rig.hand().link.is_admitted();
        assert_eq!(usable, refusal.is_none(), "{answer:?}");
        if let Some(error) = refusal {
            let refused = Some(Err(ReadError::refused(error.as_bytes())));
            let mut read = rig.reads.current(Instant::now());
            assert_eq!(poll(&mut read), refused, "{answer:?}");
            rig.reads.probe();
            assert_eq!(rig.hand().flush(), QUESTIONS);
            assert_eq!(rig.hand().receive(WELL), Ok(()));
            assert!(rig.hand().link.is_admitted());
            rig.read();
        }
    };
    check("$1\r\n5\r\n", None);
    check("$3\r\nnan\r\n", None);
    check("_\r\n", None);
    check("$-1\r\n", None);
    check("-WRONGTYPE no\r\n", None);
    for error in [
        "MASTERDOWN no",
        "CLUSTERDOWN no",
        "NOPERM no",
        "BUSY no",
        "ERR unknown",
    ] {
        check(&format!("-{error}\r\n"), Some(error));
    }
}

/// What it says of itself by `INFO` does not bring it back.
#[test]
fn a_server_that_goes_on_refusing_does_not_flap() {
    let rig = Rig::usable(ReadMode::Batch);
    let mut read = rig.read();
    rig.hand().flush();
    let error = "MASTERDOWN no";
    let reply = format!("-{error}\r\n");
    assert_eq!(rig.hand().receive(reply.as_bytes()), Ok(()));
    assert!(poll(&mut read).is_some());
    for _ in 0..5 {
        rig.reads.probe();
        assert_eq!(rig.hand().flush(), QUESTIONS);
        let answers = well_but(&reply);
        for byte in answers.chunks(1) {
            assert_eq!(rig.hand().receive(byte), Ok(()));
            assert!(!rig.hand().link.is_admitted());
        }
    }
}

#[test]
fn the_probing_read_keeps_the_rules_of_any_other() {
    let check = |answer: &str, end: Error| {
        let rig = Rig::usable(ReadMode::Batch);
        rig.reads.probe();
        rig.hand().flush();
        assert_eq!(rig.hand().receive(&well_but(answer)), Err(end));
    };
    let (kind, text) = (ErrorKind::NoAuth, "NOAUTH no".to_owned());
    check("-NOAUTH no\r\n", Error::Unusable { kind, text });
    let confused = Error::Confused("the reply to HGET is not text");
    check(":1\r\n", confused);
}

/// A read goes on to a server that does answer, and an error behind the first is told as it is.
#[test]
fn a_read_refused_by_one_server_is_sent_to_another() {
    let rig = Rig::new(ReadMode::Batch, 2);
    rig.hands.iter().for_each(Hand::make_usable);
    let (mut first, mut second) = (rig.read(), rig.read());
    assert_eq!(rig.hands[0].flush(), HGET);
    assert_eq!(rig.hands[0].receive(b"-MASTERDOWN no\r\n"), Ok(()));
    assert_eq!((poll(&mut first), poll(&mut second)), (None, None));
    assert_eq!(rig.hands[1].flush(), HGET);
    assert_eq!(rig.hands[1].receive(b"$1\r\n1\r\n"), Ok(()));
    assert_eq!((poll(&mut first), poll(&mut second)), (body(1), body(1)));

    let rig = Rig::usable(ReadMode::Direct);
    let mut reads = [rig.read(), rig.read()];
    rig.hand().flush();
    let replies = b"-MASTERDOWN no\r\n-MASTERDOWN no\r\n";
    assert_eq!(rig.hand().receive(replies), Ok(()));
    for read in &mut reads {
        let refused = ReadError::refused(b"MASTERDOWN no");
        assert_eq!(poll(read), Some(Err(refused)));
    }
}

#[test]
fn what_is_wrong_is_told_until_a_link_may_answer() {
    let rig = Rig::new(ReadMode::Batch, 1);
    let trouble = || rig.reads.trouble();
    assert_eq!(trouble().as_deref(), Some("replica r:1: not connected yet"));
    rig.hand().connect();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(LOADING), Ok(()));
    let loading = "replica r:1: is loading its data set";
    assert_eq!(trouble().as_deref(), Some(loading));
    rig.reads.probe();
    rig.hand().flush();
    assert_eq!(rig.hand().receive(WELL), Ok(()));
    assert_eq!(trouble(), None);
    rig.hand().lose();
    assert!(trouble().is_some_and(|why| why.starts_with("replica r:1: ")));
}

/// What a replica says whose link to the master has been down for this long.
fn cut_off(seconds: u32) -> String {
    let replication = format!(
        "role:slave\r\nmaster_link_status:down\r\nmaster_link_down_since_seconds:{seconds}\r\n"
    );
    let length = replication.len();
    format!("$9\r\nloading:0\r\n$-1\r\n${length}\r\n{replication}\r\n$0\r\n\r\n")
}
