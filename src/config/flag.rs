//! What a flag, a group of flags and a subcommand are.
//!
//! A flag's variable follows from its name ([`super::environment::variable`]), so the two cannot
//! drift apart.

/// One flag of one subcommand.
pub(super) struct Flag {
    /// Without the leading dashes.
    pub name: &'static str,
    /// What `--help` calls the value; empty for a bare flag.
    pub value: &'static str,
    /// The value when neither flag nor variable is given.
    pub default: Option<&'static str>,
    /// The first sentence says what it is, the rest (only in `--help`) why.
    pub help: &'static str,
    pub why: &'static str,
    /// May be given several times: the values are a list with commas between.
    pub repeats: bool,
}

/// Flags under one heading of `--help`.
pub(super) struct Group {
    pub heading: &'static str,
    pub flags: &'static [Flag],
}

pub(super) const fn flag(
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
    why: &'static str,
) -> Flag {
    Flag {
        name,
        value,
        default,
        help,
        why,
        repeats: false,
    }
}

pub(super) const fn list(flag: Flag) -> Flag {
    Flag {
        repeats: true,
        ..flag
    }
}

/// A subcommand's name, what it is, and its flags.
pub(super) struct Subcommand {
    pub name: &'static str,
    pub about: &'static str,
    /// In parts, so that what `serve` takes is listed once.
    pub groups: &'static [&'static [&'static Group]],
}

impl Subcommand {
    /// Its groups of flags, in the order of `--help`.
    pub fn groups(&self) -> impl Iterator<Item = &'static Group> {
        self.groups.iter().flat_map(|part| part.iter().copied())
    }

    /// The flag of that name, if this subcommand has it.
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.groups()
            .flat_map(|group| group.flags)
            .find(|flag| flag.name == name)
    }
}
