#!/usr/bin/env bash
# What streams cost, beside polling by as many clients and beside idle connections: memory of each, CPU time of each
# event, and how long a change takes from the write at the master to the client's byte. One worker on a core of its
# own; Redis, the clients and who writes share the other.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: tuning/streams.sh [-d SECONDS] [-c CLIENTS] [-o FOLDER]

  -d  seconds of each measurement (10)   -c  clients (10000; the hard limit on descriptors must allow them)
  -o  where to put streams.csv and streams.md (tuning/results/DATE-CPU)

REDIS_API names a binary to use instead of building it. A tree with changes is refused; DIRTY=1 allows it.
USAGE
}

# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=10 connections=10000 folder=
parse "$@"
# Nothing here is compared with it.
PEER=/bin/true

need taskset util-linux
choose_cores
build
ulimit -n "$(ulimit -Hn)"
target=${CARGO_TARGET_DIR:-$ROOT/target}/peers
cargo build --release --locked --manifest-path "$ROOT/benches/streams/Cargo.toml" --target-dir "$target"
csv=$WORK/streams.csv
SERVE_FLAGS=(--max-streams 1000000 --idle-timeout 0s)

# one MODE RATE: a server of its own each time, so that memory begins where it does.
one() {
  start_server tracked
  # The load counts from 1 on.
  redis hset currency current-value 0 >/dev/null
  taskset -c "$CORE_CLIENT" "$target/release/streams-load" "$1" "127.0.0.1:$SERVER_PORT" \
    "127.0.0.1:$REDIS_PORT" "$SERVER_PID" "$connections" "$2" "$seconds" >>"$csv"
  redis hset currency current-value "$VALUE" >/dev/null
  stop "$SERVER_PID"
}

table() {
  echo "| clients | changes a second | bytes each | CPU, % of a core | values a second | CPU, µs each | p50, ms | p99, ms | max, ms |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
  grep -v '^[#m]' "$csv" | awk -F, '{
    if ($1 == "idle") { printf "| %d idle | – | %d | – | – | – | – | – | – |\n", $2, $5; next }
    printf "| %d %s | %d | %d | %.1f | %.0f | %.2f | %.1f | %.1f | %.1f |\n", $2,
      $1 == "poll" ? "polling each second" : "streams", $3, $5, 100 * $6 / $4, $7 / $4, $8, $9, $10, $11
  }'
}

start_redis
# On the clients' core: the API has one for itself.
taskset -cp "$CORE_CLIENT" "$REDIS_PID" >/dev/null
{
  conditions
  printf '# command: streams.sh -d %s -c %s\n' "$seconds" "$connections"
  echo "mode,clients,changes_per_second,seconds,bytes_each,cpu_seconds,values,cpu_us_each,p50_ms,p99_ms,max_ms"
} >"$csv"
one idle 0
one stream 1
one poll 1
one stream 10
one stream 100
one poll 100
table | tee "$WORK/streams.md"
publish streams.csv streams.md
