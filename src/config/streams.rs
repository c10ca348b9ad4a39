//! The flag that says how many streams there may be.

use super::flag::{Group, flag};
use super::parsers;
use super::values::Values;

pub(super) const STREAMS: Group = Group {
    heading: "Streams",
    flags: &[flag(
        "max-streams",
        "N",
        Some("10000"),
        "Streams of the process (Accept: text/event-stream); more are refused with 503; 0: none",
        "A stream costs memory as an idle connection does, and a change one write to each of them.",
    )],
};

pub(super) fn max_streams(values: &mut Values<'_>) -> Option<usize> {
    values.parsed("max-streams", |text| parsers::count(text, 0..=1 << 30))
}

#[cfg(test)]
mod tests {
    use super::super::tests::serve;

    #[test]
    fn there_may_be_many_or_none() {
        assert_eq!(serve(&[], &[]).api.max_streams, 10_000);
        let env = [("REDIS_API_MAX_STREAMS", "7")];
        assert_eq!(serve(&[], &env).api.max_streams, 7);
        assert_eq!(serve(&["--max-streams=0"], &env).api.max_streams, 0);
    }
}
