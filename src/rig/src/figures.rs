//! Numbers as people read them. Pure.

/// A number with commas between thousands: `12,345.6` with one decimal.
pub(crate) fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, rest) = match text.find('.') {
        Some(at) => text.split_at(at),
        None => (text.as_str(), ""),
    };
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let is_third = (whole.len() - index).is_multiple_of(3);
        if is_third && index > 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// A rate: `12,000`; with a decimal only where it is small and has one: `0.5`.
pub(crate) fn rate(per_second: f64) -> String {
    let tenths = (per_second * 10.0).round() / 10.0;
    let is_whole = tenths.fract() == 0.0 || tenths >= 100.0;
    grouped(tenths, usize::from(!is_whole))
}

/// A share in percent, rounded down to two decimals: one bad answer of a million must not read as
/// none.
pub(crate) fn percent(share: f64) -> f64 {
    // 0.57 is a little less than that as a double, and is 57 % all the same.
    (share * 1e4 + 1e-6).floor() / 1e2
}

/// At most so many decimals, and no zeros at their end.
pub(crate) fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    match text {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let check = |number, decimals, expected: &str| {
            assert_eq!(grouped(number, decimals), expected);
        };
        check(0.0, 0, "0");
        check(999.0, 0, "999");
        check(1_000.0, 0, "1,000");
        check(1_234_567.891, 2, "1,234,567.89");
        check(-1_000.0, 0, "-1,000");
        check(-100.0, 1, "-100.0");
    }

    #[test]
    fn rates_as_people_read_them() {
        let check = |per_second: f64, expected: &str| assert_eq!(rate(per_second), expected);
        check(0.5, "0.5");
        check(50.0, "50");
        check(99.97, "100");
        check(999.4, "999");
        check(1_000.0, "1,000");
        check(123_456.0, "123,456");
        check(1_234_567.0, "1,234,567");
    }

    #[test]
    fn shares_are_rounded_down() {
        let check = |share, expected| assert_eq!(percent(share), expected);
        check(0.0, 0.0);
        check(0.57, 57.0);
        check(0.5799, 57.99);
        check(0.999_999, 99.99);
        check(1.0 - 1e-9, 99.99);
        check(1.0, 100.0);
    }

    #[test]
    fn zeros_at_the_end_are_left_out() {
        let check = |value, expected: &str| assert_eq!(trimmed(value, 2), expected);
        check(1.5, "1.5");
        check(100.0, "100");
        check(-0.001, "0");
        assert_eq!(trimmed(100.0, 0), "100");
    }
}
