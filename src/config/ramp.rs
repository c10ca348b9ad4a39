//! Flags of `ramp`.

use super::flags::Group;
use super::values::Values;
use crate::ramp::Options;

pub(super) const RAMP: Group = Group {
    heading: "Ramp",
    flags: &[],
};

pub(super) fn options(_values: &mut Values<'_>) -> Option<Options> {
    Some(Options {})
}
