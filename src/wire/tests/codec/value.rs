//! An owned reply and its encoder: what a server would send. For tests, the fuzzer and benches.

use redis_api_wire::resp::{Elements, Pairs, Reply};

/// A reply that owns its parts. Nulls are one value, as in [`Reply`]; so are both kinds of error.
#[derive(Clone, Debug)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    BigNumber(Vec<u8>),
    Double(f64),
    Boolean(bool),
    Null,
    Bulk(Vec<u8>),
    Verbatim([u8; 3], Vec<u8>),
    Array(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Attributed(Vec<(Value, Value)>, Box<Value>),
}

impl Value {
    /// Appends the value as RESP3. Errors that are no line are sent as bulk errors.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::Simple(text) => line(out, b'+', text),
            Value::Error(text) if text.iter().any(|byte| b"\r\n".contains(byte)) => {
                bulk(out, b'!', text);
            }
            Value::Error(text) => line(out, b'-', text),
            Value::Integer(value) => line(out, b':', value.to_string().as_bytes()),
            Value::BigNumber(digits) => line(out, b'(', digits),
            Value::Double(value) if value.is_nan() => line(out, b',', b"nan"),
            // Rust writes infinities as RESP does, and finite values as digits or with an exponent.
            Value::Double(value) => line(out, b',', format!("{value:e}").as_bytes()),
            Value::Boolean(value) => line(out, b'#', if *value { b"t" } else { b"f" }),
            Value::Null => line(out, b'_', b""),
            Value::Bulk(bytes) => bulk(out, b'$', bytes),
            Value::Verbatim(format, text) => bulk(out, b'=', &[&format[..], b":", text].concat()),
            Value::Array(elements) => aggregate(out, b'*', elements),
            Value::Set(elements) => aggregate(out, b'~', elements),
            Value::Push(elements) => aggregate(out, b'>', elements),
            Value::Map(pairs) => map(out, b'%', pairs),
            Value::Attributed(attributes, value) => {
                map(out, b'|', attributes);
                value.encode(out);
            }
        }
    }

    /// The value as RESP3 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// Doubles are equal by their bits, except that all NaNs are: RESP has one.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Double(a), Value::Double(b)) => {
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            (Value::Simple(a), Value::Simple(b))
            | (Value::Error(a), Value::Error(b))
            | (Value::BigNumber(a), Value::BigNumber(b))
            | (Value::Bulk(a), Value::Bulk(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::Null, Value::Null) => true,
            (Value::Verbatim(a, x), Value::Verbatim(b, y)) => (a, x) == (b, y),
            (Value::Array(a), Value::Array(b))
            | (Value::Set(a), Value::Set(b))
            | (Value::Push(a), Value::Push(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Attributed(a, x), Value::Attributed(b, y)) => (a, x) == (b, y),
            _ => false,
        }
    }
}

/// Reads the whole view. Panics where an iterator yields another number than it announced.
impl From<Reply<'_>> for Value {
    fn from(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Simple(text) => Value::Simple(text.to_vec()),
            Reply::Error(text) => Value::Error(text.to_vec()),
            Reply::Integer(value) => Value::Integer(value),
            Reply::BigNumber(digits) => Value::BigNumber(digits.to_vec()),
            Reply::Double(value) => Value::Double(value),
            Reply::Boolean(value) => Value::Boolean(value),
            Reply::Null => Value::Null,
            Reply::Bulk(bytes) => Value::Bulk(bytes.to_vec()),
            Reply::Verbatim { format, text } => Value::Verbatim(format, text.to_vec()),
            Reply::Array(elements) => Value::Array(owned(elements)),
            Reply::Set(elements) => Value::Set(owned(elements)),
            Reply::Push(elements) => Value::Push(owned(elements)),
            Reply::Map(pairs) => Value::Map(owned_pairs(pairs)),
            Reply::Attributed(it) => {
                Value::Attributed(owned_pairs(it.attributes()), Box::new(it.value().into()))
            }
        }
    }
}

fn owned(elements: Elements<'_>) -> Vec<Value> {
    let values: Vec<Value> = elements.map(Value::from).collect();
    assert_eq!(values.len(), elements.len(), "elements announced");
    values
}

fn owned_pairs(pairs: Pairs<'_>) -> Vec<(Value, Value)> {
    let values: Vec<_> = pairs
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    assert_eq!(values.len(), pairs.len(), "pairs announced");
    values
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn bulk(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    line(out, kind, bytes.len().to_string().as_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn aggregate(out: &mut Vec<u8>, kind: u8, elements: &[Value]) {
    line(out, kind, elements.len().to_string().as_bytes());
    for element in elements {
        element.encode(out);
    }
}

fn map(out: &mut Vec<u8>, kind: u8, pairs: &[(Value, Value)]) {
    line(out, kind, pairs.len().to_string().as_bytes());
    for (key, value) in pairs {
        key.encode(out);
        value.encode(out);
    }
}
