//! The pages of the aggregator: the dashboard, the currency page, and the charts on them.
//!
//! Pure: a board and a history in, an answer out. Pages are files that are part of the binary;
//! their scripts get the figures from `/events` and `/history`, so that a page is the same for
//! everybody and holds nothing that came from the network. Charts are drawn here, anew for each
//! request.
//!
//! Invariants:
//! - A page loads nothing from elsewhere, and its browser is told not to (`POLICY`); but for the
//!   API's own stream on the currency page, where the aggregator was told of it.
//! - Texts from the network (errors, addresses) get into a page as text only.
//!
//! Non-goals: sending events, which is the aggregator's; any state.

mod appearance;
mod charts;
#[cfg(test)]
mod fixture;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode, Uri};

use self::appearance::Appearance;
use self::charts::Chart;
use super::board::{Board, History};

/// What a browser may do with a page: get what belongs to it from where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The same, and the API's stream at this address.
fn policy_with(stream: &str) -> Option<HeaderValue> {
    let uri: Uri = stream.parse().ok()?;
    let host = uri.authority()?.as_str();
    // Nothing that would end the rule.
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let origin = format!("{}://{host}", uri.scheme_str()?);
    let policy = POLICY.replace(
        "connect-src 'self'",
        &format!("connect-src 'self' {origin}"),
    );
    let is_plain = host.bytes().all(letter);
    HeaderValue::from_str(&policy).ok().filter(|_| is_plain)
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The answer to `GET path?query`, if it is one of the pages' own: `/dashboard`, `/currency`,
/// `/assets/…`, `/charts/….svg`, and the browsers' `/favicon.ico`. `board` is `None` before the
/// first second.
///
/// `400` for a chart with a query that it does not know.
pub fn respond(
    path: &str,
    query: Option<&str>,
    board: Option<&Board>,
    history: &History,
) -> Option<Response<Full<Bytes>>> {
    if let Some((content_type, body)) = file(path) {
        let mut response = answer(StatusCode::OK, content_type, body);
        if path == "/currency"
            && let Some(policy) = board.and_then(|board| policy_with(board.stream.as_deref()?))
        {
            let headers = response.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        return Some(response);
    }
    let chart = Chart::named(path.strip_prefix("/charts/")?)?;
    let appearance = match Appearance::parse(query) {
        Ok(appearance) => appearance,
        Err(error) => return Some(answer(StatusCode::BAD_REQUEST, TEXT, error.to_string())),
    };
    Some(match chart.paint(appearance, board, history) {
        Ok(svg) => answer(StatusCode::OK, SVG, svg),
        Err(error) => {
            tracing::warn!(%error, ?chart, "can't draw a chart");
            let text = "this chart can't be drawn; see the aggregator's log\n";
            answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
        }
    })
}

/// The files of the pages, by their path.
fn file(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/dashboard" => (HTML, include_str!("assets/dashboard.html")),
        "/currency" => (HTML, include_str!("assets/currency.html")),
        "/assets/style.css" => (STYLE, include_str!("assets/style.css")),
        "/assets/shared.js" => (SCRIPT, include_str!("assets/shared.js")),
        "/assets/dashboard.js" => (SCRIPT, include_str!("assets/dashboard.js")),
        "/assets/notices.js" => (SCRIPT, include_str!("assets/notices.js")),
        "/assets/tables.js" => (SCRIPT, include_str!("assets/tables.js")),
        "/assets/stream.js" => (SCRIPT, include_str!("assets/stream.js")),
        "/assets/currency.js" => (SCRIPT, include_str!("assets/currency.js")),
        // The second is what a browser asks for where nothing names another, as beside JSON.
        "/assets/icon.svg" | "/favicon.ico" => (SVG, include_str!("assets/icon.svg")),
        _ => return None,
    })
}

/// An answer with the headers of all: not kept, since the next binary may have other files under
/// the same names.
fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
