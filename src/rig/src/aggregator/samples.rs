//! The samples of a Prometheus text, as far as this program's own pods write it.
//!
//! The crates that read this format bring a regular expression engine or a calendar, or have not
//! been looked after for years; what is needed of it is this page. Strict: a line that is no sample
//! makes the whole text unusable, since a figure made of half of it would look like a fact.
//!
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

/// One line: a name, labels and a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub name: &'a str,
    /// What is between the braces, as it stands there.
    labels: &'a str,
    pub value: f64,
}

impl Sample<'_> {
    /// Whether it has this label, of a value without escapes.
    pub fn has(&self, name: &str, value: &str) -> bool {
        let mut rest = self.labels;
        while let Some((label, of, after)) = next_label(rest) {
            if (label, of) == (name, value) {
                return true;
            }
            rest = after;
        }
        false
    }
}

/// All samples of a text; `Err` has the line that is none.
pub(super) fn samples(text: &str) -> impl Iterator<Item = Result<Sample<'_>, &str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| sample(line).ok_or(line))
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        None => ("", rest),
        Some(inner) => {
            let mut after = inner;
            while let Some((_, _, rest)) = next_label(after) {
                after = rest;
            }
            let rest = after.strip_prefix('}')?;
            (inner.get(..inner.len() - after.len())?, rest)
        }
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    // A timestamp may follow.
    let timestamp = words.next().map(str::parse::<i64>);
    let complete = words.next().is_none() && timestamp.is_none_or(|parsed| parsed.is_ok());
    (complete && !name.is_empty()).then_some(Sample {
        name,
        labels,
        value,
    })
}

/// The first label of `name="value",…`, and what comes after it and its comma.
fn next_label(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once("=\"")?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(valid) {
        return None;
    }
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })?;
    let value = rest.get(..end)?;
    let after = rest.get(end + 1..)?;
    Some((name, value, after.strip_prefix(',').unwrap_or(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_text() {
        let text = "# HELP a What it is.\n# TYPE a counter\na 1\n\
                    a_total{code=\"200\",method=\"GET\"} 2.5 1700000000000\n\n\
                    b{x=\"a, \\\"b\\\" }\",y=\"\",} 1e-3\nc{} +Inf\n";
        let all: Vec<Sample> = samples(text)
            .collect::<Result<_, _>>()
            .expect("all are samples");
        let values: Vec<(&str, f64)> = all.iter().map(|s| (s.name, s.value)).collect();
        let expected = [
            ("a", 1.0),
            ("a_total", 2.5),
            ("b", 0.001),
            ("c", f64::INFINITY),
        ];
        assert_eq!(values, expected);
        assert!(all[1].has("code", "200") && all[1].has("method", "GET"));
        assert!(!all[1].has("code", "20") && !all[1].has("ode", "200"));
        assert!(all[2].has("y", ""));
        assert!(!all[0].has("code", "200"));
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "a",
            "a ",
            "a x",
            " 1",
            "{} 1",
            "a{b=\"1\" 2",
            "a{b=1} 2",
            "a{b=\"1} 2",
            "a{b=\"1\\\"} 2",
            "a{=\"1\"} 2",
            "a 1 x",
            "a 1 2 3",
            "a 1, 2",
            "<html>",
            "<p>not found</p> 1 2 3",
        ] {
            let found: Vec<_> = samples(line).collect();
            assert_eq!(found, [Err(line)], "{line}");
        }
    }
}
