//! The HTTP API as a client sees it: routes, bodies, headers, and what each costs in Redis.

mod cost;
mod repeats;

use serde::de::IgnoredAny;

use crate::support::{
    Api, Certs, Connection, PATIENCE, Redis, Response, eventually, on_one_master, request,
};

const MODES: [&str; 2] = ["batch", "direct"];

/// What holds for every response of the API.
#[track_caller]
fn check_common(response: &Response) {
    let all = format!("{response:?}");
    let cors = response.header("Access-Control-Allow-Origin");
    assert_eq!(cors, Some("*"), "{all}");
    if response.status == 204 {
        return;
    }
    assert_eq!(
        response.header("Content-Type"),
        Some("application/json"),
        "{all}"
    );
    let body = response.text();
    // Not as a `Value`: 1e400 is JSON, and no double.
    let json = serde_json::from_str::<IgnoredAny>(&body);
    assert!(json.is_ok(), "{all}");
    if response.status != 200 {
        let json: serde_json::Value = serde_json::from_str(&body).expect("an error is an object");
        let error = json["error"].as_str();
        assert!(error.is_some_and(|text| !text.is_empty()), "{all}");
    }
    let mut in_string = false;
    let mut escaped = false;
    for byte in body.bytes() {
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
        assert!(in_string || !byte.is_ascii_whitespace(), "{all}");
    }
}

#[track_caller]
fn check(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
    check_common(response);
}

#[track_caller]
fn check_error(response: &Response, status: u16, part: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert!(response.text().contains(part), "{part}: {response:?}");
    check_common(response);
}

#[test]
fn writes_go_to_the_tls_master_and_reads_to_the_replica() {
    let certs = Certs::new();
    let master = Redis::builder().tls(&certs).password("a secret").start();
    let replica = Redis::builder().replica_of(&master).start();
    replica.wait_synced();
    let mut api = Api::serve()
        .read_from(&replica)
        .write_to(&master)
        .args(["--read-role", "replica"])
        .start();
    api.wait_ready(PATIENCE);

    check(&api.get("/"), 200, r#"{"error":"Not initialised"}"#);
    check(&api.get("/current-value"), 404, r#"{"error":"Not found"}"#);
    check(&api.get("/EUR"), 404, r#"{"error":"Not found"}"#);
    eventually(PATIENCE, "the first write", || {
        let response = api.post("/", r#"{"value":12.5}"#);
        (response.status == 200)
            .then(|| check(&response, 200, r#"{"current":12.5}"#))
            .ok_or(response)
    });
    check(&api.post("/EUR", r#"{"value":0}"#), 200, r#"{"current":0}"#);
    for (path, body) in [
        ("/", r#"{"current":12.5}"#),
        ("/current-value", r#"{"current":12.5}"#),
        ("/EUR", r#"{"current":0}"#),
    ] {
        eventually(PATIENCE, "replication", || {
            let response = api.get(path);
            (response.text() == body).then_some(()).ok_or(response)
        });
        check(&api.get(path), 200, body);
    }

    assert_eq!(master.calls("hset"), 2);
    assert_eq!(master.calls("hget"), 0);
    assert!(replica.calls("hget") >= 9, "{}", replica.calls("hget"));
    let (at_master, at_replica) = (
        master.cli(&["CLIENT", "LIST"]),
        replica.cli(&["CLIENT", "LIST"]),
    );
    assert!(at_master.contains("name=redis-api-write-"), "{at_master}");
    assert!(!at_master.contains("name=redis-api-read-"), "{at_master}");
    assert!(at_replica.contains("name=redis-api-read-"), "{at_replica}");
    assert!(
        !at_replica.contains("name=redis-api-write-"),
        "{at_replica}"
    );
    let probe = |path| request(api.admin(), "GET", path, &[], b"");
    assert_eq!(probe("/readyz").text(), r#"{"ready":true}"#);
    assert_eq!(probe("/livez").text(), r#"{"live":true}"#);
}

#[test]
fn paths_methods_and_headers() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    redis.cli(&[
        "HSET",
        "currency",
        "current-value",
        "12.5",
        "EUR",
        "1.1",
        "a.b_c~d-9",
        "7",
    ]);
    let call = |method: &str, path: &str| request(api.addr(), method, path, &[], b"");

    let (long, too_long) = ("x".repeat(128), "x".repeat(129));
    redis.cli(&["HSET", "currency", &long, "128"]);
    for path in [
        "//",
        "/.",
        "/..",
        "/a/b",
        "/EUR/",
        "/%45UR",
        "/a%20b",
        "/%",
        "/a+b",
        "/a,b",
        "/a:b",
        "/@",
        "/!",
        &format!("/{too_long}"),
    ] {
        for method in ["GET", "POST", "PUT", "OPTIONS", "DELETE"] {
            check(&call(method, path), 404, r#"{"error":"Not found"}"#);
        }
        assert_eq!(call("HEAD", path).status, 404, "{path}");
    }
    for (path, body) in [
        ("/EUR", r#"{"current":1.1}"#),
        ("/a.b_c~d-9", r#"{"current":7}"#),
        ("http://elsewhere/EUR", r#"{"current":1.1}"#),
        (&format!("/{long}"), r#"{"current":128}"#),
    ] {
        check(&call("GET", path), 200, body);
    }
    check(&call("GET", "/..."), 404, r#"{"error":"Not found"}"#);

    for path in ["/", "/EUR", "/missing"] {
        for method in ["PUT", "DELETE", "PATCH", "TRACE", "QUERY"] {
            let response = call(method, path);
            check_error(&response, 405, "GET, HEAD, POST and OPTIONS");
            let allow = response.header("Allow");
            assert_eq!(allow, Some("GET, HEAD, POST, OPTIONS"));
        }
        let response = call("OPTIONS", path);
        check(&response, 204, "");
        let header = |name| response.header(name);
        assert_eq!(
            header("Access-Control-Allow-Methods"),
            Some("GET, HEAD, POST, OPTIONS")
        );
        assert_eq!(
            header("Access-Control-Allow-Headers"),
            Some("Content-Type, Authorization, Last-Event-ID")
        );
        let age = header("Access-Control-Max-Age").and_then(|age| age.parse::<u32>().ok());
        assert!(age.is_some_and(|age| age > 0), "{response:?}");
    }
    for path in ["/?", "/?x=1", "/?field=EUR", "/?Fields=EUR", "/?fields"] {
        check(&call("GET", path), 200, r#"{"current":12.5}"#);
    }
    check(&call("GET", "/EUR?fields=USD"), 200, r#"{"current":1.1}"#);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    redis.cli(&["HSET", "currency", "current-value", "12.5", "bad", "nan"]);
    let mut connection = Connection::open(api.addr()).expect("it listens");
    for path in ["/", "/missing", "/bad", "/%", "/?fields=bad,x"] {
        // On one connection: a body after HEAD would be taken for the next response.
        let head = connection.request("HEAD", path, &[], b"");
        let get = connection.request("GET", path, &[], b"");
        let headers = |response: &Response| {
            let mut headers = response.headers.clone();
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("date"));
            headers
        };
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(headers(&head), headers(&get), "{path}");
        let length = get.body.len().to_string();
        assert_eq!(head.header("Content-Length"), Some(length.as_str()));
    }
}

#[test]
fn several_fields_in_one_request() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    let mut command = vec!["HSET".to_owned(), "currency".to_owned()];
    for index in 0..130 {
        command.extend([format!("f{index}"), index.to_string()]);
    }
    command.extend(["bad", "nan", "EUR", "1.10"].map(String::from));
    redis.cli(&command.iter().map(String::as_str).collect::<Vec<_>>());

    let before = redis.calls("hmget");
    for (query, body) in [
        ("fields=EUR", r#"{"EUR":1.10}"#),
        ("fields=f2,EUR,f1", r#"{"f2":2,"EUR":1.10,"f1":1}"#),
        ("fields=none,f0", r#"{"none":null,"f0":0}"#),
        ("fields=f1,f2,f1,f1", r#"{"f1":1,"f2":2}"#),
        ("x=y&fields=f1&z", r#"{"f1":1}"#),
        (
            "fields=f1%2CEUR%2cf2,f0",
            r#"{"f1":1,"EUR":1.10,"f2":2,"f0":0}"#,
        ),
        ("fields=f1&fields=f2%2Cf1", r#"{"f1":1,"f2":2}"#),
    ] {
        check(&api.get(&format!("/?{query}")), 200, body);
    }
    assert_eq!(redis.calls("hmget") - before, 7);

    let names = |count: usize| (0..count).map(|i| format!("f{i}")).collect::<Vec<_>>();
    let response = api.get(&format!("/?fields={}", names(128).join(",")));
    let members: Vec<_> = (0..128).map(|i| format!("\"f{i}\":{i}")).collect();
    check(&response, 200, &format!("{{{}}}", members.join(",")));
    let response = api.get(&format!("/?fields={}", names(129).join(",")));
    check_error(&response, 400, "128");
    for query in [
        "",
        ",",
        "f1,",
        ",f1",
        "f1,,f2",
        "f1%2C",
        "f1%252Cf2",
        "%661",
        ".",
        "f1,..",
        "a/b",
        "a+b",
    ] {
        check_error(&api.get(&format!("/?fields={query}")), 400, "fields");
    }
    let response = api.get(&format!("/?fields={}", "x".repeat(129)));
    check_error(&response, 400, "fields");
    check_error(
        &api.get("/?fields=f1,bad,f2"),
        502,
        "stored in bad is not a JSON number",
    );

    check(&api.get("/f3?fields=,"), 200, r#"{"current":3}"#);
    let response = api.post("/?fields=,", r#"{"value":4}"#);
    check(&response, 200, r#"{"current":4}"#);
    check(&api.get("/"), 200, r#"{"current":4}"#);
}

#[test]
fn stored_numbers_go_out_byte_for_byte_and_nothing_else_does() {
    let redis = Redis::start_plain();
    for mode in MODES {
        let api = on_one_master(&redis, |builder| builder.args(["--read-mode", mode]));
        let store = |text: &str| {
            redis.cli(&["DEL", "currency"]);
            redis.cli(&["HSET", "currency", "current-value", text, "EUR", text]);
        };
        for text in [
            "0",
            "-0",
            "12.5",
            "12.50",
            "1e400",
            "-1E+5",
            "9007199254740993",
            "0.1",
            "1e-400",
        ] {
            store(text);
            for path in ["/", "/EUR"] {
                check(&api.get(path), 200, &format!("{{\"current\":{text}}}"));
            }
            let expected = format!("{{\"EUR\":{text},\"x\":null}}");
            check(&api.get("/?fields=EUR,x"), 200, &expected);
        }
        for text in [
            "nan", "inf", "-inf", "Infinity", "+1", "0x10", " 1", "1 ", "1\n", "", "text", "null",
            "\"1\"", "01", "1.", ".5", "1e", "1}", "{}",
        ] {
            store(text);
            for path in ["/", "/EUR", "/?fields=EUR"] {
                check_error(&api.get(path), 502, "not a JSON number");
            }
        }
        redis.cli(&["DEL", "currency"]);
        redis.cli(&["SET", "currency", "1"]);
        for path in ["/", "/EUR", "/?fields=EUR"] {
            check_error(&api.get(path), 502, "WRONGTYPE");
        }
        redis.cli(&["DEL", "currency"]);
        check(&api.get("/"), 200, r#"{"error":"Not initialised"}"#);
    }
}

#[test]
fn a_request_has_one_host() {
    let redis = Redis::start_plain();
    let api = on_one_master(&redis, |builder| builder);
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let exchange = |head: &str| {
        let mut connection = Connection::open(api.addr()).expect("it listens");
        connection
            .send_raw(head.as_bytes())
            .expect("it can be sent");
        let response = connection
            .read_response("GET")
            .expect("there is a response");
        (response, connection)
    };
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n",
        "GET /missing HTTP/1.1\r\n\r\n",
        "PUT /EUR HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    ] {
        let (response, mut connection) = exchange(head);
        check_error(&response, 400, "Host");
        let rest = connection
            .read_to_end()
            .expect("the connection is closed cleanly");
        assert_eq!(rest, b"", "{head}");
    }
    for head in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    ] {
        let (response, mut connection) = exchange(head);
        check(&response, 200, r#"{"current":12.5}"#);
        let rest = connection
            .read_to_end()
            .expect("the connection is closed cleanly");
        assert_eq!(rest, b"", "{head}");
    }
    let (response, _) = exchange("GET / HTTP/1.1\r\nHost:\r\n\r\n");
    check(&response, 200, r#"{"current":12.5}"#);
}

#[test]
fn servers_without_hello_are_spoken_to_in_resp2() {
    let without_hello = || Redis::builder().config("rename-command HELLO \"\"");
    for redis in [without_hello(), without_hello().password("a secret")] {
        let redis = redis.start();
        let api = on_one_master(&redis, |builder| builder);
        api.wait_log("RESP2", PATIENCE);
        check(&api.get("/"), 200, r#"{"error":"Not initialised"}"#);
        let response = api.post("/", r#"{"value":12.5}"#);
        check(&response, 200, r#"{"current":12.5}"#);
        check(&api.get("/"), 200, r#"{"current":12.5}"#);
        check(&api.get("/EUR"), 404, r#"{"error":"Not found"}"#);
        check(
            &api.get("/?fields=EUR,current-value"),
            200,
            r#"{"EUR":null,"current-value":12.5}"#,
        );
        let clients = redis.cli(&["CLIENT", "LIST"]);
        assert!(clients.contains("name=redis-api-read-"), "{clients}");
    }
}

#[test]
fn unix_socket_and_database() {
    let redis = Redis::builder().unix_socket().start();
    let mut api = Api::serve()
        .arg("--read-redis-addr")
        .arg(format!("unix://{}", redis.socket().display()))
        .write_to(&redis)
        .start();
    api.wait_ready(PATIENCE);
    let response = api.post("/", r#"{"value":1}"#);
    check(&response, 200, r#"{"current":1}"#);
    check(&api.get("/"), 200, r#"{"current":1}"#);
    let clients = redis.cli(&["CLIENT", "LIST"]);
    let reader = clients
        .lines()
        .find(|line| line.contains("name=redis-api-read-"));
    assert!(
        reader.is_some_and(|line| line.contains("redis.sock")),
        "{clients}"
    );

    let mut api = Api::serve()
        .arg("--redis-addr")
        .arg(format!("redis://{}/3", redis.addr()))
        .start();
    api.wait_ready(PATIENCE);
    check(&api.get("/"), 200, r#"{"error":"Not initialised"}"#);
    let response = api.post("/", r#"{"value":3}"#);
    check(&response, 200, r#"{"current":3}"#);
    check(&api.get("/"), 200, r#"{"current":3}"#);
    let stored = |database: &str| redis.cli(&["-n", database, "HGET", "currency", "current-value"]);
    assert_eq!((stored("0").as_str(), stored("3").as_str()), ("1", "3"));
}
