//! How a chart is to look, as its address says: `theme=light|dark`, `size=wide|narrow`.

use std::fmt;

use crate::plot::Layout;
use crate::plot::palette::{self, Palette};

/// Light or dark surroundings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Theme {
    #[default]
    Light,
    Dark,
}

/// The shape of a chart, and how large its text is beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Size {
    #[default]
    Wide,
    /// For a phone: about the same text on half the width.
    Narrow,
}

/// What the query of a chart asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Appearance {
    pub theme: Theme,
    pub size: Size,
}

/// A query that is none of a chart's. Does not hold the query: it would be shown to whoever follows
/// a link that somebody else made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadQuery;

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a chart takes theme=light|dark, size=wide|narrow and at=NUMBER, each at most once\n",
        )
    }
}

/// Most digits of `at`: those of a time in ms, with room.
const AT_DIGITS: usize = 16;

impl Appearance {
    pub(super) fn palette(self) -> &'static Palette {
        match self.theme {
            Theme::Light => &palette::LIGHT,
            Theme::Dark => &palette::DARK,
        }
    }

    pub(super) fn layout(self) -> Layout {
        match self.size {
            Size::Wide => Layout::WIDE,
            Size::Narrow => Layout::NARROW,
        }
    }

    /// Reads a query. `at` is a number that means nothing: browsers show an image that they have,
    /// whatever its headers say, unless its address is new.
    ///
    /// # Errors
    /// Anything else, and anything twice.
    pub(super) fn parse(query: Option<&str>) -> Result<Appearance, BadQuery> {
        let (mut theme, mut size, mut at) = (None, None, None);
        for pair in query.unwrap_or_default().split('&') {
            let before = match pair.split_once('=') {
                Some(("theme", "light")) => theme.replace(Theme::Light).is_some(),
                Some(("theme", "dark")) => theme.replace(Theme::Dark).is_some(),
                Some(("size", "wide")) => size.replace(Size::Wide).is_some(),
                Some(("size", "narrow")) => size.replace(Size::Narrow).is_some(),
                Some(("at", number)) if is_number(number) => at.replace(()).is_some(),
                None if query.unwrap_or_default().is_empty() => false,
                _ => return Err(BadQuery),
            };
            if before {
                return Err(BadQuery);
            }
        }
        Ok(Appearance {
            theme: theme.unwrap_or_default(),
            size: size.unwrap_or_default(),
        })
    }
}

fn is_number(text: &str) -> bool {
    (1..=AT_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: Option<&str>, expected: Option<(Theme, Size)>) {
        let expected = expected.map(|(theme, size)| Appearance { theme, size });
        assert_eq!(Appearance::parse(query).ok(), expected, "{query:?}");
    }

    #[test]
    fn queries_of_charts() {
        check(None, Some((Theme::Light, Size::Wide)));
        check(Some(""), Some((Theme::Light, Size::Wide)));
        check(Some("theme=dark"), Some((Theme::Dark, Size::Wide)));
        check(
            Some("size=narrow&theme=light"),
            Some((Theme::Light, Size::Narrow)),
        );
        check(
            Some("theme=dark&size=wide&at=1763889600000"),
            Some((Theme::Dark, Size::Wide)),
        );
    }

    #[test]
    fn other_queries_are_refused() {
        for query in [
            "theme",
            "theme=",
            "theme=Dark",
            "theme=dark&theme=dark",
            "theme=dark&theme=light",
            "size=huge",
            "size=wide&size=wide",
            "at=",
            "at=1&at=1",
            "at=-1",
            "at=12345678901234567",
            "colour=red",
            "&",
            "theme=dark&",
            "theme=%64ark",
            "theme=<svg onload=alert(1)>",
        ] {
            check(Some(query), None);
        }
    }
}
