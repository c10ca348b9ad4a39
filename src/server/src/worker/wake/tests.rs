use super::*;

const US: Duration = Duration::from_micros(1);
const INTERVAL: Duration = Duration::from_micros(500);

/// What a turn takes, but for tests of what is busy.
const WORK: Duration = Duration::from_micros(20);

/// A worker, by the clock of a test.
struct Worker {
    moderation: Moderation,
    now: Instant,
    arrived: u64,
    answered: u64,
    /// Something is unfinished.
    unfinished: bool,
}

impl Worker {
    fn new() -> Self {
        Worker {
            moderation: Moderation::new(INTERVAL),
            now: Instant::now(),
            arrived: 0,
            answered: 0,
            unfinished: false,
        }
    }

    /// So many requests arrive after this long and are answered, for which it works; what it does
    /// then.
    fn turn(&mut self, after: Duration, requests: u64, work: Duration) -> Decision {
        self.arrived += requests;
        self.answered += requests;
        self.idle(after, work)
    }

    /// The same, where nothing new is answered.
    fn idle(&mut self, after: Duration, work: Duration) -> Decision {
        let began = self.now + after;
        self.now = began + work;
        let counts = Counts {
            arrived: self.arrived,
            answered: self.answered,
        };
        let (now, unfinished) = (self.now, self.unfinished);
        self.moderation.decide(now, Some(began), counts, |until| {
            assert_eq!(until, now + INTERVAL + SLACK);
            !unfinished
        })
    }

    /// A look at the sockets that finds nothing; what it does then.
    fn look(&mut self) -> Decision {
        self.idle(US, Duration::ZERO)
    }

    /// Serves one request each `gap`, for this long, without a sleep.
    fn serve(&mut self, gap: Duration, time: Duration) {
        self.unfinished = true;
        let end = self.now + time;
        while self.now < end {
            assert_eq!(self.turn(gap.saturating_sub(WORK), 1, WORK), Decision::Wait);
        }
        self.unfinished = false;
    }

    /// At a rate at which it sleeps.
    fn sleepy() -> Self {
        let mut worker = Worker::new();
        worker.serve(200 * US, 5 * RECENT + TRIAL);
        worker
    }
}

#[test]
fn a_sleep_follows_a_look_that_found_nothing_and_ends_with_one() {
    let mut worker = Worker::sleepy();
    for _ in 0..10 {
        assert_eq!(worker.turn(10 * US, 2, WORK), Decision::Look);
        assert_eq!(worker.turn(US, 1, WORK), Decision::Look, "it found one");
        assert_eq!(worker.look(), Decision::Sleep);
    }
    // Nothing came meanwhile: the next request is not held twice.
    assert_eq!(worker.idle(INTERVAL, WORK), Decision::Wait);
    assert_eq!(worker.idle(INTERVAL, WORK), Decision::Wait);
    assert_eq!(worker.turn(INTERVAL, 1, WORK), Decision::Look);
}

#[test]
fn below_two_requests_for_each_interval_it_does_not_sleep() {
    let mut worker = Worker::new();
    let just_below = INTERVAL * 51 / 100;
    for _ in 0..1000 {
        assert_eq!(
            worker.turn(just_below.saturating_sub(WORK), 1, WORK),
            Decision::Wait
        );
    }
    // Just above it does, once the rate is known.
    let just_above = INTERVAL * 49 / 100;
    let mut turns = 0;
    while worker.turn(just_above.saturating_sub(WORK), 1, WORK) == Decision::Wait {
        turns += 1;
        assert!(turns < 1000);
    }
    assert_eq!(worker.look(), Decision::Sleep);
    // A pause is no rate.
    assert_eq!(worker.turn(RECENT, 3, WORK), Decision::Wait);
}

#[test]
fn what_is_unfinished_keeps_it_awake() {
    let mut worker = Worker::sleepy();
    worker.unfinished = true;
    assert_eq!(worker.turn(INTERVAL, 3, WORK), Decision::Wait);
    worker.unfinished = false;
    assert_eq!(worker.turn(INTERVAL, 3, WORK), Decision::Look);
    worker.unfinished = true;
    assert_eq!(worker.look(), Decision::Wait);
}

#[test]
fn a_busy_worker_does_not_sleep() {
    let mut worker = Worker::new();
    // Each look finds as many as it has just answered: the sockets are never quiet.
    for _ in 0..200 {
        let decision = worker.turn(5 * US, 32, 200 * US);
        assert_ne!(decision, Decision::Sleep);
    }
    // Nor when they are, for a moment.
    assert_eq!(worker.turn(5 * US, 32, 200 * US), Decision::Wait);
    assert_eq!(worker.look(), Decision::Wait);
    // With less to do it does.
    let mut slept = false;
    for _ in 0..100 {
        slept |= worker.turn(150 * US, 10, 50 * US) == Decision::Look
            && worker.look() == Decision::Sleep;
    }
    assert!(slept);
}

#[test]
fn a_worker_that_was_asleep_while_clients_came_to_saturate_it_wakes_up() {
    let mut worker = Worker::sleepy();
    assert_eq!(worker.turn(US, 1, WORK), Decision::Look);
    assert_eq!(worker.look(), Decision::Sleep);
    // While it answers, those that it has answered ask again.
    let mut now = INTERVAL;
    for _ in 0..1000 {
        assert_ne!(worker.turn(now, 64, 450 * US), Decision::Sleep);
        now = US;
    }
}

#[test]
fn requests_that_wait_for_redis_have_arrived() {
    let mut worker = Worker::sleepy();
    for _ in 0..3 * MAX_POOR {
        assert_eq!(worker.turn(US, 1, WORK), Decision::Look);
        assert_eq!(worker.look(), Decision::Sleep);
        // Three come, and are sent on.
        worker.arrived += 3;
        worker.unfinished = true;
        assert_eq!(worker.idle(INTERVAL, WORK), Decision::Wait);
        // They are answered.
        worker.answered += 3;
        worker.unfinished = false;
        assert_eq!(worker.idle(100 * US, WORK), Decision::Look);
        assert_eq!(worker.look(), Decision::Sleep);
        assert_eq!(worker.turn(INTERVAL, 2, WORK), Decision::Look);
        assert_eq!(worker.look(), Decision::Sleep);
        assert_eq!(worker.turn(INTERVAL, 2, WORK), Decision::Look);
    }
}

/// One client that waits for each answer asks often while it isn't held, and yet never sends a
/// second request during a sleep.
#[test]
fn sleeps_that_bring_too_little_end_for_a_while() {
    let mut worker = Worker::sleepy();
    let start = worker.now;
    let (mut sleeps, mut requests) = (0, 0);
    let mut after = 30 * US;
    while worker.now < start + 10 * RESPITE {
        requests += 1;
        after = match worker.turn(after, 1, 10 * US) {
            Decision::Look if worker.look() == Decision::Sleep => {
                sleeps += 1;
                INTERVAL
            }
            _ => 30 * US,
        };
    }
    assert!((8..=11 * MAX_POOR).contains(&sleeps), "{sleeps}");
    assert!(requests > 20_000, "{requests}");
}

/// Clients that wait for their answers: all of them ask again soon after an answer, or have asked
/// when a sleep ends. For so long, with so much work for each request; how many were served, and how
/// often the worker slept.
fn closed_loop(worker: &mut Worker, clients: u64, work: Duration, time: Duration) -> (u64, u32) {
    let (first, end) = (worker.arrived, worker.now + time);
    let mut sleeps = 0;
    let mut decision = Decision::Wait;
    while worker.now < end {
        decision = match decision {
            // The clients' own time: the worker is busy for eight ninths of it all.
            Decision::Wait => worker.turn(work, clients, work * clients as u32),
            Decision::Look => worker.look(),
            Decision::Sleep => {
                sleeps += 1;
                worker.turn(INTERVAL, clients, work * clients as u32)
            }
        };
    }
    (worker.arrived - first, sleeps)
}

#[test]
fn clients_that_would_saturate_it_do_so_whatever_came_before() {
    let second = Duration::from_secs(1);
    let work = 9 * US;
    let mut worker = Worker::sleepy();
    assert_eq!(worker.turn(10 * US, 2, WORK), Decision::Look);
    assert_eq!(worker.look(), Decision::Sleep);
    // It sleeps, and so they ask for less than it could do.
    let (served, sleeps) = closed_loop(&mut worker, 8, work, SPELL / 2);
    assert!(sleeps > 100, "{sleeps} sleeps, {served} served");
    closed_loop(&mut worker, 8, work, SPELL / 2 + 2 * TRIAL);
    // Now it knows.
    let (served, sleeps) = closed_loop(&mut worker, 8, work, second);
    assert_eq!(sleeps, 0, "{served} served");
    assert!(served > 95_000, "{served}");
}

#[test]
fn clients_that_saturate_it_from_the_first_moment_on_are_never_held() {
    let mut worker = Worker::new();
    let (served, sleeps) = closed_loop(&mut worker, 8, 9 * US, Duration::from_secs(2));
    assert_eq!(sleeps, 0, "{served} served");
}

#[test]
fn a_trial_costs_a_steady_rate_little() {
    let mut worker = Worker::sleepy();
    let end = worker.now + 10 * SPELL;
    let (mut slept, began) = (Duration::ZERO, worker.now);
    let mut decision = Decision::Wait;
    while worker.now < end {
        decision = match decision {
            Decision::Wait => worker.turn(180 * US, 1, WORK),
            Decision::Look => worker.look(),
            Decision::Sleep => {
                slept += INTERVAL;
                worker.turn(INTERVAL, 3, WORK)
            }
        };
    }
    let part = slept.as_secs_f64() / (worker.now - began).as_secs_f64();
    assert!(part > 0.85, "{part}");
}
