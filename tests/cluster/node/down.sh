#!/usr/bin/env bash
# Ends the cluster and removes all that it made, but the programs and images that were built.
set -euo pipefail
# shellcheck source=tests/cluster/node/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# All cgroups of the node, the deepest first. (Beside v1, runc makes them in v2 too.)
all_cgroups() {
  local at
  for at in /sys/fs/cgroup/"$node" /sys/fs/cgroup/*/"$node"; do
    [ ! -d "$at" ] || find "$at" -depth -type d
  done
}

kill_all() {
  local at pid left=false
  for at in $(all_cgroups); do
    while read -r pid; do
      left=true
      kill -KILL "$pid" 2>/dev/null || true
    done <"$at/cgroup.procs"
  done
  ! $left
}

remove_cgroups() {
  local at
  for at in $(all_cgroups); do
    # Of a link to a controller's tree, it may have gone with the tree.
    rmdir "$at" || [ ! -d "$at" ] || return 1
  done
}

[ -d "$work" ] || exit 0
# up.sh holds the lock already.
if [ "${1:-}" != --locked ]; then
  exec 9>"$work/lock"
  flock 9
fi
# The pods' processes and the node's own are in its cgroups, whatever their parents are.
until_ok 30 kill_all || die "some processes of the node can't be killed"
until_ok 30 remove_cgroups || die "its cgroups can't be removed"
# With the node's network its other end has gone, and with this one its routes.
if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link" || true; fi
rm -rf "$state"
