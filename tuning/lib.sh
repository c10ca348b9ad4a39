# shellcheck shell=bash
# What the scripts here share: options, tools, builds, servers that end with the script. To be sourced after
# `set -euo pipefail`. Functions give back what is more than one value in variables in capitals.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VALUE=12.5
# More flags for `serve`.
SERVE_FLAGS=()
# What to end, by its own number.
PIDS=()
WORK=$(mktemp -d)

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# Remembers a process that was started, so that it ends with the script.
started() { PIDS[$1]=$1; }

# Ends it. What has ended is forgotten: its number may be another's by now.
stop() {
  kill -"${2:-KILL}" "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
  unset "PIDS[$1]"
}

# Ends all that was started, whatever ends the script.
cleanup() {
  local pid
  trap - EXIT INT TERM
  for pid in "${PIDS[@]}"; do stop "$pid"; done
  rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Figures belong to a commit: a tree with changes is refused, unless DIRTY=1 asks for it.
refuse_dirty() {
  local changes
  [ "${DIRTY:-}" != 1 ] || return 0
  changes=$(git -C "$ROOT" status --porcelain -- . ':!tuning/results' 2>/dev/null) || return 0
  [ -z "$changes" ] ||
    die "the tree has changes, so the figures would belong to no commit: commit them, or ask with DIRTY=1"
}

# parse ARGUMENT...: sets rounds, seconds, connections, folder where they are given, and modes. `usage` is the script's.
parse() {
  local option
  OPTIND=1
  # shellcheck disable=SC2034 # the scripts read them
  while getopts n:d:c:o:h option; do
    case $option in
      n) rounds=$OPTARG ;;
      d) seconds=$OPTARG ;;
      c) connections=$OPTARG ;;
      o) folder=$OPTARG ;;
      h) usage && exit ;;
      *) usage >&2 && exit 2 ;;
    esac
  done
  shift $((OPTIND - 1))
  modes=("$@")
  [ $# -gt 0 ] || modes=(reference helloworld batch direct tracked)
  for option in "${modes[@]}"; do
    case $option in
      reference | helloworld | batch | direct | tracked) ;;
      helloworld:* | batch:* | direct:* | tracked:*) [ -x "${option#*:}" ] || die "no program: ${option#*:}" ;;
      *) usage >&2 && die "unknown mode: $option (options come before modes)" ;;
    esac
  done
}

# What a mode is called in results: of another build the name of its file, not where it is.
label() {
  case $1 in
    *:*) printf '%s:%s' "${1%%:*}" "$(basename "${1#*:}")" ;;
    *) printf '%s' "$1" ;;
  esac
}

# need TOOL PACKAGE ...: names all that is missing at once, with the command that installs it.
need() {
  local missing=() packages=()
  while [ $# -gt 0 ]; do
    if ! command -v "$1" >/dev/null 2>&1; then
      missing+=("$1")
      packages+=("$2")
    fi
    shift 2
  done
  if [ "${#missing[@]}" -gt 0 ]; then
    die "missing: ${missing[*]}; install with: apt-get install ${packages[*]} (redis-server: make setup)"
  fi
}

# First of the names given that is on PATH.
first_of() {
  local name
  for name in "$@"; do
    if command -v "$name" 2>/dev/null; then return; fi
  done
  die "none of these is on PATH: $* (make setup installs redis-server)"
}

# Sets CORE_SERVER and CORE_CLIENT: the first two cores that we may use.
choose_cores() {
  local cores
  [ "$(uname)" = Linux ] || die "needs Linux: /proc and taskset"
  cores=$(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status | tr ',' '\n' |
    while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done)
  [ "$(wc -l <<<"$cores")" -ge 2 ] || die "needs two cores: one for the servers, one for wrk"
  CORE_SERVER=$(sed -n 1p <<<"$cores")
  CORE_CLIENT=$(sed -n 2p <<<"$cores")
}

# Builds both servers, unless REDIS_API and PEER name them. Sets REDIS_API, PEER, REDIS_SERVER, REDIS_CLI.
build() {
  local target=${CARGO_TARGET_DIR:-$ROOT/target}
  refuse_dirty
  REDIS_SERVER=$(first_of redis-server valkey-server)
  REDIS_CLI=$(first_of redis-cli valkey-cli)
  BUILT="${REDIS_API:+the API was given}${PEER:+ the reference was given}"
  if [ -z "${REDIS_API:-}" ]; then
    # The build that README.md names: with --package, dependencies would have other features.
    cargo build --release --locked --manifest-path "$ROOT/Cargo.toml" --target-dir "$target"
    REDIS_API=$target/release/redis-api
  fi
  if [ -z "${PEER:-}" ]; then
    cargo build --release --locked --manifest-path "$ROOT/benches/peers/hyper/Cargo.toml" \
      --target-dir "$target/peers"
    PEER=$target/peers/release/peer-hyper
  fi
}

# A port of 127.0.0.1 on which nobody listens, below those that the kernel gives to clients.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 10000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
}

# until_true SECONDS COMMAND...
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# The answer to GET / on $1, without its head.
answer() {
  local line body=
  exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
  printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&3
  while IFS= read -r -t 5 line <&3 || [ -n "$line" ]; do body=$line; done
  exec 3<&-
  printf '%s' "$body"
}

answers() { [ "$(answer "$1" 2>/dev/null)" = "$2" ]; }

redis() { "$REDIS_CLI" -p "$REDIS_PORT" "$@"; }

# Starts Redis on the servers' core, with the value set. Sets REDIS_PID, REDIS_PORT.
start_redis() {
  REDIS_PORT=$(free_port)
  taskset -c "$CORE_SERVER" "$REDIS_SERVER" --port "$REDIS_PORT" --bind 127.0.0.1 --save '' \
    --appendonly no --dir "$WORK" >"$WORK/redis.log" 2>&1 &
  REDIS_PID=$!
  started "$REDIS_PID"
  until_true 20 redis ping || die "Redis did not start: $(tail -n 3 "$WORK/redis.log")"
  redis hset currency current-value "$VALUE" >/dev/null
}

# Times Redis was asked for the value so far.
hgets() { redis info commandstats | sed -n 's/^cmdstat_hget:calls=\([0-9]*\),.*/\1/p' | grep . || echo 0; }

# start_server MODE [PREFIX...]: starts a server, under PREFIX if given. Sets SERVER_PID, SERVER_PORT, and checks its
# answer. MODE: reference, helloworld, batch, direct, tracked; all but the first as MODE:BINARY for another build.
start_server() {
  local mode=${1%%:*} binary=$REDIS_API body='{"current":'$VALUE'}' command
  case $1 in *:*) binary=${1#*:} ;; esac
  shift
  SERVER_PORT=$(free_port)
  case $mode in
    reference) command=("$PEER" "127.0.0.1:$SERVER_PORT") ;;
    helloworld)
      command=("$binary" helloworld --workers 1 --listen "127.0.0.1:$SERVER_PORT")
      body='Hello World!'
      ;;
    batch | direct | tracked)
      command=("$binary" serve --workers 1 --listen "127.0.0.1:$SERVER_PORT"
        --admin-listen 127.0.0.1:0 --redis-addr "127.0.0.1:$REDIS_PORT" --read-mode "$mode"
        "${SERVE_FLAGS[@]}")
      ;;
  esac
  taskset -c "$CORE_SERVER" "$@" "${command[@]}" >"$WORK/server.log" 2>&1 &
  SERVER_PID=$!
  started "$SERVER_PID"
  until_true 60 answers "$SERVER_PORT" "$body" ||
    die "$mode does not answer $body: $(tail -n 3 "$WORK/server.log")"
}

# load SECONDS CONNECTIONS: runs wrk; sets REQUESTS, and RATE, requests/s.
load() {
  taskset -c "$CORE_CLIENT" wrk -t1 -c"$2" -d"${1}s" "http://127.0.0.1:$SERVER_PORT/" \
    >"$WORK/wrk.log"
  if grep -E 'Non-2xx|Socket errors' "$WORK/wrk.log" >&2; then
    die "the server did not answer all requests"
  fi
  # shellcheck disable=SC2034 # the scripts read them
  REQUESTS=$(awk '/requests in/ { print $1 }' "$WORK/wrk.log")
  # shellcheck disable=SC2034
  RATE=$(awk '/^Requests\/sec:/ { print $2 }' "$WORK/wrk.log")
}

# User and system time of a process and its threads so far, in clock ticks.
ticks() {
  local stat
  stat=$(<"/proc/$1/stat")
  # The name in parentheses may hold blanks; utime and stime are fields 14 and 15 of all.
  awk '{ print $12 + $13 }' <<<"${stat##*) }"
}

# divide A B DIGITS
divide() { awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { printf "%.*f", d, b ? a / b : 0 }'; }

# The median of the numbers on stdin, one a line.
median() {
  sort -g | awk '{ n[NR] = $1 } END { print NR % 2 ? n[(NR + 1) / 2] : (n[NR / 2] + n[NR / 2 + 1]) / 2 }'
}

# What the figures depend on, one `# name: value` a line.
conditions() {
  printf '# date: %s\n' "$(date -u +%FT%TZ)"
  printf '# cpu: %s, %s cores\n' "$(cpu_model)" "$(getconf _NPROCESSORS_ONLN)"
  printf '# kernel: %s\n' "$(uname -sr)"
  printf '# commit: %s\n' "$(git -C "$ROOT" describe --always --dirty 2>/dev/null || echo unknown)"
  printf '# built from it: %s\n' "${BUILT:-both servers}"
  printf '# rustc: %s\n' "$(rustc --version 2>/dev/null || echo unknown)"
  printf '# redis: %s\n' "$("$REDIS_SERVER" --version)"
  printf '# wrk: %s\n' "$(wrk --version 2>&1 | awk 'NR == 1 { print $2 }')"
  printf '# load before: %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
}

cpu_model() { sed -n 's/^model name\s*: //p' /proc/cpuinfo | sed -n 1p; }

# Sets folder, unless it is given: named by date and CPU, nothing of this machine's name.
default_folder() {
  local cpu
  cpu=$(cpu_model | tr '[:upper:]' '[:lower:]' | tr -cs 'a-z0-9\n' '-' | sed 's/-*$//')
  folder=${folder:-$ROOT/tuning/results/$(date -u +%F)-${cpu:-unknown}}
}

# publish FILE...: puts the results of a complete run into the folder. What a run that failed has left is thrown away
# instead.
publish() {
  local file
  default_folder
  mkdir -p "$folder"
  for file; do cp "$WORK/$file" "$folder/$file"; done
  say "table and raw data: $folder"
}
