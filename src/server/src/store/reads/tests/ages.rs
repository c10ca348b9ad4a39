//! What one server says of its data: how old they are, and for whom that counts.

use super::*;

#[test]
fn the_age_is_that_of_the_link_which_answers() {
    let rig = Rig::new(ReadMode::Direct, 2);
    for (hand, seconds) in rig.hands.iter().zip([7, 30]) {
        hand.connect();
        hand.flush();
        assert_eq!(hand.receive(cut_off(seconds).as_bytes()), Ok(()));
    }
    // Each goes to the link with the fewest commands in flight.
    let mut reads = [rig.read(), rig.read()];
    let ages = |reads: &mut [Read]| -> Vec<Option<u32>> {
        let mut context = Context::from_waker(Waker::noop());
        let mut age = |read: &mut Read| match Pin::new(read).poll(&mut context) {
            Poll::Ready(Ok(found)) => found.age,
            other => panic!("{other:?}"),
        };
        reads.iter_mut().map(&mut age).collect()
    };
    for hand in &rig.hands {
        assert_eq!(hand.flush(), HGET);
        assert_eq!(hand.receive(b"$1\r\n5\r\n"), Ok(()));
    }
    assert_eq!(ages(&mut reads), [Some(7), Some(30)]);

    // The first one's replica has its master back.
    rig.reads.probe();
    rig.hands[0].flush();
    assert_eq!(rig.hands[0].receive(WELL), Ok(()));
    let mut read = [rig.read()];
    rig.hands[0].flush();
    assert_eq!(rig.hands[0].receive(b"$-1\r\n"), Ok(()));
    assert_eq!(ages(&mut read), [None]);
}

/// The replica's master has frozen, and its link is given up while our own is lost and comes back.
#[test]
fn the_age_does_not_begin_anew_because_we_connect_anew() {
    let rig = Rig::new(ReadMode::Direct, 1);
    let hand = rig.hand();
    let place = |stream: &str, offset: u32| {
        let stream = stream.repeat(40);
        format!("role:slave\r\nmaster_replid:{stream}\r\nslave_repl_offset:{offset}\r\n")
    };
    let says = |place: String, link: &str| {
        let replication = place + link;
        let length = replication.len();
        hand.connect();
        hand.flush();
        let text = format!("$9\r\nloading:0\r\n$-1\r\n${length}\r\n{replication}\r\n$0\r\n\r\n");
        assert_eq!(hand.receive(text.as_bytes()), Ok(()));
        let mut read = rig.read();
        hand.flush();
        assert_eq!(hand.receive(b"$1\r\n5\r\n"), Ok(()));
        hand.lose();
        match Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(found)) => found.age,
            other => panic!("{other:?}"),
        }
    };
    let frozen = "master_link_status:up\r\nmaster_last_io_seconds_ago:59\r\n";
    let given_up = "master_link_status:down\r\nmaster_link_down_since_seconds:2\r\n";
    assert_eq!(says(place("a", 7), frozen), Some(59));
    assert_eq!(says(place("a", 7), given_up), Some(61));
    assert_eq!(says(place("a", 7), given_up), Some(61));
    assert_eq!(
        says(place("a", 8), given_up),
        Some(2),
        "it was heard of meanwhile"
    );
    assert_eq!(says(place("b", 8), given_up), Some(2), "of another master");
}

/// Behind one address there can be another server at each connection.
#[test]
fn what_one_server_said_does_not_count_for_the_next() {
    const REFUSED: &[u8] = b"-NOPERM no\r\n";
    let rig = Rig::new(ReadMode::Direct, 1);
    let hand = rig.hand();
    hand.connect();
    hand.flush();
    let up = "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:9\r\n";
    let replication = format!("${}\r\n{up}\r\n", up.len());
    let first = [b"$9\r\nloading:0\r\n", REFUSED, replication.as_bytes()].concat();
    assert_eq!(hand.receive(&first), Ok(()));
    let unusable = || poll(&mut rig.reads.current(Instant::now()));
    assert_eq!(unusable(), Some(Err(ReadError::refused(b"NOPERM no"))));
    hand.lose();

    hand.connect();
    hand.flush();
    // It refuses INFO; what it says to a read is not known yet.
    assert_eq!(hand.receive(REFUSED), Ok(()));
    assert_eq!(unusable(), Some(Err(ReadError::Unavailable)));
    let rest = &cut_off(3)["$9\r\nloading:0\r\n".len()..];
    assert_eq!(hand.receive(rest.as_bytes()), Ok(()));
    rig.reads.probe();
    hand.flush();
    assert_eq!(hand.receive(cut_off(3).as_bytes()), Ok(()));
    let mut read = rig.read();
    hand.flush();
    assert_eq!(hand.receive(b"$1\r\n5\r\n"), Ok(()));
    match Pin::new(&mut read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(found)) => assert_eq!(found.age, Some(3), "not the first one's 9 s more"),
        other => panic!("{other:?}"),
    }
}
