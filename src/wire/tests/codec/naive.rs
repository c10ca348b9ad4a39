//! A second decoder, written for plainness: recursive, allocating, from the first byte each time.
//! It shares nothing with the one under test but the specification and the limits.

use redis_api_wire::resp::Limits;

use crate::value::Value;

/// What the start of some bytes is.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// A reply and its length.
    Reply(Value, usize),
    /// The start of one.
    Incomplete,
    /// Something that no further bytes can make a reply.
    Malformed,
}

/// Decodes the reply that `bytes` start with.
pub fn decode(bytes: &[u8], limits: Limits) -> Outcome {
    let mut reader = Reader {
        bytes,
        at: 0,
        elements: 0,
        limits,
    };
    match reader.value(0, true) {
        Ok(value) => Outcome::Reply(value, reader.at),
        Err(outcome) => outcome,
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    elements: u128,
    limits: Limits,
}

type Step<T> = Result<T, Outcome>;

fn ensure(holds: bool) -> Step<()> {
    if holds {
        Ok(())
    } else {
        Err(Outcome::Malformed)
    }
}

impl<'b> Reader<'b> {
    fn value(&mut self, depth: usize, top: bool) -> Step<Value> {
        let kind = *self.bytes.get(self.at).ok_or(Outcome::Incomplete)?;
        ensure(b"+-:,(#_$!=*~%|>".contains(&kind))?;
        ensure(kind != b'>' || top)?;
        self.at += 1;
        let line = self.line()?;
        let text = String::from_utf8_lossy(line).into_owned();
        match kind {
            b'+' => Ok(Value::Simple(line.to_vec())),
            b'-' => Ok(Value::Error(line.to_vec())),
            b':' => {
                ensure(text.bytes().all(|byte| b"+-0123456789".contains(&byte)))?;
                text.parse()
                    .map(Value::Integer)
                    .map_err(|_| Outcome::Malformed)
            }
            b'(' => {
                let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
                ensure(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
                Ok(Value::BigNumber(line.to_vec()))
            }
            b',' => double(&text).map(Value::Double).ok_or(Outcome::Malformed),
            b'#' => match line {
                b"t" => Ok(Value::Boolean(true)),
                b"f" => Ok(Value::Boolean(false)),
                _ => Err(Outcome::Malformed),
            },
            b'_' => ensure(line.is_empty()).map(|()| Value::Null),
            b'$' | b'*' if line == b"-1" => Ok(Value::Null),
            b'$' => self.bulk(&text, 0).map(|bytes| Value::Bulk(bytes.to_vec())),
            b'!' => self
                .bulk(&text, 0)
                .map(|bytes| Value::Error(bytes.to_vec())),
            b'=' => {
                let bytes = self.bulk(&text, 4)?;
                ensure(bytes[3] == b':')?;
                Ok(Value::Verbatim(
                    [bytes[0], bytes[1], bytes[2]],
                    bytes[4..].to_vec(),
                ))
            }
            _ => self.aggregate(kind, count(&text)?, depth, top),
        }
    }

    fn aggregate(&mut self, kind: u8, count: u128, depth: usize, top: bool) -> Step<Value> {
        ensure(depth < self.limits.depth)?;
        let paired = kind == b'%' || kind == b'|';
        self.elements += if paired { 2 * count } else { count };
        ensure(self.elements <= self.limits.elements as u128)?;
        let mut elements = Vec::new();
        let mut pairs = Vec::new();
        for _ in 0..count {
            let first = self.value(depth + 1, false)?;
            if paired {
                pairs.push((first, self.value(depth + 1, false)?));
            } else {
                elements.push(first);
            }
        }
        Ok(match kind {
            b'*' => Value::Array(elements),
            b'~' => Value::Set(elements),
            b'>' => Value::Push(elements),
            b'%' => Value::Map(pairs),
            _ => Value::Attributed(pairs, Box::new(self.value(depth + 1, top)?)),
        })
    }

    fn line(&mut self) -> Step<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\r' || byte == b'\n');
        ensure(end.unwrap_or(rest.len()) <= self.limits.line_len)?;
        let end = end.ok_or(Outcome::Incomplete)?;
        ensure(rest[end] == b'\r')?;
        ensure(*rest.get(end + 1).ok_or(Outcome::Incomplete)? == b'\n')?;
        self.at += end + 2;
        ensure(self.at <= self.limits.reply_len)?;
        Ok(&rest[..end])
    }

    fn bulk(&mut self, len: &str, least: u128) -> Step<&'b [u8]> {
        let len = count(len)?;
        ensure(len >= least && len <= self.limits.bulk_len as u128)?;
        ensure(self.at as u128 + len + 2 <= self.limits.reply_len as u128)?;
        let end = self.at + len as usize;
        let bytes = self.bytes.get(self.at..end).ok_or(Outcome::Incomplete)?;
        ensure(self.bytes.get(end..end + 2).ok_or(Outcome::Incomplete)? == b"\r\n")?;
        self.at = end + 2;
        Ok(bytes)
    }
}

fn count(text: &str) -> Step<u128> {
    let value: u64 = text.parse().map_err(|_| Outcome::Malformed)?;
    // Written the only way a server would: this refuses a sign and leading zeros.
    ensure(value.to_string() == text)?;
    Ok(value.into())
}

fn double(text: &str) -> Option<f64> {
    match text {
        "nan" | "-nan" => return Some(f64::NAN),
        "inf" => return Some(f64::INFINITY),
        "-inf" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = |part: &str| part.strip_prefix(['+', '-']).unwrap_or(part).to_owned();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(unsigned(exponent))),
        None => (text, None),
    };
    let mantissa = unsigned(mantissa);
    let (integral, fraction) = match mantissa.split_once('.') {
        Some((integral, fraction)) => (integral, Some(fraction)),
        None => (mantissa.as_str(), None),
    };
    let valid =
        digits(integral) && fraction.is_none_or(digits) && exponent.is_none_or(|e| digits(&e));
    if valid { text.parse().ok() } else { None }
}
