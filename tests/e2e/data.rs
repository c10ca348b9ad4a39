//! A hash of another name, and values that are not numbers.

use crate::support::api::Builder;
use crate::support::{Api, PATIENCE, Redis, Response, eventually, on_one_master};

const MODES: [&str; 3] = ["batch", "direct", "tracked"];

/// An API over the hash `app:rates` of this server, with values of this kind.
fn api(redis: &Redis, kind: &str, mode: &str) -> Api {
    on_one_master(redis, |builder: Builder| {
        builder
            .args(["--hash", "app:rates", "--values", kind])
            .args(["--read-mode", mode, "--max-body", "1MiB"])
    })
}

#[track_caller]
fn check(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
    assert_eq!(response.header("Content-Type"), Some("application/json"));
}

#[track_caller]
fn check_error(response: &Response, status: u16, part: &str) {
    let text = response.text();
    assert!(
        response.status == status && text.contains(part),
        "{part}: {response:?}"
    );
    let error: serde_json::Value = serde_json::from_str(&text).expect("an error is JSON");
    assert!(error["error"].is_string(), "{text}");
}

/// Stores a text in the fields `current-value` and `a`, and waits until it is what reads see.
#[track_caller]
fn store(redis: &Redis, api: &Api, text: &str, status: u16) {
    redis.cli(&["HSET", "app:rates", "current-value", text, "a", text]);
    let marker = format!("{}", redis.calls("hset"));
    redis.cli(&["HSET", "app:rates", "marker", &marker]);
    // In tracked mode a read may be older, by the time that the server's message takes.
    eventually(PATIENCE, "the answer to what is stored", || {
        let response = api.get("/");
        (response.status == status).then_some(()).ok_or(response)
    });
}

#[test]
fn another_hash_is_read_written_probed_and_tracked() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1", "EUR", "1"]);
    for mode in MODES {
        redis.cli(&["DEL", "app:rates"]);
        let api = on_one_master(&redis, |builder| {
            builder
                .args(["--read-mode", mode, "--max-fields", "2"])
                .env("REDIS_API_HASH", "app:rates")
        });
        check(&api.get("/"), 200, r#"{"error":"Not initialised"}"#);
        check(&api.get("/EUR"), 404, r#"{"error":"Not found"}"#);
        check(&api.post("/", r#"{"value":2}"#), 200, r#"{"current":2}"#);
        check(&api.post("/EUR", r#"{"value":3}"#), 200, r#"{"current":3}"#);
        check_error(&api.post("/USD", r#"{"value":3}"#), 409, "--max-fields");
        assert_eq!(redis.cli(&["HGET", "app:rates", "EUR"]), "3");
        for value in ["5", "6", "7"] {
            redis.cli(&["HSET", "app:rates", "EUR", value]);
            eventually(PATIENCE, "a change by another way", || {
                let response = api.get("/?fields=EUR,current-value");
                let expected = format!("{{\"EUR\":{value},\"current-value\":2}}");
                (response.text() == expected).then_some(()).ok_or(response)
            });
        }
        assert_eq!(redis.cli(&["HGET", "currency", "EUR"]), "1");
    }
}

#[test]
fn rights_for_the_one_hash_are_enough() {
    let redis = Redis::start_plain();
    let rule = "ACL SETUSER api on >secret ~app:rates +hello +auth +ping +client|setname +info \
        +hget +hmget +hset";
    redis.cli(&rule.split_whitespace().collect::<Vec<_>>());
    let login = ["--redis-user", "api", "--redis-pass", "secret"];
    let api = on_one_master(&redis, |builder| {
        builder.args(login).args(["--hash", "app:rates"])
    });
    check(&api.post("/a", r#"{"value":3}"#), 200, r#"{"current":3}"#);
    check(&api.get("/a"), 200, r#"{"current":3}"#);
    drop(api);
    // By the usual name the server refuses the probe, so the API is never ready, and says so.
    let mut api = Api::serve()
        .read_from(&redis)
        .write_to(&redis)
        .args(login)
        .start();
    api.wait_live(PATIENCE);
    eventually(PATIENCE, "the refusal", || {
        let response = api.get("/");
        let named = response.text().contains("lacks a permission");
        (response.status == 502 && named)
            .then_some(())
            .ok_or(response)
    });
}

#[test]
fn any_json_is_relayed_and_stored_compact() {
    let redis = Redis::start_plain();
    for mode in MODES {
        let api = api(&redis, "json", mode);
        for text in [
            "12.50",
            "1e400",
            "null",
            "\"a\\u00e9 \u{e9}\"",
            " {\"b\": [1, {}], \"a\":\"}\"}\n",
        ] {
            store(&redis, &api, text, 200);
            for path in ["/", "/a"] {
                eventually(PATIENCE, "the text", || {
                    let response = api.get(path);
                    let expected = format!("{{\"current\":{text}}}");
                    (response.text() == expected).then_some(()).ok_or(response)
                });
            }
            let expected = format!("{{\"a\":{text},\"none\":null,\"current-value\":{text}}}");
            check(&api.get("/?fields=a,none,current-value"), 200, &expected);
        }
        for (text, why) in [
            ("nan", "is not valid JSON (line 1, column 2)"),
            ("", "is not valid JSON"),
            ("{\"a\":1}}", "is not valid JSON"),
            ("{\"a\":1,\"a\":2}", "two members of the same name"),
            (&"[".repeat(65), "is not valid JSON"),
            (
                &format!("{}{}", "[".repeat(65), "]".repeat(65)),
                "more than 64 levels",
            ),
            (
                &format!("\"{}\"", "x".repeat(65_535)),
                "longer than 65536 bytes",
            ),
        ] {
            store(&redis, &api, "1", 200);
            store(&redis, &api, text, 502);
            for path in ["/", "/a"] {
                check_error(&api.get(path), 502, why);
            }
            let several = api.get("/?fields=marker,a");
            check_error(&several, 502, why);
            check_error(&several, 502, "the value stored in a ");
        }
        let posted = "{\"value\": { \"b\" : [ 1.50 , \"x y\" ] ,\n\"a\":9007199254740993 } }";
        let compact = "{\"b\":[1.50,\"x y\"],\"a\":9007199254740993}";
        check(
            &api.post("/new", posted),
            200,
            &format!("{{\"current\":{compact}}}"),
        );
        assert_eq!(redis.cli(&["HGET", "app:rates", "new"]), compact);
        for (body, why) in [
            (
                "{\"value\":{\"a\":1,\"a\":2}}",
                "two members of the same name",
            ),
            (
                "{\"value\":nan}",
                "not a JSON object like {\\\"value\\\":[12.5]}",
            ),
            ("{\"valu\":1}", "no member"),
        ] {
            check_error(&api.post("/new", body), 400, why);
        }
        let long = format!("{{\"value\":\"{}\"}}", "x".repeat(65_535));
        check_error(&api.post("/new", &long), 413, "longer than 65536 bytes");
        assert_eq!(redis.cli(&["HGET", "app:rates", "new"]), compact);
    }
}

#[test]
fn any_text_is_relayed_as_a_json_string() {
    let redis = Redis::start_plain();
    for mode in MODES {
        let api = api(&redis, "text", mode);
        for text in [
            "12.50",
            "",
            "a \"b\" \\n",
            "\n\t\u{1f} é\u{1f600}",
            "{\"a\":1",
        ] {
            store(&redis, &api, text, 200);
            let json = serde_json::to_string(text).expect("a text is JSON");
            for path in ["/", "/a"] {
                eventually(PATIENCE, "the text", || {
                    let response = api.get(path);
                    let expected = format!("{{\"current\":{json}}}");
                    (response.text() == expected).then_some(()).ok_or(response)
                });
            }
            let expected = format!("{{\"a\":{json},\"none\":null}}");
            check(&api.get("/?fields=a,none"), 200, &expected);
            let body = format!("{{\"value\":{json}}}");
            check(
                &api.post("/new", &body),
                200,
                &format!("{{\"current\":{json}}}"),
            );
            // redis-cli ends its answer with a newline of its own.
            let stored = redis.cli(&["HSTRLEN", "app:rates", "new"]);
            assert_eq!(stored, text.len().to_string());
        }
        store(&redis, &api, &"x".repeat(65_537), 502);
        check_error(&api.get("/a"), 502, "longer than 65536 bytes");
        // As redis-cli can't be given these bytes.
        let script = "redis.call('HSET', KEYS[1], 'current-value', '\\255', 'a', '\\255')";
        redis.cli(&["EVAL", script, "1", "app:rates"]);
        eventually(PATIENCE, "502 for what is not text", || {
            let response = api.get("/a");
            let named = response.text().contains("is not valid UTF-8");
            (response.status == 502 && named)
                .then_some(())
                .ok_or(response)
        });
        for body in [
            "{\"value\":1}",
            "{\"value\":null}",
            "{\"value\":\"\\ud800\"}",
        ] {
            check_error(&api.post("/new", body), 400, "not a string of Unicode text");
        }
    }
}
