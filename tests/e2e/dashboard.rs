//! The pages of the aggregator in a real browser, shown by a stand-in for the aggregator.

mod scenes;
mod stage;

use std::env;
use std::path::{Path, PathBuf};

use scenes::{HOSTILE, Load, START_MS, board, past, troubled};
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

/// What each test ends with: nothing was asked of anybody else, and nobody complained.
#[track_caller]
fn check_manners(browser: &Browser, stage: &Stage) {
    let own = stage.url("/");
    let elsewhere: Vec<String> = browser
        .requests()
        .into_iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with(&format!("blob:{own}")))
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
    browser.wait_text("success", "99.949 %");
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
