//! Connections that go on elsewhere.

use super::*;

/// Asked where a connection belongs.
#[derive(Clone, Default)]
struct Place {
    elsewhere: bool,
    asked: Rc<Cell<u32>>,
    retires: Rc<Cell<Option<Instant>>>,
}

impl Ticket<DuplexStream> for Place {
    fn leave(&self, _: &DuplexStream, retires: Option<Instant>) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.retires.set(retires);
        self.elsewhere
    }
}

async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

async fn read_answer(client: &mut DuplexStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nget") {
        let read = client.read_buf(&mut answer).await;
        assert!(read.is_ok_and(|read| read > 0), "an answer");
    }
}

#[test]
fn a_connection_leaves_when_nothing_is_in_progress_on_it() {
    run(async {
        let gate = Rc::new(Notify::new());
        let service = Length {
            gate: Some(gate.clone()),
            ..Length::default()
        };
        let (server, place) = (server(service), Place::default());
        let place = Place {
            elsewhere: true,
            ..place
        };
        let (mut client, stream) = duplex(MAX_HEAD);
        let retires = Some(Instant::now() + Duration::from_secs(60));
        let serving = server.clone().resume(stream, place.clone(), retires);
        let serving = tokio::task::spawn_local(serving);
        // Empty lines may stand before a head, which has begun then.
        for part in ["\r\n", "GET / HTTP/1.1\r\n", "Host: a\r\n\r\n"] {
            client
                .write_all(part.as_bytes())
                .await
                .expect("there is room");
            settle().await;
            server.relocate();
            settle().await;
            assert_eq!(place.asked.get(), 0, "after {part:?}");
        }
        gate.notify_one();
        read_answer(&mut client).await;
        serving.await.expect("no panic");
        assert_eq!((place.asked.get(), place.retires.get()), (1, retires));
        assert_eq!(server.table.len(), 0);
        assert!(server.is_quiet());
    });
}

#[test]
fn one_that_belongs_here_is_served_on() {
    run(async {
        let (server, place) = (server(Length::default()), Place::default());
        let (mut client, stream) = duplex(MAX_HEAD);
        let serving = tokio::task::spawn_local(server.clone().serve(stream, place.clone()));
        for _ in 0..3 {
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .expect("there is room");
            read_answer(&mut client).await;
            settle().await;
        }
        assert_eq!(place.asked.get(), 0, "nobody said that it may be astray");
        server.relocate();
        settle().await;
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("there is room");
        read_answer(&mut client).await;
        assert_eq!(place.asked.get(), 1, "once");
        drop(client);
        serving.await.expect("no panic");
    });
}

#[test]
fn one_that_is_to_end_stays() {
    run(async {
        let (server, place) = (server(Length::default()), Place::default());
        let (client, stream) = duplex(MAX_HEAD);
        let place = Place {
            elsewhere: true,
            ..place
        };
        let serving = tokio::task::spawn_local(server.clone().serve(stream, place.clone()));
        settle().await;
        server.drain();
        server.relocate();
        settle().await;
        assert_eq!((place.asked.get(), server.table.len()), (0, 1));
        drop(client);
        serving.await.expect("no panic");
    });
}
