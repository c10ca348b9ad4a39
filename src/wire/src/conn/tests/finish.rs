//! How a connection ends by its owner's verdict, and what the commands on it are told.

use std::time::{Duration, Instant};

use crate::conn::{Conn, Error, Event, Fate, Login, Options, Verdict};
use crate::resp::{ErrorKind, Limits};

const LONG: Duration = Duration::from_secs(10);
const READONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";

fn unfit() -> Error {
    Error::Unusable {
        kind: ErrorKind::ReadOnly,
        text: "READONLY".into(),
    }
}

/// Three commands are sent, then `input` arrives; `verdict` is passed on every reply to `a`. Who is
/// handed a reply, how the input was taken, and who is left with which fate.
fn check(input: &[u8], verdict: Verdict, told: &[&str], taken: Error, left: &[(&str, Fate)]) {
    let options = Options {
        stall_timeout: LONG,
        ping_interval: LONG,
        max_in_flight: 8,
        limits: Limits::default(),
    };
    let now = Instant::now();
    let mut conn = Conn::new(options, Login::default(), now + LONG, now);
    conn.sent(conn.output().len());
    conn.input().extend_from_slice(b"%0\r\n");
    assert_eq!(conn.on_input(now, |_| Verdict::Continue), Ok(()));
    for name in ["a", "b", "c"] {
        let encode = |out: &mut bytes::BytesMut| out.extend_from_slice(name.as_bytes());
        assert_eq!(conn.enqueue(name, now, encode), Ok(()));
    }
    conn.sent(conn.output().len());

    let (mut verdict, mut heard) = (Some(verdict), Vec::new());
    conn.input().extend_from_slice(input);
    let outcome = conn.on_input(now, |event| match event {
        Event::Reply(name, _) => {
            heard.push(name);
            verdict.take().unwrap_or(Verdict::Continue)
        }
        _ => panic!("neither a login nor a push"),
    });
    assert_eq!((outcome, heard.as_slice()), (Err(taken), told));
    assert_eq!(conn.end().collect::<Vec<_>>(), left);
}

#[test]
fn finishing_hands_out_what_has_arrived() {
    let twice = [READONLY, READONLY].concat();
    let left = [("c", Fate::Unknown)];
    check(
        &twice,
        Verdict::Finish(unfit()),
        &["a", "b"],
        unfit(),
        &left,
    );
    let all = [READONLY, READONLY, READONLY].concat();
    let told = ["a", "b", "c"];
    check(&all, Verdict::Finish(unfit()), &told, unfit(), &[]);
}

#[test]
fn a_reply_that_is_cut_off_is_not_handed_out() {
    let cut = [READONLY, &READONLY[..20]].concat();
    let left = [("b", Fate::Unknown), ("c", Fate::Unknown)];
    check(&cut, Verdict::Finish(unfit()), &["a"], unfit(), &left);
}

#[test]
fn closing_hands_out_nothing_more() {
    let twice = [READONLY, READONLY].concat();
    let left = [("b", Fate::Unknown), ("c", Fate::Unknown)];
    let confused = || Error::Confused("it was no number");
    check(
        &twice,
        Verdict::Close(confused()),
        &["a"],
        confused(),
        &left,
    );
}
