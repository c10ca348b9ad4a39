#!/usr/bin/env bash
# Runs every fault and the long simulations. What has passed at this commit is not run again, so that
# a run that was stopped goes on; what came out goes into tests/faults/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'prove: %s\n' "$*" >&2; }

state=target/prove/$(git rev-parse HEAD)
mkdir -p "$state"
export FAULTS_RECORD=1

# once NAME COMMAND…: unless it has passed.
once() {
  local name=$1
  shift
  if [ -e "$state/$name" ]; then
    say "$name has passed before"
    return
  fi
  say "$name"
  if "$@"; then
    touch "$state/$name"
  else
    say "$name FAILED"
    failed=1
  fi
}

failed=0
list=$(cargo test --locked --test faults -- --list --format terse | sed -n 's/: test$//p')
# (The soak takes an hour: make soak.)
mapfile -t tests < <(grep -v ^soak:: <<<"$list")
for test in "${tests[@]}"; do
  once "$test" cargo test --locked --test faults -- --include-ignored --exact "$test"
done

# Optimised, in a folder of its own.
export SIMULATION_REPLIES=${SIMULATION_REPLIES:-100000000}
# shellcheck disable=SC2317,SC2329 # by `once`
simulate() {
  CARGO_PROFILE_TEST_OPT_LEVEL=2 CARGO_PROFILE_DEV_OPT_LEVEL=2 \
    cargo test --locked --target-dir target/prove/build "$@" -- --nocapture --test-threads 1
}
once connection simulate --test conn_properties many_replies
once tracked simulate --lib simulation
exit "$failed"
