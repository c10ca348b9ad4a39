//! Properties of the codec: whatever the value and however the bytes are cut, what goes in comes
//! out; whatever the bytes, a decoder written for plainness says the same.
//!
//! `PROPTEST_CASES` raises the number of cases.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test or bench fails by panicking"
)]

#[path = "codec/naive.rs"]
mod naive;
#[path = "codec/value.rs"]
mod value;

use bytes::BytesMut;
use naive::Outcome;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use redis_api_wire::resp::{Decoder, Limits, command};
use value::Value;

/// Small enough that generated input runs into each of them.
const TIGHT: Limits = Limits {
    depth: 4,
    elements: 24,
    line_len: 20,
    bulk_len: 24,
    reply_len: 160,
};

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(
        any::<u8>().prop_filter("a line", |byte| !b"\r\n".contains(byte)),
        0..20,
    )
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Simple),
        vec(any::<u8>(), 0..20).prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        "[+-]?[0-9]{1,40}".prop_map(|digits| Value::BigNumber(digits.into_bytes())),
        any::<f64>().prop_map(Value::Double),
        prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0)].prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        Just(Value::Null),
        vec(any::<u8>(), 0..40).prop_map(Value::Bulk),
        vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'$')], 0..20).prop_map(Value::Bulk),
        (any::<[u8; 3]>(), text()).prop_map(|(format, text)| Value::Verbatim(format, text)),
    ]
}

/// Anything that may stand inside an aggregate.
fn element() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 48, 6, |inner| {
        let pairs = vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec(inner.clone(), 0..6).prop_map(Value::Set),
            pairs.clone().prop_map(Value::Map),
            (pairs, inner).prop_map(|(pairs, value)| Value::Attributed(pairs, value.into())),
        ]
    })
}

/// Anything that may stand at the top level.
fn reply() -> impl Strategy<Value = Value> {
    let push = || vec(element(), 0..4).prop_map(Value::Push);
    let attributes = vec((scalar(), scalar()), 0..3);
    prop_oneof![
        8 => element(),
        1 => push(),
        1 => (attributes, push()).prop_map(|(pairs, push)| Value::Attributed(pairs, push.into())),
    ]
}

/// A grain of RESP, right or nearly right: random bytes alone hardly get past the type byte.
fn grain() -> impl Strategy<Value = Vec<u8>> {
    let part = |pattern: &str| {
        let strategy = proptest::string::bytes_regex(pattern);
        strategy.unwrap_or_else(|error| unreachable!("{pattern}: {error}"))
    };
    prop_oneof![
        4 => part("[$!=*~%|>+:,#_(-]-?[0-9]{0,2}\r\n"),
        2 => part("[*%~|>][0-3]\r\n"),
        2 => part("=6\r\n(txt|mkd)[:x]..\r\n"),
        2 => part("[:,(][+-]?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?\r\n"),
        2 => part("(#[tfx]|_|,-?(inf|nan))\r\n"),
        2 => part("\\$4\r\n12\\.5\r\n"),
        1 => part("[$*%](-1|\\?|00|18446744073709551616|9999999999)\r\n"),
        1 => part("[;.+a\r\n]"),
        1 => vec(any::<u8>(), 0..6),
    ]
}

/// All replies in `input` with their lengths, then how it ended, as it arrives in pieces that end
/// at `cuts`.
fn decode_in_pieces(input: &[u8], cuts: &[usize], limits: Limits) -> (Vec<(Value, usize)>, String) {
    let mut decoder = Decoder::new(limits);
    let mut replies = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        loop {
            let arrived = &input[start..cut.max(start)];
            match decoder.decode(arrived) {
                Ok(Some(decoded)) => {
                    assert!(decoded.len > 0 && decoded.len <= arrived.len());
                    replies.push((decoded.reply.into(), decoded.len));
                    start += decoded.len;
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(arrived), Err(error), "an error is final");
                    return (replies, error.to_string());
                }
            }
        }
        let missing = decoder.missing(cut.max(start) - start);
        assert!(missing <= limits.reply_len);
    }
    (replies, format!("{} bytes left", input.len() - start))
}

/// The outcome for `input`, after checking that it is the same however the input is cut.
fn decode(input: &[u8], cuts: &[Index], limits: Limits) -> (Vec<(Value, usize)>, String) {
    let whole = decode_in_pieces(input, &[], limits);
    let bytewise: Vec<usize> = (0..input.len()).collect();
    assert_eq!(
        decode_in_pieces(input, &bytewise, limits),
        whole,
        "byte by byte"
    );
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.sort_unstable();
    assert_eq!(
        decode_in_pieces(input, &cuts, limits),
        whole,
        "cut at {cuts:?}"
    );
    whole
}

/// Checks the outcome for `input` against the plain decoder.
fn agree(input: &[u8], cuts: &[Index], limits: Limits) {
    let (replies, end) = decode(input, cuts, limits);
    let mut rest = input;
    for (value, len) in replies {
        assert_eq!(naive::decode(rest, limits), Outcome::Reply(value, len));
        rest = &rest[len..];
    }
    let expected = match naive::decode(rest, limits) {
        Outcome::Incomplete => true,
        Outcome::Malformed => false,
        Outcome::Reply(value, _) => panic!("{value:?} was not found, but: {end}"),
    };
    assert_eq!(
        end == format!("{} bytes left", rest.len()),
        expected,
        "{end}"
    );
}

/// A case takes well under a millisecond, so that far more than proptest's 256 fit in a second.
fn cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(2_000),
        ..config
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn values_round_trip_however_they_are_cut(
        values in vec(reply(), 1..4),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let input: Vec<u8> = values.iter().flat_map(Value::to_bytes).collect();
        let (replies, end) = decode(&input, &cuts, Limits::default());
        prop_assert_eq!(end, "0 bytes left");
        let lens: usize = replies.iter().map(|(_, len)| len).sum();
        prop_assert_eq!(lens, input.len());
        let decoded: Vec<Value> = replies.into_iter().map(|(value, _)| value).collect();
        prop_assert_eq!(decoded, values);
    }

    #[test]
    fn a_prefix_of_a_reply_is_incomplete(value in reply(), cut in any::<Index>()) {
        let input = value.to_bytes();
        let prefix = &input[..cut.index(input.len())];
        let mut decoder = Decoder::new(Limits::default());
        prop_assert_eq!(decoder.decode(prefix), Ok(None));
        let missing = decoder.missing(prefix.len());
        prop_assert!(prefix.len() + missing <= input.len(), "{} asked for too much", missing);
    }

    #[test]
    fn any_bytes_mean_what_the_plain_decoder_says(
        grains in vec(grain(), 0..12),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let input = grains.concat();
        agree(&input, &cuts, Limits::default());
        agree(&input, &cuts, TIGHT);
    }

    #[test]
    fn damaged_replies_mean_what_the_plain_decoder_says(
        values in vec(reply(), 1..3),
        damage in vec((any::<Index>(), any::<u8>(), 0..4_u8), 1..4),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut input: Vec<u8> = values.iter().flat_map(Value::to_bytes).collect();
        for (place, byte, how) in damage {
            let place = place.index(input.len().max(1));
            match how {
                0 if place < input.len() => input[place] = byte,
                1 if place < input.len() => { input.remove(place); }
                2 => input.truncate(place),
                _ => input.insert(place, byte),
            }
        }
        agree(&input, &cuts, Limits::default());
        agree(&input, &cuts, TIGHT);
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings(args in vec(vec(any::<u8>(), 0..200), 1..12)) {
        let slices: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let mut out = BytesMut::new();
        command(&mut out, &slices);
        let expected = Value::Array(args.into_iter().map(Value::Bulk).collect());
        prop_assert_eq!(out.to_vec(), expected.to_bytes());
    }
}
