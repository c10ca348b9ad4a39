//! The pages of the aggregator: the dashboard, the currency page, and the charts on them.
//!
//! Pure: a board and a history in, an answer out.

use bytes::Bytes;
use hyper::Response;

use http_body_util::Full;

use super::board::{Board, History};

/// The answer to `GET path?query`, if it is one of the pages' own: `/dashboard`, `/currency`,
/// `/assets/…`, `/charts/….svg`. `board` is `None` before the first second.
pub fn respond(
    _path: &str,
    _query: Option<&str>,
    _board: Option<&Board>,
    _history: &History,
) -> Option<Response<Full<Bytes>>> {
    None
}
