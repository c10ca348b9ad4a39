//! From a Redis reply to the bytes of an HTTP body.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};

use super::found::ReadError;
use super::probe::ReadCommand;
use super::value::{Unfit, ValueKind};
use redis_api_wire::conn::printable;
use redis_api_wire::resp::Reply;

const OPEN: &[u8] = b"{\"current\":";

/// Makes `{"current":V}`, and keeps the last one: the same value again costs a comparison and a
/// reference count. Values change about once a second and are read 100,000 times in it.
pub struct CurrentBody {
    kind: ValueKind,
    last: RefCell<Last>,
}

/// A body and what it was made of.
#[derive(Default)]
struct Last {
    stored: Vec<u8>,
    body: Bytes,
}

impl CurrentBody {
    /// For values of this kind.
    pub fn new(kind: ValueKind) -> Self {
        CurrentBody {
            kind,
            last: RefCell::default(),
        }
    }

    /// The body for a stored value.
    ///
    /// # Errors
    /// What is stored is of another kind.
    pub fn render(&self, stored: &[u8]) -> Result<Bytes, ReadError> {
        let mut last = self.last.borrow_mut();
        if last.stored == stored && !last.body.is_empty() {
            return Ok(last.body.clone());
        }
        let body =
            current(self.kind, stored).map_err(|why| ReadError::Unfit { field: None, why })?;
        // Of a large one that is gone, nothing stays.
        last.stored = stored.to_vec();
        last.body = body.clone();
        Ok(body)
    }
}

/// `{"current":V}` for a stored value.
///
/// # Errors
/// What is stored is of another kind.
pub fn current(kind: ValueKind, stored: &[u8]) -> Result<Bytes, Unfit> {
    let mut body = BytesMut::with_capacity(OPEN.len() + stored.len() + 3);
    body.put_slice(OPEN);
    kind.render(stored, &mut body)?;
    body.put_u8(b'}');
    Ok(body.freeze())
}

/// Each name of an `HMGET` with the body that a read of it alone has; `None` for a field that is
/// not there.
pub fn each<'a>(
    kind: ValueKind,
    names: &'a [Box<[u8]>],
    reply: Reply<'a>,
) -> impl Iterator<Item = (&'a [u8], Option<Bytes>)> {
    let values = match reply {
        Reply::Array(values) => Some(values),
        _ => None,
    };
    let values = values.into_iter().flatten();
    let known = move |(name, value): (&'a [u8], Reply<'a>)| match value.plain() {
        Reply::Null => Some((name, None)),
        Reply::Bulk(stored) => Some((name, Some(current(kind, stored).ok()?))),
        _ => None,
    };
    let names = names.iter().map(Box::as_ref);
    names.zip(values).filter_map(known)
}

/// Makes the same body as [`many`] from the bodies of the fields alone; `None` if `get` does not
/// know one of them.
pub fn many_kept(
    names: &[Box<[u8]>],
    mut get: impl FnMut(&[u8]) -> Option<Option<Bytes>>,
) -> Option<Bytes> {
    let mut body = BytesMut::with_capacity(64 * names.len());
    let mut before = b'{';
    for name in names {
        let kept = get(name)?;
        body.put_u8(before);
        body.put_u8(b'"');
        body.put_slice(name);
        body.put_slice(b"\":");
        let stored = kept
            .as_ref()
            .map(|kept| kept.strip_prefix(OPEN)?.strip_suffix(b"}"));
        body.put_slice(match stored {
            None => b"null",
            Some(stored) => stored?,
        });
        before = b',';
    }
    body.put_u8(b'}');
    Some(body.freeze())
}

/// Makes `{"A":1,"B":null}` from the names asked for and the reply to `HMGET`.
///
/// `names` must be of the alphabet of field names, which needs no JSON escapes.
///
/// # Errors
/// One of the values is of another kind, or the reply has another shape.
pub fn many(kind: ValueKind, names: &[Box<[u8]>], reply: Reply<'_>) -> Result<Bytes, ReadError> {
    let Reply::Array(values) = reply else {
        return Err(ReadError::wrong_type(ReadCommand::Hmget, reply));
    };
    if values.len() != names.len() {
        return Err(ReadError::WrongReply(
            "the reply to HMGET has the wrong number of values",
        ));
    }
    let mut body = BytesMut::with_capacity(64 * names.len());
    let mut before = b'{';
    for (name, value) in names.iter().zip(values) {
        body.put_u8(before);
        body.put_u8(b'"');
        body.put_slice(name);
        body.put_slice(b"\":");
        match value.plain() {
            Reply::Null => body.put_slice(b"null"),
            Reply::Bulk(stored) => kind.render(stored, &mut body).map_err(|why| {
                let field = Some(printable(name).into());
                ReadError::Unfit { field, why }
            })?,
            other => return Err(ReadError::wrong_type(ReadCommand::Hmget, other)),
        }
        before = b',';
    }
    body.put_u8(b'}');
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis_api_wire::resp::{Decoder, Limits};

    #[test]
    fn the_same_number_again_is_the_same_memory() {
        let current = CurrentBody::new(ValueKind::Number);
        let first = current.render(b"12.50").unwrap();
        assert_eq!(first, "{\"current\":12.50}");
        assert_eq!(current.render(b"12.50").unwrap().as_ptr(), first.as_ptr());
        assert_eq!(current.render(b"12.5").unwrap(), "{\"current\":12.5}");
        assert_eq!(current.render(b"1").unwrap(), "{\"current\":1}");
    }

    #[test]
    fn what_is_no_number_is_never_relayed() {
        let current = CurrentBody::new(ValueKind::Number);
        let long = vec![b'1'; 1024 + 1];
        for stored in [&b"nan"[..], b"", b"1}", b"+1", b"12.5\r\n", &long] {
            assert!(
                matches!(current.render(stored), Err(ReadError::Unfit { .. })),
                "{stored:?}"
            );
        }
        assert_eq!(current.render(&long[1..]).unwrap().len(), 1024 + 12);
    }

    #[test]
    fn a_text_is_not_taken_for_what_another_one_looks_like() {
        let current = CurrentBody::new(ValueKind::Text);
        assert_eq!(current.render(b"\n").unwrap(), "{\"current\":\"\\n\"}");
        assert_eq!(current.render(b"\\n").unwrap(), "{\"current\":\"\\\\n\"}");
        assert_eq!(current.render(b"").unwrap(), "{\"current\":\"\"}");
        let empty = CurrentBody::new(ValueKind::Json);
        assert!(empty.render(b"").is_err());
    }

    #[test]
    fn many_in_the_order_asked() {
        let names = [
            b"EUR".to_vec().into_boxed_slice(),
            b"U~D".to_vec().into_boxed_slice(),
        ];
        let check = |wire: &'static [u8]| {
            let mut decoder = Decoder::new(Limits::default());
            many(
                ValueKind::Number,
                &names,
                decoder.decode(wire).unwrap().unwrap().reply,
            )
        };
        let body = check(b"*2\r\n$3\r\n1.1\r\n$-1\r\n").unwrap();
        assert_eq!(body, "{\"EUR\":1.1,\"U~D\":null}");
        assert_eq!(
            check(b"*2\r\n_\r\n$1\r\n0\r\n").unwrap(),
            "{\"EUR\":null,\"U~D\":0}"
        );
        assert_eq!(
            check(b"*2\r\n$1\r\n0\r\n$1\r\nx\r\n"),
            Err(ReadError::Unfit {
                field: Some("U~D".into()),
                why: Unfit::NotANumber,
            })
        );
        assert!(matches!(
            check(b"*1\r\n$1\r\n1\r\n"),
            Err(ReadError::WrongReply(_))
        ));
        assert!(matches!(
            check(b"*2\r\n:1\r\n:1\r\n"),
            Err(ReadError::WrongReply(_))
        ));
        assert!(matches!(check(b"+OK\r\n"), Err(ReadError::WrongReply(_))));
    }
}
