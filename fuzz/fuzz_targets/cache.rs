//! What tracked reads keep, under any course of events: nothing is found that was not the last
//! thing stored, since the last clearing and within its age; memory is bounded.
//!
//! The input is a sequence of steps of three bytes.

#![no_main]

// As `store` has them.
#[path = "../../src/server/src/store/cache.rs"]
mod cache;
#[path = "../../src/server/src/store/key.rs"]
#[allow(dead_code)]
mod key;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::{Cache, CachedField};
use libfuzzer_sys::fuzz_target;

const MAX_BYTES: usize = 64 * 1024;
const MAX_AGE: Duration = Duration::from_millis(500);

/// What an entry costs at least, so that more than this are too many.
const MAX_ENTRIES: usize = MAX_BYTES / 256 + 1;

fn name(number: u8) -> Vec<u8> {
    match number {
        0 => key::CURRENT.as_bytes().to_vec(),
        number => format!("field-{number}").into_bytes(),
    }
}

fuzz_target!(|data: &[u8]| {
    let mut cache = Cache::new(MAX_BYTES, Some(MAX_AGE));
    let mut known: HashMap<(u8, bool), (CachedField, u64, Instant)> = HashMap::new();
    let mut now = Instant::now();
    let mut asked = cache.generation();
    let mut link = 0;
    for step in data.as_chunks::<3>().0 {
        let [what, field, much] = *step;
        match what % 6 {
            0 | 1 => {
                link += 1;
                let body = (much % 4 > 0).then(|| Bytes::from(vec![much; usize::from(much) * 16]));
                let kept = CachedField { body, link };
                // A command that was written now, or some time ago.
                let generation = match what & 0x40 {
                    0 => cache.generation(),
                    _ => asked,
                };
                cache.store(&name(field), kept.clone(), generation, now);
                if generation == cache.generation() {
                    known.insert((field, kept.body.is_some()), (kept, generation, now));
                }
            }
            2 | 3 => {
                let generation = cache.generation();
                if let Some(found) = cache.get(&name(field), now) {
                    // Fields that are there and those that are not have a place each.
                    let place = (field, found.body.is_some());
                    let (kept, stored, at) = known.get(&place).expect("it was never stored");
                    assert_eq!(found, kept, "not the last that was stored");
                    assert_eq!(*stored, generation, "stored before the last clearing");
                    assert!(now - *at < MAX_AGE, "too old");
                }
            }
            4 => {
                cache.clear();
            }
            _ => {
                asked = cache.generation();
                now += Duration::from_millis(much.into());
            }
        }
        assert!(cache.entries() <= MAX_ENTRIES);
    }
});
