//! The pages of the aggregator in a real browser: most shown by a stand-in, which can be in any state;
//! `live` by the real one.

mod live;
mod scenes;
mod stage;

use std::path::{Path, PathBuf};
use std::{env, fs};

use redis_api_rig::board::{Board, BotState, Summary};
use redis_api_rig::latency::Latencies;
use redis_api_rig::window::{Generator, Tally, Window};
use scenes::{HOSTILE, Load, board, bot, past, pod, troubled};
use stage::Stage;

use crate::support::browser::{Browser, Theme};

/// All charts of the page that is open have been drawn for the second that is shown.
const CHARTS_DRAWN: &str = "[...document.querySelectorAll('[data-chart]')]
    .every((chart) => chart.firstChild?.complete && chart.firstChild.naturalWidth > 0)";

/// Every element that sticks out of the page on the right.
const TOO_WIDE: &str = "document.documentElement.scrollWidth > innerWidth
    ? [...document.querySelectorAll('*')]
        .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5)
        .map((element) => element.outerHTML.slice(0, 80)).join('\\n')
    : ''";

/// Resolves half a second after a board has come over a connection of its own: nothing that the
/// page does not show by then comes later. Makes one request.
const BOARD_HAS_COME: &str = "new Promise((resolve) => {
    const source = new EventSource('/events');
    source.onmessage = () => { source.close(); setTimeout(resolve, 500); };
})";

/// What the notices of a page say, together.
const NOTICES: &str = "document.getElementById('notices').textContent";

/// What each test ends with: nothing was asked of anybody else, and nobody complained.
#[track_caller]
fn check_manners(browser: &Browser, stage: &Stage) {
    check_origin(browser, &stage.url("/"));
}

/// The same for pages below the URL `own`.
#[track_caller]
fn check_origin(browser: &Browser, own: &str) {
    let elsewhere: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|url| !url.starts_with(own) && !url.starts_with(&format!("blob:{own}")))
        .filter(|url| url != "about:blank")
        .collect();
    assert_eq!(elsewhere, [""; 0]);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn figures_and_charts_move() {
    let stage = Stage::open();
    stage.remember(past());
    stage.show(board(0, &Load::default()));
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("sent", "1,000");
    browser.wait_text("target", "1,000");
    browser.wait_text("good", "1,000");
    browser.wait_text("success", "100 %");
    browser.wait_text("bots-alive", "1");
    browser.wait_text("value", "105.3");
    browser.wait_for(CHARTS_DRAWN);
    let address = |chart: &str| format!("document.querySelector('[data-chart={chart}] img').src");
    let before = browser.evaluate(&address("rate"));

    let load = Load {
        target: 12_000.0,
        achieved: 11_990.0,
        slowness: 4.0,
        errors: vec![("503 Service Unavailable", 503, 60)],
    };
    stage.show(board(1, &load));
    browser.wait_text("sent", "11,990");
    browser.wait_text("target", "12,000");
    browser.wait_text("good", "11,984");
    browser.wait_text("success", "99.94 %");
    browser.wait_text("failed", "60 failed");
    browser.wait_for(&format!("{} !== {before}", address("rate")));
    let drawn = browser.evaluate(&format!(
        "fetch({}).then((response) => response.text())",
        address("rate")
    ));
    let drawn = drawn.as_str().expect("it is text").to_owned();
    assert!(drawn.contains("20k/s"), "{drawn}");
    check_manners(&browser, &stage);
}

/// The notices of a page that shows `board`.
#[track_caller]
fn check_notices(browser: &mut Browser, stage: &Stage, board: Board, expected: &str) {
    stage.show(board);
    browser.wait_for(&format!("{NOTICES} === {expected:?}"));
}

#[test]
fn what_is_wrong_is_said() {
    let stage = Stage::open();
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("status", "waiting for data");
    browser.wait_for(CHARTS_DRAWN);

    let idle = Load {
        achieved: 0.0,
        ..Load::default()
    };
    let with_bots = |second, states: &[BotState]| {
        let mut board = board(second, &idle);
        let bots = states.iter().enumerate();
        board.bots = bots.map(|(n, state)| bot(n, *state, 0.0, 0.0)).collect();
        board.summary.window.requests = 0;
        board
    };
    let mut notices = |board, expected| check_notices(&mut browser, &stage, board, expected);
    notices(
        with_bots(1, &[]),
        "No load bots found: no requests are being sent.",
    );
    notices(
        with_bots(2, &[BotState::Late, BotState::Late]),
        "All 2 bots are late: none answered the aggregator in time, so there are no figures.",
    );
    notices(
        with_bots(3, &[BotState::Late, BotState::Dead]),
        "No bot answers in time: 1 late, 1 dead. There are no figures.",
    );
    notices(
        with_bots(4, &[BotState::Alive, BotState::Dead]),
        "1 of 2 bots left out: 0 late, 1 dead.",
    );
    let failing = |error, code| Load {
        errors: vec![(error, code, 10_000)],
        ..Load::default()
    };
    notices(
        board(5, &failing("connection refused", 0)),
        "The API does not respond: no request got a response.",
    );
    notices(
        board(6, &failing("503 Service Unavailable", 503)),
        "The API returns only errors: no request succeeded.",
    );
    let mut unread = board(7, &Load::default());
    if let Some(current) = &mut unread.current {
        current.trouble = Some("connection refused".into());
    }
    notices(unread, "The value can't be read: connection refused");
    let mut lost = board(8, &Load::default());
    lost.troubles = vec!["bots.example: no such name".into()];
    notices(lost, "bots.example: no such name");
    notices(board(9, &Load::default()), "");
    check_manners(&browser, &stage);
}

/// Nobody knows what is sent: that is not 0.
#[test]
fn without_a_window_there_are_no_figures() {
    let stage = Stage::open();
    let mut silent = board(1, &Load::default());
    silent.bots = vec![bot(0, BotState::Dead, 0.0, 0.0)];
    silent.summary = Summary {
        window: Window::new(&Tally::default(), Generator::default()),
        bots: 0,
        generator_limits: Vec::new(),
        ..silent.summary
    };
    stage.show(silent);
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("bots-dead", "1");
    for id in ["sent", "target", "good", "success", "p50", "max"] {
        assert_eq!(browser.text(id), "–", "{id}");
    }
    for id in ["requests", "window", "errors-summary"] {
        assert_eq!(browser.text(id), "no data", "{id}");
    }
    check_manners(&browser, &stage);
}

#[test]
fn generator_that_was_the_limit_has_a_banner() {
    let stage = Stage::open();
    stage.show(board(1, &Load::default()));
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("sent", "1,000");
    let banner = "document.getElementById('banner').checkVisibility()";
    let mark = "document.getElementById('invalid').checkVisibility()";
    let struck = "getComputedStyle(document.getElementById('p99')).textDecorationLine";
    assert_eq!(browser.evaluate(banner), false);
    assert_eq!(browser.evaluate(mark), false);

    stage.show(troubled(2));
    browser.wait_for(banner);
    assert_eq!(browser.evaluate(mark), true);
    assert_eq!(browser.evaluate(struck), "line-through");
    assert_eq!(
        browser.text("banner-title"),
        "The load generator was the limit: these latencies are not valid."
    );
    assert_eq!(
        browser.text("banner-reasons"),
        "19,400 of 24,000 requests/s were sent (81 %)10.0.0.14:8080: all 4,096 workers were busy"
    );

    stage.show(board(3, &Load::default()));
    browser.wait_for(&format!("!{banner}"));
    assert_eq!(browser.evaluate(struck), "none");
    check_manners(&browser, &stage);
}

#[test]
fn old_figures_look_old_and_a_lost_connection_comes_back() {
    let stage = Stage::open();
    stage.show(board(1, &Load::default()));
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("sent", "1,000");
    let grey = "Number(getComputedStyle(document.getElementById('figures')).opacity) < 1";
    let state =
        |state: &str| format!("document.getElementById('status').dataset.state === '{state}'");
    assert_eq!(browser.evaluate(grey), false);

    // No more boards.
    browser.wait_for(&state("stale"));
    assert_eq!(browser.evaluate(grey), true);
    assert!(browser.text("status").starts_with("no data since "));
    browser.wait_for(&format!(
        "{NOTICES}.endsWith('The figures are out of date.')"
    ));
    stage.show(board(9, &Load::default()));
    browser.wait_for(&state("live"));
    assert_eq!(browser.evaluate(grey), false);
    check_manners(&browser, &stage);

    let reopen = stage.close();
    browser.wait_for(&state("lost"));
    assert_eq!(browser.evaluate(grey), true);
    browser.wait_for(&format!(
        "{NOTICES}.startsWith('Connection to the aggregator lost')"
    ));
    let stage = reopen();
    stage.show(board(10, &Load::default()));
    browser.wait_for(&state("live"));
    browser.wait_for(&format!("{NOTICES} === ''"));
}

#[test]
fn texts_from_the_network_stay_texts() {
    let stage = Stage::open();
    let mut hostile = troubled(1);
    hostile.bots[0].address = HOSTILE.into();
    hostile.bots[9].trouble = Some(HOSTILE.into());
    hostile.summary.generator_limits.push(HOSTILE.into());
    if let Some(current) = &mut hostile.current {
        current.trouble = Some(HOSTILE.into());
    }
    for pod in hostile.pods.iter_mut().flatten() {
        pod.trouble = Some(HOSTILE.into());
    }
    stage.show(hostile);
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("sent", "19,400");
    browser.click("#bots-details summary");
    for place in ["errors", "pods", "bots", "banner", "notices"] {
        browser.wait_for(&format!(
            "document.getElementById('{place}').textContent.includes({HOSTILE:?})"
        ));
    }
    browser.wait_for(CHARTS_DRAWN);
    // Opened by itself a chart is a document, in which a script would run.
    browser.visit(&stage.url("/charts/errors.svg"));
    browser.wait_for("document.documentElement.textContent.includes('<script>window')");
    browser.visit(&stage.url("/currency"));
    browser.wait_for(&format!("{NOTICES}.includes({HOSTILE:?})"));
    assert_eq!(browser.evaluate("window.pwned === undefined"), true);
    check_manners(&browser, &stage);
}

#[test]
fn freezing_stops_the_page_and_saves_what_it_shows() {
    let stage = Stage::open();
    stage.remember(past());
    let kept = board(1, &Load::default());
    stage.show(kept.clone());
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("sent", "1,000");
    browser.click("#freeze");
    browser.wait_for(&format!(
        "{NOTICES}.includes('Saved as load-test-2026-11-23T')"
    ));
    assert!(browser.text("status").starts_with("frozen at "));

    let (_, file) = browser.wait_download();
    let file: serde_json::Value = serde_json::from_slice(&file).expect("it is JSON");
    assert_eq!(
        file["board"],
        serde_json::to_value(&kept).expect("it is JSON")
    );
    let histogram = file["board"]["summary"]["histogram"]
        .as_str()
        .expect("it has one");
    let latencies = Latencies::decode(histogram).expect("it is one of ours");
    assert_eq!(latencies.count(), 10_000);
    let points = file["history"].as_array().expect("it has a history");
    assert_eq!(points.len(), past().count() + 1);

    let load = Load {
        achieved: 500.0,
        ..Load::default()
    };
    let loads = browser.requests().len();
    stage.show(board(2, &load));
    browser.theme(Theme::Dark);
    browser.evaluate(BOARD_HAS_COME);
    assert_eq!(browser.text("sent"), "1,000");
    assert_eq!(
        browser.requests().len(),
        loads + 1,
        "{:?}",
        browser.requests()
    );

    browser.click("#freeze");
    browser.wait_text("sent", "500");
    browser.wait_for(&format!("{NOTICES} === ''"));
    check_manners(&browser, &stage);
}

#[test]
fn page_that_nobody_sees_asks_for_nothing() {
    let stage = Stage::open();
    stage.show(board(1, &Load::default()));
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("sent", "1,000");
    browser.wait_for(CHARTS_DRAWN);
    let turn = |state: &str| {
        format!(
            "Object.defineProperty(document, 'visibilityState', {{value: '{state}', configurable: true}});
            document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    browser.evaluate(&turn("hidden"));
    let requests = browser.requests().len();
    let load = Load {
        achieved: 500.0,
        ..Load::default()
    };
    stage.show(board(2, &load));
    browser.evaluate(BOARD_HAS_COME);
    assert_eq!(browser.text("sent"), "1,000");
    assert_eq!(
        browser.requests().len(),
        requests + 1,
        "{:?}",
        browser.requests()
    );

    browser.evaluate(&turn("visible"));
    browser.wait_text("sent", "500");
    check_manners(&browser, &stage);
}

#[test]
fn imbalance_of_pods_is_told() {
    let stage = Stage::open();
    let mut uneven = board(1, &Load::default());
    uneven.pods = Some(vec![pod(0, 600.0), pod(1, 150.0), pod(2, 250.0)]);
    stage.show(uneven);
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text(
        "pods-summary",
        "3 pods · the busiest gets 4.00 × the requests of the least busy",
    );
    let widths = browser.evaluate(
        "[...document.querySelectorAll('#pods tbody td:nth-child(2) .bar span')]
            .map((bar) => bar.style.width)",
    );
    assert_eq!(widths, serde_json::json!(["100%", "25%", "41.7%"]));
    stage.show(troubled(2));
    browser.wait_text(
        "pods-summary",
        "12 pods · 1 can't be read · one of them gets no requests",
    );
    let mut unwatched = board(3, &Load::default());
    unwatched.pods = None;
    stage.show(unwatched);
    browser.wait_text(
        "pods-summary",
        "not watched: the aggregator was not given their address (--api-admin-dns)",
    );
    check_manners(&browser, &stage);
}

#[test]
fn many_bots_are_listed_when_asked_for() {
    let stage = Stage::open();
    stage.show(troubled(1));
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("bots-alive", "21");
    browser.wait_text("bots-late", "2");
    browser.wait_text("bots-dead", "1");
    let rows = "document.querySelectorAll('#bots tbody tr').length";
    assert_eq!(browser.evaluate(rows), 0);
    let left_out = "[...document.querySelectorAll('#left-out:not([hidden]) li')]
        .map((bot) => bot.textContent)";
    assert_eq!(
        browser.evaluate(left_out),
        serde_json::json!([
            "10.0.0.15:8080 is late: no answer within 200 ms",
            "10.0.0.19:8080 is dead: connection refused",
            "10.0.0.27:8080 is late: no answer within 200 ms",
        ])
    );
    browser.click("#bots-details summary");
    browser.wait_for(&format!("{rows} === 24"));
    let first = browser.evaluate("document.querySelector('#bots tbody tr').textContent");
    assert_eq!(first, "10.0.0.19:8080connection refused✗ dead–0");
    assert_eq!(browser.evaluate(left_out), serde_json::json!([]));
    check_manners(&browser, &stage);
}

#[test]
fn value_is_shown_as_it_is() {
    let stage = Stage::open();
    let mut long = board(1, &Load::default());
    if let Some(current) = &mut long.current {
        current.value = Some(18_446_744_073_709_551_615_u64.into());
        current.since_ms = Some(long.at_ms - 61_000);
    }
    stage.show(long);
    let mut browser = Browser::open(&stage.url("/currency"));
    // A number of JavaScript would end in 2000.
    browser.wait_text("value", "18446744073709551615");
    browser.wait_text("value-age", "unchanged for 61 s");
    browser.wait_for(CHARTS_DRAWN);
    let mut unread = board(2, &Load::default());
    if let Some(current) = &mut unread.current {
        current.trouble = Some("connection refused".into());
    }
    stage.show(unread);
    browser.wait_for(&format!(
        "{NOTICES} === \"The value can't be read: connection refused. The last known value is shown below.\""
    ));
    check_manners(&browser, &stage);
}

#[test]
fn latencies_have_three_digits() {
    let stage = Stage::open();
    let mut latest = board(1, &Load::default());
    let latencies = &mut latest.summary.window.latencies;
    latencies.p50 = 87_654;
    latencies.p90 = 999_600;
    latencies.p99 = 12_345_678;
    latencies.p999 = 999_499_999;
    latencies.max = 2_000_000_000;
    stage.show(latest);
    let mut browser = Browser::open(&stage.url("/dashboard"));
    browser.wait_text("p50", "87.7 µs");
    browser.wait_text("p90", "1.00 ms");
    browser.wait_text("p99", "12.3 ms");
    browser.wait_text("p999", "999 ms");
    browser.wait_text("max", "2.00 s");
}

#[test]
fn pages_fit_on_a_phone() {
    let stage = Stage::open();
    stage.show(troubled(1));
    let mut browser = Browser::open(&stage.url("/dashboard"));
    for (path, width) in [("/dashboard", 360), ("/currency", 360), ("/dashboard", 700)] {
        browser.resize(width, 700);
        browser.visit(&stage.url(path));
        browser.wait_for("document.getElementById('status').dataset.state === 'live'");
        browser.wait_for(CHARTS_DRAWN);
        browser
            .evaluate("document.querySelectorAll('details').forEach((it) => { it.open = true; })");
        assert_eq!(browser.evaluate(TOO_WIDE), "", "{path} at {width}");
    }
    check_manners(&browser, &stage);
}

/// Pictures of the pages: of the stand-in into a temporary folder, or, with `PICTURES_OF`
/// (`http://host:port` of an aggregator) and `PICTURES_TO` (a folder), as `scripts/screenshots.sh`
/// sets them, of a real one.
#[test]
fn pictures_can_be_taken() {
    let temporary = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = env::var_os("PICTURES_TO").map_or(temporary.path().into(), PathBuf::from);
    let stage = Stage::open();
    stage.remember(past());
    stage.show(board(0, &Load::default()));
    let origin = env::var("PICTURES_OF").unwrap_or_else(|_| stage.url(""));
    let mut browser = Browser::open(&format!("{origin}/dashboard"));
    for (name, path, theme, width, height) in [
        (
            "dashboard-light.png",
            "/dashboard",
            Theme::Light,
            1440,
            None,
        ),
        ("dashboard-dark.png", "/dashboard", Theme::Dark, 1440, None),
        (
            "dashboard-narrow.png",
            "/dashboard",
            Theme::Light,
            390,
            Some(1300),
        ),
        (
            "currency-dark.png",
            "/currency",
            Theme::Dark,
            1280,
            Some(720),
        ),
    ] {
        let url = format!("{origin}{path}");
        take(
            &mut browser,
            &url,
            theme,
            (width, height),
            &folder.join(name),
        );
    }
    if env::var_os("PICTURES_OF").is_none() {
        stage.show(troubled(1));
        let file = folder.join("troubled-dark.png");
        let url = stage.url("/dashboard");
        take(&mut browser, &url, Theme::Dark, (1920, None), &file);
    }
}

/// A picture of a page that is live, `height` pixels of it or all.
#[track_caller]
fn take(
    browser: &mut Browser,
    url: &str,
    theme: Theme,
    (width, height): (u32, Option<u32>),
    file: &Path,
) {
    browser.resize(width, height.unwrap_or(900));
    browser.theme(theme);
    browser.visit(url);
    browser.wait_for("document.getElementById('status').dataset.state === 'live'");
    browser.wait_for(CHARTS_DRAWN);
    let height = height.unwrap_or_else(|| {
        let whole = browser.evaluate("document.documentElement.scrollHeight");
        whole
            .as_u64()
            .and_then(|pixels| pixels.try_into().ok())
            .expect("it is a height")
    });
    browser.resize(width, height);
    browser.screenshot(file);
    let picture = fs::read(file).expect("it was written");
    assert_eq!(&picture[1..4], b"PNG");
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    assert_eq!(picture[16..24], size, "{}", file.display());
}
