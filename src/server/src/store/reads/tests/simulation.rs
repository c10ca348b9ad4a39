//! A seeded simulation of reads over links in memory: a server that tracks, writes at any moment,
//! replies and pushes cut anywhere, requests that give up, connections that are lost and made
//! again. No socket, no clock.
//!
//! Every value says whose it is and which version. What is checked:
//! - a read is answered by its own field;
//! - one that was sent by a version no older than the server's when it was asked;
//! - one from memory by a version no older than the server's when something was last dropped: when
//!   a push had arrived, or a connection was lost;
//! - when all that is under way has arrived, memory has what the server has.
//!
//! `SIMULATION_REPLIES` says how many replies, `SIMULATION_SEED` where to begin; a life that fails
//! says its seed.

use std::collections::VecDeque;
use std::env;

use fastrand::Rng;

use super::*;

/// Fields, the last of them the one behind `/`.
const FIELDS: usize = 6;

/// A field's value is its number times this and the version; version 0 is not there.
const SHARE: u64 = 1_000_000_000;

const STEPS: usize = 400;

/// Requests that wait at the same time.
const WAITING: usize = 64;

fn name(field: usize) -> String {
    match field + 1 == FIELDS {
        true => CURRENT.to_owned(),
        false => format!("f{field}"),
    }
}

/// The server's end of a connection.
#[derive(Default)]
struct Far {
    up: bool,
    tracks: bool,
    /// The hash was read since the last push about it.
    promised: bool,
    commands: VecDeque<Vec<String>>,
    replies: VecDeque<u8>,
    /// Where in all bytes each push ends that makes what is kept invalid.
    drops: VecDeque<u64>,
    written: u64,
    delivered: u64,
}

impl Far {
    fn write(&mut self, bytes: &[u8]) {
        self.replies.extend(bytes);
        self.written += bytes.len() as u64;
    }

    fn push(&mut self, bytes: &[u8]) {
        self.write(bytes);
        self.drops.push_back(self.written);
    }

    fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.replies.is_empty()
    }
}

struct Waiting {
    field: usize,
    /// The version when it was asked.
    least: u64,
    read: Read,
}

struct Life {
    random: Rng,
    rig: Rig,
    far: Vec<Far>,
    versions: [u64; FIELDS],
    /// What memory must at least have.
    floor: [u64; FIELDS],
    waiting: Vec<Waiting>,
    replies: u64,
    hits: u64,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = Rng::with_seed(seed);
        let mode = match random.u8(0..6) {
            0 => ReadMode::Batch,
            1 => ReadMode::Direct,
            _ => ReadMode::Tracked,
        };
        let links = random.usize(1..=2);
        Life {
            rig: Rig::new(mode, links),
            far: (0..links).map(|_| Far::default()).collect(),
            random,
            versions: [0; FIELDS],
            floor: [0; FIELDS],
            waiting: Vec::new(),
            replies: 0,
            hits: 0,
        }
    }

    fn step(&mut self) {
        let link = self.random.usize(0..self.far.len());
        match self.random.u32(0..100) {
            0..35 => self.ask(),
            35..37 => self.give_up(),
            37..50 => self.flush(link),
            50..66 => {
                let most = self.random.usize(1..4);
                self.serve(link, most);
            }
            66..88 => {
                let most = self.random.usize(1..60);
                self.deliver(link, most);
            }
            88..92 => self.change(),
            92 => self.push_to_all(),
            93 => self.push_of_another(link),
            94..96 => self.rig.reads.probe(),
            96 => self.lose(link),
            97 => self.stray(link),
            _ => self.connect(link),
        }
    }

    fn ask(&mut self) {
        if self.waiting.len() >= WAITING {
            return;
        }
        let field = self.random.usize(0..FIELDS);
        let now = Instant::now();
        let mut read = match field + 1 == FIELDS {
            true => self.rig.reads.current(now),
            false => self.rig.reads.field(name(field).as_bytes(), now),
        };
        match poll(&mut read) {
            None => self.waiting.push(Waiting {
                field,
                least: self.versions[field],
                read,
            }),
            Some(Ok(body)) => {
                self.hits += 1;
                self.check(field, body.as_deref(), self.floor[field]);
            }
            Some(Err(_)) => {}
        }
    }

    /// The body is of the field, and of this version or a later one.
    fn check(&self, field: usize, body: Option<&str>, least: u64) {
        let version = match body {
            None => 0,
            Some("{\"error\":\"Not initialised\"}") => 0,
            Some(body) => {
                let value = body.strip_prefix("{\"current\":");
                let value = value.and_then(|rest| rest.strip_suffix('}'));
                let value: u64 = value.expect("a value").parse().expect("a number");
                assert_eq!(value / SHARE, field as u64, "another field's: {body}");
                value % SHARE
            }
        };
        assert!(
            (least..=self.versions[field]).contains(&version),
            "{}: version {version}, at least {least}",
            name(field)
        );
    }

    fn give_up(&mut self) {
        if !self.waiting.is_empty() {
            let place = self.random.usize(0..self.waiting.len());
            self.waiting.swap_remove(place);
        }
    }

    fn flush(&mut self, link: usize) {
        if !self.far[link].up {
            return;
        }
        let text = self.rig.hands[link].flush();
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        while let Some(first) = words.next() {
            let more = match first {
                "HGET" | "CLIENT" => 2,
                "INFO" => 1,
                other => panic!("{other:?} is no command of ours"),
            };
            let mut command = vec![first.to_owned()];
            command.extend(words.by_ref().take(more).map(String::from));
            if command[1] == "LIST" {
                command.extend(words.next().map(String::from));
            }
            self.far[link].commands.push_back(command);
        }
    }

    fn serve(&mut self, link: usize, most: usize) {
        for _ in 0..most {
            let Some(command) = self.far[link].commands.pop_front() else {
                return;
            };
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let far = &mut self.far[link];
            match words.as_slice() {
                ["HGET", _, field] => {
                    let field = (0..FIELDS).find(|number| name(*number) == *field);
                    let field = field.expect("a field of ours");
                    far.promised = far.tracks;
                    match self.versions[field] {
                        0 => far.write(b"$-1\r\n"),
                        version => {
                            let text = (field as u64 * SHARE + version).to_string();
                            far.write(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
                        }
                    }
                }
                ["CLIENT", "TRACKING", on] => {
                    far.tracks = *on == "ON";
                    far.promised = false;
                    far.write(b"+OK\r\n");
                }
                ["CLIENT", "LIST", ..] | ["INFO", "cpu"] => far.write(b"$0\r\n\r\n"),
                ["INFO", "persistence"] => far.write(b"$9\r\nloading:0\r\n"),
                ["INFO", "replication"] => far.write(b"$11\r\nrole:master\r\n"),
                other => panic!("{other:?} is no command of ours"),
            }
            self.replies += 1;
        }
    }

    fn deliver(&mut self, link: usize, most: usize) {
        let far = &mut self.far[link];
        let most = most.min(far.replies.len());
        if !far.up || most == 0 {
            return;
        }
        let bytes: Vec<u8> = far.replies.drain(..most).collect();
        far.delivered += most as u64;
        let mut dropped = false;
        while far
            .drops
            .pop_front_if(|end| *end <= far.delivered)
            .is_some()
        {
            dropped = true;
        }
        assert_eq!(self.rig.hands[link].receive(&bytes), Ok(()));
        if dropped {
            self.floor = self.versions;
        }
        self.settle_waiting();
    }

    /// Checks those that were answered.
    fn settle_waiting(&mut self) {
        for place in (0..self.waiting.len()).rev() {
            let Some(outcome) = poll(&mut self.waiting[place].read) else {
                continue;
            };
            let Waiting { field, least, .. } = self.waiting.swap_remove(place);
            if let Ok(body) = outcome {
                self.check(field, body.as_deref(), least);
            }
        }
    }

    fn change(&mut self) {
        let field = self.random.usize(0..FIELDS);
        self.versions[field] += 1;
        for far in &mut self.far {
            if far.tracks && std::mem::take(&mut far.promised) {
                far.push(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$8\r\ncurrency\r\n");
            }
        }
    }

    fn push_to_all(&mut self) {
        for far in self.far.iter_mut().filter(|far| far.tracks) {
            far.promised = false;
            far.push(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
    }

    fn push_of_another(&mut self, link: usize) {
        if self.far[link].tracks {
            self.far[link].write(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nother\r\n");
        }
    }

    fn lose(&mut self, link: usize) {
        if std::mem::take(&mut self.far[link]).up {
            self.rig.hands[link].lose();
            self.floor = self.versions;
            self.settle_waiting();
        }
    }

    fn connect(&mut self, link: usize) {
        if !std::mem::replace(&mut self.far[link].up, true) {
            self.rig.hands[link].connect();
        }
    }

    /// A reply that nobody awaits ends its connection, and answers nobody.
    fn stray(&mut self, link: usize) {
        self.flush(link);
        if self.far[link].up && self.far[link].is_idle() {
            let outcome = self.rig.hands[link].receive(b"$10\r\n5000000001\r\n");
            assert!(outcome.is_err(), "nobody awaits it");
            self.lose(link);
        }
    }

    /// All that is under way arrives; then memory has what the server has.
    fn settle(&mut self) {
        for link in 0..self.far.len() {
            self.connect(link);
        }
        for _ in 0..4 {
            for link in 0..self.far.len() {
                self.flush(link);
                self.serve(link, usize::MAX);
                self.deliver(link, usize::MAX);
            }
        }
        assert!(self.far.iter().all(Far::is_idle));
        self.floor = self.versions;
        for _ in 0..2 * FIELDS {
            self.ask();
        }
    }
}

/// Says which life it was that failed.
struct Say(u64);

impl Drop for Say {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again by SIMULATION_REPLIES=1 SIMULATION_SEED={}", self.0);
        }
    }
}

#[test]
fn whatever_happens_a_read_is_answered_by_its_field_and_none_too_old() {
    let number = |name, otherwise| {
        let text = env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let wanted: u64 = number("SIMULATION_REPLIES", 50_000);
    let mut seed = number("SIMULATION_SEED", 1);
    let (mut replies, mut hits, mut lives) = (0, 0, 0_u64);
    while replies < wanted {
        let say = Say(seed);
        let mut life = Life::new(seed);
        for _ in 0..STEPS {
            life.step();
        }
        life.settle();
        (replies, hits) = (replies + life.replies, hits + life.hits);
        lives += 1;
        seed += 1;
        drop(say);
    }
    eprintln!("tracked reads: {replies} replies, {hits} answers from memory, {lives} lives");
}
