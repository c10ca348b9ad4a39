use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// It listens on all addresses, those of IPv6 too where there is any; the address to connect to.
async fn acceptor(workers: usize, max: usize) -> (Acceptor, Vec<Incoming>, SocketAddr) {
    let listener = bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let patience = Duration::from_millis(200);
    let (acceptor, ends) = Acceptor::new(listener, workers, max, patience, Arc::default()).unwrap();
    (acceptor, ends, address)
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_secs(20);
    runtime
        .block_on(async { tokio::time::timeout(limit, test).await })
        .expect("it ends");
}

/// Lets `acceptor` run until `done` holds.
async fn accept_until(acceptor: &Acceptor, done: impl Fn() -> bool) {
    let poll = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        never = acceptor.run() => match never {},
        () = poll => {}
    }
}

/// Lets `acceptor` run until a new client is refused, or, unless `refused`, until it is not.
async fn connects_until(
    acceptor: &Acceptor,
    address: SocketAddr,
    refused: bool,
) -> Option<TcpStream> {
    let poll = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(client) if !refused => return Some(client),
                // (Or reset, if that was just when the others were.)
                Err(_) if refused => return None,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    tokio::select! {
        never = acceptor.run() => match never {},
        client = poll => client,
    }
}

#[test]
fn what_can_not_be_listened_on_is_named_with_the_cure() {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let check = |kind: io::ErrorKind, cure| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let error = kind.into();
        let text = BindError { address, error }.to_string();
        assert!(text.starts_with("can't listen on 127.0.0.1:80: "), "{text}");
        assert!(text.ends_with(cure), "{text}");
    };
    check(AddrInUse, "choose another");
    check(AddrNotAvailable, "or :80 for all");
    check(PermissionDenied, "choose a higher one");
}

#[test]
fn a_few_connections_are_spread_evenly() {
    run(async {
        let (acceptor, mut ends, address) = acceptor(2, 100).await;
        let open = |worker: usize| acceptor.workers().open(worker);
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        accept_until(&acceptor, || open(0) + open(1) == 10).await;
        assert_eq!((open(0), open(1)), (5, 5));

        // What one worker loses is what it gets next.
        for _ in 0..4 {
            drop(ends[0].next().await);
        }
        assert_eq!((open(0), open(1)), (1, 5));
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        accept_until(&acceptor, || open(0) + open(1) == 9).await;
        assert_eq!((open(0), open(1)), (4, 5));
    });
}

/// What was said to those who have it.
async fn client_of(end: &mut Incoming) -> Client {
    end.next().await.expect("it listens").expect("a runtime")
}

#[test]
fn connections_go_where_they_belong() {
    run(async {
        let (acceptor, mut ends, address) = acceptor(2, 4).await;
        let workers = acceptor.workers().clone();
        let open = || (workers.open(0), workers.open(1));
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        accept_until(&acceptor, || open() == (2, 2)).await;
        let mut served = Vec::new();
        for end in [0, 0, 1, 1] {
            served.push(client_of(&mut ends[end]).await);
        }
        // Each has its share.
        assert!(
            !served
                .iter()
                .any(|it| it.ticket.hand_over(&it.stream, None))
        );

        workers.pack(usize::MAX);
        let retires = Some(std::time::Instant::now());
        let leaving = served.split_off(2);
        for client in leaving {
            assert!(client.ticket.hand_over(&client.stream, retires));
        }
        assert_eq!(open(), (4, 0));
        for _ in 0..2 {
            let moved = client_of(&mut ends[0]).await;
            assert_eq!(moved.from, Origin::Worker { retires });
            assert!(!moved.ticket.hand_over(&moved.stream, None), "it is there");
            served.push(moved);
        }
        assert!(acceptor.slots.free().available_permits() == 0, "still open");

        workers.pack(0);
        for client in &served {
            client.ticket.hand_over(&client.stream, None);
        }
        assert_eq!(open(), (2, 2));
        let moved = [client_of(&mut ends[1]).await, client_of(&mut ends[1]).await];
        served.clear();
        assert_eq!(open(), (0, 2));
        assert_eq!(acceptor.slots.free().available_permits(), 2);

        // The first one is to have one, and then each its share of the others.
        workers.pack(1);
        for client in &moved {
            client.ticket.hand_over(&client.stream, None);
        }
        assert_eq!(open(), (1, 1));
        drop(client_of(&mut ends[0]).await);
        drop(moved);
        assert_eq!(acceptor.slots.free().available_permits(), 4);
    });
}

#[test]
fn what_is_moved_is_the_same_connection() {
    run(async {
        let (acceptor, mut ends, address) = acceptor(2, 2).await;
        let workers = acceptor.workers().clone();
        workers.pack(usize::MAX);
        let mut client = TcpStream::connect(address).await.unwrap();
        accept_until(&acceptor, || workers.open(0) == 1).await;
        let first = client_of(&mut ends[0]).await;
        // One alone is nowhere better off.
        workers.pack(0);
        assert!(!first.ticket.hand_over(&first.stream, None));
        workers.pack(usize::MAX);
        let _second = TcpStream::connect(address).await.unwrap();
        accept_until(&acceptor, || workers.open(0) == 2).await;
        workers.pack(0);
        client.write_all(b"before").await.unwrap();
        assert!(first.ticket.hand_over(&first.stream, None));
        drop(first);
        client.write_all(b" and after").await.unwrap();
        let mut moved = client_of(&mut ends[1]).await;
        let mut read = [0; 16];
        moved.stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"before and after");
        // Nobody is left to take it once listening has ended.
        acceptor.finish().await;
        workers.pack(usize::MAX);
        assert!(!moved.ticket.hand_over(&moved.stream, None));
        assert!(ends[1].next().await.is_none());
        moved.stream.write_all(b"answer").await.unwrap();
        drop(moved);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer", "and then it is closed");
    });
}

#[test]
fn past_the_limit_clients_wait_in_the_backlog() {
    run(async {
        let (acceptor, mut ends, address) = acceptor(1, 2).await;
        let metrics = acceptor.metrics.clone();
        let open = || acceptor.workers().open(0);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        accept_until(&acceptor, || metrics.pauses.get() > 0).await;
        assert_eq!((open(), metrics.pauses.get()), (2, 1));
        let first = ends[0].next().await;
        accept_until(&acceptor, || metrics.pauses.get() > 1).await;
        assert_eq!(open(), 2, "taken over is not closed");
        drop(first);
        accept_until(&acceptor, || open() == 2).await;
        assert_eq!(metrics.errors.get(), 0);
        let (_, end) = (acceptor.finish().await, ends[0].next().await);
        assert!(end.is_some_and(|accepted| accepted.is_ok()));
    });
}

#[test]
fn who_has_waited_for_too_long_is_refused_until_there_is_a_slot() {
    run(async {
        let (acceptor, mut ends, address) = acceptor(1, 8).await;
        let open = || acceptor.workers().open(0);
        let mut clients = Vec::new();
        for _ in 0..9 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        connects_until(&acceptor, address, true).await;
        assert_eq!(open(), 8);
        let waited = clients.pop().unwrap();
        waited.readable().await.unwrap();
        let lost = waited.try_read(&mut [0]).unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::ConnectionReset);

        // Meanwhile nobody else gets the port.
        let other = bind(address, false).unwrap_err();
        assert_eq!(other.error.kind(), io::ErrorKind::AddrInUse);

        // As often as there is a slot.
        for _ in 0..3 {
            drop(ends[0].next().await);
            clients.extend(connects_until(&acceptor, address, false).await);
            accept_until(&acceptor, || open() == 8).await;
            connects_until(&acceptor, address, true).await;
        }
        assert_eq!(acceptor.metrics.errors.get(), 0);
    });
}

#[test]
fn listening_ends_also_while_clients_are_refused() {
    run(async {
        let (acceptor, mut ends, address) = acceptor(1, 1).await;
        let _client = TcpStream::connect(address).await.unwrap();
        connects_until(&acceptor, address, true).await;
        let metrics = acceptor.metrics.clone();
        acceptor.finish().await;
        assert!(ends[0].next().await.is_some());
        assert!(ends[0].next().await.is_none());
        assert_eq!(metrics.errors.get(), 0);
    });
}
