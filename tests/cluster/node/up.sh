#!/usr/bin/env bash
# Starts the cluster and loads the images that are there; where it runs already, only loads those
# that have changed. Exits with 77 where the machine can't run one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/node/lib.sh
. "$here/lib.sh"

# What the node reads: configuration, and secrets that nobody else knows.
make_state() {
  mkdir -p "$state"/{log,var/lib,var/log,var/tmp,loaded}
  ln -sfn /run "$state/var/run"
  cp -r "$here/etc" "$state/etc"
  chmod 700 "$state"
  local user
  for user in admin,admin,system:masters \
    system:kube-controller-manager,controllers system:kube-scheduler,scheduler \
    system:kube-proxy,proxy "system:node:$node,node,system:nodes"; do
    echo "$(openssl rand -hex 16),$user"
  done >"$state/etc/tokens.csv"
  openssl ecparam -genkey -name prime256v1 -noout -out "$state/etc/accounts.key"
  openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 3650 \
    -subj /O=system:masters/CN=apiserver -addext extendedKeyUsage=clientAuth \
    -keyout "$state/etc/apiserver.key" -out "$state/etc/apiserver.crt" 2>/dev/null
}

# The node's processes go to one cgroup below its own: in v2, one that has both processes and groups
# below it can't have controllers.
make_cgroups() {
  local at part file
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo "+cpuset +cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
  fi
  for at in $(cgroups); do
    for part in "$at" "$at/node"; do
      mkdir -p "$part"
      # (v1: a new group has no processors, and takes no process.)
      for file in cpuset.cpus cpuset.mems; do
        if [ -e "$part/$file" ] && [ ! -e "$part/cgroup.controllers" ]; then
          cat "$(dirname "$part")/$file" >"$part/$file"
        fi
      done
    done
    # Else the whole node would weigh as much as one process: beside the twenty of a compilation its
    # pods would wait a second for a processor. As much as sixteen, of 1024 (v1) or 100 (v2) each.
    if [ -e "$at/cpu.shares" ]; then echo 16384 >"$at/cpu.shares"; fi
    if [ -e "$at/cpu.weight" ]; then echo 1600 >"$at/cpu.weight"; fi
  done
}

start_node() {
  local programs=$1 at pid
  (
    for at in $(cgroups); do echo "$BASHPID" >"$at/node/cgroup.procs"; done
    exec setsid unshare --mount --propagation private --uts --ipc --net --pid --fork \
      --kill-child --mount-proc "$here/init.sh" "$programs"
  ) </dev/null >"$state/log/init.log" 2>&1 9>&- &
  pid=$!
  echo "$pid" >"$state/pid"
  # Its namespaces are there as soon as its network isn't ours.
  until_ok 10 other_network "$pid"
  ip link add "$link" type veth peer name eth0 netns "$pid"
  ip address add "$host_address/30" dev "$link"
  ip link set "$link" up
  ip route add "$pod_range" via "$node_address"
  ip route add "$service_range" via "$node_address"
}

other_network() {
  local other
  other=$(readlink "/proc/$1/ns/net") && [ "$other" != "$(readlink /proc/self/ns/net)" ]
}

# Says what is wrong before the deadline where the node has ended already.
until_node() {
  local seconds=$1
  shift
  until_ok "$seconds" "$@" && return
  node_pid >/dev/null || say "the node has ended"
  die "not ready after $seconds s: $* (its logs are in $state/log)"
}

ready() {
  export KUBECONFIG=$state/kubeconfig
  until_node 90 "$work/bin/kubectl" get --raw /readyz
  until_node 30 in_node ctr version
  "$here/load.sh" "$programs/node-image.tar" "$images"/*.tar
  until_node 30 "$work/bin/kubectl" apply --filename "$here/manifests"
  until_node 90 "$work/bin/kubectl" wait --for=condition=Ready "node/$node" --timeout=1s
  until_node 90 "$work/bin/kubectl" --namespace kube-system wait --for=condition=Available \
    --timeout=1s deployment/coredns deployment/metrics-server
  # Figures come with the second look at the kubelet, after 10 s.
  until_node 90 "$work/bin/kubectl" top node
}

"$here/preflight.sh"
programs=$("$here/build.sh")
mkdir -p "$work/bin" "$images"
# Of two calls at once, one waits.
exec 9>"$work/lock"
flock 9
# (A kubectl of the distribution may be older than the server allows.)
printf '#!/bin/sh\nexec %q kubectl "$@"\n' "$programs/kube" >"$work/bin/kubectl"
chmod 755 "$work/bin/kubectl"
if ! node_pid >/dev/null; then
  # What is left of a node that has died.
  "$here/down.sh" --locked
  say "starting it"
  make_state
  make_cgroups
  start_node "$programs"
fi
ready
say "ready: export KUBECONFIG=$state/kubeconfig PATH=$work/bin:\$PATH"
