//! Colours, for both themes. Those of lines stay apart for people who confuse red and green (the
//! hues are those of Okabe and Ito), and differ in lightness too; names stand beside the lines
//! anyway.

use plotters::style::RGBColor;

/// The colours of one theme.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    /// That of the page's cards, so that a chart has no frame.
    pub background: RGBColor,
    pub text: RGBColor,
    pub grid: RGBColor,
    pub axis: RGBColor,
    pub blue: RGBColor,
    pub green: RGBColor,
    pub orange: RGBColor,
    pub purple: RGBColor,
    pub red: RGBColor,
    pub grey: RGBColor,
}

pub(crate) const LIGHT: Palette = Palette {
    background: RGBColor(0xff, 0xff, 0xff),
    text: RGBColor(0x3d, 0x46, 0x52),
    grid: RGBColor(0xe3, 0xe7, 0xec),
    axis: RGBColor(0xb4, 0xbc, 0xc6),
    blue: RGBColor(0x00, 0x5f, 0xa8),
    green: RGBColor(0x00, 0x80, 0x5e),
    orange: RGBColor(0xb4, 0x5f, 0x00),
    purple: RGBColor(0x8c, 0x3a, 0x8c),
    red: RGBColor(0xc6, 0x28, 0x28),
    grey: RGBColor(0x5f, 0x6b, 0x7a),
};

pub(crate) const DARK: Palette = Palette {
    background: RGBColor(0x1a, 0x1f, 0x27),
    text: RGBColor(0xc6, 0xcf, 0xda),
    grid: RGBColor(0x2d, 0x35, 0x40),
    axis: RGBColor(0x5a, 0x66, 0x75),
    blue: RGBColor(0x62, 0xb5, 0xf5),
    green: RGBColor(0x2f, 0xc7, 0x9b),
    orange: RGBColor(0xf2, 0xa9, 0x3b),
    purple: RGBColor(0xdd, 0x8f, 0xd6),
    red: RGBColor(0xff, 0x75, 0x70),
    grey: RGBColor(0x95, 0xa1, 0xb0),
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG 2.2.
    fn luminance(colour: RGBColor) -> f64 {
        let channel = |byte: u8| match f64::from(byte) / 255.0 {
            c if c <= 0.040_45 => c / 12.92,
            c => ((c + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * channel(colour.0) + 0.7152 * channel(colour.1) + 0.0722 * channel(colour.2)
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn everything_that_is_read_has_contrast() {
        for palette in [LIGHT, DARK] {
            // Names of lines have the colour of their line, so it counts as text: 4.5 to 1
            // (WCAG 2.2, 1.4.3).
            for (name, colour) in [
                ("text", palette.text),
                ("blue", palette.blue),
                ("green", palette.green),
                ("orange", palette.orange),
                ("purple", palette.purple),
                ("red", palette.red),
                ("grey", palette.grey),
            ] {
                let ratio = contrast(colour, palette.background);
                assert!(ratio >= 4.5, "{name}: {ratio:.2}");
            }
        }
    }

    #[test]
    fn charts_and_cards_have_one_background() {
        let style = include_str!("../pages/assets/style.css");
        assert!(style.contains("--card: #ffffff;"), "the light one");
        assert!(style.contains("--card: #1a1f27;"), "the dark one");
    }
}
