//! The flags that say what is stored where.

use super::common::choice;
use super::flag::{Group, flag};
use super::values::Values;
use redis_api_server::{HashName, ValueKind};

pub(super) const DATA: Group = Group {
    heading: "Data",
    flags: &[
        flag(
            "hash",
            "NAME",
            Some("currency"),
            "The hash that / and /FIELD are fields of",
            "The Redis users need rights to this key: ~NAME.",
        ),
        flag(
            "values",
            "KIND",
            Some("number"),
            "What the fields hold: number, json (any JSON) or text (any UTF-8, a string in JSON)",
            "Checked before it is relayed; a stored value of another kind is 502. json and text may \
             be up to 64 KiB long (raise --max-body to post them); json may be 64 levels deep, \
             without duplicate names in an object.",
        ),
    ],
};

/// The hash, and what its values are.
pub(super) fn data(values: &mut Values<'_>) -> Option<(HashName, ValueKind)> {
    let kinds = [
        ("number", ValueKind::Number),
        ("json", ValueKind::Json),
        ("text", ValueKind::Text),
    ];
    let hash = values.parsed("hash", HashName::parse);
    let kind = choice(values, "values", &kinds);
    Some((hash?, kind?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::serve;
    use super::*;

    #[test]
    fn hash_and_kind_are_those_of_both_sides() {
        let check = |args: &[&str], env: &[(&str, &str)], name: &str, kind| {
            let api = serve(args, env).api;
            assert_eq!(api.reads.hash.as_str(), name);
            assert_eq!(api.writes.hash.as_str(), name);
            assert_eq!(api.reads.values, kind);
        };
        check(&[], &[], "currency", ValueKind::Number);
        check(
            &["--hash=app:rates", "--values=json"],
            &[("REDIS_API_HASH", "b")],
            "app:rates",
            ValueKind::Json,
        );
        let env = [("REDIS_API_HASH", "b"), ("REDIS_API_VALUES", "text")];
        check(&[], &env, "b", ValueKind::Text);
    }
}
