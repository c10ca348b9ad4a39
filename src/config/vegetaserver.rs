//! Flags of `vegetaserver`.

use super::flags::{Group, flag};
use super::values::Values;
use crate::load::bot::Options;

pub(super) const VEGETASERVER: Group = Group {
    heading: "Attack",
    flags: &[flag(
        "listen",
        "ADDRESS",
        Some("[::]:8081"),
        "Where its window is served",
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
