#!/usr/bin/env bash
# CPU time per request of the API and of Redis, beside the reference: plain hyper with a constant answer.
#
# The server and Redis are pinned to one core, wrk to another. Each round measures each mode once, with processes
# of its own, in alternating order; the table gives medians, and the ratio to the reference of the same round with its range.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tuning/cost.sh [-n ROUNDS] [-d SECONDS] [-c CONNECTIONS] [-o FOLDER] [MODE...]

  -n  rounds (7)          -d  seconds per measurement (5)
  -c  connections (64)    -o  where to put cost.csv and cost.md (tuning/results/DATE-CPU)

MODE: reference, helloworld, batch, direct, tracked (all of them); batch:BINARY to measure another build beside this one.
REDIS_API and PEER name binaries to use instead of building them. A tree with changes is refused; DIRTY=1 allows it.
EOF
}

# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=7 seconds=5 connections=64 folder=
parse "$@"

need wrk wrk taskset util-linux
choose_cores
build
csv=$WORK/cost.csv
tick_us=$((1000000 / $(getconf CLK_TCK)))

# One line of the CSV.
measure() {
  local round=$1 mode=$2 api redis_ticks asked
  start_server "$mode"
  load 1 "$connections"
  asked=$(hgets) api=$(ticks "$SERVER_PID") redis_ticks=$(ticks "$REDIS_PID")
  load "$seconds" "$connections"
  api=$(($(ticks "$SERVER_PID") - api)) redis_ticks=$(($(ticks "$REDIS_PID") - redis_ticks))
  asked=$(($(hgets) - asked))
  stop "$SERVER_PID"
  printf '%s,%s,%s,%s,%s,%s,%s,%s\n' "$round" "$(label "$mode")" "$connections" "$REQUESTS" \
    "$RATE" $((api * tick_us)) $((redis_ticks * tick_us)) "$asked" >>"$csv"
}

# column MODE DIGITS FIELD [PER]: the median over the rounds of one column of the CSV, or of one per another.
column() {
  local value
  value=$(grep -v '^[#r]' "$csv" | awk -F, -v mode="$1" -v field="$3" -v per="${4:-0}" '
    $2 == mode { print per ? $field / $per : $field }' | median)
  printf "%.${2}f" "$value"
}

# The ratios to the reference of the same round: median, least and greatest. Where these lie apart, the median of few
# rounds says little.
ratio() {
  local ratios
  ratios=$(grep -v '^[#r]' "$csv" | awk -F, -v mode="$1" '
    $2 == "reference" { base[$1] = $6 / $4 }
    $2 == mode { cost[$1] = $6 / $4 }
    END { for (round in cost) if (base[round]) print cost[round] / base[round] }' | sort -g)
  if [ "$1" = reference ]; then
    printf '1.00'
  elif [ -z "$ratios" ]; then
    printf '–'
  else
    printf '%.2f (%.2f to %.2f)' "$(median <<<"$ratios")" "$(head -n 1 <<<"$ratios")" \
      "$(tail -n 1 <<<"$ratios")"
  fi
}

table() {
  local mode name redis
  echo "| server | API, µs | × reference | Redis, µs | Redis / API | HGET per request | requests/s |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
  for mode in "${modes[@]}"; do
    name=$(label "$mode") redis='– | – | –'
    case $mode in
      batch* | direct*)
        redis="$(column "$name" 2 7 4) | $(column "$name" 3 7 6) | $(column "$name" 3 8 4)"
        ;;
    esac
    printf '| %s | %s | %s | %s | %s |\n' "$name" "$(column "$name" 2 6 4)" "$(ratio "$name")" \
      "$redis" "$(column "$name" 0 5)"
  done
}

start_redis
{
  conditions
  printf '# command: cost.sh -n %s -d %s -c %s\n' "$rounds" "$seconds" "$connections"
  echo "round,server,connections,requests,requests_per_second,api_cpu_us,redis_cpu_us,hgets"
} >"$csv"
for ((round = 1; round <= rounds; round++)); do
  order=("${modes[@]}")
  if ((round % 2 == 0)); then
    order=()
    for mode in "${modes[@]}"; do order=("$mode" "${order[@]}"); done
  fi
  for mode in "${order[@]}"; do
    measure "$round" "$mode"
  done
  say "round $round of $rounds done"
done
table | tee "$WORK/cost.md"
publish cost.csv cost.md
