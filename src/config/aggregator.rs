//! Flags of `aggregator`.

use super::flags::{Group, flag};
use super::values::Values;
use crate::load::aggregator::Options;

pub(super) const AGGREGATOR: Group = Group {
    heading: "Aggregator",
    flags: &[flag(
        "listen",
        "ADDRESS",
        Some("[::]:8082"),
        "Where its answers and pages are served",
        "Dual stack; 0.0.0.0 where there is no IPv6.",
    )],
};

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let (listen, listen_defaulted) = super::listen(values, "listen")?;
    Some(Options {
        listen,
        listen_defaulted,
    })
}
