#!/usr/bin/env bash
# System calls per request, by strace.
#
# Tracing makes system calls much dearer, so that more requests wait when a turn begins, and share more: the
# table puts requests/s and HGETs per request of an untraced run beside, to tell how far that goes.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tuning/syscalls.sh [-d SECONDS] [-c CONNECTIONS] [-o FOLDER] [MODE...]

  -d  seconds of load (5)   -c  connections (64)
  -o  where to put syscalls.csv and syscalls.md (tuning/results/DATE-CPU)

MODE: reference, helloworld, batch, direct, tracked (all of them); batch:BINARY to measure another build beside this one.
REDIS_API and PEER name binaries to use instead of building them. A tree with changes is refused; DIRTY=1 allows it.
EOF
}

# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Traced, a request may take longer than the default allows.
SERVE_FLAGS=(--request-timeout 10s)
seconds=5 connections=64 folder=
parse "$@"

need wrk wrk taskset util-linux strace strace
choose_cores
build
csv=$WORK/syscalls.csv

traced() { ! grep -q '^TracerPid:\s*0$' "/proc/$SERVER_PID/task/"*/status; }

# Sets ASKED, and REQUESTS and RATE as `load` does.
run() {
  ASKED=$(hgets)
  load "$seconds" "$connections"
  ASKED=$(($(hgets) - ASKED))
}

# One row of the table, and lines of the CSV: untraced, traced, each system call.
measure() {
  local name strace rate shared calls
  name=$(label "$1")
  start_server "$1"
  load 1 "$connections"
  run
  rate=$RATE shared=$(divide "$ASKED" "$REQUESTS" 3)
  echo "$name,untraced,$REQUESTS,$RATE,$ASKED," >>"$csv"

  strace -c -f -U name,calls -o "$WORK/strace" -p "$SERVER_PID" 2>"$WORK/strace.log" &
  strace=$!
  started "$strace"
  until_true 10 traced || die "strace can't attach: $(tail -n 1 "$WORK/strace.log")"
  run
  stop "$strace" TERM
  stop "$SERVER_PID"
  calls=$(awk '$1 == "total" { print $2 }' "$WORK/strace")
  echo "$name,traced,$REQUESTS,$RATE,$ASKED,$calls" >>"$csv"
  awk -v name="$name" '$2 ~ /^[0-9]+$/ && $1 != "total" { print name ",call:" $1 ",,,," $2 }' \
    "$WORK/strace" >>"$csv"
  printf '| %s | %s | %.0f | %.0f | %s | %s |\n' "$name" "$(divide "$calls" "$REQUESTS" 2)" \
    "$RATE" "$rate" "$(divide "$ASKED" "$REQUESTS" 3)" "$shared"
}

start_redis
{
  conditions
  printf '# strace: %s\n' "$(strace --version | sed -n 1p)"
  printf '# command: syscalls.sh -d %s -c %s\n' "$seconds" "$connections"
  echo "server,run,requests,requests_per_second,hgets,calls"
} >"$csv"
{
  echo "| server | calls per request | requests/s | requests/s untraced | HGET per request | the same untraced |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: |"
  for mode in "${modes[@]}"; do
    measure "$mode"
  done
} >"$WORK/syscalls.md"
cat "$WORK/syscalls.md"
publish syscalls.csv syscalls.md
