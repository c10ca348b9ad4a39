//! Which field a request names.
//!
//! Nothing is decoded: no field's name needs it. But `%2C` in a list of fields is a comma, since
//! that is how the libraries of most languages write one in a query.

use crate::store::CURRENT;

/// Longest name of a field, in bytes.
const MAX_NAME: usize = 128;

/// Most fields in one `?fields=`.
const MAX_FIELDS: usize = 128;

/// Names of fields, each once, in the order asked.
pub type Names = Box<[Box<[u8]>]>;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`
    Current,
    /// `/FIELD`
    Field(&'a str),
}

/// What it means that nothing is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Of the field behind `/`.
    NotInitialised,
    /// Of any other.
    NotFound,
}

impl<'a> Route<'a> {
    /// `None`: there is no such path, whatever the method.
    pub fn of(path: &'a str) -> Option<Self> {
        match path.strip_prefix('/')? {
            "" => Some(Route::Current),
            name => is_field(name).then_some(Route::Field(name)),
        }
    }

    /// The field of the hash.
    pub fn field(self) -> &'a str {
        match self {
            Route::Current => CURRENT,
            Route::Field(name) => name,
        }
    }
}

/// Whether a field may be called so: the unreserved characters of RFC 3986, section 2.3, and
/// neither `.` nor `..`, which clients resolve away.
pub fn is_field(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(letter) && name != "." && name != ".."
}

/// The names of `fields=A,B` in a query, each once, in the order asked; `None` if it has no such
/// parameter. Given several times, the lists add up.
///
/// # Errors
/// In words, what is wrong with the list.
pub fn fields(query: &str) -> Option<Result<Names, &'static str>> {
    let mut lists = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("fields="))
        .peekable();
    lists.peek()?;
    Some(names(lists.flat_map(items)))
}

/// What stands between the commas of a list, plain or encoded.
fn items(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let encoded = |at: &usize| matches!(list.as_bytes()[*at..], [b'%', b'2', b'C' | b'c', ..]);
        let plain = |at: &usize| list.as_bytes()[*at] == b',';
        let Some(at) = (0..list.len()).find(|at| plain(at) || encoded(at)) else {
            return rest.take();
        };
        let comma = if plain(&at) { 1 } else { 3 };
        rest = Some(&list[at + comma..]);
        Some(&list[..at])
    })
}

fn names<'a>(asked: impl Iterator<Item = &'a str>) -> Result<Names, &'static str> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    for name in asked {
        if !is_field(name) {
            return Err(
                "fields must be a comma-separated list of names, each 1 to 128 letters, digits or \
                 . _ ~ -",
            );
        }
        if names.iter().any(|known| **known == *name.as_bytes()) {
            continue;
        }
        if names.len() == MAX_FIELDS {
            return Err("fields takes at most 128 names");
        }
        names.push(name.as_bytes().into());
    }
    Ok(names.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let long = format!("/{}", "x".repeat(MAX_NAME));
        let check = |path, expected| assert_eq!(Route::of(path), expected, "{path}");
        check("/", Some(Route::Current));
        check("/EUR", Some(Route::Field("EUR")));
        check("/a.b_c~d-9", Some(Route::Field("a.b_c~d-9")));
        check("/...", Some(Route::Field("...")));
        check(&long, Some(Route::Field(&long[1..])));
        for path in [
            "",
            "*",
            "EUR",
            "//",
            "/.",
            "/..",
            "/a/b",
            "/a/",
            "/a%20",
            "/a b",
            "/é",
            "/a+b",
            "/a,b",
            "/a\0",
            &format!("{long}x"),
        ] {
            check(path, None);
        }
    }

    fn list(query: &str) -> Option<Result<Vec<String>, &'static str>> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        fields(query).map(|names| names.map(|names| names.iter().map(|name| text(name)).collect()))
    }

    #[test]
    fn queries() {
        let some = |names: &[&str]| {
            Some(Ok(names
                .iter()
                .map(std::string::ToString::to_string)
                .collect()))
        };
        assert_eq!(list("fields=EUR,USD"), some(&["EUR", "USD"]));
        assert_eq!(list("x=1&fields=USD,EUR,USD&y"), some(&["USD", "EUR"]));
        assert_eq!(list("fields=A&fields=B,A"), some(&["A", "B"]));
        assert_eq!(list("fields=A%2CB%2cC,D"), some(&["A", "B", "C", "D"]));
        assert_eq!(list("fields=A%2CB&fields=B%2CC"), some(&["A", "B", "C"]));
        for other in ["", "x", "field=A", "xfields=A", "fields", "Fields=A"] {
            assert_eq!(list(other), None, "{other}");
        }
        for bad in [
            "fields=",
            "fields=,",
            "fields=A,",
            "fields=A,,B",
            "fields=A%2CB%2C",
            "fields=%2c",
            "fields=A%252CB",
            "fields=A%2",
            "fields=A%2D",
            "fields=%41",
            "fields=A+B",
            "fields=..",
        ] {
            assert!(matches!(list(bad), Some(Err(_))), "{bad}");
        }
        let many = |count: usize| {
            let names: Vec<_> = (0..count).map(|index| index.to_string()).collect();
            list(&format!("fields={},0", names.join(",")))
        };
        assert!(matches!(many(128), Some(Ok(names)) if names.len() == 128));
        assert!(matches!(many(129), Some(Err(_))));
    }
}
