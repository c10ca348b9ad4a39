//! The bot's answers over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::recorder::Recorder;
use crate::server::{Body, answer, empty};
use redis_api_server::exposition;

/// The answer to `method path`: the window, the metrics, and whether this lives.
pub(super) fn respond(
    method: &Method,
    path: &str,
    recorder: &Arc<Mutex<Recorder>>,
    now_ns: u64,
) -> Response<Body> {
    let mut response = match path {
        "/" | "/metrics" | "/livez" if method != Method::GET && method != Method::HEAD => {
            let mut refusal = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(ALLOW, allowed);
            refusal
        }
        "/" => window(recorder, now_ns),
        "/metrics" => {
            let text = lock(recorder, |recorder| recorder.metrics(now_ns));
            answer(StatusCode::OK, exposition::CONTENT_TYPE, text)
        }
        "/livez" => answer(StatusCode::OK, "text/plain", "ok\n"),
        _ => empty(StatusCode::NOT_FOUND),
    };
    // Any page may show it: it holds nothing but counts.
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn window(recorder: &Mutex<Recorder>, now_ns: u64) -> Response<Body> {
    let window = lock(recorder, |recorder| recorder.answer(now_ns));
    match serde_json::to_vec(&window) {
        Ok(json) => answer(StatusCode::OK, "application/json", json),
        Err(error) => {
            tracing::error!(%error, "the window can't be written");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn lock<T>(recorder: &Mutex<Recorder>, use_it: impl FnOnce(&Recorder) -> T) -> T {
    use_it(&recorder.lock().unwrap_or_else(PoisonError::into_inner))
}
