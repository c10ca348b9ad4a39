//! What a stream's answer begins with.

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY};

use super::super::cors::Cors;
use super::super::more::write_line;

/// Has nginx, and what is made of it, pass on each part of an answer as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Status line and header lines, but for those that concern the connection; `origin` is the place
/// of the request's origin in `cors`.
pub fn head(cors: &Cors, origin: Option<u32>) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    cors.apply(origin, &mut headers);
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        (VARY, "Accept"),
        (X_ACCEL_BUFFERING, "no"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in &headers {
        write_line(&mut head, name, value.as_bytes());
    }
    head
}
