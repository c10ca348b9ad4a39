#!/usr/bin/env bash
# get.sh [PATH] [--dry-run]
# Asks the API for a value: get.sh, get.sh EUR, get.sh '?fields=EUR,USD'. At API_URL if that is set, else
# through a port-forward.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
[ "${#args[@]}" -le 1 ] || wants 1 "[PATH]"
path=${args[0]:-}
has curl kubectl

# shellcheck source=forward.sh
. "$deploy/scripts/forward.sh"
reach_api
run curl --silent --show-error --max-time 10 "$url/${path#/}"
$dry_run || echo
