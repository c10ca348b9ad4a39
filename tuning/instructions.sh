#!/usr/bin/env bash
# User-space instructions per request, counted by valgrind's callgrind: the same to about 1 % on a busy machine, where
# times move by tens of percent. What the kernel does is not in them.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tuning/instructions.sh [-d SECONDS] [-c CONNECTIONS] [-o FOLDER] [MODE...]

  -d  seconds of load (8)   -c  connections (64)
  -o  where to put instructions.csv and instructions.md (tuning/results/DATE-CPU)

MODE: reference, helloworld, batch, direct, tracked (all of them); batch:BINARY to measure another build beside this one.
REDIS_API and PEER name binaries to use instead of building them. A tree with changes is refused; DIRTY=1 allows it.
EOF
}

# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# So much slower, a request may take longer than the default allows.
SERVE_FLAGS=(--request-timeout 10s)
seconds=8 connections=64 folder=
parse "$@"

need wrk wrk taskset util-linux valgrind valgrind
choose_cores
build
csv=$WORK/instructions.csv

control() { callgrind_control --vgdb-prefix="$WORK/vgdb" "$@" >/dev/null 2>&1; }

# Sets INSTRUCTIONS, of REQUESTS requests.
count() {
  local out=$WORK/callgrind.out
  rm -f "$out"*
  start_server "$1" valgrind --tool=callgrind --vgdb-prefix="$WORK/vgdb" \
    --callgrind-out-file="$out"
  load 2 "$connections"
  control -z "$SERVER_PID" || die "callgrind takes no commands: $(tail -n 3 "$WORK/server.log")"
  asked=$(hgets)
  load "$seconds" "$connections"
  asked=$(($(hgets) - asked))
  control -d "$SERVER_PID"
  until_true 20 grep -q '^totals:' "$out.1" || die "callgrind left no counts"
  stop "$SERVER_PID"
  INSTRUCTIONS=$(awk '/^totals:/ { print $2 }' "$out.1")
}

start_redis
{
  conditions
  printf '# valgrind: %s\n' "$(valgrind --version)"
  printf '# command: instructions.sh -d %s -c %s\n' "$seconds" "$connections"
  echo "server,connections,requests,instructions,hgets"
} >"$csv"
{
  echo "| server | instructions per request | × reference | HGET per request |"
  echo "| --- | ---: | ---: | ---: |"
  base='' ratio='–'
  for mode in "${modes[@]}"; do
    count "$mode"
    name=$(label "$mode")
    printf '%s,%s,%s,%s,%s\n' "$name" "$connections" "$REQUESTS" "$INSTRUCTIONS" "$asked" >>"$csv"
    each=$(divide "$INSTRUCTIONS" "$REQUESTS" 0)
    if [ "$mode" = reference ]; then base=$each; fi
    if [ -n "$base" ]; then ratio=$(divide "$each" "$base" 2); fi
    printf '| %s | %s | %s | %s |\n' "$name" "$each" "$ratio" \
      "$(divide "$asked" "$REQUESTS" 3)"
  done
} >"$WORK/instructions.md"
cat "$WORK/instructions.md"
publish instructions.csv instructions.md
