//! Forms about heads: their lines, names and values, the host, and other protocols.

use super::Fate::{Ends, Goes};
use super::Form;

/// Lines, names and values (RFC 9112, sections 2.2, 3 and 5).
pub const HEADS: &[Form] = &[
    (
        "lone LFs",
        "GET /a HTTP/1.1\nHost: a\nContent-Length: {N}\n\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a lone CR ends a line",
        "GET /a HTTP/1.1\r\nHost: a\rContent-Length: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a lone CR within a value",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "NUL within a value",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "NUL within a name",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length\0: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a space within a name",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent Length: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "no name",
        "GET /a HTTP/1.1\r\nHost: a\r\n: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "no colon",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "space before the first name",
        "GET /a HTTP/1.1\r\n Content-Length: {N}\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a folded line",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "empty lines first",
        "\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a line of a space first",
        " \r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a space before the method",
        " GET /a HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "two spaces before the path",
        "GET  /a HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a tab in the request line",
        "GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a space within the path",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a lower-case method",
        "get /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(405),
    ),
    ("HTTP/0.9", "GET /a\r\n{HIDDEN}", Ends(400)),
    (
        "HTTP/1.2",
        "GET /a HTTP/1.2\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "HTTP/2.0",
        "GET /a HTTP/2.0\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "HTTP/9.9",
        "GET /a HTTP/9.9\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "http/1.1",
        "GET /a http/1.1\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "the preface of HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    ("HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n{HIDDEN}", Ends(200)),
    (
        "HTTP/1.0, kept alive",
        "GET /a HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "several Connection lines",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n{HIDDEN}",
        Ends(200),
    ),
    (
        "a length named as a connection's",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
];

/// `Host` (RFC 9112, section 3.2), and requests to be something else than HTTP.
pub const OTHERS: &[Form] = &[
    (
        "no Host",
        "GET /a HTTP/1.1\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "two Hosts",
        "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "an empty Host",
        "GET /a HTTP/1.1\r\nHost:\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a Host with a path",
        "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a Host with a user",
        "GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a Host with a space",
        "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "an absolute path of another host",
        "GET http://b/a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "an absolute path and no Host",
        "GET http://b/a HTTP/1.1\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "Expect",
        "GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "Expect on POST",
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(400),
    ),
    (
        "Expect of something else",
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(400),
    ),
    (
        "Expect without a body",
        "GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        Goes(200),
    ),
    (
        "Upgrade",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "Upgrade to h2c",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        Goes(200),
    ),
    (
        "CONNECT",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(404),
    ),
    (
        "the path *",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(404),
    ),
];
