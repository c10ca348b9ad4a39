//! What the aggregator answers.
//!
//! | `GET` | |
//! | --- | --- |
//! | `/` | the windows of all bots that are alive, as a JSON array |
//! | `/summary` | the merged window, and which bots are not in it and why |
//! | `/history` | the last five minutes, a point a second |
//! | `/events` | the board, once a second, as server-sent events |
//! | `/metrics` | the Prometheus text |
//! | `/livez` | that the process runs |
//! | the rest | the pages' |
//!
//! Any page may read all of it: nothing here is secret, and nothing can be changed.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::body::{Events, Pieces};
use super::exposition;
use super::state::State;
use crate::board::{Board, Bot, BotState, Summary};
use crate::pages;
use crate::server::{Body, answer};
use redis_api_server::exposition::CONTENT_TYPE as TEXT_FORMAT;

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// The answer to a request.
pub(super) async fn respond(request: Request<Incoming>, state: Arc<State>) -> Response<Body> {
    let uri = request.uri();
    let mut response = match *request.method() {
        // hyper leaves the body of an answer to HEAD out and keeps its length.
        Method::GET | Method::HEAD => route(uri.path(), uri.query(), &state),
        _ => {
            let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Use GET or HEAD");
            let headers = response.headers_mut();
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn route(path: &str, query: Option<&str>, state: &State) -> Response<Body> {
    let latest = state.latest();
    let mut response = match path {
        "/" => {
            let windows = latest.as_ref().map_or(&[][..], |latest| &latest.windows);
            stream(JSON, Pieces::array(windows).boxed_unsync())
        }
        "/summary" => match &latest {
            Some(latest) => json(&SummaryAnswer::of(&latest.board)),
            None => not_yet(),
        },
        "/history" => json(&state.history().points().collect::<Vec<_>>()),
        "/events" => stream(EVENT_STREAM, Events::new(state.follow()).boxed_unsync()),
        "/metrics" => {
            let text = exposition::text(latest.as_ref().map(|latest| &latest.board));
            answer(StatusCode::OK, TEXT_FORMAT, text)
        }
        "/livez" => answer(StatusCode::OK, JSON, r#"{"live":true}"#),
        _ => {
            let board = latest.as_ref().map(|latest| &latest.board);
            // The pages say themselves how long they may be kept.
            return match pages::respond(path, query, board, &state.history()) {
                Some(page) => page.map(BodyExt::boxed_unsync),
                None => error(StatusCode::NOT_FOUND, "Not found: try /dashboard"),
            };
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to `/summary`: the members of the summary, and who is not in it.
#[derive(Serialize)]
struct SummaryAnswer<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    /// Each bot that is left out: `address`, `state` (`late` or `dead`), and why (`trouble`).
    left_out: Vec<&'a Bot>,
}

impl SummaryAnswer<'_> {
    fn of(board: &Board) -> SummaryAnswer<'_> {
        let is_out = |bot: &&Bot| bot.state != BotState::Alive;
        SummaryAnswer {
            summary: &board.summary,
            left_out: board.bots.iter().filter(is_out).collect(),
        }
    }
}

fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(json) => answer(StatusCode::OK, JSON, json),
        // Can't be: every key is a text or a number.
        Err(wrong) => error(StatusCode::INTERNAL_SERVER_ERROR, &wrong.to_string()),
    }
}

fn not_yet() -> Response<Body> {
    let mut response = error(
        StatusCode::SERVICE_UNAVAILABLE,
        "No window yet: the aggregator has just started; retry in a second",
    );
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn error(status: StatusCode, text: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": text });
    answer(status, JSON, body.to_string())
}
