//! The flags that say what caches in front are told.

use super::flag::{Group, flag};
use super::values::Values;
use redis_api_server::{CachingOptions, cache_control};

pub(super) const CACHES: Group = Group {
    heading: "Caches in front",
    flags: &[
        flag(
            "etag",
            "",
            None,
            "Send an ETag with every read, and 304 to a client that has it already (If-None-Match)",
            "Off by default: it only helps caches and clients that revalidate.",
        ),
        flag(
            "cache-control",
            "TEXT",
            None,
            "The Cache-Control of reads, such as \"max-age=1, stale-if-error=60\"",
            "Without it no such header is sent, and caches decide for themselves. With it, errors \
             carry no-store.",
        ),
    ],
};

pub(super) fn caching(values: &mut Values<'_>) -> CachingOptions {
    CachingOptions {
        etag: values.boolean("etag").unwrap_or(false),
        cache_control: values.parsed("cache-control", cache_control),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::serve;

    #[test]
    fn nothing_is_told_unless_asked_for() {
        assert!(serve(&[], &[]).api.caching.is_off());
        let env = [
            ("REDIS_API_ETAG", "true"),
            ("REDIS_API_CACHE_CONTROL", "no-cache"),
        ];
        let caching = serve(&["--cache-control=max-age=1"], &env).api.caching;
        assert!(caching.etag);
        let said = caching.cache_control.expect("it was given");
        assert_eq!(said, "max-age=1");
    }
}
