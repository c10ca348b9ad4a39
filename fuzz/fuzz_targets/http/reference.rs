//! Where requests end in the bytes of a connection, by the letter of RFC 9112: a parser of its own,
//! line by line, that shares nothing with the server nor with hyper.
//!
//! Where the letter leaves a choice, or hyper takes a form that is not to the letter but has one
//! meaning only, a request may be answered or not; what it is and where it ends is the same.

use crate::echo::describe;

/// Whether a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Must,
    May,
}

/// A request.
#[derive(Debug)]
pub struct Wanted {
    method: String,
    /// `None`: of a form that may be written in another one.
    target: Option<String>,
    body: Vec<u8>,
    pub need: Need,
    /// The byte behind it.
    pub end: usize,
}

impl Wanted {
    /// Whether an answer that describes a request so is to this one.
    pub fn is(&self, described: &str) -> bool {
        let body: &[u8] = if self.method == "POST" {
            &self.body
        } else {
            &[]
        };
        match &self.target {
            Some(target) => described == describe(&self.method, target, body),
            None => {
                let (head, tail) = (format!("{} ", self.method), describe("", "", body));
                described.starts_with(&head) && described.ends_with(&tail[2..])
            }
        }
    }
}

/// What follows the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing, or nothing that is looked at, or a part of a request.
    Quiet,
    /// A request that is not one.
    Refused,
}

/// What the bytes of a connection ask for.
#[derive(Debug)]
pub struct Expected {
    pub requests: Vec<Wanted>,
    pub end: End,
    /// Whether every request that was found must be answered, and every further one.
    pub need: Need,
}

/// Why there is no further request.
enum Stop {
    /// It does not end within the bytes.
    Partial,
    Bad,
}

/// What is to be known of a head.
struct Head {
    method: String,
    target: Option<String>,
    framing: Framing,
    /// It has an `Expect`.
    expects: bool,
    need: Need,
    /// Whether another request may follow, and whether it must be answered.
    next: Option<Need>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// See the module.
pub fn requests(bytes: &[u8]) -> Expected {
    let mut requests = Vec::new();
    let mut at = 0;
    // Once a request need not be answered, none behind it must be.
    let mut most = Need::Must;
    let end = loop {
        at += empty_lines(&bytes[at..]);
        if at == bytes.len() {
            break End::Quiet;
        }
        match request(&bytes[at..]) {
            Ok((mut request, length, next)) => {
                at += length;
                request.end = at;
                request.need = worse(most, request.need);
                most = request.need;
                requests.push(request);
                match next {
                    None => break End::Quiet,
                    Some(next) => most = worse(most, next),
                }
            }
            Err(Stop::Partial) => break End::Quiet,
            Err(Stop::Bad) => break End::Refused,
        }
    };
    Expected {
        requests,
        end,
        need: most,
    }
}

fn worse(one: Need, other: Need) -> Need {
    match (one, other) {
        (Need::Must, Need::Must) => Need::Must,
        _ => Need::May,
    }
}

/// Bytes of empty lines that may stand before a request.
fn empty_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match &bytes[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}

/// The request that the bytes begin with, its length, and what may follow.
fn request(bytes: &[u8]) -> Result<(Wanted, usize, Option<Need>), Stop> {
    let (head, length) = match head(bytes) {
        // Of a head that has not ended, nothing needs to be said yet.
        Err(Stop::Bad) if !has_end(bytes) => return Err(Stop::Partial),
        head => head?,
    };
    let rest = &bytes[length..];
    let is_post = head.method == "POST";
    let (body, taken, trailers) = match head.framing {
        Framing::None => (Vec::new(), 0, 0),
        Framing::Length(size) => match rest.get(..size) {
            Some(body) => (body.to_vec(), size, 0),
            // It is answered before its body is there, unless that is needed.
            None if is_post => return Err(Stop::Partial),
            None => (Vec::new(), rest.len(), 0),
        },
        Framing::Chunked => match chunks(rest) {
            // A client that waits to be asked for a body that nobody needs is not asked.
            Err(_) if head.expects && !is_post => (Vec::new(), rest.len(), 0),
            chunks => chunks?,
        },
    };
    let is_whole = head.framing == Framing::None || is_post;
    let request = Wanted {
        method: head.method,
        target: head.target,
        body,
        // How many there may be is the server's to say.
        need: worse(
            head.need,
            if trailers > MANY {
                Need::May
            } else {
                Need::Must
            },
        ),
        end: 0,
    };
    // A body that nobody reads may end the connection.
    let next = if is_whole {
        head.next
    } else {
        head.next.map(|_| Need::May)
    };
    Ok((request, length + taken, next))
}

/// Whether there is an empty line behind the first line.
fn has_end(bytes: &[u8]) -> bool {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').skip(1);
    lines.any(|line| matches!(line, b"\n" | b"\r\n"))
}

fn head(bytes: &[u8]) -> Result<(Head, usize), Stop> {
    let mut at = 0;
    let mut strict = true;
    let first = line(bytes, &mut at, &mut strict)?;
    let (method, target, is_new) = request_line(first)?;
    let mut need = Need::Must;
    let target_text = if is_plain(target) {
        Some(String::from_utf8_lossy(target).into_owned())
    } else {
        need = Need::May;
        None
    };
    let mut fields = Vec::new();
    loop {
        let line = line(bytes, &mut at, &mut strict)?;
        if line.is_empty() {
            break;
        }
        fields.push(field(line)?);
    }
    let values = |name: &str| -> Vec<&[u8]> {
        let named = fields
            .iter()
            .filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| *value).collect()
    };
    // How many lines there may be is the server's to say.
    if !strict || fields.len() > 256 {
        need = Need::May;
    }
    let framing = framing(
        &values("content-length"),
        &values("transfer-encoding"),
        is_new,
    )?;
    let (framing, doubt) = framing;
    let connection = values("connection");
    let mut next = match (&connection[..], is_new) {
        ([], true) => Some(Need::Must),
        ([], false) => None,
        ([one], true) if one.eq_ignore_ascii_case(b"keep-alive") => Some(Need::Must),
        ([one], true) if one.eq_ignore_ascii_case(b"close") => None,
        // Of many options, one may be `close`.
        _ => Some(Need::May),
    };
    let expects = !values("expect").is_empty();
    let special = expects || !values("upgrade").is_empty();
    if doubt || special || method == b"CONNECT" {
        next = next.map(|_| Need::May);
    }
    if doubt || special {
        need = Need::May;
    }
    let head = Head {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target_text,
        framing,
        expects,
        need,
        next,
    };
    Ok((head, at))
}

/// The line at `at`, without its end.
fn line<'a>(bytes: &'a [u8], at: &mut usize, strict: &mut bool) -> Result<&'a [u8], Stop> {
    let rest = &bytes[*at..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Err(Stop::Partial);
    };
    *at += end + 1;
    let line = &rest[..end];
    let without = line.strip_suffix(b"\r");
    *strict &= without.is_some();
    Ok(without.unwrap_or(line))
}

/// Method, target, and whether the version is 1.1 or newer.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], bool), Stop> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(Stop::Bad);
    };
    let good = is_token(method) && !target.is_empty() && target.iter().all(|it| *it > b' ');
    match version {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ b'0'..=b'9',
        ] if good => Ok((method, target, *minor > b'0')),
        _ => Err(Stop::Bad),
    }
}

/// Whether a target is a path, and a query, of characters that may stand there.
fn is_plain(target: &[u8]) -> bool {
    let may = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(byte);
    target.starts_with(b"/") && !target.starts_with(b"//") && target.iter().all(may)
}

fn is_token(text: &[u8]) -> bool {
    let may = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    !text.is_empty() && text.iter().all(may)
}

/// Name and value of a line of a head.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Stop> {
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(Stop::Bad)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let may = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !is_token(name) || !value.iter().all(may) {
        return Err(Stop::Bad);
    }
    Ok((name, trim(value)))
}

fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = text.iter().position(|byte| !is_blank(byte)) else {
        return &[];
    };
    let last = text
        .iter()
        .rposition(|byte| !is_blank(byte))
        .unwrap_or(first);
    &text[first..=last]
}

/// How a body is framed, and whether a proxy might see it in another way.
fn framing(lengths: &[&[u8]], codings: &[&[u8]], is_new: bool) -> Result<(Framing, bool), Stop> {
    match (lengths, codings) {
        ([], []) => Ok((Framing::None, false)),
        ([first, more @ ..], []) => {
            let size = length(first)?;
            // Of the same number, however it is written (RFC 9110, section 8.6).
            for other in more {
                if length(other)? != size {
                    return Err(Stop::Bad);
                }
            }
            let size = usize::try_from(size).map_err(|_| Stop::Bad)?;
            Ok((Framing::Length(size), !more.is_empty()))
        }
        (_, [coding]) if is_new && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok((Framing::Chunked, !lengths.is_empty()))
        }
        _ => Err(Stop::Bad),
    }
}

/// `1*DIGIT`
fn length(text: &[u8]) -> Result<u64, Stop> {
    if !text.iter().all(u8::is_ascii_digit) {
        return Err(Stop::Bad);
    }
    let text = str::from_utf8(text).map_err(|_| Stop::Bad)?;
    text.parse().map_err(|_| Stop::Bad)
}

/// Trailers that a server may find too many.
const MANY: usize = 100;

/// The data of the chunked body that the bytes begin with, its length, and how many trailers it has.
fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, usize, usize), Stop> {
    let (mut at, mut data, mut trailers) = (0, Vec::new(), 0);
    loop {
        let line = strict_line(bytes, &mut at)?;
        let digits = line.iter().take_while(|it| it.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at(digits);
        let size = str::from_utf8(size).map_err(|_| Stop::Bad)?;
        let size = u64::from_str_radix(size, 16).map_err(|_| Stop::Bad)?;
        if !are_extensions(extensions) {
            return Err(Stop::Bad);
        }
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| Stop::Bad)?;
        let end = at.checked_add(size).ok_or(Stop::Bad)?;
        let chunk = bytes.get(at..end).ok_or(Stop::Partial)?;
        data.extend_from_slice(chunk);
        at = end;
        if !strict_line(bytes, &mut at)?.is_empty() {
            return Err(Stop::Bad);
        }
    }
    loop {
        let line = strict_line(bytes, &mut at)?;
        if line.is_empty() {
            return Ok((data, at, trailers));
        }
        field(line)?;
        trailers += 1;
    }
}

/// The line at `at`, which ends with CRLF and has no other CR or LF in it.
fn strict_line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a [u8], Stop> {
    let rest = bytes.get(*at..).ok_or(Stop::Partial)?;
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let end = end.ok_or(Stop::Partial)?;
    match &rest[end..] {
        [b'\r', b'\n', ..] => {
            *at += end + 2;
            Ok(&rest[..end])
        }
        [b'\r'] => Err(Stop::Partial),
        _ => Err(Stop::Bad),
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`
fn are_extensions(mut rest: &[u8]) -> bool {
    let blanks = |text: &[u8]| {
        text.iter()
            .take_while(|it| matches!(it, b' ' | b'\t'))
            .count()
    };
    let token = |text: &[u8]| text.iter().take_while(|it| is_token(&[**it])).count();
    while !rest.is_empty() {
        let Some(after) = rest[blanks(rest)..].strip_prefix(b";") else {
            return false;
        };
        rest = &after[blanks(after)..];
        let name = token(rest);
        if name == 0 {
            return false;
        }
        rest = &rest[name..];
        let Some(value) = rest[blanks(rest)..].strip_prefix(b"=") else {
            continue;
        };
        let value = &value[blanks(value)..];
        let length = match value.first() {
            Some(b'"') => quoted(value),
            _ => token(value),
        };
        if length == 0 {
            return false;
        }
        rest = &value[length..];
    }
    true
}

/// The length of the quoted string that the text begins with; 0: it is none.
fn quoted(text: &[u8]) -> usize {
    let may = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let mut at = 1;
    loop {
        match text.get(at..).unwrap_or_default() {
            [b'"', ..] => return at + 1,
            [b'\\', next, ..] if may(*next) => at += 2,
            [byte, ..] if *byte != b'\\' && may(*byte) => at += 1,
            _ => return 0,
        }
    }
}
