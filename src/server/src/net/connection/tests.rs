use std::cell::Cell;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::rc::Rc;
use std::thread;

use bytes::BytesMut;
use redis_api_wire::conn::Refusal;
use redis_api_wire::resp::{Decoder, Limits, Reply, command};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::*;
use crate::net::endpoint::Address;
use crate::net::test::{Told, driver, metrics, runtime};
use crate::net::{Link, Set};

/// Far longer than anything here takes: only a hang runs into it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A link over `stream`, logged in.
async fn link_over(stream: Stream, told: &Rc<Told>) -> Rc<Link<u64>> {
    let metrics = metrics();
    let never = Address::Unix("/nonexistent/redis.sock".into());
    let driver = driver(never, &metrics);
    let set = Set::new(1, &metrics);
    set.drive_over(stream, &told.owner(), driver);
    let link = set.links()[0].clone();
    while !link.is_admitted() {
        yield_now().await;
    }
    link
}

/// Both ends of a Unix socket: what one end writes is there for the other at once, whatever else
/// the machine does.
fn unix_pair() -> (UnixStream, StdUnixStream) {
    let (near, far) = StdUnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    (UnixStream::from_std(near).unwrap(), far)
}

/// How often the link had begun to send when a request was read that came in the same moment as a
/// command was enqueued.
async fn sent_before_the_next_look(crowded: bool) -> u64 {
    let told = Told::new();
    let (near, mut redis) = unix_pair();
    let hello = thread::spawn(move || {
        // The whole of `HELLO` comes in one write.
        let _ = redis.read(&mut [0; 512]).unwrap();
        redis.write_all(b"%0\r\n").unwrap();
        redis
    });
    let link = link_over(Box::new(near), &told).await;
    let _redis = hello.join().unwrap();

    let (mut client, mut browser) = unix_pair();
    let stamp = Rc::new(Cell::new(None));
    let request = spawn_local({
        let (link, stamp) = (link.clone(), stamp.clone());
        async move {
            client.read_u8().await.unwrap();
            stamp.set(Some(link.stamp()));
        }
    });
    // It waits for the socket now.
    yield_now().await;
    let before = link.stamp();
    browser.write_all(b"G").unwrap();
    link.set_crowded(crowded);
    let enqueued = link.enqueue(1, std::time::Instant::now(), |out| command(out, &[b"PING"]));
    assert_eq!(enqueued, Ok(()));
    request.await.unwrap();
    stamp.get().unwrap() - before
}

/// What `drive` relies on: `yield_now` lets the runtime look at the sockets, and the tasks that
/// they wake run first. Should an upgrade of tokio change that, commands are sent too early, and
/// fewer requests share them.
#[test]
fn a_crowded_link_sends_after_one_more_look_at_the_sockets() {
    runtime().block_on(async {
        let look = async |crowded| {
            timeout(PATIENCE, sent_before_the_next_look(crowded))
                .await
                .expect("it ends")
        };
        assert_eq!(look(true).await, 0, "the request could share the command");
        assert_eq!(look(false).await, 1, "the command was sent at once");
    });
}

/// A server that reads a command only when the client has room for the reply to the one before:
/// it writes by calls that wait.
fn echo_one_by_one(listener: &TcpListener) -> io::Result<()> {
    let (mut client, _) = listener.accept()?;
    let mut decoder = Decoder::new(Limits::default());
    let (mut received, mut piece) = (BytesMut::new(), [0; 512]);
    loop {
        let len = client.read(&mut piece)?;
        if len == 0 {
            return Ok(());
        }
        received.extend_from_slice(&piece[..len]);
        while let Some(decoded) = decoder.decode(&received).map_err(io::Error::other)? {
            let mut reply = Vec::new();
            if let Reply::Array(mut words) = decoded.reply {
                match (words.next(), words.next()) {
                    (Some(Reply::Bulk(b"ECHO")), Some(Reply::Bulk(text))) => {
                        reply.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                        reply.extend_from_slice(text);
                        reply.extend_from_slice(b"\r\n");
                    }
                    _ => reply.extend_from_slice(b"%0\r\n"),
                }
            }
            let len = decoded.len;
            client.write_all(&reply)?;
            let _ = received.split_to(len);
        }
    }
}

/// With small buffers. (Of the smallest ones each segment may close the window, which is then only
/// probed, a few times a second.)
fn tcp() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(128 << 10).unwrap();
    socket.set_send_buffer_size(128 << 10).unwrap();
    socket
}

#[test]
fn a_server_that_reads_only_once_its_replies_are_read_is_no_deadlock() {
    const COMMANDS: u64 = 300;
    let listener = tcp();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || echo_one_by_one(&listener.into()));
    let client = tcp();
    client.connect(&address).unwrap();
    client.set_nonblocking(true).unwrap();

    // Far more than both ends' buffers hold: 300 times 10 kB each way.
    let text = |number: u64| [number.to_string().as_bytes(), &[b'.'; 10_000]].concat();
    let told = Told::new();
    let talk = async {
        let stream = TcpStream::from_std(client.into()).unwrap();
        let link = link_over(Box::new(stream), &told).await;
        for number in 0..COMMANDS {
            let text = text(number);
            let now = std::time::Instant::now();
            // Full: until the server has taken some.
            while let Err((_, refusal)) =
                link.enqueue(number, now, |out| command(out, &[b"ECHO", &text]))
            {
                assert_eq!(refusal, Refusal::Full);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        while told.replies.borrow().len() < COMMANDS as usize {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let runtime = runtime();
    runtime.block_on(async { timeout(PATIENCE, talk).await.expect("no deadlock") });
    for (number, (waiter, reply)) in (0..).zip(&*told.replies.borrow()) {
        assert_eq!(*waiter, number);
        assert_eq!(*reply, text(number), "of {number}");
    }
    drop(runtime);
    let _ = server.join().unwrap();
}
