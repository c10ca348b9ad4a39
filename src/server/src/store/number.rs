//! JSON numbers: what may be relayed as it stands, and how a posted value is written.

/// Is it a number by the grammar of RFC 8259, section 6? Its size is not looked at: `1e400` is one.
pub fn is_json_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let rest = match text {
        [b'0', rest @ ..] => rest,
        [b'1'..=b'9', rest @ ..] => skip_digits(rest),
        _ => return false,
    };
    let rest = match rest {
        [b'.', fraction @ ..] => match digits(fraction) {
            Some(rest) => rest,
            None => return false,
        },
        _ => rest,
    };
    match rest {
        [] => true,
        [b'e' | b'E', exponent @ ..] => {
            let exponent = match exponent {
                [b'+' | b'-', exponent @ ..] => exponent,
                _ => exponent,
            };
            digits(exponent).is_some_and(<[u8]>::is_empty)
        }
        _ => false,
    }
}

/// What follows at least one digit.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let rest = skip_digits(text);
    (rest.len() < text.len()).then_some(rest)
}

fn skip_digits(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    &text[end..]
}

/// The shortest decimal digits that read back as the same double, plain from 1e-6 up to 1e21 and
/// with an exponent beyond, where `JSON.stringify` changes over too. `-0` keeps its sign. `value`
/// must be finite.
pub fn shortest(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_numbers_by_the_grammar() {
        for good in [
            "0",
            "-0",
            "1",
            "12.5",
            "12.50",
            "1.0",
            "1e400",
            "1E+5",
            "1e-5",
            "0.1e1",
            "-1.5",
            "9007199254740993",
            "0e0",
        ] {
            assert!(is_json_number(good.as_bytes()), "{good}");
        }
        for bad in [
            "", "-", "+1", "01", "-01", "1.", ".5", "1e", "1e+", "1e5.5", "0x10", "nan", "inf",
            "-inf", " 1", "1 ", "1\n", "1,5", "\"1\"", "null", "1e5x", "--1", "１",
        ] {
            assert!(!is_json_number(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn the_shortest_text() {
        let check = |value: f64, expected: &str| assert_eq!(shortest(value), expected);
        check(12.5, "12.5");
        check(12.0, "12");
        check(0.0, "0");
        check(-0.0, "-0");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e21, "1e21");
        check(1e-7, "1e-7");
        check(1e-6, "0.000001");
        check(9.9e-8, "9.9e-8");
        check(1000.0, "1000");
        check(5e-324, "5e-324");
        check(f64::MAX, "1.7976931348623157e308");
        check(123456789012345680000.0, "123456789012345680000");
    }
}
