#!/usr/bin/env bash
# post.sh VALUE [FIELD] [--dry-run]
# Posts a value with the token of the Secret redis-api-token: post.sh 12.5, post.sh 1.1 EUR. At API_URL if
# that is set, else through a port-forward.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
case ${#args[@]} in 1 | 2) ;; *) wants 2 "VALUE [FIELD]" ;; esac
value=${args[0]} field=${args[1]:-}
has curl kubectl

# shellcheck source=forward.sh
. "$deploy/scripts/forward.sh"
reach_api
post=(curl --silent --show-error --max-time 10 --data-binary "{\"value\":$value}")
if $dry_run; then
  run "${post[@]}" --header '@-' "$url/$field"
  exit
fi
token=$(secret_value redis-api-token token)
[ -n "$token" ] || die "the Secret redis-api-token is missing: run secret-redis.sh"
# By stdin: a header on the command line shows in `ps`.
printf 'Authorization: Bearer %s\n' "$token" | "${post[@]}" --header '@-' "$url/$field"
echo
