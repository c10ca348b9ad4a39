//! Where a request ends: forms by which two parties can be made to disagree on that, from RFC 9112
//! and from published attacks (request smuggling by CL.TE, TE.CL, TE.TE and their kin).
//!
//! Each form holds another request where a body is or may be taken to be, and a good request
//! follows. Whatever is wrong with the form, the hidden request is never answered, no request is
//! answered twice, and where the framing is in doubt the connection ends, so that nothing behind it
//! is believed.

mod bodies;
mod heads;
mod peers;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Api, Connection, Redis, Response, on_one_master, pass};

/// What stands where a body is: answered, it would say so.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Behind each form. Its `close` ends the connection, if it is believed.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What becomes of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// One answer with this status, then the end: nothing behind it is believed.
    Ends(u16),
    /// One answer with this status, and then that of the next request.
    Goes(u16),
}

use Fate::{Ends, Goes};

/// `(name, bytes, outcome)`. In the bytes, `{HIDDEN}` is the hidden request, `{N}` its length and
/// `{X}` the same in hexadecimal.
type Form = (&'static str, &'static str, Fate);

fn start() -> (Redis, Api) {
    let redis = Redis::start_plain();
    let values = ["a", "1", "next", "2", "hidden", "666"];
    redis.cli(&[&["HSET", "currency"], &values[..]].concat());
    let api = on_one_master(&redis, |builder| builder);
    (redis, api)
}

/// All answers until the end of the connection, those that only say to go on left out.
fn answers(api: &Api, packets: &[&str], methods: &[&str]) -> Result<Vec<Response>, String> {
    let packets: Vec<_> = packets.iter().map(|packet| packet.as_bytes()).collect();
    answers_of(api.addr(), &packets, methods)
}

/// The same of any server.
fn answers_of(
    addr: SocketAddr,
    packets: &[&[u8]],
    methods: &[&str],
) -> Result<Vec<Response>, String> {
    let mut connection = Connection::open(addr).map_err(|error| error.to_string())?;
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            pass(APART);
        }
        // What is refused may be closed before all of it is sent.
        let _ = connection.send_raw(packet);
    }
    let mut answers: Vec<Response> = Vec::new();
    loop {
        let method = methods.get(answers.len()).copied().unwrap_or("GET");
        match connection.read_response(method) {
            Ok(response) if response.status == 100 => {}
            Ok(response) => answers.push(response),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let rest = connection
                    .read_to_end()
                    .map_err(|error| error.to_string())?;
                return if rest.is_empty() {
                    Ok(answers)
                } else {
                    Err(format!("half an answer: {rest:?}"))
                };
            }
            Err(error) => return Err(format!("after {}: {error}", answers.len())),
        }
    }
}

/// Between two packets: long enough to be read one by one, mostly.
const APART: Duration = Duration::from_millis(3);

/// What became of a form, or what must never be. With `apart`, what comes before the hidden
/// request, that and what follows are packets of their own.
fn outcome(api: &Api, form: &str, apart: bool) -> Result<Fate, String> {
    let form = form
        .replace("{HIDDEN}", HIDDEN)
        .replace("{N}", &HIDDEN.len().to_string())
        .replace("{X}", &format!("{:x}", HIDDEN.len()));
    let method = form.split_whitespace().next().unwrap_or("GET");
    let whole = [&form, NEXT].concat();
    let answers = if apart {
        let (before, hidden) = form.split_at(form.find(HIDDEN).unwrap_or(form.len()));
        answers(api, &[before, hidden, NEXT], &[method])?
    } else {
        answers(api, &[&whole], &[method])?
    };
    if let Some(wrong) = answers.iter().find(|answer| answer.text().contains("666")) {
        return Err(format!("the hidden request is answered: {wrong:?}"));
    }
    match answers.as_slice() {
        [only] => Ok(Ends(only.status)),
        [first, next] if next.text() == r#"{"current":2}"# => Ok(Goes(first.status)),
        more => Err(format!("{} answers: {more:?}", more.len())),
    }
}

#[track_caller]
fn check(forms: &[Form]) {
    let (redis, api) = start();
    let mut wrong = Vec::new();
    for (name, form, expected) in forms {
        let seen = outcome(&api, form, false);
        if seen != Ok(*expected) {
            wrong.push(format!("{name}: {seen:?}, not {expected:?}"));
        }
        // A body that comes later may end the connection, when nobody asked for it.
        let allowed = match *expected {
            Goes(status) => [Goes(status), Ends(status)],
            other => [other; 2],
        };
        let seen = outcome(&api, form, true);
        if !seen.as_ref().is_ok_and(|seen| allowed.contains(seen)) {
            wrong.push(format!("{name}, in packets: {seen:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        redis.cli(&["HGET", "currency", "a"]),
        "1",
        "nothing was written"
    );
    // No worker was lost, and none is confused.
    for _ in 0..20 {
        assert_eq!(api.get("/next").text(), r#"{"current":2}"#);
    }
}

#[test]
fn lengths() {
    check(bodies::LENGTHS);
}

#[test]
fn transfer_codings() {
    check(bodies::CODINGS);
}

#[test]
fn chunks() {
    check(bodies::CHUNKS);
}

#[test]
fn lines_names_and_values() {
    check(heads::HEADS);
}

#[test]
fn hosts_and_upgrades() {
    check(heads::OTHERS);
}

#[test]
fn a_path_too_long_is_refused() {
    let (_redis, api) = start();
    let form = |length| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length));
    assert_eq!(outcome(&api, &form(8_000), false), Ok(Goes(404)));
    assert_eq!(outcome(&api, &form(16 * 1024), false), Ok(Ends(431)));
    assert_eq!(outcome(&api, &form(70_000), false), Ok(Ends(431)));
}
