# shellcheck shell=bash
# shellcheck disable=SC2034 # What it sets is for others.
#
# Settings and helpers of the test cluster. The scripts beside this one source it.

# All that the cluster has and makes. Outside of the clone, so that neither `cargo clean` nor a new
# clone costs another build of Kubernetes.
work=${CLUSTER_WORK:-${XDG_CACHE_HOME:-$HOME/.cache}/redis-api/cluster}
# Of one run of the cluster; node-down.sh deletes it.
state=$work/state
images=$work/images

# The names and addresses are fixed: a machine runs one such cluster.
# Node, host name, and the cgroup that holds all its processes. (kubelet.yaml has it too.)
node=redis-api-node
# This machine's end of the only link into the node.
link=redis-api0
host_address=10.250.0.1
node_address=10.250.0.2
# (pods.conflist, kube-proxy.yaml, kubelet.yaml and coredns.yaml have these too.)
pod_range=10.244.0.0/24
service_range=10.96.0.0/16

# Exit status for "this machine can't run a cluster", which is no failure of what is tested. (The
# one that Automake's and Meson's test runners count as skipped.)
LACKING=77

say() { printf 'cluster: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# install_packages PACKAGE...: installs these Debian packages, if any are named.
install_packages() {
  [ $# -gt 0 ] || return 0
  say "missing: $*"
  command -v apt-get >/dev/null 2>&1 ||
    die "install them with this system's package manager, then run this again"
  {
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
  } >&2 || die "installing them has failed"
}

# need_go WANTED: prints a Go of that version or newer, installed first where there is none.
need_go() {
  local go scripts
  scripts=$(dirname "${BASH_SOURCE[0]}")/../../../scripts
  # shellcheck source=scripts/go.sh
  . "$scripts/go.sh"
  if ! go=$(find_go "$1" "$work/go"); then
    say "missing: Go $1 or newer"
    install_go "$1" "$work/go" >&2 || die "it can't be installed"
    go=$(find_go "$1" "$work/go") || die "the one that was installed is older"
  fi
  echo "$go"
}

# The process that started the node, if it runs: its namespaces are the node's, all but that of
# process ids, which only its children are in.
node_pid() {
  local pid
  pid=$(cat "$state/pid" 2>/dev/null) || return 1
  # The number may be another process's by now.
  grep -qs "$node" "/proc/$pid/cgroup" && echo "$pid"
}

# in_node COMMAND...: runs it inside the node.
in_node() {
  local pid
  pid=$(node_pid) || die "it does not run: make cluster"
  nsenter --target "$pid" --mount --uts --ipc --net --pid="/proc/$pid/ns/pid_for_children" -- "$@"
}

# The cgroups of the node: one for each controller (v1), or one (v2).
cgroups() {
  local at
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo "/sys/fs/cgroup/$node"
    return
  fi
  for at in /sys/fs/cgroup/*/; do
    # Not the links (cpu to cpu,cpuacct), nor a v2 tree without controllers beside v1.
    if [ ! -L "${at%/}" ] && [ -e "$at/tasks" ]; then echo "$at$node"; fi
  done
}

# until_ok SECONDS COMMAND...: repeats it until it succeeds; fails with its last words if it doesn't.
until_ok() {
  local deadline=$((SECONDS + $1)) words
  shift
  until words=$("$@" 2>&1); do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "$words"
      return 1
    fi
    sleep 0.2
  done
}
