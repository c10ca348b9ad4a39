//! The pages of the real aggregator, with real bots that attack a real API.

use nix::sys::signal::Signal;

use super::{CHARTS_DRAWN, NOTICES, check_origin};
use crate::support::browser::Browser;
use crate::support::{Api, PATIENCE, Redis, eventually};

/// Requests a second of one bot.
const RATE: u32 = 100;

fn bot(api: &Api) -> Api {
    let mut bot = Api::subcommand("vegetaserver")
        .without_admin()
        .arg(format!("--target-url=http://{}/", api.addr()))
        .arg(format!("--attack-rate={RATE}"))
        .args(["--window=3s", "--timeout=1s"])
        .start();
    bot.wait_live(PATIENCE);
    bot
}

fn kill(mut process: Api) {
    process.process().signal(Signal::SIGKILL);
    process.wait_exit(PATIENCE);
}

/// Waits until the figure called `id` is around `expected`.
#[track_caller]
fn wait_around(browser: &mut Browser, id: &str, expected: u32) {
    let (low, high) = (expected * 95 / 100, expected * 105 / 100);
    let figure = format!("Number(document.getElementById('{id}').textContent.replaceAll(',', ''))");
    browser.wait_for(&format!("{figure} >= {low} && {figure} <= {high}"));
}

#[test]
fn a_real_load_is_shown_and_so_are_a_dead_bot_and_a_dead_api() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.5"]);
    let mut api = Api::serve().read_from(&redis).write_to(&redis).start();
    api.wait_ready(PATIENCE);
    let url = format!("http://{}/", api.addr());
    let _updater = Api::subcommand("updater")
        .without_admin()
        .args(["--api-url", &url, "--every", "500ms"])
        .start();
    let (stays, dies) = (bot(&api), bot(&api));
    let mut aggregator = Api::subcommand("aggregator")
        .without_admin()
        .arg(format!("--vegeta-servers={},{}", stays.addr(), dies.addr()))
        .args(["--api-url", &url])
        .arg(format!("--api-admin-dns={}", api.admin()))
        .start();
    aggregator.wait_live(PATIENCE);
    let own = format!("http://{}/", aggregator.addr());
    let mut browser = Browser::open(&format!("{own}dashboard"));

    browser.wait_text("bots-alive", "2");
    wait_around(&mut browser, "target", 2 * RATE);
    wait_around(&mut browser, "sent", 2 * RATE);
    browser.wait_text("success", "100 %");
    browser.wait_for(&format!("{NOTICES} === ''"));
    browser.wait_for(CHARTS_DRAWN);
    let pods = "document.querySelector('#pods tbody').textContent";
    browser.wait_for(&format!("{pods}.includes('{}')", api.admin()));
    browser.wait_for(&format!("{pods}.includes('yes')"));

    // It moves: the updater's value, and the charts.
    let value = browser.text("value");
    browser.wait_for(&format!(
        "document.getElementById('value').textContent !== {value:?}"
    ));
    let address = "document.querySelector('[data-chart=rate] img').src";
    let before = browser.evaluate(address);
    browser.wait_for(&format!("{address} !== {before}"));

    // The dead bot is counted out, and what is left is right.
    kill(dies);
    browser.wait_text("bots-dead", "1");
    browser.wait_text("bots-alive", "1");
    wait_around(&mut browser, "target", RATE);
    wait_around(&mut browser, "sent", RATE);
    browser.wait_text("success", "100 %");

    // Without the API all requests fail, and the load goes on all the same.
    kill(api);
    browser.wait_text("success", "0 %");
    browser
        .wait_for("document.getElementById('errors').textContent.includes('connection refused')");
    wait_around(&mut browser, "sent", RATE);
    browser.wait_text("bots-alive", "1");
    browser.wait_for("document.getElementById('status').dataset.state === 'live'");
    browser.wait_for("document.getElementById('value-age').textContent !== 'changed just now'");
    check_origin(&browser, &own);
}

#[test]
fn the_apis_own_stream_is_shown_where_it_is_chosen() {
    let redis = Redis::start_plain();
    redis.cli(&["HSET", "currency", "current-value", "12.50"]);
    let api = Api::serve().read_from(&redis).write_to(&redis);
    let mut api = api.args(["--read-mode", "tracked"]).start();
    api.wait_ready(PATIENCE);
    let url = format!("http://{}/", api.addr());
    let start = |flags: &[&str]| {
        let mut aggregator = Api::subcommand("aggregator")
            .without_admin()
            .args(["--vegeta-servers", "127.0.0.1:1", "--api-url", &url])
            .args(flags.iter().copied())
            .start();
        aggregator.wait_live(PATIENCE);
        aggregator
    };
    let with = start(&["--stream-url", &url]);
    let board = || with.get("/summary").status == 200;
    eventually(PATIENCE, "a board", board);
    let mut browser = Browser::open(&format!("http://{}/currency", with.addr()));
    browser.wait_text("value", "12.5");
    browser.click("#by-stream");
    // To the digit, and with each change.
    browser.wait_text("value", "12.50");
    for value in ["13.10", "18446744073709551615", "0"] {
        redis.cli(&["HSET", "currency", "current-value", value]);
        browser.wait_text("value", value);
    }
    assert_eq!(api.metric("redis_api_streams"), Some(1.0));
    api.stop();
    browser.wait_for(&format!("{NOTICES}.includes('The API\\'s stream: ')"));
    browser.click("#by-aggregator");
    browser.wait_for(&format!("!{NOTICES}.includes('stream')"));

    let without = start(&[]);
    browser.visit(&format!("http://{}/currency", without.addr()));
    browser.wait_for("document.getElementById('status').dataset.state === 'live'");
    let hidden = browser.evaluate("document.getElementById('choice').hidden");
    assert_eq!(hidden, true);
}
