use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Wake};

use super::*;

const REQUEST: Duration = Duration::from_millis(400);

fn timeouts() -> Timeouts {
    Timeouts::new(REQUEST, Duration::from_secs(1))
}

fn table(timeouts: Timeouts) -> Table {
    Table::new(timeouts, Rng::with_seed(1))
}

fn ms(count: u64) -> Option<Duration> {
    Some(Duration::from_millis(count))
}

#[test]
fn a_sweep_expires_what_is_due_and_names_the_next_deadline() {
    let table = table(timeouts());
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let (idle, early, late) = (
        table.insert(start),
        table.insert(start),
        table.insert(start),
    );
    early.begin(at(100));
    late.begin(at(200));
    assert_eq!(table.sweep_once(at(250)), at(500));
    assert!(!early.is_expired());
    assert_eq!(table.sweep_once(at(500)), at(600));
    assert!(early.is_expired() && !late.is_expired() && !idle.is_expired());
    early.begin(at(510));
    assert!(!early.is_expired(), "the next request starts afresh");
    assert_eq!(table.sweep_once(at(600)), at(910));
    assert!(late.is_expired());
    late.enter(State::Linger, at(600));
    assert!(!late.is_expired(), "the end has a deadline of its own");
    assert!(!idle.is_closing() && idle.cut().is_none());
}

#[test]
fn heads_idle_connections_and_readers_have_their_own_limits() {
    let table = table(Timeouts {
        header: ms(50),
        idle: ms(120),
        write: ms(100),
        ..timeouts()
    });
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let (idle, head, reader) = (
        table.insert(start),
        table.insert(start),
        table.insert(start),
    );
    head.enter(State::Head, at(10));
    reader.begin(at(10));
    reader.block(at(15));
    assert_eq!(table.sweep_once(at(20)), at(60));
    assert_eq!(head.cut(), None);
    assert_eq!(table.sweep_once(at(60)), at(110), "the shortest limit on");
    assert_eq!(head.cut(), Some(Cut::SlowHead));
    table.remove(&head);
    reader.block(at(80));
    assert_eq!(table.sweep_once(at(115)), at(120), "some of it was taken");
    assert_eq!(reader.cut(), None);
    assert!(!idle.is_closing());
    table.sweep_once(at(120));
    assert!(idle.is_closing() && idle.is_last() && idle.cut().is_none());
    table.sweep_once(at(180));
    assert_eq!(reader.cut(), Some(Cut::SlowReader));
    let other = table.insert(at(180));
    other.enter(State::Write, at(180));
    other.block(at(180));
    assert!(other.is_blocked());
    other.unblock();
    assert!(!other.is_blocked());
    table.sweep_once(at(900));
    assert_eq!(other.cut(), None, "it has taken all");
}

/// Counts how often the task of a connection is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_task_is_woken_once_for_what_is_due() {
    let table = table(Timeouts {
        header: ms(400),
        idle: ms(400),
        ..timeouts()
    });
    let start = Instant::now();
    let check = |state| {
        let entry = table.insert(start);
        entry.enter(state, start);
        // The task runs for a second time, and is another one by then.
        let (former, task) = (Arc::<Woken>::default(), Arc::<Woken>::default());
        for woken in [&former, &task, &task] {
            entry.listen(&Waker::from(woken.clone()));
        }
        for late in [399, 400, 500, 600] {
            table.sweep_once(start + Duration::from_millis(late));
            let expected = usize::from(late >= 400);
            assert_eq!(task.0.load(Relaxed), expected, "{state:?}, {late} ms");
        }
        assert_eq!(former.0.load(Relaxed), 0, "{state:?}");
    };
    for state in [State::Idle, State::Head, State::Body, State::Handler] {
        check(state);
    }
}

#[test]
fn an_idle_connection_is_told_to_rest_once_a_while_after_its_last_request() {
    let table = table(timeouts());
    let start = Instant::now();
    let (plain, parsing) = (table.insert(start), table.insert(start));
    parsing.set_parsing(true);
    parsing.enter(State::Idle, start + REST / 2);
    table.sweep_once(start + REST);
    assert!(!parsing.take_rest());
    table.sweep_once(start + REST + REST / 2);
    assert!(parsing.take_rest() && !parsing.take_rest());
    assert!(!plain.take_rest(), "it has nothing to give back");
    parsing.begin(start + REST);
    table.sweep_once(start + 2 * REST);
    assert!(!parsing.take_rest(), "a request is in progress");
}

#[test]
fn connections_that_are_not_idle_are_counted() {
    let table = table(timeouts());
    let start = Instant::now();
    let (one, other) = (table.insert(start), table.insert(start));
    assert_eq!(table.active(), 0);
    one.enter(State::Head, start);
    one.begin(start);
    one.advance(State::Body);
    other.begin(start);
    assert_eq!(table.active(), 2);
    one.advance(State::Write);
    one.enter(State::Idle, start);
    one.enter(State::Idle, start);
    assert_eq!(table.active(), 1);
    other.enter(State::Linger, start);
    assert_eq!(table.active(), 1);
    for _ in 0..2 {
        table.remove(&other);
        assert_eq!(table.active(), 0);
    }
}

#[test]
fn emptied_waits_for_the_last_connection() {
    let table = table(timeouts());
    let (first, last) = (table.insert(Instant::now()), table.insert(Instant::now()));
    let mut emptied = pin!(table.emptied());
    let mut is_emptied = || {
        let mut context = Context::from_waker(Waker::noop());
        emptied.as_mut().poll(&mut context).is_ready()
    };
    assert!(!is_emptied());
    table.remove(&first);
    assert_eq!(table.len(), 1);
    assert!(!is_emptied());
    table.remove(&last);
    assert!(is_emptied());
}

#[test]
fn an_old_connection_is_told_and_not_closed() {
    let age = Duration::from_secs(100);
    let table = table(Timeouts {
        age: Some(age),
        ..timeouts()
    });
    let start = Instant::now();
    let entries: Vec<_> = (0..100).map(|_| table.insert(start)).collect();
    table.sweep_once(start + Duration::from_millis(89_999));
    assert!(entries.iter().all(|entry| !entry.is_last()));
    table.sweep_once(start + age);
    let told = entries.iter().filter(|entry| entry.is_last()).count();
    assert!((1..100).contains(&told), "{told}: they differ");
    table.sweep_once(start + Duration::from_secs(110));
    assert!(entries.iter().all(|entry| entry.is_last()));
    assert!(entries.iter().all(|entry| !entry.is_closing()));
}

#[test]
fn when_draining_every_answer_is_the_last() {
    let table = table(timeouts());
    let before = table.insert(Instant::now());
    assert!(!before.is_last());
    table.drain(Instant::now());
    let after = table.insert(Instant::now());
    assert!(before.is_last() && after.is_last());
    assert!(!before.is_closing() && !after.is_closing());
}

#[test]
fn without_requests_the_next_look_is_the_shortest_limit_away() {
    let table = table(timeouts());
    let start = Instant::now();
    let entry = table.insert(start);
    assert_eq!(table.sweep_once(start), start + REQUEST);
    table.remove(&entry);
    assert!(table.is_empty());
    table.remove(&entry);
    assert!(table.is_empty(), "a second removal removes nobody else");
}

#[test]
fn a_connection_whose_first_request_is_on_its_way_is_closed_last() {
    let table = table(timeouts());
    let start = Instant::now();
    let (fresh, reading, idle) = (
        table.insert(start),
        table.insert(start),
        table.insert(start),
    );
    reading.enter(State::Head, start);
    idle.begin(start);
    idle.enter(State::Idle, start);
    table.close_used();
    assert!(!fresh.is_closing() && reading.is_closing() && idle.is_closing());
    table.close_all();
    assert!(fresh.is_closing());
}

#[test]
fn streams_have_no_limit_but_their_age_and_the_drain() {
    let table = table(Timeouts {
        idle: ms(500),
        age: ms(100_000),
        drain: Duration::from_secs(10),
        ..timeouts()
    });
    let start = Instant::now();
    let at = |seconds: u64| start + Duration::from_secs(seconds);
    let entries: Vec<_> = (0..100).map(|_| table.insert(start)).collect();
    for entry in &entries {
        entry.begin(start);
        assert_eq!(table.active(), 1);
        entry.enter(State::Stream, start);
        assert_eq!(table.active(), 0, "it is quiet");
        table.stream_begins(entry, start);
    }
    table.sweep_once(at(80));
    assert!(entries.iter().all(|entry| !entry.is_closing()));
    table.sweep_once(at(100));
    let ended = |entries: &[Rc<Entry>]| entries.iter().filter(|it| it.is_closing()).count();
    let old = ended(&entries);
    assert!((1..100).contains(&old), "{old}: their ages differ");
    table.drain(at(100));
    table.sweep_once(at(104));
    assert_eq!(ended(&entries), old, "the balancers have not heard of it");
    table.sweep_once(at(107));
    assert!((old + 1..100).contains(&ended(&entries)), "one by one");
    let late = table.insert(at(107));
    late.enter(State::Stream, at(107));
    table.stream_begins(&late, at(107));
    table.drain(at(107));
    assert!(!late.is_closing());
    table.sweep_once(at(110));
    assert_eq!(ended(&entries), 100);
    assert!(late.is_closing());
}

#[test]
fn what_resting_connections_have_freed_is_given_back_later() {
    let table = table(timeouts());
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let entry = table.insert(start);
    entry.set_parsing(true);
    table.sweep_once(at(4_900));
    assert_eq!(table.freed.get(), None);
    table.sweep_once(at(5_000));
    assert!(entry.take_rest());
    entry.set_parsing(false);
    assert_eq!(table.sweep_once(at(6_900)), at(7_000));
    assert_eq!(table.freed.get(), Some(at(5_000)));
    table.sweep_once(at(7_000));
    assert_eq!(table.freed.get(), None);
}
