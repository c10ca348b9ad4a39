//! Headers that few answers have.

use hyper::header::{
    ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, VARY,
};

/// How old the data of an answer may be, in seconds. Only there when that is more than usual.
const X_DATA_AGE: HeaderName = HeaderName::from_static("x-data-age");

/// What the answer depends on beside the path.
const ACCEPT: HeaderValue = HeaderValue::from_static("Accept");

/// See the module. Behind a pointer, so that all others carry a null one and no
/// more.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// `X-Data-Age`, in seconds.
    pub age: Option<HeaderValue>,
    /// `ETag`.
    pub tag: Option<HeaderValue>,
    /// `Cache-Control`.
    pub cache_control: Option<HeaderValue>,
    /// A cache may keep it, for those who ask for the same form.
    pub varies: bool,
}

impl More {
    /// Adds the headers; and for pages of other origins, if there may be any, which of them they
    /// may read.
    pub fn add_to(&self, headers: &mut HeaderMap, is_shared: bool) {
        for (name, value) in self.lines() {
            headers.insert(name, value.clone());
        }
        if self.varies {
            // Beside the origin, where that counts.
            headers.append(VARY, ACCEPT);
        }
        if let Some(exposed) = self.exposed().filter(|_| is_shared) {
            let exposed = HeaderValue::from_static(exposed);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Adds the same lines to a head, for pages of all origins.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (name, value) in self.lines() {
            write_line(out, &name, value.as_bytes());
        }
        if self.varies {
            write_line(out, &VARY, ACCEPT.as_bytes());
        }
        if let Some(exposed) = self.exposed() {
            write_line(out, &ACCESS_CONTROL_EXPOSE_HEADERS, exposed.as_bytes());
        }
    }

    fn lines(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        let lines = [
            (X_DATA_AGE, &self.age),
            (ETAG, &self.tag),
            (CACHE_CONTROL, &self.cache_control),
        ];
        let lines = lines.into_iter();
        lines.filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    /// What pages of other origins may read. Caching is open to all pages as it is.
    fn exposed(&self) -> Option<&'static str> {
        match (&self.age, &self.tag) {
            (Some(_), Some(_)) => Some("X-Data-Age, ETag"),
            (Some(_), None) => Some("X-Data-Age"),
            (None, Some(_)) => Some("ETag"),
            (None, None) => None,
        }
    }
}

/// Adds one line to a head.
pub fn write_line(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}
