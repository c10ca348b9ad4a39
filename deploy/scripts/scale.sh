#!/usr/bin/env bash
# scale.sh RATE [--dry-run]
# Load of RATE requests/s: that is RATE / 1000 replicas of vegetaserver, rounded up.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 1 RATE
rate=${args[0]}
is_count "$rate" || die "RATE is '$rate'; expected requests a second, as 3000"
has kubectl

bots=$(((rate + 999) / 1000))
run kubectl -n "$NAMESPACE" scale deployment vegetaserver --replicas="$bots"
say "$bots bots x 1000 requests/s = $((bots * 1000)) requests/s"
