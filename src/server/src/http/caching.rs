//! What caches in front are told: a tag of each answer by which to ask whether it has changed, and
//! for how long they may keep it.
//!
//! The rules are those of [RFC 9110]: 8.8.3 for tags, 13.1.2 for `If-None-Match`, 15.4.5 for `304`.
//!
//! Invariants: equal bodies have equal tags, in every worker, pod and version; what a condition
//! asks of a client costs memory by the tags of our own form in it alone.
//!
//! Non-goals: `If-Match` and dates. A value has no date that workers would agree on.
//!
//! [RFC 9110]: https://www.rfc-editor.org/rfc/rfc9110

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use twox_hash::XxHash3_128;

use super::more::More;
use super::response::ResponseDraft;

/// What caches are told. By default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Reads have an `ETag`, and may ask by `If-None-Match`.
    pub etag: bool,
    /// The `Cache-Control` of reads; errors then have `no-store`.
    pub cache_control: Option<HeaderValue>,
}

impl Options {
    /// Whether nothing is told.
    pub fn is_off(&self) -> bool {
        *self == Options::default()
    }

    /// What a read with these headers asks to be spared, if that is looked at.
    pub fn condition(&self, headers: &HeaderMap) -> Option<Condition> {
        match self.etag && headers.contains_key(IF_NONE_MATCH) {
            true => Condition::of(headers),
            false => None,
        }
    }
}

/// Tells caches what they are to know. What is told of a value is made once: the next answer with
/// the same bytes, in the same place, is told the same.
pub struct Labels {
    options: Options,
    last: RefCell<Option<Label>>,
}

/// What is told of a body, which is kept so that no other one takes its place in memory.
struct Label {
    body: Bytes,
    tag: Option<Tag>,
    headers: Rc<More>,
}

impl Labels {
    /// Labels by these rules.
    pub fn new(options: Options) -> Self {
        Labels {
            options,
            last: RefCell::default(),
        }
    }

    /// Adds to an answer what caches are to know, or answers that it has not changed.
    pub fn apply(
        &self,
        draft: ResponseDraft,
        is_read: bool,
        condition: Option<&Condition>,
    ) -> ResponseDraft {
        let status = draft.status();
        if is_read && status == StatusCode::OK {
            let (tag, headers) = self.of(draft.body());
            let is_known = tag
                .zip(condition)
                .is_some_and(|(tag, condition)| condition.has(tag));
            let draft = match is_known {
                true => draft.not_modified(),
                false => draft,
            };
            return draft.with_caching(headers);
        }
        let is_error = status.is_client_error() || status.is_server_error();
        match is_error && self.options.cache_control.is_some() {
            true => draft.with_caching(Rc::new(More {
                cache_control: Some(HeaderValue::from_static("no-store")),
                ..More::default()
            })),
            false => draft,
        }
    }

    /// The tag of a body, and the headers of a read that has it.
    fn of(&self, body: &Bytes) -> (Option<Tag>, Rc<More>) {
        let mut last = self.last.borrow_mut();
        if let Some(label) = &*last
            && label.body.as_ptr() == body.as_ptr()
            && label.body.len() == body.len()
        {
            return (label.tag, label.headers.clone());
        }
        let tag = self.options.etag.then(|| Tag::of(body));
        let headers = Rc::new(More {
            age: None,
            tag: tag.and_then(Tag::header),
            cache_control: self.options.cache_control.clone(),
            varies: true,
        });
        *last = Some(Label {
            body: body.clone(),
            tag,
            headers: headers.clone(),
        });
        (tag, headers)
    }
}

/// Reads a `Cache-Control`.
///
/// # Errors
/// What would have been accepted.
pub fn cache_control(text: &str) -> Result<HeaderValue, String> {
    let is_header = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| is_header && !text.is_empty() && text.trim() == text)
        .ok_or_else(|| "directives, such as \"max-age=1, stale-if-error=60\"".to_owned())
}

/// A body's tag. A hash of 128 bits: two bodies of one tag don't come by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u128);

impl Tag {
    /// That of a body.
    pub fn of(body: &[u8]) -> Self {
        Tag(XxHash3_128::oneshot(body))
    }

    /// As it stands in `ETag`.
    fn header(self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("\"{}\"", self.text())).ok()
    }

    /// As it stands between the quotes.
    pub fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    /// The tag between these quotes, if one of ours can stand there.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let text = std::str::from_utf8(text).ok()?;
        let is_ours = text.len() == 32 && text.as_bytes().iter().all(is_digit);
        let tag = u128::from_str_radix(text, 16).ok()?;
        is_ours.then_some(Tag(tag))
    }
}

/// What a client has already, by its `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `*`: anything at all.
    Anything,
    /// Answers of these tags. Whether a tag is weak does not matter here.
    Tags(Vec<Tag>),
}

impl Condition {
    /// `None`: there is none, or none that can be understood; then the answer is a whole one.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(IF_NONE_MATCH).iter();
        if let (Some(line), None) = (lines.next(), lines.next())
            && line.as_bytes().trim_ascii() == b"*"
        {
            return Some(Condition::Anything);
        }
        let mut tags = Vec::new();
        for line in headers.get_all(IF_NONE_MATCH) {
            add_tags(line.as_bytes(), &mut tags)?;
        }
        Some(Condition::Tags(tags))
    }

    fn has(&self, tag: Tag) -> bool {
        match self {
            Condition::Anything => true,
            Condition::Tags(tags) => tags.contains(&tag),
        }
    }
}

/// Adds those of ours in a list of tags; `None`: it is not a list of tags.
fn add_tags(list: &[u8], tags: &mut Vec<Tag>) -> Option<()> {
    let mut rest = list.trim_ascii();
    loop {
        while let [b',' | b' ' | b'\t', more @ ..] = rest {
            rest = more;
        }
        if rest.is_empty() {
            return Some(());
        }
        let quoted = rest.strip_prefix(b"W/").unwrap_or(rest);
        let text = quoted.strip_prefix(b"\"")?;
        let end = text.iter().position(|byte| *byte == b'"')?;
        let (tag, behind) = (&text[..end], &text[end + 1..]);
        if tag.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return None;
        }
        tags.extend(Tag::parse(tag));
        rest = behind.trim_ascii_start();
        if !(rest.is_empty() || rest.starts_with(b",")) {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"{\"current\":12.5}";

    fn tag() -> String {
        let header = Tag::of(BODY).header().expect("it is a header");
        header.to_str().expect("it is ASCII").to_owned()
    }

    fn condition(lines: &[&str]) -> Option<Condition> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).expect("it is a header");
            headers.append(IF_NONE_MATCH, value);
        }
        let options = Options {
            etag: true,
            cache_control: None,
        };
        options.condition(&headers)
    }

    #[test]
    fn a_tag_is_the_same_everywhere_and_for_ever() {
        assert_eq!(tag(), "\"b5c8a1b4cc5577b4419f450e346054b3\"");
        assert_ne!(Tag::of(b"{\"current\":12.50}"), Tag::of(BODY));
        assert_eq!(Tag::of(b"").header().map(|tag| tag.len()), Some(34));
    }

    #[test]
    fn a_value_is_labelled_once_and_another_one_anew() {
        let labels = Labels::new(Options {
            etag: true,
            cache_control: None,
        });
        let label = |body: &Bytes| labels.of(body);
        let (body, same) = (Bytes::from(BODY), Bytes::from(BODY.to_vec()));
        let (tag, headers) = label(&body);
        assert_eq!(tag, Some(Tag::of(BODY)));
        assert!(Rc::ptr_eq(&headers, &label(&body.clone()).1));
        assert_eq!(label(&same).0, tag);
        // A part of it begins in the same place.
        assert_eq!(label(&same.slice(..3)).0, Some(Tag::of(&BODY[..3])));
        for number in 0..1_000 {
            let body = Bytes::from(format!("{{\"current\":{number}}}"));
            assert_eq!(label(&body).0, Some(Tag::of(&body)), "{number}");
        }
    }

    #[test]
    fn lists_of_tags_are_compared_weakly() {
        let tag = tag();
        let check = |lines: &[&str], expected: Option<bool>| {
            let has = condition(lines).map(|condition| condition.has(Tag::of(BODY)));
            assert_eq!(has, expected, "{lines:?}");
        };
        check(&[], None);
        check(&["*"], Some(true));
        check(&[" * "], Some(true));
        check(&[&tag], Some(true));
        check(&[&format!("W/{tag}")], Some(true));
        check(&[&format!("\"x\", {tag}")], Some(true));
        check(&[&format!("\"a,b\",,W/\"\" ,\t{tag} ,")], Some(true));
        check(&["\"x\"", &tag], Some(true));
        check(&["\"x\""], Some(false));
        check(&["\"\""], Some(false));
        check(&[""], Some(false));
        check(&[&tag.to_uppercase()], Some(false));
        check(&[&tag.replacen('"', "\"+", 1)], Some(false));
        check(&["\"\u{e9}\""], Some(false));
    }

    #[test]
    fn what_is_not_a_list_of_tags_is_no_condition() {
        let tag = tag();
        for wrong in [
            tag.trim_matches('"'),
            &tag[1..],
            &tag[..tag.len() - 1],
            &format!("w/{tag}"),
            &format!("{tag}{tag}"),
            &format!("{tag} x"),
            &format!("*, {tag}"),
            &format!("{tag}, *"),
            &format!("W/ {tag}"),
            "\"a b\"",
            "W/",
        ] {
            assert_eq!(condition(&[wrong]), None, "{wrong}");
        }
        assert_eq!(condition(&["*", "*"]), None);
        assert_eq!(condition(&[&tag, "x"]), None);
    }

    #[test]
    fn what_may_be_sent_as_cache_control() {
        for good in [
            "max-age=1",
            "public, max-age=1, stale-if-error=60",
            "no-cache=\"a\"",
        ] {
            assert!(cache_control(good).is_ok(), "{good}");
        }
        for wrong in ["", " ", " a", "a ", "a\r\nb: c", "a\tb", "é", "a\0"] {
            assert!(cache_control(wrong).is_err(), "{wrong:?}");
        }
    }
}
