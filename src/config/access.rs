//! The flags that say who may write, which fields there are, and which web pages may use the API.

use std::net::SocketAddr;
use std::num::NonZeroU64;

use super::parsers;
use super::values::Values;
use redis_api_server::{Cors, Fields, GuardOptions};

/// The rules for clients; warns of writes that are open to other machines.
pub(super) fn access(values: &mut Values<'_>, listen: Option<SocketAddr>) -> Option<GuardOptions> {
    let read_only = values.boolean("read-only").unwrap_or(false);
    let token_file = values.path("write-token-file").flatten();
    let fields = values.parsed("fields", Fields::parse);
    let max_fields = values.parsed("max-fields", |text| {
        // The most that a hash can have: https://redis.io/docs/latest/develop/data-types/hashes/.
        parsers::count(text, 0..=u32::MAX as usize)
    });
    let cors = values.parsed("cors-origin", Cors::parse);
    if let Some(listen) = listen
        && !read_only
        && token_file.is_none()
        && !listen.ip().to_canonical().is_loopback()
    {
        values.warnings.push(format!(
            "anyone who can reach {listen} can write: give --write-token-file or --read-only, or \
             listen on loopback"
        ));
    }
    Some(GuardOptions {
        read_only,
        token_file,
        fields,
        max_fields: NonZeroU64::new(max_fields? as u64),
        cors: cors?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::serve;
    use super::*;

    #[test]
    fn rules_for_clients() {
        let serve = serve(
            &[
                "--write-token-file=token",
                "--fields=EUR,USD",
                "--fields=current-value",
                "--max-fields=1024",
                "--cors-origin=https://a.example",
            ],
            &[
                ("REDIS_API_CORS_ORIGIN", "none"),
                ("REDIS_API_READ_ONLY", "true"),
            ],
        );
        let guard = serve.api.guard;
        assert!(guard.read_only);
        assert_eq!(guard.token_file, Some("token".into()));
        assert_eq!(
            guard.fields,
            Some(Fields::parse("EUR,USD,current-value").expect("is right"))
        );
        assert_eq!(guard.max_fields.map(u64::from), Some(1024));
        assert_eq!(
            guard.cors,
            Cors::parse("https://a.example").expect("is right")
        );
    }

    #[test]
    fn open_writes_are_warned_about() {
        fn check(args: &[&str], expected: bool) {
            let warnings = serve(args, &[]).warnings;
            assert_eq!(!warnings.is_empty(), expected, "{args:?}: {warnings:?}");
            let named = |warning: &String| warning.contains("--write-token-file");
            assert!(warnings.iter().all(named), "{warnings:?}");
        }
        check(&[], true);
        check(&["--listen=0.0.0.0:8080"], true);
        check(&["--listen=10.0.0.1:8080"], true);
        check(&["--listen=127.0.0.1:8080"], false);
        check(&["--listen=127.1.2.3:8080"], false);
        check(&["--listen=[::1]:8080"], false);
        check(&["--listen=[::ffff:127.0.0.1]:8080"], false);
        check(&["--read-only"], false);
        check(&["--read-only=false"], true);
        check(&["--write-token-file=token"], false);
        check(&["--write-token-file="], true);
        check(&["--fields=a"], true);
    }
}
