//! What outcomes become.

use super::*;

#[test]
fn every_error_word_has_its_status() {
    let check = |text: &str, expected: u16| {
        let kind = ErrorKind::of(text.as_bytes());
        let read = ResponseDraft::read_error(
            &ReadError::Refused {
                kind,
                text: text.into(),
            },
            None,
        );
        assert_eq!(read.status.as_u16(), expected, "{text}");
        let refused = WriteError::Refused {
            kind,
            text: text.into(),
        };
        let (write, outcome) = ResponseDraft::write_error(&refused);
        assert_eq!(
            (write.status.as_u16(), outcome),
            (expected, WriteOutcome::Refused)
        );
        let body = String::from_utf8_lossy(&write.body).into_owned();
        assert!(
            body.contains(text) && body.ends_with(",\"outcome\":\"refused\"}"),
            "{body}"
        );
    };
    check("LOADING Redis is loading the dataset in memory", 503);
    check("MASTERDOWN Link with MASTER is down", 503);
    check("BUSY Redis is busy running a script.", 503);
    check(
        "OOM command not allowed when used memory > 'maxmemory'.",
        503,
    );
    check("READONLY You can't write against a read only replica.", 503);
    check("NOAUTH Authentication required.", 502);
    check("WRONGPASS invalid username-password pair", 502);
    check(
        "NOPERM this user has no permissions to run the 'hset' command",
        502,
    );
    check("MOVED 3999 127.0.0.1:6381", 502);
    check(
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        502,
    );
    check("ERR something else", 502);
}

#[test]
fn the_head_of_a_plain_answer_is_the_same_by_both_ways() {
    let value = |text| Some(HeaderValue::from_static(text));
    let mut heads = vec![ResponseDraft::ok(Bytes::from_static(b"{}"))];
    for set in 1..16 {
        let more = More {
            age: value("12").filter(|_| set & 1 != 0),
            tag: value("\"a\"").filter(|_| set & 2 != 0),
            cache_control: value("max-age=1").filter(|_| set & 4 != 0),
            varies: set & 8 != 0,
        };
        heads.push(heads[0].clone().with_caching(Rc::new(more)));
    }
    for draft in heads {
        let (mut any, mut direct) = (Vec::new(), Vec::new());
        draft.write_any_head(&mut any, &Cors::Any, None);
        draft.write_head(&mut direct, &Cors::Any, None);
        assert!(direct.starts_with(PLAIN_HEAD));
        assert_eq!(
            String::from_utf8_lossy(&direct),
            String::from_utf8_lossy(&any)
        );
    }
}

#[test]
fn a_503_says_when_to_come_again_and_every_answer_is_open_to_browsers() {
    let mut headers = HeaderMap::new();
    let any = Cors::Any;
    let draft = ResponseDraft::read_error(&ReadError::Shed, None);
    let response = draft.into_response(&mut headers, &any, None);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let draft = ResponseDraft::preflight(Methods::All, "Content-Type");
    let response = draft.into_response(&mut headers, &any, None);
    assert!(!response.headers().contains_key(CONTENT_TYPE));
    let methods = "GET, HEAD, POST, OPTIONS";
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_METHODS], methods);
}
