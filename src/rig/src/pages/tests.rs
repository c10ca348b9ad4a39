//! Tests of the answers of this module.

use std::collections::BTreeMap;

use http_body_util::BodyExt;

use super::*;

/// Status, `Content-Type` and body of an answer without a board.
fn get(path: &str, query: Option<&str>) -> Option<(u16, String, String)> {
    let response = respond(path, query, None, &History::default())?;
    let status = response.status().as_u16();
    let content_type = response.headers()[CONTENT_TYPE]
        .to_str()
        .expect("it is text");
    let content_type = content_type.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let body = runtime
        .expect("it starts")
        .block_on(response.into_body().collect());
    let body = body.expect("it is whole").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("it is text");
    Some((status, content_type, body))
}

#[track_caller]
fn check(path: &str, content_type: &str, begins: &str) {
    let (status, kind, body) = get(path, None).expect("it is a page");
    assert_eq!((status, kind.as_str()), (200, content_type), "{path}");
    assert!(body.starts_with(begins), "{path}: {body:.40}");
}

#[test]
fn pages_have_their_types() {
    check("/dashboard", "text/html; charset=utf-8", "<!doctype html>");
    check("/currency", "text/html; charset=utf-8", "<!doctype html>");
    check("/assets/style.css", "text/css; charset=utf-8", "/*");
    check("/assets/shared.js", "text/javascript; charset=utf-8", "//");
    check("/assets/icon.svg", "image/svg+xml; charset=utf-8", "<svg ");
    for chart in ["rate", "latency", "codes", "errors", "currency"] {
        let path = format!("/charts/{chart}.svg");
        check(&path, "image/svg+xml; charset=utf-8", "<svg ");
    }
}

#[test]
fn everything_that_a_page_names_is_there() {
    let pages = ["/dashboard", "/currency"];
    let scripts = [
        "shared",
        "dashboard",
        "notices",
        "tables",
        "currency",
        "stream",
    ]
    .map(|name| format!("/assets/{name}.js"));
    let mut found = BTreeMap::new();
    for path in pages
        .iter()
        .copied()
        .chain(scripts.iter().map(String::as_str))
    {
        let (_, _, body) = get(path, None).expect("it is a file");
        for name in body.split(['"', '\'']) {
            let name = name
                .strip_prefix("./")
                .map(|file| format!("/assets/{file}"))
                .unwrap_or_else(|| name.to_owned());
            if name.starts_with("/assets/") {
                found.insert(name.clone(), get(&name, None).is_some());
            }
        }
    }
    assert!(found.len() >= 6, "{found:?}");
    assert!(found.values().all(|there| *there), "{found:?}");
}

#[test]
fn others_are_left_to_others() {
    for path in [
        "",
        "/",
        "/summary",
        "/history",
        "/events",
        "/dashboard/",
        "/Dashboard",
        "/assets/",
        "/assets/../mod.rs",
        "/charts/",
        "/charts/rate",
        "/charts/rate.png",
        "/charts//rate.svg",
        "rate.svg",
        "/rate.svg",
    ] {
        assert_eq!(get(path, None), None, "{path}");
    }
}

#[test]
fn every_answer_has_the_policy() {
    for (path, query) in [
        ("/dashboard", None),
        ("/currency", None),
        ("/assets/shared.js", None),
        ("/charts/rate.svg", Some("theme=dark&size=narrow")),
        ("/charts/rate.svg", Some("theme=pink")),
    ] {
        let response = respond(path, query, None, &History::default()).expect("it is ours");
        let header = |name| response.headers().get(name).map(HeaderValue::as_bytes);
        let policy = header("content-security-policy").unwrap_or_default();
        let policy = String::from_utf8_lossy(policy);
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(
                policy.split("; ").any(|other| other == rule),
                "{path}: {rule}"
            );
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), Some(&b"nosniff"[..]));
        assert_eq!(header("referrer-policy"), Some(&b"no-referrer"[..]));
        assert_eq!(header("cache-control"), Some(&b"no-store"[..]));
    }
}

#[test]
fn pages_have_no_script_and_no_style_of_their_own() {
    for path in ["/dashboard", "/currency"] {
        let (_, _, body) = get(path, None).expect("it is a page");
        for part in body.split("<script").skip(1) {
            assert!(part.contains("src=\"/assets/"), "{path}: {part:.60}");
            assert!(part.contains("></script>"), "{path}: {part:.60}");
        }
        for word in [
            "<style",
            " style=",
            " onclick",
            " onload",
            " onerror",
            "javascript:",
            "://",
        ] {
            assert!(!body.contains(word), "{path} has {word}");
        }
    }
}

#[test]
fn bad_query_of_a_chart_is_said_and_not_repeated() {
    let (status, content_type, body) =
        get("/charts/rate.svg", Some("theme=<script>")).expect("it is ours");
    assert_eq!(
        (status, content_type.as_str()),
        (400, "text/plain; charset=utf-8")
    );
    assert!(body.contains("theme=light|dark"), "{body}");
    assert!(!body.contains("<script>"), "{body}");
}

#[test]
fn query_of_a_page_means_nothing() {
    assert_eq!(
        get("/dashboard", Some("from=mail")),
        get("/dashboard", None)
    );
}
