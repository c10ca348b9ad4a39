//! Any bytes from an HTTP client: no panic and no hang; one answer for each request that a second
//! parser sees in them, in order, and none behind the last; and neither how the bytes are cut nor
//! whether their heads are known changes anything.
//!
//! The first two bytes of the input say where to cut the rest.

#![no_main]

// As the server has them.
#[path = "../../src/server/src/http/server/mod.rs"]
#[allow(dead_code, unused_imports)]
mod server;
#[path = "../../src/server/src/turn.rs"]
#[allow(dead_code)]
mod turn;

#[path = "http/echo.rs"]
mod echo;
#[path = "http/reference.rs"]
mod reference;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use echo::Echo;
use libfuzzer_sys::fuzz_target;
use reference::{End, Expected, Need};
use server::{Limits, Server, Timeouts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{LocalSet, spawn_local, yield_now};

/// So often a task may be woken before its connection counts as one that hangs: far more than all
/// requests of the longest input need.
const MAX_TURNS: usize = 100_000;

/// One answer: what it is to, or the status of one that is to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    request: Option<String>,
    is_last: bool,
}

fn new_server() -> Rc<Server<Echo>> {
    let hour = Duration::from_secs(3_600);
    let limits = Limits {
        timeouts: Timeouts::new(hour, hour),
        max_requests: 100,
    };
    let random = fastrand::Rng::with_seed(1);
    Server::new(Echo, limits, Rc::default(), random)
}

/// The answers to these bytes, in these pieces, on a connection of their own.
async fn answers(server: &Rc<Server<Echo>>, pieces: &[&[u8]]) -> Vec<Answer> {
    let (mut client, stream) = tokio::io::duplex(1 << 20);
    let serving = spawn_local(server.clone().serve(echo::Memory(stream), ()));
    for piece in pieces {
        // What is refused may be closed before all of it is sent.
        let _ = client.write_all(piece).await;
        for _ in 0..6 {
            yield_now().await;
        }
    }
    let _ = client.shutdown().await;
    let mut turns = 0;
    while !serving.is_finished() {
        turns += 1;
        assert!(turns < MAX_TURNS, "the connection hangs");
        yield_now().await;
    }
    serving.await.expect("no panic");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.expect("an end");
    let mut found = Vec::new();
    let mut rest = str::from_utf8(&bytes).expect("ASCII");
    while !rest.is_empty() {
        let (answer, after) = answer(rest);
        rest = after;
        // Interim answers are no answers.
        if answer.status != 100 {
            found.push(answer);
        }
    }
    found
}

/// The first answer in `text`, and what follows it.
fn answer(text: &str) -> (Answer, &str) {
    let (head, rest) = text.split_once("\r\n\r\n").expect("a whole head");
    let mut lines = head.split("\r\n");
    let first = lines.next().expect("a status line");
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    let status = status.and_then(|digits| digits.parse().ok());
    let mut answer = Answer {
        status: status.unwrap_or_else(|| panic!("no status line: {first:?}")),
        request: None,
        is_last: false,
    };
    let mut length = 0;
    for line in lines {
        match line.split_once(": ").expect("a field") {
            ("content-length", value) => length = value.parse().expect("a length"),
            (echo::REQUEST, value) => answer.request = Some(value.to_owned()),
            ("connection", value) => answer.is_last = value == "close",
            _ => {}
        }
    }
    let is_head = answer
        .request
        .as_ref()
        .is_some_and(|it| it.starts_with("HEAD "));
    let (body, rest) = rest.split_at(if is_head { 0 } else { length });
    assert!(is_head || Some(body) == answer.request.as_deref() || body.is_empty());
    (answer, rest)
}

/// Whether these are the answers that these requests must have.
fn check(answers: &[Answer], expected: &Expected) -> Result<(), String> {
    let mut answers = answers.iter().peekable();
    for request in &expected.requests {
        let answer = answers.next_if(|answer| answer.request.is_some());
        match answer {
            Some(answer) if !request.is(answer.request.as_deref().unwrap_or_default()) => {
                return Err(format!("{answer:?} to {request:?}"));
            }
            Some(answer) if answer.is_last => {
                return match answers.next() {
                    None => Ok(()),
                    Some(more) => Err(format!("{more:?} behind the last")),
                };
            }
            Some(_) => {}
            None if request.need == Need::May => break,
            None => return Err(format!("none to {request:?}")),
        }
    }
    let answer = answers.next();
    match (answer, expected.end) {
        (Some(answer), _) if answer.request.is_some() => Err(format!("{answer:?} to nothing")),
        (None, End::Refused) if expected.need == Need::Must => {
            Err("a bad request is not refused".to_owned())
        }
        (Some(Answer { status, .. }), _) if !matches!(status, 400 | 414 | 431) => {
            Err(format!("refused with {status}"))
        }
        _ => match answers.next() {
            None => Ok(()),
            Some(more) => Err(format!("{more:?} behind a refusal")),
        },
    }
}

/// The answers to requests. (What can't become one may be refused before it has come to its end.)
fn served(answers: &[Answer]) -> Vec<&Answer> {
    let served = answers.iter().filter(|answer| answer.request.is_some());
    served.collect()
}

/// The bytes cut at these places, which are in order.
fn pieces<'a>(bytes: &'a [u8], ends: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for end in ends.iter().chain([&bytes.len()]) {
        pieces.push(&bytes[at..*end]);
        at = *end;
    }
    pieces
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
    );
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, input)) = data.split_first_chunk() else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (input.len() + 1);
    let (first, second) = input.split_at(cut);
    let expected = reference::requests(input);
    let small: Vec<&[u8]> = input.chunks((input.len() / 32).max(1)).collect();
    // Each request by itself, which is how heads come that are known.
    let mut ends: Vec<usize> = expected.requests.iter().map(|it| it.end).collect();
    ends.push(cut);
    ends.sort_unstable();
    let alone = pieces(input, &ends);
    RUNTIME.with_borrow(|runtime| {
        LocalSet::new().block_on(runtime, async {
            let server = new_server();
            let whole = answers(&server, &[input]).await;
            let checked = check(&whole, &expected);
            assert_eq!(checked, Ok(()), "{expected:#?}\n{whole:#?}");
            // By now its heads are known; to a new server they are not.
            for (what, server, pieces) in [
                ("each request alone", &server, &alone[..]),
                ("each request alone, known", &server, &alone),
                ("cut, known", &server, &[first, second]),
                ("cut, new", &new_server(), &[first, second]),
                ("small pieces, new", &new_server(), &small),
            ] {
                let seen = answers(server, pieces).await;
                let checked = check(&seen, &expected);
                assert_eq!(
                    checked,
                    Ok(()),
                    "{what}, at {cut}: {expected:#?}\n{seen:#?}"
                );
                // A body that nobody reads ends the connection, unless it is there by then.
                if expected.need == Need::Must {
                    assert_eq!(served(&seen), served(&whole), "{what}, at {cut}");
                }
            }
        });
    });
});
