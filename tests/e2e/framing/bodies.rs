//! Forms about where a body ends: lengths, transfer codings, chunks.

use super::Fate::{Ends, Goes};
use super::Form;

/// A `Content-Length` that is none, two that differ, or one that other parsers may read otherwise
/// (RFC 9112, section 6.3, and RFC 9110, section 8.6).
pub const LENGTHS: &[Form] = &[
    (
        "a body on GET",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a body on HEAD",
        "HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a body on OPTIONS",
        "OPTIONS /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(204),
    ),
    (
        "a body on DELETE",
        "DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(405),
    ),
    (
        "a body on no path",
        "POST /no/path HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(404),
    ),
    (
        "a body on POST",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(400),
    ),
    (
        "a body over the limit",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{HIDDEN}",
        Ends(413),
    ),
    (
        "unequal lengths",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "unequal lengths, the other way",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nContent-Length: 0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "equal lengths twice",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "equal lengths twice, not written alike",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nContent-Length: 00{N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a list of equal lengths",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}, {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a list of lengths",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0, {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a plus sign",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: +{N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a minus sign",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: -{N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "minus zero",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "more space before it",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: \t {N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "space behind it",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N} \t\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "space within it",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "hexadecimal",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x{X}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "leading zeros",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 00{N}\r\n\r\n{HIDDEN}",
        Goes(200),
    ),
    (
        "a fraction",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}.0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "an exponent",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3e1\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "2 to the 64th",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "2 to the 64th less 1",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n{HIDDEN}",
        Ends(431),
    ),
    (
        "no length in it",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "digits that aren't ASCII",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: \u{663}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
];

/// `Transfer-Encoding` beside a length, and hidden from one party (RFC 9112, sections 6.1 and 6.3).
pub const CODINGS: &[Form] = &[
    (
        "CL.TE",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(200),
    ),
    (
        "TE.CL",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(200),
    ),
    (
        "TE.CL, a bad length",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(200),
    ),
    (
        "TE between lengths",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(200),
    ),
    (
        "chunked",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(200),
    ),
    (
        "chunked on POST",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Goes(400),
    ),
    (
        "CHUNKED",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(200),
    ),
    (
        "a space before the colon",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nTransfer-Encoding : chunked\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a tab before the colon",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "xchunked",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nTransfer-Encoding: xchunked\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a vertical tab",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "chunked, identity",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "identity",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nTransfer-Encoding: identity\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "chunked twice",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "gzip, chunked",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "two lines, the last not chunked",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "two lines, the last chunked",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "chunked in quotes",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "no coding in it",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: {N}\r\nTransfer-Encoding:\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "chunked in HTTP/1.0",
        "GET /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "chunked in HTTP/1.0, kept alive",
        "GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: {N}\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "in a folded line",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a folded value",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
];

/// Chunks (RFC 9112, section 7.1).
pub const CHUNKS: &[Form] = &[
    (
        "an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a=\"b\"\r\n{HIDDEN}\r\n0;c\r\n\r\n",
        Goes(400),
    ),
    (
        "a lone LF in an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a size with a sign",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a negative size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a size with 0x",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a size over 64 bits",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "zeros before a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000000000{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Goes(400),
    ),
    (
        "space before a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n {X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "space behind a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X} \r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "space within a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 1\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "an underscore in a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2_1\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "no size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "NUL in an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a=\0\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "NUL in the name of an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};\0\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "DEL in a quoted extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a=\"\u{7f}\"\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "an extension without a name",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a blank behind an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a \r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "an extension without its value",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a=\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "an open quote in an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a=\"b\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "two values of an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};a=b=c\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a comma behind a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X},a\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "blanks around an extension",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X} ;\ta = b\r\n{HIDDEN}\r\n0\r\n\r\n",
        Goes(400),
    ),
    (
        "two CRs behind a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\r\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "no CRLF behind a chunk",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\r\n{HIDDEN}0\r\n\r\n",
        Ends(400),
    ),
    (
        "a chunk longer than its size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "lone LFs",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a lone LF behind a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a lone CR behind a size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\r{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "trailers",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X}\r\n{HIDDEN}\r\n0\r\nX: y\r\n\r\n",
        Goes(400),
    ),
    (
        "a length in the trailers",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: {N}\r\n\r\n",
        Goes(400),
    ),
    (
        "a lone LF behind a trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a lone LF as the last line",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a lone CR as the last line",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r{HIDDEN}",
        Ends(400),
    ),
    (
        "a folded trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n z\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a space before the colon of a trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a space before a trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n X: y\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "NUL in a trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\0\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a lone CR in a trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\rz\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a trailer without a name",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n: y\r\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a blank behind the last size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0 \r\n\r\n",
        Ends(400),
    ),
    (
        "an extension of the last chunk",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00;a=\"b\"\r\n\r\n",
        Goes(400),
    ),
    (
        "a bad size on GET",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X} \r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "NUL in an extension on GET",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{X};\0\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a lone LF behind a trailer on GET",
        "GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n{HIDDEN}",
        Ends(400),
    ),
    (
        "a bad size on no path",
        "HEAD /no/path HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+{X}\r\n{HIDDEN}\r\n0\r\n\r\n",
        Ends(400),
    ),
    (
        "a bad trailer",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGET /hidden HTTP/1.1\r\n\r\n",
        Ends(400),
    ),
];
