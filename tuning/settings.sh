#!/usr/bin/env bash
# Settings of the kernel, of a pod and of Redis that are said to matter: what a read costs with each, beside the
# same server without it in the same rounds of tuning/compare.
#
# Each setting is a mode whose program is a wrapper: it sets everything anew, and becomes the server.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: tuning/settings.sh [-n ROUNDS] [-o FOLDER] [SETTING...]

  -n  rounds (6)          -o  where to put the results (tuning/results/DATE-CPU/settings)

SETTING: names of the list in this script (all of them). As root: it sets what belongs to the whole machine, and
puts it back at the end.
EOF
}

# shellcheck source=tuning/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What differs from the defaults in the wrapper below.
declare -A settings=(
  [redis-hz-1]=hz=1
  [redis-aof]=aof=yes
  [busy-poll]=busy_poll=50
  [no-autocorking]=autocorking=0
  [no-timestamps]=timestamps=0
  [conntrack]=conntrack=yes
  [cpu-limit-2]=limit=2
  [sched-batch]=policy=batch
  [slack-1us]=slack=1000
)

kernel=(net.core.busy_poll net.core.busy_read net.ipv4.tcp_autocorking net.ipv4.tcp_timestamps)
# Has the kernel follow connections, as kube-proxy's rules have it do.
rule=(INPUT -i lo -m conntrack --ctstate ESTABLISHED -m comment --comment redis-api-settings -j ACCEPT)
# A pod's CPU limit, by cgroup v1 or v2.
group=/sys/fs/cgroup/redis-api-settings
[ -f /sys/fs/cgroup/cgroup.controllers ] || group=/sys/fs/cgroup/cpu/redis-api-settings

# wrapper SETTING: a program that serves with it.
wrapper() {
  cat <<EOF
#!/usr/bin/env bash
set -euo pipefail
hz=10 aof=no busy_poll=0 autocorking=1 timestamps=1 conntrack=no limit='' policy=other slack=50000
$1
group=$group rule=(${rule[*]})
api=$REDIS_API redis=$REDIS_CLI
EOF
  cat <<'EOF'
for ((at = 1; at < $#; at++)); do
  if [ "${!at}" = --redis-addr ]; then next=$((at + 1)) && port=${!next##*:}; fi
done
"$redis" -p "$port" config set hz "$hz" appendonly "$aof" >/dev/null
pid=$("$redis" -p "$port" info server | sed -n 's/^process_id:\([0-9]*\).*/\1/p')
chrt "--$policy" --all-tasks --pid 0 "$pid"
chrt "--$policy" --pid 0 $$
sysctl -q net.core.busy_poll="$busy_poll" net.core.busy_read="$busy_poll" \
  net.ipv4.tcp_autocorking="$autocorking" net.ipv4.tcp_timestamps="$timestamps"
iptables -D "${rule[@]}" 2>/dev/null || true
if [ "$conntrack" = yes ]; then iptables -I "${rule[@]}"; fi
echo "$slack" >/proc/$$/timerslack_ns
if [ -n "$limit" ]; then
  mkdir -p "$group"
  if [ -f "$group/cpu.max" ]; then
    echo "$((limit * 100000)) 100000" >"$group/cpu.max"
  else
    echo $((limit * 100000)) >"$group/cpu.cfs_quota_us"
  fi
  echo $$ >"$group/cgroup.procs"
fi
exec "$api" "$@"
EOF
}

# Everything as it was.
restore() {
  # shellcheck disable=SC2086 # one word for each
  sysctl -q -w $saved || true
  iptables -D "${rule[@]}" 2>/dev/null || true
  [ ! -d "$group" ] || rmdir "$group" || true
  cleanup
}

# measure MODE ARGUMENT...: `tuning/compare` of that mode, as usual and with each setting.
measure() {
  local mode=$1 name
  local arguments=(--base "$mode-usual" --only "$mode-usual" --connections 64 --rounds "$rounds" -o "$folder")
  shift
  for name in usual "${chosen[@]}"; do
    arguments+=(--mode "$mode-$name=$mode@$WORK/$name")
  done
  "$ROOT/tuning/compare" "${arguments[@]}" "$@"
}

rounds=6 folder=
while getopts n:o:h option; do
  case $option in
    n) rounds=$OPTARG ;;
    o) folder=$OPTARG ;;
    h) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
chosen=("$@")
[ $# -gt 0 ] || mapfile -t chosen < <(printf '%s\n' "${!settings[@]}" | sort)

need chrt util-linux iptables iptables sysctl procps
[ "$(id -u)" = 0 ] || die "needs root, for settings of the kernel"
build
[ -n "$folder" ] || { default_folder && folder=$folder/settings; }
saved=$(sysctl "${kernel[@]}" | sed 's/ = /=/')
trap restore EXIT
for name in usual "${chosen[@]}"; do
  [ "$name" = usual ] || [ -n "${settings[$name]:-}" ] || die "unknown setting: $name"
  wrapper "${settings[$name]:-}" >"$WORK/$name"
  chmod +x "$WORK/$name"
done

measure batch --regime saturation
measure batch --regime fixed --rate 5000
measure tracked --regime fixed --rate 1000,5000
measure tracked-wake --regime fixed --rate 20000
