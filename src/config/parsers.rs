//! Texts to values: durations, sizes, counts, listening addresses.
//!
//! Each parser returns, for a text that it refuses, what it would have accepted. None of them sees
//! a secret, so their callers may show the text; addresses of Redis, which may hold one, are in
//! [`super::address`].

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What would have been accepted.
pub(super) type Expected = String;

/// Every duration is at most a day: far above any use, and safe to add to a point in time.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A whole number and its unit, up to 24 h.
pub(super) fn duration(text: &str) -> Result<Duration, Expected> {
    let expected = || "a duration up to 24h, such as 150ms, 5s, 2m or 1h".to_string();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let milliseconds_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    number
        .checked_mul(milliseconds_each)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(expected)
}

/// The longest sleep of a worker: far below what a request may take.
const LONGEST_SLEEP: Duration = Duration::from_millis(5);

/// How long a worker may sleep: zero or more, in microseconds too, up to 5 ms.
pub(super) fn wake_interval(text: &str) -> Result<Duration, Expected> {
    let parsed = match text.strip_suffix("us") {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.parse().ok().map(Duration::from_micros)
        }
        Some(_) => None,
        None => duration(text).ok(),
    };
    parsed
        .filter(|interval| *interval <= LONGEST_SLEEP)
        .ok_or_else(|| "a duration up to 5ms, as 0s, 250us, 500us, 1ms".to_string())
}

/// A duration that may not be zero, since nothing could be done within it.
pub(super) fn positive_duration(text: &str) -> Result<Duration, Expected> {
    match duration(text)? {
        Duration::ZERO => Err("a duration above zero, such as 150ms, 5s, 2m or 1h".to_string()),
        duration => Ok(duration),
    }
}

/// A duration of which zero means "without limit".
pub(super) fn duration_or_unlimited(text: &str) -> Result<Option<Duration>, Expected> {
    Ok(Some(duration(text)?).filter(|duration| !duration.is_zero()))
}

/// Bytes: from 1 to 16 MiB, since a body is held in memory as a whole.
pub(super) fn size(text: &str) -> Result<usize, Expected> {
    bytes(text, 16 << 20)
        .ok_or_else(|| "a size from 1 byte to 16MiB, such as 4096, 4KiB, 16k or 1MiB".to_string())
}

/// Bytes of memory: from 1 to 64 GiB.
pub(super) fn memory(text: &str) -> Result<usize, Expected> {
    bytes(text, 64 << 30)
        .ok_or_else(|| "a size from 1 byte to 65536MiB, such as 64MiB or 512k".to_string())
}

fn bytes(text: &str, largest: usize) -> Option<usize> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().ok()?;
    let each = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        _ => return None,
    };
    number
        .checked_mul(each)
        .filter(|bytes| (1..=largest).contains(bytes))
}

/// A whole number within a range.
pub(super) fn count(text: &str, range: RangeInclusive<usize>) -> Result<usize, Expected> {
    // `parse` takes a leading `+`, which no other number here may have.
    let number = text
        .parse()
        .ok()
        .filter(|number| range.contains(number) && !text.starts_with('+'));
    number.ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, Expected> {
    text.parse().map_err(|_| "true or false".to_string())
}

/// Where to listen, and whether the host was left out (`:8080`: every address, `[::]`).
pub(super) fn listen(text: &str) -> Result<(SocketAddr, bool), Expected> {
    let expected =
        || "IP:port, [v6]:port or :port, such as 127.0.0.1:8080, [::1]:8080 or :8080".to_string();
    match text.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().map_err(|_| expected())?;
            Ok((SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true))
        }
        _ => text
            .parse()
            .map(|address| (address, false))
            .map_err(|_| expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        fn check(text: &str, milliseconds: Option<u64>) {
            assert_eq!(
                duration(text).ok(),
                milliseconds.map(Duration::from_millis),
                "{text:?}"
            );
        }
        check("150ms", Some(150));
        check("5s", Some(5_000));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        check("24h", Some(86_400_000));
        check("0s", Some(0));
        for wrong in [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "5 s",
            " 5s",
            "5s ",
            "1.5s",
            "5S",
            "5us",
            "1d",
            "25h",
            "5s3",
            "99999999999999999999s",
            "18446744073709551615h",
            "٣s",
            "1h30m",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_zero_duration_is_refused_or_unlimited() {
        assert!(positive_duration("0ms").is_err());
        assert_eq!(positive_duration("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(duration_or_unlimited("0s"), Ok(None));
        assert_eq!(
            duration_or_unlimited("5m"),
            Ok(Some(Duration::from_secs(300)))
        );
    }

    #[test]
    fn wake_intervals() {
        fn check(text: &str, microseconds: Option<u64>) {
            let interval = wake_interval(text).ok();
            assert_eq!(
                interval,
                microseconds.map(Duration::from_micros),
                "{text:?}"
            );
        }
        check("0s", Some(0));
        check("0us", Some(0));
        check("250us", Some(250));
        check("1ms", Some(1_000));
        check("5ms", Some(5_000));
        check("5000us", Some(5_000));
        for wrong in [
            "",
            "us",
            "-1us",
            "+1us",
            "0.5ms",
            "5001us",
            "6ms",
            "1s",
            "500",
            "500µs",
            "18446744073709551616us",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn sizes() {
        fn check(text: &str, bytes: Option<usize>) {
            assert_eq!(size(text).ok(), bytes, "{text:?}");
        }
        check("1", Some(1));
        check("4096", Some(4096));
        check("4KiB", Some(4096));
        check("16k", Some(16384));
        check("16K", Some(16384));
        check("16MiB", Some(16_777_216));
        for wrong in [
            "",
            "0",
            "0k",
            "-1",
            "+1",
            "4KB",
            "4 KiB",
            "1.5k",
            "17MiB",
            "1g",
            "k",
            "18446744073709551616",
            "18446744073709551615k",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn counts_stay_in_their_range() {
        fn check(text: &str, expected: Option<usize>) {
            assert_eq!(count(text, 1..=8).ok(), expected, "{text:?}");
        }
        check("1", Some(1));
        check("8", Some(8));
        for wrong in [
            "0",
            "9",
            "",
            "-1",
            "+1",
            "1.0",
            "one",
            "99999999999999999999",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn listening_addresses() {
        fn check(text: &str, expected: Option<(&str, bool)>) {
            let listen = listen(text)
                .ok()
                .map(|(address, any)| (address.to_string(), any));
            assert_eq!(
                listen,
                expected.map(|(text, any)| (text.to_string(), any)),
                "{text:?}"
            );
        }
        check("127.0.0.1:8080", Some(("127.0.0.1:8080", false)));
        check("[::1]:0", Some(("[::1]:0", false)));
        check("[::]:8080", Some(("[::]:8080", false)));
        check(":8080", Some(("[::]:8080", true)));
        for wrong in [
            "",
            ":",
            "8080",
            "localhost:8080",
            "::1:8080",
            "[::1]",
            ":65536",
            ":+1",
            "1.2.3.4",
        ] {
            check(wrong, None);
        }
    }
}
