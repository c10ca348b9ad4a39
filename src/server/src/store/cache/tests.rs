//! What is found, for how long, and what gives way to what.

use super::*;

const AGE: Duration = Duration::from_secs(10);

struct Rig {
    cache: Cache,
    now: Instant,
}

impl Rig {
    fn new(max_bytes: usize) -> Self {
        Rig {
            cache: Cache::new(max_bytes, Some(AGE)),
            now: Instant::now(),
        }
    }

    fn store(&mut self, field: &str, body: Option<&'static str>) {
        let kept = CachedField {
            body: body.map(|text| Bytes::from_static(text.as_bytes())),
            link: 0,
        };
        let generation = self.cache.generation();
        self.cache
            .store(field.as_bytes(), kept, generation, self.now);
    }

    /// `None`: not known; `Some(None)`: known not to be there.
    fn get(&mut self, field: &str) -> Option<Option<Bytes>> {
        let kept = self.cache.get(field.as_bytes(), self.now);
        kept.map(|kept| kept.body.clone())
    }

    fn knows(&mut self, field: &str) -> bool {
        self.get(field).is_some()
    }
}

#[test]
fn what_was_stored_is_found_until_it_is_cleared_or_too_old() {
    for field in [CURRENT, "EUR"] {
        for body in [Some("1"), None] {
            let mut rig = Rig::new(1 << 20);
            assert_eq!(rig.get(field), None);
            rig.store(field, body);
            assert_eq!(rig.get(field), Some(body.map(Bytes::from)), "{field}");
            rig.cache.clear();
            assert_eq!(rig.get(field), None);
            rig.store(field, body);
            rig.now += AGE.saturating_sub(Duration::from_nanos(1));
            assert!(rig.knows(field));
            rig.now += Duration::from_nanos(1);
            assert!(!rig.knows(field), "{field}");
        }
    }
}

#[test]
fn what_was_asked_for_before_a_clearing_is_not_stored() {
    for field in [CURRENT, "EUR"] {
        let mut rig = Rig::new(1 << 20);
        let asked = rig.cache.generation();
        rig.cache.clear();
        let kept = CachedField {
            body: None,
            link: 0,
        };
        rig.cache.store(field.as_bytes(), kept, asked, rig.now);
        assert!(!rig.knows(field));
    }
}

#[test]
fn a_field_that_comes_or_goes_is_found_as_it_is_now() {
    let mut rig = Rig::new(1 << 20);
    for round in 0..3 {
        rig.store("EUR", None);
        assert_eq!(rig.get("EUR"), Some(None), "{round}");
        // As Redis has it: a change is a push first.
        rig.cache.clear();
        rig.store("EUR", Some("1"));
        assert_eq!(rig.get("EUR"), Some(Some(Bytes::from("1"))), "{round}");
        rig.cache.clear();
    }
}

#[test]
fn memory_is_bounded_by_a_million_fields() {
    const MAX: usize = 1 << 20;
    let mut rig = Rig::new(MAX);
    rig.store(CURRENT, Some("7"));
    for number in 0..1_000_000_u32 {
        let body = (number % 2 == 0).then_some("{\"current\":1}");
        rig.store(&format!("f{number}"), body);
    }
    let (present, absent) = (&rig.cache.present, &rig.cache.absent);
    assert!(present.bytes + absent.bytes <= MAX);
    for clock in [present, absent] {
        let costs: usize = clock.slots.iter().map(Slot::cost).sum();
        assert_eq!(costs, clock.bytes);
        assert_eq!(clock.places.len(), clock.slots.len());
        for (at, slot) in clock.slots.iter().enumerate() {
            assert_eq!(clock.places[&slot.field], at);
        }
    }
    assert!(rig.cache.entries() <= MAX / OVERHEAD);
    assert!(rig.knows("f999998") && rig.knows("f999999"));
    assert_eq!(rig.get(CURRENT), Some(Some(Bytes::from("7"))));
}

#[test]
fn made_up_names_evict_nothing_that_is_there() {
    let mut rig = Rig::new(64 * 1024);
    rig.store(CURRENT, Some("7"));
    for field in ["EUR", "USD"] {
        rig.store(field, Some("1"));
    }
    for number in 0..10_000 {
        rig.store(&format!("made-up-{number}"), None);
    }
    assert!(rig.knows(CURRENT) && rig.knows("EUR") && rig.knows("USD"));
}

#[test]
fn what_is_read_stays() {
    let mut rig = Rig::new(64 * 1024);
    rig.store("EUR", Some("1"));
    for number in 0..10_000 {
        assert!(rig.knows("EUR"), "{number}");
        rig.store(&format!("f{number}"), Some("1"));
    }
    assert!(!rig.knows("f0"));
}

#[test]
fn what_was_cleared_gives_way_first() {
    let mut rig = Rig::new(64 * 1024);
    let fit = 63 * 1024 / (OVERHEAD + 8);
    for number in 0..fit {
        rig.store(&format!("old{number:04}"), Some("1"));
        assert!(rig.knows(&format!("old{number:04}")));
    }
    rig.cache.clear();
    for number in 0..fit {
        rig.store(&format!("new{number:04}"), Some("1"));
    }
    let found = (0..fit).filter(|number| rig.knows(&format!("new{number:04}")));
    assert!(found.count() >= fit - 1);
}

#[test]
fn what_is_larger_than_the_room_is_not_kept() {
    let mut rig = Rig::new(OVERHEAD);
    rig.store("EUR", Some("1"));
    rig.store("USD", None);
    assert!(!rig.knows("EUR") && !rig.knows("USD"));
    assert_eq!(rig.cache.entries(), 0);
    rig.store(CURRENT, Some("1"));
    assert!(rig.knows(CURRENT));
}
