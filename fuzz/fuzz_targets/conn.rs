//! A connection under any course of events, with any bytes from the server's side.
//!
//! The input is a sequence of steps, one or two bytes each, after a first byte that chooses the
//! server. What is asserted after every step is in `src/wire/tests/conn/model.rs`.

#![no_main]

#[path = "../../src/wire/tests/conn/model.rs"]
mod model;
#[path = "../../src/wire/tests/conn/server.rs"]
mod server;

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use model::{Model, Step};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, mut rest)) = data.split_first() else {
        return;
    };
    let bit = |place: u32| choice >> place & 1 == 1;
    let mut model = Model::new(bit(0), u32::from(bit(1)), bit(2));
    if bit(3) {
        model.log_in();
    }
    while let Some(step) = next(&mut rest) {
        if model.step(&step).is_err() {
            break;
        }
    }
    model.end();
});

/// The next step, or `None` at the end of the input.
fn next(rest: &mut &[u8]) -> Option<Step> {
    let (&[what, much], after) = rest.split_first_chunk()?;
    *rest = after;
    let some = usize::from(much);
    // Small amounts cut commands and replies anywhere, the largest is all there is.
    let most = if much == u8::MAX { usize::MAX } else { some };
    Some(match what % 9 {
        0 => Step::Ask(some * some / 32),
        1 => Step::GiveUp(some),
        2 => Step::Send(most),
        3 => Step::Serve(most),
        4 => Step::Push(some),
        5 => Step::Deliver(most),
        6 => {
            let (bytes, after) = rest.split_at(some.min(rest.len()));
            *rest = after;
            Step::Inject(bytes.to_vec())
        }
        7 => Step::Pass(Duration::from_millis(much.into())),
        _ => Step::Due,
    })
}
