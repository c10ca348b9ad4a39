#!/usr/bin/env bash
# Checks that this machine can run the cluster, and installs Debian packages that are missing.
# Exits with 77 where the machine lacks what can't be installed, and names it; with 1 where packages
# are missing and can't be installed.
set -euo pipefail
# shellcheck source=tests/cluster/node/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

lacks() {
  say "NO CLUSTER HERE: this machine lacks $*"
  exit "$LACKING"
}

# (Also where a package is called so: `COMMAND PACKAGE`.)
needed="
awk mawk
containerd containerd
flock util-linux
ip iproute2
iptables iptables
nsenter util-linux
openssl openssl
runc runc
unshare util-linux
/usr/lib/cni/bridge containernetworking-plugins
"

missing_packages() {
  local command package
  while read -r command package; do
    [ -z "$command" ] || command -v "$command" >/dev/null 2>&1 || echo "$package"
  done <<<"$needed"
}

install_missing() {
  local packages
  mapfile -t packages < <(missing_packages | sort -u)
  [ "${#packages[@]}" -gt 0 ] || return 0
  install_packages "${packages[@]}"
  # No service is to start containers at each boot: the cluster has a containerd of its own.
  [ ! -d /run/systemd/system ] || systemctl disable --now containerd >&2 ||
    die "systemd's containerd can't be disabled"
}

# The features below are tried in namespaces that end with this, so that nothing is left of them.
try() {
  local what=$1
  shift
  "$@" 2>"$tried/why" || {
    sed 's/^/cluster:   /' "$tried/why" >&2
    lacks "$what"
  }
}

try_mounts() {
  mkdir "$tried"/{lower,upper,work,merged}
  try "the overlay file system, for the layers of images, or that of $work can't be its base" \
    mount -t overlay overlay \
    -o "lowerdir=$tried/lower,upperdir=$tried/upper,workdir=$tried/work" "$tried/merged"
  umount "$tried/merged"
}

try_network() {
  try "veth interfaces" ip link add dev veth0 type veth peer name veth1
  try "bridges" ip link add dev bridge0 type bridge
  try "packet filtering of bridges (br_netfilter)" test -e /proc/sys/net/bridge
  try "queues of packets for programs (nfnetlink_queue)" \
    test -e /proc/net/netfilter/nfnetlink_queue
  # What kube-proxy and the policies take; a rule that the kernel does not know is refused.
  local rule
  while read -r rule; do
    # shellcheck disable=SC2086 # Words are words here.
    try "the iptables rule: $rule" iptables $rule
  done <<'END'
--table mangle --append POSTROUTING --match conntrack --ctstate NEW --jump NFQUEUE --queue-num 1
--table mangle --append POSTROUTING --match addrtype --src-type LOCAL --jump RETURN
--table nat --append POSTROUTING --match mark --mark 1 --jump MASQUERADE --random-fully
--table nat --append OUTPUT --match comment --comment a --jump MARK --or-mark 1
--table nat --append OUTPUT --match statistic --mode random --probability 0.5 --jump RETURN
--table nat --append OUTPUT --protocol tcp --jump DNAT --to-destination 127.0.0.1:1
--table nat --append OUTPUT --match recent --name a --rcheck --seconds 1 --jump RETURN
--table filter --append OUTPUT --protocol tcp --jump REJECT
END
}

check_cgroups() {
  local at controller
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    for controller in cpu cpuset memory pids; do
      grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers ||
        lacks "the cgroup controller $controller"
    done
  else
    for controller in cpu cpuacct cpuset memory pids; do
      [ -d "/sys/fs/cgroup/$controller" ] || lacks "the cgroup controller $controller"
    done
  fi
  for at in $(cgroups); do
    # A node that runs has made it.
    [ -d "$at" ] && continue
    mkdir "$at" 2>/dev/null || lacks "cgroups that it may write: $at can't be made"
    rmdir "$at"
  done
}

if [ "${1:-}" = --features ]; then
  # In the new namespaces: see below.
  tried=$2
  try_mounts
  try_network
  exit
fi

[ "$(uname -s)" = Linux ] || lacks "Linux"
[ "$(id -u)" = 0 ] || lacks "root: run this as root"
# A node that runs has all.
if node_pid >/dev/null; then exit; fi
install_missing
# Where modules can be loaded and aren't yet; what is really there is tried below.
for module in overlay br_netfilter veth xt_NFQUEUE nfnetlink_queue; do
  modprobe "$module" 2>/dev/null || true
done
check_cgroups
mkdir -p "$work"
tried=$(mktemp -d "$work/try.XXXXXX")
trap 'rm -rf "$tried"' EXIT
unshare --mount --propagation private --uts --ipc --net --pid --fork --mount-proc true ||
  lacks "namespaces"
unshare --mount --propagation private --uts --ipc --net --pid --fork --mount-proc \
  "${BASH_SOURCE[0]}" --features "$tried"
