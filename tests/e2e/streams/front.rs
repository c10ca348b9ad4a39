//! Streams as they are seen from the other side of a proxy, and in a browser.

use super::{current, set, start};
use crate::support::browser::Browser;
use crate::support::events::Events;
use crate::support::peer::peer;
use crate::support::process::find_program;

/// With its buffering as it is by default.
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
    }
  }
}
";

#[test]
fn nginx_passes_each_event_on_and_keeps_none() {
    let flags = ["--read-mode", "tracked", "--cache-control", "max-age=60"];
    let (redis, api) = start(&flags);
    let configuration = NGINX.replace("UPSTREAM", &api.addr().to_string());
    let Some((_nginx, proxy)) = peer("nginx", &["-c"], &configuration) else {
        return;
    };
    let kept = crate::support::request(proxy, "GET", "/", &[], b"");
    assert_eq!(kept.text(), current(0));
    let mut first = Events::open(proxy, "/");
    assert_eq!(first.next_data(), current(0), "not what was kept of a read");
    for value in 1..=20 {
        set(&redis, "current-value", &value.to_string());
        assert_eq!(first.next_data(), current(value));
    }
    let mut second = Events::open(proxy, "/");
    assert_eq!(second.next_data(), current(20), "it has its own");
    // A read is what was kept of it.
    let kept = crate::support::request(proxy, "GET", "/", &[], b"");
    assert_eq!(kept.text(), current(0));
    drop((first, second));
    super::wait_streams(&api, 0);
}

/// As docs/streams.md shows it.
const PAGE: &str = "window.seen = []; window.opened = 0;
  window.source = new EventSource('ADDRESS');
  source.onopen = () => { opened += 1; };
  source.onmessage = (event) => { seen.push(JSON.parse(event.data).current); };
  source.addEventListener('stale', (event) => { seen.push('stale'); });
  source.addEventListener('fresh', () => { seen.push('fresh'); });
  true";

#[test]
fn a_browser_listens_and_comes_again() {
    if find_program(&["chromium", "chromium-browser", "google-chrome"]).is_err() {
        println!("SKIPPED: Chromium is not installed");
        return;
    }
    let flags = ["--read-mode", "tracked", "--max-connection-age", "3s"];
    let (redis, api) = start(&flags);
    // Of another origin than the page.
    let mut browser = Browser::open(&format!("http://{}/livez", api.admin()));
    browser.evaluate(&PAGE.replace("ADDRESS", &format!("http://{}/", api.addr())));
    browser.wait_for("seen.join() === '0'");
    for value in 1..=5 {
        set(&redis, "current-value", &value.to_string());
        let seen: Vec<_> = (0..=value).map(|value| value.to_string()).collect();
        browser.wait_for(&format!("seen.join() === '{}'", seen.join(",")));
    }
    browser.wait_for("opened >= 2 && source.readyState === 1");
    // It says what it has: nothing is told twice.
    assert_eq!(browser.evaluate("seen.join()"), "0,1,2,3,4,5");
    set(&redis, "current-value", "6");
    browser.wait_for("seen.join() === '0,1,2,3,4,5,6'");
}
