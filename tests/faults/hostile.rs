//! Clients that send what nobody should, or more than their share; and what another client has of
//! it, who asks for little.
//!
//! What becomes of each form, to the letter, is in `tests/e2e` (framing, limits, pipelining). Here
//! many come at once, and what counts is the other client, and memory.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use crate::record::write_line;
use crate::stage::turn;
use crate::support::api::Builder;
use crate::support::bystander::{Bystander, REQUEST_TIMEOUT};
use crate::support::process::resident_kib;
use crate::support::{Api, Connection, PATIENCE, Redis, eventually, on_one_master, pass};

const VALUE: &str = r#"{"current":12.5}"#;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// How long an attack lasts that does not end by itself.
const LONG: Duration = Duration::from_millis(2_500);

/// Attackers of the attacks that need threads.
const THREADS: u64 = 4;

/// Attacks a second of all of them together, unless a row says otherwise: what leaves the machine
/// some time for the other client. (Whoever may use up all of it does.)
const RATE: u32 = 600;

/// How often each kind of answer, or end, was seen.
#[derive(Default)]
struct Seen(BTreeMap<String, u64>);

impl Seen {
    fn add(&mut self, what: &str) {
        self.add_many(what, 1);
    }

    fn add_many(&mut self, what: &str, times: u64) {
        *self.0.entry(what.to_owned()).or_default() += times;
    }

    /// The statuses of all answers in these bytes.
    fn add_answers(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for answer in text.split("HTTP/1.1 ").skip(1) {
            self.add(answer.get(..3).unwrap_or("a status that is none"));
        }
    }

    fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.0.values().sum()
    }

    fn text(&self) -> String {
        let each = self
            .0
            .iter()
            .map(|(what, times)| format!("{times} × {what}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Runs one attack, beside a client who must not notice, on a server whose memory may grow by so
/// many KiB; and puts it into the table.
fn row(
    name: &str,
    most_kib: u64,
    configure: impl FnOnce(Builder) -> Builder,
    attack: impl FnOnce(&Api) -> Seen,
) {
    let _turn = turn();
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5", "hidden", "666"]);
    let mut api = on_one_master(&redis, |builder| configure(builder));
    let pid = api.process().pid();
    let bystander = Bystander::start(&api, VALUE);
    let before = resident_kib(pid).expect("it runs");
    let (stop, stopped) = sync_channel::<()>(0);
    let watch = thread::spawn(move || {
        let mut most = 0;
        while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
            most = resident_kib(pid).unwrap_or(0).max(most);
        }
        most
    });
    let seen = attack(&api);
    drop(stop);
    let most = watch.join().expect("it only reads");
    let fared = bystander.finish(name);
    api.check_running();
    let grown = most.saturating_sub(before);
    let [before, during] = fared.map(|fared| fared.p99.as_secs_f64() * 1e3);
    let line = format!(
        "| {name} | {} | {before:.1} ms | {during:.1} ms | {} | 0 | {:.1} |",
        seen.text(),
        fared[1].requests,
        grown as f64 / 1024.0
    );
    eprintln!("{line}");
    assert!(grown <= most_kib, "{grown} KiB more");
    assert!(fared[1].p99 < REQUEST_TIMEOUT, "{fared:?}");
    write_line(&format!("| {name} |"), &line);
}

/// Each attacker attacks again and again, for as long as an attack lasts, together so many times a
/// second.
fn again(api: &Api, rate: u32, attack: impl Fn(SocketAddr, &mut Rng, &mut Seen) + Sync) -> Seen {
    let addr = api.addr();
    let begun = Instant::now();
    let pause = Duration::from_secs(THREADS) / rate;
    let attacker = |number| {
        let (mut random, mut seen) = (Rng::with_seed(number), Seen::default());
        let due = (0..).map(|times| begun + pause * times);
        for due in due.take_while(|due| Instant::now().max(*due) < begun + LONG) {
            pass(due.saturating_duration_since(Instant::now()));
            attack(addr, &mut random, &mut seen);
        }
        seen
    };
    let mut all = Seen::default();
    thread::scope(|scope| {
        let attackers: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || attacker(number)))
            .collect();
        for attacker in attackers {
            let seen = attacker.join().expect("no attacker is surprised");
            seen.0
                .iter()
                .for_each(|(what, times)| all.add_many(what, *times));
        }
    });
    all
}

fn open(addr: SocketAddr) -> Connection {
    Connection::open(addr).expect("it listens")
}

/// All that comes until the connection ends, which a reset may cut short.
fn rest(connection: &mut Connection) -> Vec<u8> {
    connection.read_to_end().unwrap_or_default()
}

/// Many connections that each begin with the same bytes and go on with others, a piece at a time,
/// until the server ends them. `reads`: they take what is answered.
fn drip(api: &Api, count: usize, begin: &[u8], piece: &[u8], reads: bool) -> Seen {
    let mut seen = Seen::default();
    let mut connections: Vec<_> = (0..count)
        .map(|_| {
            let mut connection = open(api.addr());
            connection.send_raw(begin).expect("there is room");
            let stream = connection.stream();
            stream.set_nonblocking(true).expect("it is a socket");
            (connection, 0)
        })
        .collect();
    let would_block = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted);
    eventually(PATIENCE, "the server ends all of them", || {
        connections.retain_mut(|(connection, sent)| {
            let mut stream = connection.stream();
            let mut answer = [0; 4096];
            let mut is_open = match stream.write(&piece[*sent..]) {
                Ok(length) => {
                    *sent = (*sent + length) % piece.len();
                    true
                }
                Err(error) => would_block(error.kind()),
            };
            if reads {
                is_open &= match stream.read(&mut answer) {
                    Ok(0) => false,
                    Ok(length) => {
                        seen.add_answers(&answer[..length]);
                        true
                    }
                    Err(error) => would_block(error.kind()),
                };
            }
            if !is_open {
                seen.add("ended by the server");
            }
            is_open
        });
        let left = connections.len();
        (left == 0)
            .then_some(())
            .ok_or_else(|| format!("{left} are left; {}", seen.text()))
    });
    seen
}

/// One of the spellings by which two parties can be made to see different ends.
fn smuggled(random: &mut Rng) -> Vec<u8> {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    let mut pick = |from: &[&str]| from[random.usize(..from.len())].to_owned();
    let codings = [
        "",
        "chunked",
        "Chunked",
        " chunked ",
        "\tchunked",
        "chunked, identity",
        "gzip, chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked, chunked",
        "chunked\u{b}",
    ];
    let lengths = [
        "",
        "N",
        "+N",
        "N, N",
        "0",
        "-1",
        "0xN",
        "N\r\nContent-Length: 0",
        "N\r\nContent-Length: N",
        "99999999999999999999",
        "N ",
        "N;",
    ];
    let names = [
        "Transfer-Encoding",
        "Transfer-Encoding ",
        "transfer_encoding",
        " Transfer-Encoding",
    ];
    let (coding, length, name) = (pick(&codings), pick(&lengths), pick(&names));
    let mut head = format!(
        "{} / HTTP/1.1\r\nHost: a\r\n",
        pick(&["POST", "GET", "PUT"])
    );
    if !coding.is_empty() {
        head += &format!("{name}: {coding}\r\n");
    }
    if !length.is_empty() {
        let length = length.replace('N', &body.len().to_string());
        head += &format!("Content-Length: {length}\r\n");
    }
    let next = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    [&head, "\r\n", &body, next].concat().into_bytes()
}

#[test]
fn smuggled_requests() {
    row(
        "smuggled requests",
        8 * 1024,
        |builder| builder,
        |api| {
            again(api, RATE, |addr, random, seen| {
                let mut connection = open(addr);
                let form = smuggled(random);
                // It may be closed before all of it is sent.
                let _ = connection.send_raw(&form);
                let answers = rest(&mut connection);
                let text = String::from_utf8_lossy(&answers);
                assert!(!text.contains("666"), "{}: {text}", form.escape_ascii());
                let count = text.matches("HTTP/1.1 ").count();
                assert!(count <= 2, "{}: {text}", form.escape_ascii());
                seen.add_answers(&answers);
            })
        },
    );
}

#[test]
fn bytes_without_meaning() {
    row(
        "bytes without meaning",
        8 * 1024,
        |builder| builder,
        |api| {
            again(api, RATE, |addr, random, seen| {
                let mut connection = open(addr);
                let words: [&[u8]; 6] = [
                    GET,
                    b"\r\n",
                    b"POST / HTTP/1.1\r\n",
                    b"\0",
                    b": ",
                    b"\x16\x03\x01",
                ];
                let mut bytes = Vec::new();
                for _ in 0..random.usize(1..40) {
                    match random.bool() {
                        true => bytes.push(random.u8(..)),
                        false => bytes.extend_from_slice(words[random.usize(..words.len())]),
                    }
                }
                let _ = connection.send_raw(&bytes);
                let _ = connection.finish();
                seen.add_answers(&rest(&mut connection));
                seen.add("connections");
            })
        },
    );
}

#[test]
fn heads_that_drip() {
    let timeout = |builder: Builder| builder.args(["--header-timeout", "1s"]);
    row("500 heads, a byte at a time", 32 * 1024, timeout, |api| {
        drip(api, 500, b"GET / HTTP/1.1\r\nX: ", b"x", true)
    });
}

#[test]
fn bodies_that_drip() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    row(
        "500 bodies, a byte at a time",
        16 * 1024,
        |builder| builder,
        |api| {
            let seen = drip(api, 500, head, b" ", true);
            assert!(seen.of("408") + seen.of("503") >= 495, "{}", seen.text());
            seen
        },
    );
}

#[test]
fn readers_that_do_not_read() {
    let timeout = |builder: Builder| builder.args(["--write-timeout", "1s"]);
    row("10 clients that never read", 8 * 1024, timeout, |api| {
        drip(api, 10, GET, &GET.repeat(500), false)
    });
}

#[test]
fn floods_of_pipelined_requests() {
    row(
        "100 requests in each write, without end",
        8 * 1024,
        |builder| builder,
        |api| {
            again(api, 8, |addr, _, seen| {
                let mut connection = open(addr);
                for _ in 0..10 {
                    connection.send_raw(&GET.repeat(100)).expect("it is taken");
                    for _ in 0..100 {
                        let answer = connection.read_response("GET").expect("each is answered");
                        seen.add(&answer.status.to_string());
                    }
                }
            })
        },
    );
}

#[test]
fn ten_thousand_idle_connections() {
    // Each costs a descriptor on either side.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("up to the hard one");
    row(
        "10,000 connections, half of them never used",
        40 * 1024,
        |builder| builder,
        |api| {
            let mut seen = Seen::default();
            let mut ask = |connection: &mut Connection| {
                let answer = connection.request("GET", "/", &[], b"");
                seen.add(&answer.status.to_string());
            };
            let mut connections = Vec::new();
            for number in 0..10_000 {
                let mut connection = open(api.addr());
                if number % 2 == 0 {
                    ask(&mut connection);
                }
                connections.push(connection);
                if number % 20 == 0 {
                    pass(Duration::from_millis(5));
                }
            }
            eventually(PATIENCE, "all are open", || {
                api.metric("redis_api_http_connections") >= Some(10_000.0)
            });
            pass(LONG);
            connections.iter_mut().step_by(50).for_each(&mut ask);
            assert_eq!(seen.of("200"), 5_200, "{}", seen.text());
            seen
        },
    );
}

#[test]
fn connections_that_are_used_once() {
    const CHURN: u32 = 2_000;
    row(
        "2,000 new connections a second",
        8 * 1024,
        |builder| builder,
        |api| {
            let begun = Instant::now();
            let seen = again(api, CHURN, |addr, _, seen| {
                let mut connection = open(addr);
                let answer = connection.request("GET", "/", &[], b"");
                seen.add(&answer.status.to_string());
            });
            let rate = seen.total() as f64 / begun.elapsed().as_secs_f64();
            assert!(rate > 0.8 * f64::from(CHURN), "{rate} a second");
            seen
        },
    );
}

#[test]
fn more_connections_than_descriptors() {
    let few = |builder: Builder| {
        let flags = ["--max-connections", "1000"];
        builder.args(flags).descriptors(64)
    };
    row("100 connections, 64 descriptors", 8 * 1024, few, |api| {
        let mut seen = Seen::default();
        let hoard: Vec<_> = (0..100).map(|_| open(api.addr())).collect();
        api.wait_log("can't accept connections", PATIENCE);
        pass(LONG);
        drop(hoard);
        let answer = eventually(PATIENCE, "others are served again", || {
            let mut connection = Connection::open(api.addr())?;
            connection.send_raw(GET)?;
            connection.read_response("GET")
        });
        seen.add(&answer.status.to_string());
        seen.add_many("waited", 100);
        seen
    });
}

#[test]
fn heads_that_are_large() {
    row(
        "heads of 1,000 lines, or of 200 KiB",
        8 * 1024,
        |builder| builder,
        |api| {
            again(api, RATE, |addr, random, seen| {
                let mut connection = open(addr);
                let lines = match random.bool() {
                    true => "X: y\r\n".repeat(1_000),
                    false => format!("X: {}\r\n", "y".repeat(200 * 1024)),
                };
                let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
                let _ = connection.send_raw(head.as_bytes());
                seen.add_answers(&rest(&mut connection));
            })
        },
    );
}

#[test]
fn clients_that_leave_early() {
    row(
        "clients that reset, or leave, before the answer",
        8 * 1024,
        |builder| builder,
        |api| {
            again(api, RATE, |addr, random, seen| {
                let mut connection = open(addr);
                if random.bool() {
                    let linger =
                        SockRef::from(connection.stream()).set_linger(Some(Duration::ZERO));
                    linger.expect("it is a socket");
                }
                let bytes = GET.repeat(random.usize(1..4));
                let length = random.usize(1..=bytes.len());
                connection
                    .send_raw(&bytes[..length])
                    .expect("there is room");
                seen.add("connections");
            })
        },
    );
}

#[test]
fn clients_that_close_one_half() {
    row(
        "10 requests, and half a close",
        8 * 1024,
        |builder| builder,
        |api| {
            again(api, RATE, |addr, _, seen| {
                let mut connection = open(addr);
                connection.send_raw(&GET.repeat(10)).expect("there is room");
                connection.finish().expect("it is open");
                let answers = connection.read_to_end().expect("a clean end");
                let count = String::from_utf8_lossy(&answers).matches(VALUE).count();
                assert_eq!(count, 10);
                seen.add_answers(&answers);
            })
        },
    );
}
