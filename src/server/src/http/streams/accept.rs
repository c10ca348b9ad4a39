//! Whether a client asks for events rather than an answer: [RFC 9110], section 12.5.1.
//!
//! [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110

use hyper::header::{ACCEPT, HeaderMap};

/// How events are called, and what is preferred to them if it is named too.
const EVENTS: &str = "text/event-stream";
const PLAIN: [&str; 3] = ["application/json", "application/*", "*/*"];

/// Whether these headers ask for events: they are named, and nothing that a plain answer fits is
/// wanted more, or is named as well and wanted as much. So whoever takes anything gets a plain
/// answer, and so does whoever takes either.
pub fn wants_events(headers: &HeaderMap) -> bool {
    let mut events = 0;
    // The most exact range that fits counts, so one for each degree.
    let mut plain = [None; PLAIN.len()];
    for line in headers.get_all(ACCEPT) {
        // Most lines are shorter than the name.
        let Some(line) = line.to_str().ok().filter(|line| line.len() >= EVENTS.len()) else {
            continue;
        };
        for (range, quality) in line.split(',').filter_map(item) {
            if range.eq_ignore_ascii_case(EVENTS) {
                events = quality.max(events);
            }
            for (name, known) in PLAIN.iter().zip(&mut plain) {
                if range.eq_ignore_ascii_case(name) {
                    *known = Some(quality.max(known.unwrap_or(0)));
                }
            }
        }
    }
    let named = plain[0].or(plain[1]);
    let other = named.or(plain[2]).unwrap_or(0);
    events > other || (events > 0 && events == other && named.is_none())
}

/// A range and its quality in thousandths; `None`: it is not one.
fn item(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next()?;
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("q").then_some(value)
    });
    Some((range, weight.map_or(Some(1000), quality)?))
}

/// `0`, `1`, or a fraction of up to three digits.
fn quality(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{digits:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn wants(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("it is a header");
            headers.append(ACCEPT, value);
        }
        wants_events(&headers)
    }

    #[test]
    fn events_are_for_those_who_name_them() {
        for lines in [
            &["text/event-stream"][..],
            &["Text/Event-Stream"],
            &[" text/event-stream ; charset=utf-8 "],
            &["text/event-stream;q=0.001"],
            &["text/event-stream, */*"],
            &["*/*;q=1.0, text/event-stream"],
            &["text/event-stream, application/json;q=0.9"],
            &["application/json;q=0.1", "text/event-stream;q=0.2"],
            &["application/json;q=0, text/event-stream;q=0.5, */*"],
            &["x, text/event-stream"],
            &["text/event-stream", "text/event-stream;q=x"],
        ] {
            assert!(wants(lines), "{lines:?}");
        }
    }

    #[test]
    fn everybody_else_gets_an_answer() {
        for lines in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/*"],
            &["application/json"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"],
            &["text/event-stream;q=0"],
            &["text/event-stream;q=0.000"],
            &["text/event-stream;q=2"],
            &["text/event-stream;q=1.001"],
            &["text/event-stream;q=0.1234"],
            &["text/event-stream;q="],
            &["text/event-stream;q=-1"],
            &["text/event-streams"],
            &["xtext/event-stream"],
            &["text / event-stream"],
            &["application/json, text/event-stream"],
            &["text/event-stream, application/*"],
            &["text/event-stream;q=0.5, application/json"],
            &["text/event-stream;q=0.5, */*"],
            &["\"text/event-stream\""],
            &["text/event-stream\u{e9}"],
        ] {
            assert!(!wants(lines), "{lines:?}");
        }
    }
}
