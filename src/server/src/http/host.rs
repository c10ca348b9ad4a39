//! The `Host` of a request: RFC 9112, section 3.2, and RFC 9110, section 7.2.
//!
//! Nothing is done with it, but two parties that read it differently can be played off against each
//! other, so what is doubtful is refused.

use hyper::header::HOST;
use hyper::{Request, Version};

/// Whether a request has the one `Host` that HTTP/1.1 demands; HTTP/1.0 may have none. Its value
/// must have the form of one; an empty one is what a client sends that knows no name.
pub fn is_valid<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    // Clients send it first, as RFC 9110 asks them to: then there is nothing to look for. It is the
    // only one if no name has two values.
    if headers.keys_len() == headers.len()
        && let Some((name, host)) = headers.iter().next()
        && name == HOST
    {
        return has_form(host.as_bytes());
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => has_form(host.as_bytes()),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Whether these are characters of a host and a port: RFC 3986, section 3.2.2. There is no user in
/// it, no path and no list.
fn has_form(host: &[u8]) -> bool {
    // Without a way out, which would be a branch for each byte of what is nearly always right.
    host.iter()
        .fold(true, |fits, byte| fits & ALLOWED[usize::from(*byte)])
}

/// By their value: one load for each byte, since every request passes here.
static ALLOWED: [bool; 256] = allowed();

const fn allowed() -> [bool; 256] {
    let mut allowed = [false; 256];
    let others = b"-._~!$&'()*+;=%:[]";
    let mut byte = 0;
    while byte < 128_u8 {
        allowed[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        allowed[others[index] as usize] = true;
        index += 1;
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_of_the_right_form() {
        fn check(version: Version, hosts: &[&str], expected: bool) {
            let mut request = Request::builder().version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let request = request.body(()).unwrap();
            assert_eq!(is_valid(&request), expected, "{version:?} {hosts:?}");
        }
        let valid = [
            "a",
            "",
            "a.b-c_d:8080",
            "127.0.0.1:80",
            "[::1]:80",
            "%41",
            "A",
        ];
        for host in valid {
            check(Version::HTTP_11, &[host], true);
            check(Version::HTTP_10, &[host], true);
            check(Version::HTTP_11, &[host, host], false);
            check(Version::HTTP_10, &[host, host], false);
        }
        let later = |hosts: &[&str]| {
            let mut request = Request::builder().header("accept", "*/*");
            for host in hosts {
                request = request.header(HOST, *host);
            }
            is_valid(&request.body(()).unwrap())
        };
        assert!(later(&["a"]) && !later(&["a", "a"]) && !later(&["a/b"]) && !later(&[]));
        check(Version::HTTP_11, &[], false);
        check(Version::HTTP_10, &[], true);
        for host in [
            "a/b", "a@b", "a b", "a,b", "a\tb", "a?b", "a#b", "http://a", "\"a\"", "é", "a\\b",
        ] {
            check(Version::HTTP_11, &[host], false);
        }
    }
}
