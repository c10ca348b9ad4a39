//! Any bytes as the window of a bot: read or refused, never a panic; what was read can be merged,
//! and written again to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_api_rig::window::{Generator, Tally, Window};

fuzz_target!(|data: &[u8]| {
    let Ok(window) = serde_json::from_slice::<Window>(data) else {
        return;
    };
    let Ok(tally) = window.tally() else {
        return;
    };
    let mut merged = Tally::default();
    merged.add(&tally);
    merged.add_moved(&tally, -1_000_000_000);
    assert!(merged.successes() >= tally.successes());
    let _ = Window::new(&merged, Generator::default());
    let text = serde_json::to_vec(&window).expect("a window can be written");
    let again: Window = serde_json::from_slice(&text).expect("and read");
    assert!(again.tally().is_ok());
});
