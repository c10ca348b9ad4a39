//! Tests of what is on the charts: their text, their lines, in the SVG as it is sent.

use super::*;
use crate::pages::appearance::{Size, Theme};
use crate::pages::fixture;
use crate::plot::palette;

const CHARTS: [Chart; 5] = [
    Chart::Rate,
    Chart::Latency,
    Chart::Codes,
    Chart::Errors,
    Chart::Currency,
];

const NOW_MS: u64 = 1_795_426_200_000;

/// The chart of a history, wide and light.
fn draw(chart: Chart, history: &History) -> String {
    let svg = chart.paint(Appearance::default(), None, history);
    svg.expect("it can be drawn")
}

/// The texts on a chart, in the order in which they were drawn.
fn texts(svg: &str) -> Vec<&str> {
    let parts = svg.split("<text ").skip(1);
    parts
        .map(|part| {
            let start = part.find('>').expect("a tag ends") + 1;
            part[start..part.find("</text>").expect("a text ends")].trim()
        })
        .collect()
}

/// The points of each line of this colour.
fn lines(svg: &str, colour: RGBColor) -> Vec<Vec<(f64, f64)>> {
    let stroke = format!(
        "stroke=\"#{:02X}{:02X}{:02X}\"",
        colour.0, colour.1, colour.2
    );
    let polylines = svg.split("<polyline ").skip(1);
    polylines
        .filter(|part| part[..part.find('>').expect("a tag ends")].contains(&stroke))
        .map(|part| {
            let points = part.split("points=\"").nth(1).expect("it has points");
            let points = &points[..points.find('"').expect("they end")];
            let pairs = points.split_whitespace();
            pairs
                .map(|pair| {
                    let (x, y) = pair.split_once(',').expect("a pair");
                    (x.parse().expect("a number"), y.parse().expect("a number"))
                })
                .collect()
        })
        .collect()
}

#[track_caller]
fn check(chart: Chart, history: &History, expected: &[&str]) {
    let svg = draw(chart, history);
    let texts = texts(&svg);
    for text in expected {
        assert!(texts.contains(text), "{text:?} of {chart:?} in {texts:?}");
    }
    for minute in ["-5 min", "-4", "-3", "-2", "-1", "now"] {
        assert!(
            texts.contains(&minute),
            "{minute} of {chart:?} in {texts:?}"
        );
    }
}

#[test]
fn charts_have_labels() {
    let calm = fixture::history(NOW_MS, |_, _| ());
    check(
        Chart::Rate,
        &calm,
        &["0/s", "200/s", "1k/s", "sent", "target"],
    );
    check(
        Chart::Latency,
        &calm,
        &["100 µs", "1 ms", "10 ms", "p50", "p90", "p99", "max"],
    );
    check(Chart::Codes, &calm, &["0.1/s", "1/s", "1k/s", "2xx"]);
    check(
        Chart::Errors,
        &calm,
        &["no errors in the last five minutes"],
    );
    check(Chart::Currency, &calm, &["101", "101.5", "102"]);
}

#[test]
fn no_history_is_said() {
    for chart in CHARTS {
        check(chart, &History::default(), &["no history yet"]);
    }
}

#[test]
fn themes_and_sizes_differ() {
    let calm = fixture::history(NOW_MS, |_, _| ());
    let draw = |theme, size| {
        Chart::Rate
            .paint(Appearance { theme, size }, None, &calm)
            .expect("drawn")
    };
    let light = draw(Theme::Light, Size::Wide);
    assert!(light.contains("width=\"1200\"") && light.contains("fill=\"#FFFFFF\""));
    let dark = draw(Theme::Dark, Size::Narrow);
    assert!(dark.contains("width=\"680\"") && dark.contains("fill=\"#1A1F27\""));
    assert!(!dark.contains("fill=\"#FFFFFF\""));
}

#[test]
fn line_has_a_gap_where_there_was_no_data() {
    let blue = palette::LIGHT.blue;
    let whole = fixture::history(NOW_MS, |_, _| ());
    assert_eq!(lines(&draw(Chart::Rate, &whole), blue).len(), 1);

    // Nobody answered: a minute of zeros is no rate and no latency.
    let silent = fixture::history(NOW_MS, |age, point| {
        if (60..120).contains(&age) {
            point.bots_alive = 0;
            (point.p50, point.p90, point.p99, point.max) = (0, 0, 0, 0);
        }
    });
    for chart in [Chart::Rate, Chart::Latency] {
        let pieces = lines(&draw(chart, &silent), blue);
        let [before, after] = pieces.as_slice() else {
            panic!("{chart:?}: {} pieces", pieces.len());
        };
        let minute = (1200.0 - 105.0) / 5.0 * 0.8;
        let gap = after[0].0 - before[before.len() - 1].0;
        assert!(gap > minute, "{chart:?}: {gap}");
    }
}

#[test]
fn latency_is_on_decades() {
    let blue = palette::LIGHT.blue;
    let history = fixture::history(NOW_MS, |age, point| {
        point.p50 = [100_000, 1_000_000, 10_000_000][age as usize % 3];
    });
    let svg = draw(Chart::Latency, &history);
    let mut heights: Vec<i64> = lines(&svg, blue)
        .iter()
        .flatten()
        .map(|(_, y)| *y as i64)
        .collect();
    heights.sort_unstable();
    heights.dedup();
    let [top, middle, bottom] = heights.as_slice() else {
        panic!("three latencies at {heights:?}");
    };
    assert!((bottom - middle - (middle - top)).abs() <= 1, "{heights:?}");
}

#[test]
fn scale_stays_while_values_move_a_little() {
    let with_p99 = |ns| {
        let history = fixture::history(NOW_MS, |_, point| {
            (point.p99, point.max) = (ns, ns * 2);
        });
        let svg = draw(Chart::Latency, &history);
        let texts: Vec<String> = texts(&svg).into_iter().map(String::from).collect();
        texts
    };
    assert_eq!(with_p99(1_500_000), with_p99(4_900_000));
    assert!(with_p99(60_000_000).contains(&"1 s".to_owned()));
}

#[test]
fn limited_generator_is_marked() {
    let calm = fixture::history(NOW_MS, |_, _| ());
    let limited = fixture::history(NOW_MS, |age, point| {
        point.generator_limited = (30..40).contains(&age);
    });
    let text = "red: not valid, the generator was the limit";
    for chart in [Chart::Rate, Chart::Latency] {
        assert!(!texts(&draw(chart, &calm)).contains(&text));
        assert!(texts(&draw(chart, &limited)).contains(&text));
    }
}

#[test]
fn errors_beyond_three_kinds_share_a_line() {
    let history = fixture::history(NOW_MS, |_, point| {
        point.status_codes = BTreeMap::from([(200, 9_000), (503, 1_000)]);
        point.errors = [
            ("503 Service Unavailable", 600),
            ("<script>alert(1)</script> & \"so\"", 300),
            (
                "Get \"http://redis-api:8080/\": read tcp: connection reset by peer",
                90,
            ),
            ("timeout", 9),
            ("EOF", 1),
        ]
        .map(|(kind, count)| (kind.to_owned(), count))
        .into();
    });
    check(
        Chart::Errors,
        &history,
        &[
            "503 Service Unavailable",
            "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;so&quot;",
            "… read tcp: connection reset by peer",
            "2 other kinds",
            "100/s",
        ],
    );
    let svg = draw(Chart::Errors, &history);
    assert!(!svg.contains("<script"), "it is escaped");
}

#[test]
fn codes_are_told_by_class() {
    let history = fixture::history(NOW_MS, |age, point| {
        point.status_codes = match age {
            0..100 => BTreeMap::from([(0, 5), (200, 9_985), (404, 10)]),
            100..200 => BTreeMap::from([(200, 9_000), (302, 500), (500, 400), (503, 100)]),
            _ => BTreeMap::from([(200, 10_000)]),
        };
    });
    check(
        Chart::Codes,
        &history,
        &["2xx", "3xx", "4xx", "5xx", "no response"],
    );
}

#[test]
fn values_that_no_axis_has_are_no_trouble() {
    for value in [f64::NAN, f64::INFINITY, 1e308, -1e308, 1e289, 5e-324, 0.0] {
        let history = fixture::history(NOW_MS, |age, point| {
            point.value = Some(if age % 2 == 0 { value } else { -value });
            (point.target_rate, point.achieved_rate) = (value, value);
            (point.p50, point.max) = (1, u64::MAX);
        });
        for chart in CHARTS {
            let svg = draw(chart, &history);
            assert!(
                svg.ends_with("</svg>\n") && !svg.contains("NaN"),
                "{chart:?} of {value}"
            );
        }
    }
}
