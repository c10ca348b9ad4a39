#!/usr/bin/env bash
# What more pods cost the master, with the two topologies: naive (every pod reads the master) and sidekick (every pod
# reads a replica of its own). And who still answers when the master is gone.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tuning/pods.sh [-d SECONDS] [-r RATE] [-o FOLDER] [PODS...]

  -d  seconds of load (10)   -r  requests/s for each pod (1000)
  -o  where to put pods.csv and pods.md (tuning/results/DATE-CPU)

PODS: how many (1 2 4). REDIS_API names a binary to use instead of building one. A tree
with changes is refused; DIRTY=1 allows it.
EOF
}

# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=10 rate=1000 folder=
while getopts d:r:o:h option; do
  case $option in
    d) seconds=$OPTARG ;;
    r) rate=$OPTARG ;;
    o) folder=$OPTARG ;;
    h) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- 1 2 4

PATH=$PATH:$ROOT/target/tools/bin
command -v vegeta >/dev/null || die "missing: vegeta (make setup installs it)"
# Not measured here, so not built.
PEER=none
build
BUILT="${BUILT% the reference was given}"
csv=$WORK/pods.csv
tick_us=$((1000000 / $(getconf CLK_TCK)))

# start_one NAME ARGUMENT...: a Redis server. Sets PORT and adds to PIDS.
start_one() {
  local name=$1
  shift
  PORT=$(free_port)
  mkdir -p "$WORK/$name"
  "$REDIS_SERVER" --port "$PORT" --bind 127.0.0.1 --save '' --appendonly no --dir "$WORK/$name" \
    --repl-diskless-sync-delay 0 "$@" >"$WORK/$name.log" 2>&1 &
  STARTED=$!
  started "$STARTED"
  until_true 20 "$REDIS_CLI" -p "$PORT" ping || die "$name did not start: $(tail -n 3 "$WORK/$name.log")"
}

# start_pod TOPOLOGY NUMBER: the API, and its replica. Adds to API_PIDS, REPLICA_PIDS, API_PORTS.
start_pod() {
  local role=(--redis-addr "127.0.0.1:$MASTER_PORT")
  if [ "$1" = sidekick ]; then
    start_one "replica-$2" --replicaof 127.0.0.1 "$MASTER_PORT"
    REPLICA_PIDS+=("$STARTED")
    role=(--read-redis-addr "127.0.0.1:$PORT" --read-role replica
      --write-redis-addr "127.0.0.1:$MASTER_PORT")
  fi
  local port
  port=$(free_port)
  "$REDIS_API" serve --workers 2 --listen "127.0.0.1:$port" --admin-listen 127.0.0.1:0 \
    "${role[@]}" >"$WORK/api-$2.log" 2>&1 &
  started $!
  API_PIDS+=($!)
  API_PORTS+=("$port")
  until_true 20 answers "$port" '{"current":'$VALUE'}' ||
    die "pod $2 does not answer: $(tail -n 3 "$WORK/api-$2.log")"
}

# Ticks of all processes named.
ticks_of() {
  local pid sum=0
  for pid; do sum=$((sum + $(ticks "$pid"))); done
  echo "$sum"
}

millicores() { divide $(($1 * tick_us)) $((seconds * 1000)) 0; }

# How many pods answer a read.
answering() {
  local port count=0
  for port in "${API_PORTS[@]}"; do
    if answers "$port" '{"current":'$VALUE'}'; then count=$((count + 1)); fi
  done
  echo "$count"
}

# One line of the CSV.
measure() {
  local topology=$1 pods=$2 number before report clients
  API_PIDS=() REPLICA_PIDS=() API_PORTS=()
  start_one master
  MASTER_PID=$STARTED MASTER_PORT=$PORT
  "$REDIS_CLI" -p "$MASTER_PORT" hset currency current-value "$VALUE" >/dev/null
  for ((number = 1; number <= pods; number++)); do start_pod "$topology" "$number"; done
  for number in "${API_PORTS[@]}"; do echo "GET http://127.0.0.1:$number/"; done >"$WORK/targets"

  before=("$(ticks "$MASTER_PID")" "$(ticks_of "${API_PIDS[@]}")" "$(ticks_of "${REPLICA_PIDS[@]}")")
  vegeta attack -targets "$WORK/targets" -rate "$((rate * pods))/1s" -duration "${seconds}s" \
    -timeout 2s -max-workers 4096 >"$WORK/results"
  # Without our own connection of this moment.
  clients=$("$REDIS_CLI" -p "$MASTER_PORT" info clients | sed -n 's/^connected_clients:\([0-9]*\).*/\1/p')
  local master=$(($(ticks "$MASTER_PID") - before[0]))
  local api=$(($(ticks_of "${API_PIDS[@]}") - before[1]))
  local replicas=$(($(ticks_of "${REPLICA_PIDS[@]}") - before[2]))
  report=$(vegeta report -type json "$WORK/results")
  field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p" <<<"$report"; }

  stop "$MASTER_PID"
  # Twice the time that a read may take, and the look at the link that comes each second.
  sleep 2
  printf '%s,%s,%s,%s,%s,%s,%s,%s,%s,%s\n' "$topology" "$pods" "$(field success)" \
    "$(divide "$(field 50th)" 1000 0)" "$(divide "$(field 99th)" 1000 0)" "$((clients - 1))" \
    "$(millicores "$master")" "$(millicores "$api")" "$(millicores "$replicas")" "$(answering)" >>"$csv"
  for number in "${API_PIDS[@]}" "${REPLICA_PIDS[@]}"; do stop "$number"; done
}

table() {
  echo "| topology | pods | p50, µs | p99, µs | the master's clients | master, m | all APIs, m | all replicas, m | pods that read without the master |"
  echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
  grep -v '^[#t]' "$csv" | awk -F, '{
    printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", $1, $2, $4, $5, $6, $7, $8, $9, $10 }'
}

{
  conditions
  printf '# vegeta: %s\n' "$(vegeta -version | sed -n 's/^Runtime: //p')"
  printf '# command: pods.sh -d %s -r %s %s\n' "$seconds" "$rate" "$*"
  echo "topology,pods,success,p50_us,p99_us,master_clients,master_millicores,api_millicores,replica_millicores,answering_without_master"
} >"$csv"
for topology in naive sidekick; do
  for pods; do
    measure "$topology" "$pods"
    say "$topology with $pods pods done"
  done
done
table | tee "$WORK/pods.md"
publish pods.csv pods.md
