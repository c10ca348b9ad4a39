//! Conditional reads, and what a real cache makes of them.

use crate::support::api::Builder;
use crate::support::peer::peer;
use crate::support::{
    Api, Connection, PATIENCE, Redis, Response, eventually, on_one_master, request,
};

const MODES: [&str; 3] = ["batch", "direct", "tracked"];

/// More than the server needs to know a head.
const TIMES: usize = 40;

const CACHE: &str = "max-age=1, stale-if-error=60";

/// An API that tells caches all it can.
fn telling(redis: &Redis, configure: impl FnOnce(Builder) -> Builder) -> Api {
    on_one_master(redis, |builder| {
        configure(builder.args(["--etag", "--cache-control", CACHE]))
    })
}

fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> Response {
    request(api.addr(), "GET", path, headers, b"")
}

#[track_caller]
fn tag(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    let tag = response
        .header("ETag")
        .expect("a read has a tag")
        .to_owned();
    assert!(
        tag.starts_with('"') && tag.ends_with('"') && tag.len() > 20,
        "{tag}"
    );
    tag
}

/// A `304` has the headers that the `200` would have, but for those that tell of a body.
#[track_caller]
fn check_unchanged(response: &Response, tag: &str) {
    let all = format!("{response:?}");
    assert_eq!(response.status, 304, "{all}");
    assert!(response.body.is_empty(), "{all}");
    assert_eq!(response.header("ETag"), Some(tag), "{all}");
    assert_eq!(response.header("Cache-Control"), Some(CACHE), "{all}");
    assert_eq!(response.header("Vary"), Some("Accept"), "{all}");
    assert!(response.header("Date").is_some(), "{all}");
    assert_eq!(
        response.header("Access-Control-Allow-Origin"),
        Some("*"),
        "{all}"
    );
    assert_eq!(
        response.header("Access-Control-Expose-Headers"),
        Some("ETag"),
        "{all}"
    );
    for name in ["Content-Length", "Content-Type", "Transfer-Encoding"] {
        assert_eq!(response.header(name), None, "{all}");
    }
}

#[test]
fn who_has_a_value_is_told_that_it_has_not_changed() {
    let redis = Redis::start_plain();
    for mode in MODES {
        redis.cli(&["DEL", "currency"]);
        redis.cli(&[
            "HSET",
            "currency",
            "current-value",
            "12.5",
            "EUR",
            "12.5",
            "USD",
            "2",
        ]);
        let api = telling(&redis, |builder| builder.args(["--read-mode", mode]));
        let other = telling(&redis, |builder| builder.args(["--workers", "1"]));
        for path in ["/", "/EUR", "/?fields=EUR,none"] {
            let first = get(&api, path, &[]);
            let tag = tag(&first);
            assert_eq!(
                get(&other, path, &[]).header("ETag"),
                Some(tag.as_str()),
                "in each pod"
            );
            let weak = format!("W/{tag}");
            let list = format!("\"x\", {weak} ,\"y\"");
            for method in ["GET", "HEAD"] {
                for condition in [&tag, &weak, &list, "*"] {
                    let headers = [("If-None-Match", condition)];
                    let response = request(api.addr(), method, path, &headers, b"");
                    check_unchanged(&response, &tag);
                }
                let headers = [("If-None-Match", "\"x\""), ("If-None-Match", tag.as_str())];
                check_unchanged(&request(api.addr(), method, path, &headers, b""), &tag);
            }
            for condition in ["\"x\"", "", "x", &tag[1..], &tag.replace('"', "")] {
                let response = get(&api, path, &[("If-None-Match", condition)]);
                assert_eq!(
                    (response.status, &response.body),
                    (200, &first.body),
                    "{condition}"
                );
            }
        }
        let both = [get(&api, "/", &[]), get(&api, "/EUR", &[])];
        assert_eq!(
            tag(&both[0]),
            tag(&both[1]),
            "a tag is that of the body alone"
        );
        assert_ne!(tag(&both[0]), tag(&get(&api, "/USD", &[])));
    }
}

#[test]
fn an_answer_without_a_body_keeps_its_place_however_often_it_is_asked_for() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1"]);
    let api = telling(&redis, |builder| builder.args(["--workers", "1"]));
    let tag_of_1 = tag(&get(&api, "/", &[]));
    let mut connection = Connection::open(api.addr()).expect("it listens");
    let conditional = format!("GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag_of_1}\r\n\r\n");
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = [conditional.as_str(), plain, conditional.as_str()].concat();
    for _ in 0..TIMES {
        connection.send_raw(all.as_bytes()).expect("it can be sent");
        for expected in [304, 200, 304] {
            let response = connection.read_response("GET").expect("an answer");
            assert_eq!(response.status, expected);
            assert_eq!(response.header("ETag"), Some(tag_of_1.as_str()));
            assert_eq!(response.header("Cache-Control"), Some(CACHE));
        }
    }
    redis.cli(&["HSET", "currency", "current-value", "2"]);
    connection.send_raw(all.as_bytes()).expect("it can be sent");
    for _ in 0..3 {
        let response = connection.read_response("GET").expect("an answer");
        assert_eq!(response.text(), "{\"current\":2}");
        assert_ne!(tag(&response), tag_of_1);
    }
    let told = api.metric("redis_api_http_requests_total{method=\"GET\",code=\"304\"}");
    assert_eq!(told, Some(2.0 * TIMES as f64));
}

#[test]
fn errors_and_writes_are_not_kept() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1", "bad", "nan"]);
    let api = telling(&redis, |builder| builder);
    let call = |method, path, body: &str| {
        request(
            api.addr(),
            method,
            path,
            &[("If-None-Match", "*")],
            body.as_bytes(),
        )
    };
    for (method, path, body, status) in [
        ("GET", "/none", "", 404),
        ("HEAD", "/none", "", 404),
        ("GET", "/bad", "", 502),
        ("GET", "/?fields=,", "", 400),
        ("GET", "/a/b", "", 404),
        ("POST", "/", "{}", 400),
        ("DELETE", "/", "", 405),
    ] {
        let response = call(method, path, body);
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(
            response.header("Cache-Control"),
            Some("no-store"),
            "{response:?}"
        );
        assert_eq!(response.header("ETag"), None, "{response:?}");
    }
    for (method, body, status) in [("POST", "{\"value\":1}", 200), ("OPTIONS", "", 204)] {
        let response = call(method, "/", body);
        assert_eq!(response.status, status, "{method}");
        assert_eq!(response.header("Cache-Control"), None, "{response:?}");
        assert_eq!(response.header("ETag"), None, "{response:?}");
    }
    let allowed = call("OPTIONS", "/", "");
    let allowed = allowed.header("Access-Control-Allow-Headers");
    let all = "Content-Type, Authorization, If-None-Match, Last-Event-ID";
    assert_eq!(allowed, Some(all));
    // Known heads too.
    for _ in 0..TIMES {
        let response = get(&api, "/bad", &[]);
        assert_eq!(
            response.header("Cache-Control"),
            Some("no-store"),
            "{response:?}"
        );
    }
}

#[test]
fn each_flag_is_for_itself_and_nothing_is_told_by_default() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1"]);
    let any = [("If-None-Match", "*")];
    let api = on_one_master(&redis, |builder| builder);
    for response in [get(&api, "/", &any), get(&api, "/none", &[])] {
        assert_ne!(response.status, 304);
        assert_eq!(response.header("ETag"), None);
        assert_eq!(response.header("Cache-Control"), None);
        assert_eq!(response.header("Vary"), None);
    }
    let api = on_one_master(&redis, |builder| {
        builder.args(["--cache-control", "no-cache"])
    });
    let response = get(&api, "/", &any);
    assert_eq!((response.status, response.header("ETag")), (200, None));
    assert_eq!(response.header("Cache-Control"), Some("no-cache"));
    assert_eq!(response.header("Vary"), Some("Accept"));
    let origins = ["--etag", "--cors-origin", "https://a.example"];
    let api = on_one_master(&redis, |builder| builder.args(origins));
    for headers in [&[][..], &any] {
        let origin = ("Origin", "https://a.example");
        let response = get(&api, "/", &[headers, &[origin]].concat());
        assert_eq!(response.header("Vary"), Some("Origin"), "{response:?}");
        let allowed = response.header("Access-Control-Allow-Origin");
        assert_eq!(allowed, Some("https://a.example"), "{response:?}");
        assert_eq!(response.header("Cache-Control"), None, "{response:?}");
        assert!(response.header("ETag").is_some(), "{response:?}");
    }
}

const NGINX: &str = "daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/error.log;
events {}
http {
  access_log off;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
  fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  proxy_cache_path FOLDER/cache keys_zone=api:1m;
  server {
    listen 127.0.0.1:PORT;
    location / {
      proxy_pass http://UPSTREAM;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_cache api;
      proxy_cache_revalidate on;
      proxy_cache_use_stale error timeout http_502 http_503 http_504;
      add_header X-Cache $upstream_cache_status always;
    }
  }
}
";

#[test]
fn nginx_keeps_revalidates_and_answers_while_the_master_is_away() {
    let mut redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "1"]);
    let api = telling(&redis, |builder| builder.args(["--read-mode", "tracked"]));
    let configuration = NGINX.replace("UPSTREAM", &api.addr().to_string());
    let Some((_nginx, proxy)) = peer("nginx", &["-c"], &configuration) else {
        return;
    };
    let get_with = |headers: &[(&str, &str)]| request(proxy, "GET", "/", headers, b"");
    let wait = |cache: &str, body: &str| {
        eventually(PATIENCE, &format!("{cache} with {body}"), || {
            let response = get_with(&[]);
            let seen = (response.status, response.text());
            let is_so = response.header("X-Cache") == Some(cache) && seen == (200, body.to_owned());
            is_so.then(|| response.clone()).ok_or(response)
        })
    };
    let first = get_with(&[]);
    assert_eq!(first.header("X-Cache"), Some("MISS"), "{first:?}");
    let tag_of_1 = tag(&first);
    wait("HIT", "{\"current\":1}");
    let again = wait("REVALIDATED", "{\"current\":1}");
    assert_eq!(tag(&again), tag_of_1);
    let told = api.metric("redis_api_http_requests_total{method=\"GET\",code=\"304\"}");
    assert!(told >= Some(1.0), "{told:?}");
    let unchanged = get_with(&[("If-None-Match", &tag_of_1)]);
    assert_eq!(
        (unchanged.status, unchanged.header("ETag")),
        (304, Some(tag_of_1.as_str()))
    );

    redis.cli(&["HSET", "currency", "current-value", "2"]);
    assert_ne!(tag(&wait("EXPIRED", "{\"current\":2}")), tag_of_1);

    redis.kill();
    eventually(PATIENCE, "503 that may not be kept", || {
        let response = get(&api, "/", &[]);
        let kept = response.header("Cache-Control");
        (response.status == 503 && kept == Some("no-store"))
            .then_some(())
            .ok_or(response)
    });
    wait("STALE", "{\"current\":2}");
    redis.restart();
    redis.cli(&["HSET", "currency", "current-value", "3"]);
    wait("EXPIRED", "{\"current\":3}");
    wait("HIT", "{\"current\":3}");
}
