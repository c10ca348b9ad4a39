//! The numbers of RESP as text: lengths, integers, doubles, big numbers.

/// What stands after the type byte of a bulk or an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Bytes, elements or pairs to come.
    Of(usize),
    /// `-1`: RESP2's null bulk string and null array.
    Null,
    /// `?`: a streamed type.
    Streamed,
}

/// Reads a length or count: decimal digits, no sign, no leading zero, within `usize`.
///
/// The [specification] says "one or more decimal digits", which `$007` would be. It is refused:
/// no server writes it, hiredis refuses it too, and a length is framing, where a spelling that was
/// never seen more likely means that the stream is out of step.
///
/// [specification]: https://redis.io/docs/latest/develop/reference/protocol-spec/#bulk-strings
pub(super) fn length(line: &[u8]) -> Option<Length> {
    match line {
        [digit @ b'0'..=b'9'] => Some(Length::Of(usize::from(digit - b'0'))),
        b"-1" => Some(Length::Null),
        b"?" => Some(Length::Streamed),
        [b'1'..=b'9', ..] => {
            let digits = line.iter().try_fold(0_usize, |value, &byte| {
                value.checked_mul(10)?.checked_add(digit(byte)?.into())
            });
            digits.map(Length::Of)
        }
        _ => None,
    }
}

/// Reads an [integer]: an optional sign, then digits, within 64 bits. Leading zeros are fine: the
/// grammar has them, and here no framing hangs on it.
///
/// [integer]: https://redis.io/docs/latest/develop/reference/protocol-spec/#integers
pub(super) fn integer(line: &[u8]) -> Option<i64> {
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Summed up on the negative side, which is one larger: i64::MIN is valid.
    let sum = digits.iter().try_fold(0_i64, |value, &byte| {
        value.checked_mul(10)?.checked_sub(digit(byte)?.into())
    })?;
    if negative {
        Some(sum)
    } else {
        sum.checked_neg()
    }
}

/// Whether `line` is a [big number]: an optional sign and one or more digits.
///
/// [big number]: https://redis.io/docs/latest/develop/reference/protocol-spec/#big-numbers
pub(super) fn is_big_number(line: &[u8]) -> bool {
    let digits = unsigned(line);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Whether `line` is a [double]: `[+|-]digits[.digits][(e|E)[+|-]digits]`, `inf`, `-inf`, `nan`.
/// Also `-nan`, which Redis before 7.2 sends where libc prints a NaN's sign.
///
/// [double]: https://redis.io/docs/latest/develop/reference/protocol-spec/#doubles
pub(super) fn is_double(line: &[u8]) -> bool {
    if let b"inf" | b"-inf" | b"nan" | b"-nan" = line {
        return true;
    }
    let Some(mut rest) = digits(unsigned(line)) else {
        return false;
    };
    if let [b'.', fraction @ ..] = rest {
        let Some(after) = digits(fraction) else {
            return false;
        };
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let Some(after) = digits(unsigned(exponent)) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

/// The nearest double to `line`, infinite past the range. `None` unless [`is_double`].
pub(super) fn double(line: &[u8]) -> Option<f64> {
    if !is_double(line) {
        return None;
    }
    std::str::from_utf8(line).ok()?.parse().ok()
}

fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// `text` without one leading sign.
fn unsigned(text: &[u8]) -> &[u8] {
    match text {
        [b'+' | b'-', rest @ ..] => rest,
        rest => rest,
    }
}

/// What follows one or more digits; `None` if there is no digit.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let end = end.unwrap_or(text.len());
    if end == 0 { None } else { text.get(end..) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        let check = |line: &str, expected| assert_eq!(length(line.as_bytes()), expected, "{line}");
        check("0", Some(Length::Of(0)));
        check("9", Some(Length::Of(9)));
        check("10", Some(Length::Of(10)));
        check("4294967296", Some(Length::Of(1 << 32)));
        check("18446744073709551615", Some(Length::Of(usize::MAX)));
        check("18446744073709551616", None);
        check("99999999999999999999999", None);
        check("-1", Some(Length::Null));
        check("?", Some(Length::Streamed));
        for bad in [
            "", "00", "007", "+1", "-0", "-2", "-01", "1 ", " 1", "1a", "??", "0x1",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn integers() {
        let check = |line: &str, expected| assert_eq!(integer(line.as_bytes()), expected, "{line}");
        check("0", Some(0));
        check("-0", Some(0));
        check("+12", Some(12));
        check("007", Some(7));
        check("9223372036854775807", Some(i64::MAX));
        check("9223372036854775808", None);
        check("-9223372036854775808", Some(i64::MIN));
        check("-9223372036854775809", None);
        for bad in [
            "", "+", "-", "--1", "+-1", "1.0", "1e3", " 1", "1 ", "0x1", "١",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn doubles() {
        let check = |line: &str, expected| assert_eq!(double(line.as_bytes()), expected, "{line}");
        check("1.23", Some(1.23));
        check("10", Some(10.0));
        check("-0", Some(-0.0));
        check("+1.5E+3", Some(1500.0));
        check("1e-2", Some(0.01));
        check("00.50", Some(0.5));
        check("1e999", Some(f64::INFINITY));
        check("inf", Some(f64::INFINITY));
        check("-inf", Some(f64::NEG_INFINITY));
        for nan in ["nan", "-nan"] {
            assert!(double(nan.as_bytes()).is_some_and(f64::is_nan), "{nan}");
        }
        for bad in [
            "", "+", ".5", "1.", "1.e3", "1e", "1e+", "e5", "1.2.3", "1 ", "0x1", "+inf", "Inf",
            "infinity", "NaN", "nan(0x1)", "1_0", "--1",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn big_numbers() {
        let check = |line: &str, ok| assert_eq!(is_big_number(line.as_bytes()), ok, "{line}");
        check("3492890328409238509324850943850943825024385", true);
        check("-1", true);
        check("+1", true);
        for bad in ["", "+", "-", "1.0", "1e5", "--1", "1 "] {
            check(bad, false);
        }
    }
}
