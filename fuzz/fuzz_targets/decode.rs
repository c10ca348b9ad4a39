//! Any bytes as replies: how they are cut changes nothing, and what was decoded, encoded again,
//! decodes to the same.
//!
//! The first two bytes of the input say where to cut the rest.

#![no_main]

#[path = "../../src/wire/tests/codec/value.rs"]
mod value;

use libfuzzer_sys::fuzz_target;
use redis_api_wire::resp::{DecodeError, Decoder, Limits};
use value::Value;

/// Low enough that a small input runs into them.
const LIMITS: Limits = Limits {
    depth: 6,
    elements: 256,
    line_len: 64,
    bulk_len: 1_024,
    reply_len: 4_096,
};

fuzz_target!(|data: &[u8]| {
    let Some((cut, input)) = data.split_first_chunk() else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (input.len() + 1);

    let whole = replies(input, 0, input.len());
    assert_eq!(replies(input, cut, input.len()), whole, "cut at {cut}");
    assert_eq!(replies(input, 0, 1), whole, "byte by byte");

    for value in whole.0 {
        let encoded = value.to_bytes();
        let mut decoder = Decoder::new(Limits::default());
        let decoded = decoder.decode(&encoded).expect("what was encoded is valid");
        let decoded = decoded.expect("what was encoded is whole");
        assert_eq!(decoded.len, encoded.len());
        assert_eq!(Value::from(decoded.reply), value);
    }
});

/// All replies in `input` and how it ended, as first `cut` bytes arrive, then `step` at a time.
fn replies(input: &[u8], cut: usize, step: usize) -> (Vec<Value>, Result<usize, DecodeError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut values = Vec::new();
    let mut start = 0;
    let mut arrived = cut;
    loop {
        match decoder.decode(&input[start..arrived]) {
            Ok(Some(decoded)) => {
                assert!(decoded.len > 0);
                values.push(decoded.reply.into());
                start += decoded.len;
            }
            Ok(None) if arrived == input.len() => return (values, Ok(input.len() - start)),
            Ok(None) => {
                assert!(decoder.missing(arrived - start) <= LIMITS.reply_len);
                arrived = input.len().min(arrived.saturating_add(step.max(1)));
            }
            Err(error) => return (values, Err(error)),
        }
    }
}
