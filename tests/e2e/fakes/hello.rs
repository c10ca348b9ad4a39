//! Servers and proxies that know no `HELLO`, in front of a real Redis.

use std::io::{BufReader, Write, copy};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::support::fake::read_command;
use crate::support::{Act, Api, Fake, PATIENCE, Redis, eventually};

/// What proxies and forks say to `HELLO`.
const WORDINGS: [&str; 8] = [
    "ERR unknown command 'HELLO'",
    "ERR Unknown command 'HELLO'",
    "ERR unknown or unsupported command 'HELLO'",
    "ERR unsupported command `hello`",
    "unsupported command 'HELLO'",
    "ERR unsupported operation now :HELLO",
    "Unsupported operation 'hello'",
    "ERR command 'HELLO' is not allowed",
];

const PASSWORD: &str = "geheim-hunter2";

/// What a proxy does about a command.
#[derive(Clone)]
enum Answer {
    Says(String),
    HangsUp,
}

/// A proxy in front of `server`, which gives this answer to the commands of `refused`, and passes
/// all others on.
fn proxy(server: SocketAddr, refused: &'static [&'static str], answer: Answer) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    let answer = Arc::new(answer);
    // Ends with the test's process; its connections end with their clients.
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                // What goes wrong shows at the client.
                let _ = pass_on(&client, server, refused, &answer);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    addr
}

fn pass_on(
    mut client: &TcpStream,
    server: SocketAddr,
    refused: &[&str],
    answer: &Answer,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server)?;
    let (mut replies, mut back) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = copy(&mut replies, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut input = BufReader::new(client.try_clone()?);
    while let Some(words) = read_command(&mut input)? {
        let name = words.first().map(|word| word.to_ascii_uppercase());
        if !refused.contains(&name.as_deref().unwrap_or_default()) {
            let mut command = format!("*{}\r\n", words.len());
            for word in &words {
                command += &format!("${}\r\n{word}\r\n", word.len());
            }
            server.write_all(command.as_bytes())?;
            continue;
        }
        match answer {
            Answer::Says(words) => client.write_all(format!("-{words}\r\n").as_bytes())?,
            Answer::HangsUp => break,
        }
    }
    server.shutdown(Shutdown::Both)
}

fn api_at(addr: SocketAddr, password: Option<&str>) -> Api {
    let addr = addr.to_string();
    let builder = Api::serve().args(["--workers", "1", "--redis-addr", &addr]);
    match password {
        Some(password) => builder.env("REDIS_PASS", password).start(),
        None => builder.start(),
    }
}

#[track_caller]
fn works(mut api: Api) {
    api.wait_ready(PATIENCE);
    api.wait_log("connected (RESP2)", PATIENCE);
    eventually(PATIENCE, "a write succeeds", || {
        let post = api.post("/", "{\"value\":12.5}");
        (post.status == 200)
            .then_some(())
            .ok_or_else(|| post.text())
    });
    assert_eq!(api.get("/").text(), "{\"current\":12.5}");
}

#[test]
fn any_wording_leads_to_resp2() {
    let redis = Redis::builder().password(PASSWORD).start();
    for words in WORDINGS {
        let addr = proxy(redis.addr(), &["HELLO"], Answer::Says(words.into()));
        works(api_at(addr, Some(PASSWORD)));
    }
    let open = Redis::start_plain();
    let answer = Answer::Says(WORDINGS[6].into());
    works(api_at(proxy(open.addr(), &["HELLO"], answer), None));
}

/// Such as twemproxy: it closes at every command that it doesn't know.
#[test]
fn server_that_closes_at_hello_is_tried_without() {
    const UNKNOWN: &[&str] = &["HELLO", "CLIENT"];
    let redis = Redis::builder().password(PASSWORD).start();
    let addr = proxy(redis.addr(), UNKNOWN, Answer::HangsUp);
    works(api_at(addr, Some(PASSWORD)));
    let open = Redis::start_plain();
    works(api_at(proxy(open.addr(), UNKNOWN, Answer::HangsUp), None));
}

/// However `HELLO` was refused, a password that isn't accepted lets nobody in.
#[test]
fn after_the_fallback_a_wrong_password_is_refused() {
    let redis = Redis::builder().password(PASSWORD).start();
    for answer in [Answer::Says(WORDINGS[6].into()), Answer::HangsUp] {
        let addr = proxy(redis.addr(), &["HELLO"], answer);
        let api = api_at(addr, Some("wrong"));
        let line = api.wait_log("login refused: WRONGPASS", PATIENCE);
        assert!(line.contains("REDIS_PASS (environment)"), "{line}");
        assert_eq!(api.get("/").status, 503);
        let api = api_at(addr, None);
        api.wait_log("login refused: NOAUTH", PATIENCE);
        assert_eq!(api.get("/").status, 503);
    }
}

/// These are said by servers that have `HELLO`, and mean it.
#[test]
fn errors_of_the_whole_server_end_the_attempt() {
    for words in [
        "ERR max number of clients reached",
        "DENIED Redis is running in protected mode",
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script",
        "WRONGPASS invalid username-password pair",
        "ERR invalid password",
    ] {
        let fake = Fake::start();
        let reply = format!("-{words}\r\n").into_bytes();
        fake.script(move |command| match command[0].as_str() {
            "HELLO" => Act::Send(reply.clone()),
            _ => Act::Behave,
        });
        let api = api_at(fake.addr(), Some(PASSWORD));
        api.wait_log(&format!("login refused: {words}"), PATIENCE);
        assert_eq!(fake.seen("AUTH"), 0, "{words}");
        assert!(fake.seen("HELLO") > 0);
    }
}

#[test]
fn user_name_for_a_server_that_knows_none() {
    let fake = Fake::start();
    fake.script(|command| match (command[0].as_str(), command.len()) {
        ("HELLO", _) => Act::Send(b"-ERR unknown command `HELLO`\r\n".to_vec()),
        ("AUTH", 3) => Act::Send(b"-ERR wrong number of arguments for 'auth' command\r\n".to_vec()),
        ("AUTH" | "CLIENT", _) => Act::Send(b"+OK\r\n".to_vec()),
        _ => Act::Behave,
    });
    let addr = fake.addr().to_string();
    let with_user = |user: &str| {
        Api::serve()
            .args([
                "--workers",
                "1",
                "--redis-addr",
                &addr,
                "--redis-user",
                user,
            ])
            .env("REDIS_PASS", PASSWORD)
            .start()
    };
    let line = with_user("app").wait_log("knows no user names", PATIENCE);
    assert!(line.contains("drop --redis-user"), "{line}");
    // That one is what a login without a name is for.
    with_user("default").wait_ready(PATIENCE);
}
