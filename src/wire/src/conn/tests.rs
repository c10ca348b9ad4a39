//! Rules of a connection, one by one. Random courses of events: `tests/conn_properties.rs`.

mod finish;

use super::*;
use crate::resp::{DecodeError, ErrorKind};

const STALL: Duration = Duration::from_millis(800);
const PING: Duration = Duration::from_secs(1);
const LOGIN: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);

/// A connection with what its owner was told so far, in words.
struct Rig {
    conn: Conn<&'static str>,
    start: Instant,
    told: Vec<String>,
    verdict: fn(&str) -> Verdict,
}

impl Rig {
    /// Not logged in; `HELLO` is not sent.
    fn new(max_in_flight: usize) -> Rig {
        let options = Options {
            stall_timeout: STALL,
            ping_interval: PING,
            max_in_flight,
            limits: resp::Limits::default(),
        };
        let start = Instant::now();
        Rig {
            conn: Conn::new(options, Login::default(), start + LOGIN, start),
            start,
            told: Vec::new(),
            verdict: |_| Verdict::Continue,
        }
    }

    /// Logged in at the start.
    fn ready(max_in_flight: usize) -> Rig {
        let mut rig = Rig::new(max_in_flight);
        rig.send_all();
        assert_eq!(rig.receive(b"%0\r\n"), Ok(()));
        assert_eq!(rig.told, ["ready, RESP3"]);
        rig.told.clear();
        rig
    }

    fn ask(&mut self, waiter: &'static str, at: Duration) -> Result<(), (&'static str, Refusal)> {
        let encode = |out: &mut BytesMut| out.extend_from_slice(waiter.as_bytes());
        self.conn.enqueue(waiter, self.start + at, encode)
    }

    fn send_all(&mut self) {
        self.conn.sent(self.conn.output().len());
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.receive_at(bytes, Duration::ZERO)
    }

    fn receive_at(&mut self, bytes: &[u8], at: Duration) -> Result<(), Error> {
        self.conn.input().extend_from_slice(bytes);
        self.conn.on_input(self.start + at, |event| {
            let told = match event {
                Event::Ready(greeting) => format!("ready, RESP{}", greeting.protocol),
                Event::Reply(waiter, reply) => format!("{waiter}: {reply:?}"),
                Event::Push(_) => "push".to_owned(),
            };
            let verdict = (self.verdict)(&told);
            self.told.push(told);
            verdict
        })
    }

    fn timer(&mut self, at: Duration) -> Result<(), Error> {
        self.conn.on_timer(self.start + at)
    }

    fn end(self) -> Vec<(&'static str, Fate)> {
        self.conn.end().collect()
    }
}

#[test]
fn nothing_is_accepted_before_login_is_done() {
    let mut rig = Rig::new(4);
    let hello = rig.conn.output().to_vec();
    assert_eq!(rig.ask("a", MS), Err(("a", Refusal::NotReady)));
    assert_eq!(rig.conn.output(), hello, "nothing was written");
    rig.send_all();
    assert_eq!(rig.receive(b">1\r\n:1\r\n"), Ok(()));
    assert!(!rig.conn.is_ready(), "a push answers nothing");
    assert_eq!(rig.receive(b"%0\r\n"), Ok(()));
    assert!(rig.conn.is_ready());
    assert_eq!(rig.told, ["push", "ready, RESP3"]);
    assert_eq!(rig.ask("a", MS), Ok(()));
}

#[test]
fn a_full_window_gives_the_waiter_back_and_writes_nothing() {
    let mut rig = Rig::ready(2);
    assert_eq!(rig.ask("a", MS), Ok(()));
    assert_eq!(rig.ask("b", MS), Ok(()));
    assert_eq!(rig.ask("c", MS), Err(("c", Refusal::Full)));
    assert_eq!(rig.conn.output(), b"ab");
    rig.send_all();
    assert_eq!(
        rig.ask("c", MS),
        Err(("c", Refusal::Full)),
        "sent, but not answered"
    );
    assert_eq!(rig.receive(b":1\r\n"), Ok(()));
    assert_eq!(rig.ask("c", MS), Ok(()));
    assert_eq!(rig.conn.in_flight(), 2);
}

#[test]
fn a_full_window_has_reserved_places_for_questions_about_the_server() {
    let mut rig = Rig::ready(1);
    assert_eq!(rig.ask("a", MS), Ok(()));
    assert_eq!(rig.ask("b", MS), Err(("b", Refusal::Full)));
    let now = rig.start + MS;
    let reserved = |rig: &mut Rig| rig.conn.enqueue_reserved("how are you", now, |_| {});
    for _ in 0..RESERVED {
        assert_eq!(reserved(&mut rig), Ok(()));
    }
    assert_eq!(reserved(&mut rig), Err(("how are you", Refusal::Full)));
    assert_eq!(rig.conn.in_flight(), 1 + RESERVED);
    assert_eq!(rig.ask("b", MS), Err(("b", Refusal::Full)));
}

#[test]
fn a_full_output_buffer_gives_the_waiter_back() {
    let mut rig = Rig::ready(usize::MAX);
    let now = rig.start;
    let large = |out: &mut BytesMut| out.resize(out.len() + MAX_OUTPUT / 2, b'x');
    assert_eq!(rig.conn.enqueue("a", now, large), Ok(()));
    assert_eq!(rig.conn.enqueue("b", now, large), Ok(()));
    assert_eq!(rig.conn.enqueue("c", now, large), Err(("c", Refusal::Full)));
    rig.conn.sent(1);
    assert_eq!(rig.conn.enqueue("c", now, large), Ok(()));
}

#[test]
fn replies_go_to_waiters_in_order_and_pushes_to_nobody() {
    let mut rig = Rig::ready(4);
    for waiter in ["a", "b", "c"] {
        assert_eq!(rig.ask(waiter, MS), Ok(()));
    }
    rig.send_all();
    assert_eq!(rig.receive(b":1\r\n>1\r\n:9\r\n:"), Ok(()));
    assert_eq!(rig.receive(b"2\r\n-ERR no\r"), Ok(()));
    assert_eq!(rig.told, ["a: Integer(1)", "push", "b: Integer(2)"]);
    assert_eq!(rig.receive(b"\n"), Ok(()));
    assert!(rig.told[3].starts_with("c: Error"), "{:?}", rig.told);
    assert_eq!(rig.end(), []);
}

#[test]
fn what_no_command_awaits_ends_it() {
    // Commands `aa`, `bb` and so on, of which `sent` bytes have left.
    let check = |waiters: &[&'static str], sent, bytes: &[u8], expected: Error, told: usize| {
        let mut rig = Rig::ready(4);
        for waiter in waiters {
            assert_eq!(rig.ask(waiter, MS), Ok(()));
        }
        rig.conn.sent(sent);
        assert_eq!(rig.receive(bytes), Err(expected));
        assert_eq!(rig.told.len(), told);
        assert_eq!(rig.end().len(), waiters.len() - told);
    };
    let stray = || Error::Stray(None);
    let said = |text: &str| Error::Stray(Some(text.to_owned()));
    let unknown = |byte| Error::Malformed(DecodeError::UnknownType(byte));
    check(&[], 0, b"+OK\r\n", stray(), 0);
    check(
        &[],
        0,
        b"-ERR max number of clients reached\r\n",
        said("ERR max number of clients reached"),
        0,
    );
    check(&["aa"], 2, b":1\r\n:2\r\n", stray(), 1);
    check(&["aa"], 2, b":1\r\n-ERR \x1b[31m\r\n", said("ERR ?[31m"), 1);
    check(&["aa"], 0, b":1\r\n", stray(), 0);
    check(&["aa"], 1, b":1\r\n", stray(), 0);
    check(&["aa", "bb"], 2, b":1\r\n:2\r\n", stray(), 1);
    check(&["aa", "bb"], 3, b":1\r\n:2\r\n", stray(), 1);
    check(&["aa", "bb"], 1, b":1\r\n", stray(), 0);
    check(&[], 0, b"HTTP/1.1 400 Bad Request\r\n", unknown(b'H'), 0);
    check(&["aa", "bb"], 4, b":1\r\n\r\n", unknown(b'\r'), 1);
}

#[test]
fn login_takes_no_answer_to_what_was_not_sent() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.receive(b"%0\r\n"), Err(Error::Stray(None)));
    let mut rig = Rig::new(1);
    rig.send_all();
    let twice = b"-NOPROTO no\r\n+OK\r\n";
    assert_eq!(
        rig.receive(twice),
        Err(Error::Stray(None)),
        "the name is not set yet"
    );
}

#[test]
fn hello_is_awaited_until_anything_has_come() {
    let mut rig = Rig::new(1);
    rig.send_all();
    assert!(rig.conn.awaits_hello());
    assert_eq!(rig.receive(b"-NOPROTO"), Ok(()));
    assert!(!rig.conn.awaits_hello(), "it answers");
    assert_eq!(rig.receive(b" no\r\n"), Ok(()));
    assert!(!rig.conn.awaits_hello(), "it has answered");
    rig.send_all();
    assert_eq!(rig.receive(b"+OK\r\n"), Ok(()));
    assert!(rig.conn.is_ready() && !rig.conn.awaits_hello());
}

fn unfit() -> Error {
    Error::Unusable {
        kind: ErrorKind::ReadOnly,
        text: "READONLY".into(),
    }
}

#[test]
fn a_verdict_ends_it_after_its_reply() {
    let mut rig = Rig::ready(4);
    for waiter in ["a", "b", "c"] {
        assert_eq!(rig.ask(waiter, MS), Ok(()));
    }
    rig.send_all();
    rig.verdict = |told| {
        if told.starts_with('b') {
            Verdict::Close(unfit())
        } else {
            Verdict::Continue
        }
    };
    assert_eq!(rig.receive(b":1\r\n:2\r\n:3\r\n"), Err(unfit()));
    assert_eq!(rig.told, ["a: Integer(1)", "b: Integer(2)"]);
    assert_eq!(rig.end(), [("c", Fate::Unknown)]);
}

#[test]
fn one_byte_given_away_makes_a_fate_unknown() {
    use Fate::{NotSent, Unknown};
    let check = |sent, expected: [Fate; 3]| {
        let mut rig = Rig::ready(4);
        for waiter in ["aa", "bb", "cc"] {
            assert_eq!(rig.ask(waiter, MS), Ok(()));
        }
        rig.conn.sent(sent);
        let [a, b, c] = expected;
        assert_eq!(rig.end(), [("aa", a), ("bb", b), ("cc", c)], "{sent} bytes");
    };
    check(0, [NotSent, NotSent, NotSent]);
    check(1, [Unknown, NotSent, NotSent]);
    check(2, [Unknown, NotSent, NotSent]);
    check(3, [Unknown, Unknown, NotSent]);
    check(4, [Unknown, Unknown, NotSent]);
    check(5, [Unknown, Unknown, Unknown]);
    check(6, [Unknown, Unknown, Unknown]);
}

#[test]
fn the_oldest_command_decides_when_it_stalls() {
    let mut rig = Rig::ready(4);
    assert_eq!(rig.ask("a", MS), Ok(()));
    assert_eq!(rig.ask("b", 5 * MS), Ok(()));
    rig.send_all();
    assert_eq!(rig.conn.deadline(), rig.start + MS + STALL);
    // A server that talks but doesn't answer is stalled as well.
    assert_eq!(rig.receive_at(b">1\r\n:1\r\n", STALL), Ok(()));
    assert_eq!(rig.timer(STALL), Ok(()));
    assert_eq!(rig.receive_at(b":1\r\n", STALL), Ok(()));
    assert_eq!(rig.timer(4 * MS + STALL), Ok(()));
    assert_eq!(rig.timer(5 * MS + STALL), Err(Error::Stalled(STALL)));
    assert_eq!(rig.end(), [("b", Fate::Unknown)]);
}

#[test]
fn an_idle_server_is_asked_ping_and_any_answer_counts() {
    for answer in [&b"+PONG\r\n"[..], b"-NOPERM no\r\n"] {
        let mut rig = Rig::ready(4);
        assert_eq!(rig.receive_at(b">1\r\n:1\r\n", MS), Ok(()));
        assert_eq!(rig.timer(PING), Ok(()));
        assert_eq!(rig.conn.output(), b"", "a push is a sign of life");
        assert_eq!(rig.timer(PING + MS), Ok(()));
        assert_eq!(rig.conn.output(), b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(rig.conn.deadline(), rig.start + PING + MS + STALL);
        rig.send_all();
        assert_eq!(rig.ask("a", PING + MS), Ok(()));
        rig.send_all();
        let both = [answer, b":1\r\n"].concat();
        assert_eq!(rig.receive_at(&both, 2 * PING), Ok(()));
        assert_eq!(rig.told, ["push", "a: Integer(1)"]);
        assert_eq!(rig.conn.deadline(), rig.start + 3 * PING);
    }
}

#[test]
fn an_unanswered_ping_ends_it_and_has_no_waiter() {
    let mut rig = Rig::ready(4);
    assert_eq!(rig.timer(PING), Ok(()));
    assert_eq!(rig.ask("a", PING), Ok(()));
    assert_eq!(rig.timer(PING + STALL), Err(Error::Stalled(STALL)));
    assert_eq!(rig.end(), [("a", Fate::NotSent)]);
}

#[test]
fn login_has_a_deadline_that_nothing_moves() {
    let mut rig = Rig::new(4);
    rig.send_all();
    assert_eq!(
        rig.receive_at(b">1\r\n:1\r\n-NOPROTO no\r\n", LOGIN.saturating_sub(MS)),
        Ok(())
    );
    assert_eq!(rig.timer(LOGIN.saturating_sub(MS)), Ok(()));
    assert_eq!(rig.conn.deadline(), rig.start + LOGIN);
    assert_eq!(rig.timer(LOGIN), Err(Error::LoginTimeout));
}
