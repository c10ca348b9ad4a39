//! Flags of `updater`.

use super::url;
use crate::config::common::listen;
use crate::config::flag::{Group, flag};
use crate::config::parsers;
use crate::config::values::Values;
use redis_api_rig::updater::Options;

pub(super) const UPDATER: Group = Group {
    heading: "Updater",
    flags: &[
        flag(
            "api-url",
            "URL",
            None,
            "The API to post to, such as http://localhost:8080/",
            "Required. Read once at start, so that the walk goes on from the value there.",
        ),
        flag(
            "every",
            "DURATION",
            Some("1s"),
            "The time from one post to the next",
            "What a slow answer makes it miss is left out, so that no burst follows.",
        ),
        flag(
            "timeout",
            "DURATION",
            Some("2s"),
            "For one post, its answer included",
            "Longer than the API's own 400 ms, so that it is the API that says what became of the \
             value.",
        ),
        flag(
            "write-token-file",
            "FILE",
            None,
            "File with the token that the API wants of a POST",
            "Read anew for each post, so it can be rotated; loses one trailing newline; one that \
             turns bad keeps the last good token.",
        ),
        flag(
            "listen",
            "ADDRESS",
            None,
            "Where /metrics and /livez listen",
            "Off unless given.",
        ),
    ],
};

pub(super) fn options(values: &mut Values<'_>) -> Option<Options> {
    let api = url::required(values, "api-url", "the API to post to");
    let every = values.parsed("every", parsers::positive_duration);
    let timeout = values.parsed("timeout", parsers::positive_duration);
    let token_file = values.path("write-token-file").flatten();
    let listen = listen(values, "listen");
    Some(Options {
        api: api?,
        every: every?,
        timeout: timeout?,
        token_file,
        listen: listen.map(|port| port.address),
        listen_defaulted: listen.is_some_and(|port| port.defaulted),
    })
}
