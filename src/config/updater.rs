//! Flags of `updater`.

use super::flags::Group;
use super::values::Values;
use crate::load::updater::Options;

pub(super) const UPDATER: Group = Group {
    heading: "Updater",
    flags: &[],
};

pub(super) fn options(_values: &mut Values<'_>) -> Option<Options> {
    Some(Options {})
}
