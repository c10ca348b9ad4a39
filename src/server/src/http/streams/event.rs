//! The text of events, as the [HTML standard] has it.
//!
//! [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html

use std::io::Write;
use std::time::Duration;

use super::super::caching::Tag;

/// What is sent where there is nothing to say, so that everybody between knows that both ends are
/// there.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// A new body: an event of the type `message`, whose name is the body's tag.
pub fn body(tag: Tag, body: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(body.len() + 64);
    // Writing to memory can't fail, here and below.
    let _ = writeln!(event, "id: {}", tag.text());
    for line in lines(body) {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.push(b'\n');
    event
}

/// What is between CRLF, LF or CR: all three end a line of an event.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(end) = end else {
            return rest.take();
        };
        let behind = &text[end..];
        rest = Some(behind.strip_prefix(b"\r\n").unwrap_or(&behind[1..]));
        Some(&text[..end])
    })
}

/// The data are as old as this; `error` is the body of the answer that a read gets, if it gets no
/// value.
pub fn stale(age: Duration, error: Option<&[u8]>, out: &mut Vec<u8>) {
    let _ = write!(out, "event: stale\ndata: {{\"age\":{}", age.as_secs());
    match error.and_then(|error| error.strip_prefix(b"{")) {
        Some(error) => {
            out.push(b',');
            out.extend_from_slice(error);
        }
        None => out.push(b'}'),
    }
    out.extend_from_slice(b"\n\n");
}

/// The data are not old any more.
pub fn fresh(out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: fresh\ndata: {\"age\":0}\n\n");
}

/// When to come again.
pub fn retry(after: Duration, out: &mut Vec<u8>) {
    let _ = write!(out, "retry: {}\n\n", after.as_millis());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn every_line_of_a_body_is_a_line_of_data() {
        let check = |body: &str, expected: &str| {
            let tag = Tag::of(body.as_bytes());
            let event = text(&super::body(tag, body.as_bytes()));
            let data = event.strip_prefix(&format!("id: {}\n", tag.text()));
            assert_eq!(data, Some(expected), "{body:?}");
        };
        check("{\"current\":12.5}", "data: {\"current\":12.5}\n\n");
        check("a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n");
        check("a\n\n\r\r\n", "data: a\ndata: \ndata: \ndata: \ndata: \n\n");
        check("", "data: \n\n");
    }

    #[test]
    fn ages_errors_and_times() {
        let mut out = Vec::new();
        stale(Duration::from_millis(12_900), None, &mut out);
        let error = b"{\"error\":\"gone\"}";
        stale(Duration::ZERO, Some(error), &mut out);
        fresh(&mut out);
        retry(Duration::from_millis(1_500), &mut out);
        let expected = "event: stale\ndata: {\"age\":12}\n\n\
                        event: stale\ndata: {\"age\":0,\"error\":\"gone\"}\n\n\
                        event: fresh\ndata: {\"age\":0}\n\n\
                        retry: 1500\n\n";
        assert_eq!(text(&out), expected);
    }
}
