#!/usr/bin/env bash
# The node's first process, in namespaces of its own (up.sh starts it): makes its mounts and its
# network, then starts the programs. When it ends, the kernel ends them too, and takes all that they
# made.
# Usage: init.sh PROGRAMS
set -euo pipefail
# shellcheck source=tests/cluster/node/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

log=/run/node/log
etc=/run/node/etc
api=https://$node_address:6443

# The node gets a /var and a /run of its own, so that programs find their usual paths and the
# machine's stay as they are.
make_mounts() {
  local programs=$1 entry
  # By way of /mnt, because what is to be seen below /run may lie below /var or /run itself.
  mount -t tmpfs -o mode=755 tmpfs /mnt
  mkdir /mnt/node /mnt/programs /mnt/sysctl
  mount --bind "$state" /mnt/node
  mount --bind "$programs" /mnt/programs
  mount --bind "$state/var" /var
  mount --rbind /mnt /run
  umount --recursive /mnt
  # The kubelet sets these three for the whole machine. It is shown files that have its values.
  for entry in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    echo "${entry#*=}" >"/run/sysctl/$(basename "${entry%=*}")"
    mount --bind "/run/sysctl/$(basename "${entry%=*}")" "/proc/sys/${entry%=*}"
  done
  # A volume that is mounted after its container has started is to be seen in it.
  mount --make-rshared /
}

# No default route: no packet leaves, not even to look for an image that isn't there.
make_network() {
  hostname "$node"
  ip link set lo up
  # up.sh moves it in.
  until_ok 10 ip link show eth0
  ip address add "$node_address/30" dev eth0
  ip link set eth0 up
  # A connection to a service needs some route before kube-proxy's rules turn it to a pod.
  ip route add "$service_range" dev eth0 src "$node_address"
  echo 1 >/proc/sys/net/ipv4/ip_forward
  # Else packets from pod to pod pass the bridge and none of the rules.
  echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

  # Each new connection from or to a pod waits for policies.go to judge it, and fails while that
  # doesn't run. The second hook is for what pods send to the node itself, as to the API server. What
  # the node sends, as the kubelet's probes, is free.
  iptables --table mangle --new-chain POLICIES
  iptables --table mangle --append POLICIES --out-interface lo --jump RETURN
  iptables --table mangle --append POLICIES --match addrtype --src-type LOCAL --jump RETURN
  iptables --table mangle --append POLICIES --match conntrack --ctstate NEW \
    --jump NFQUEUE --queue-num 100
  iptables --table mangle --append POSTROUTING --jump POLICIES
  iptables --table mangle --append INPUT --in-interface pods --jump POLICIES
}

# run NAME COMMAND...: keeps it running, in the background.
run() {
  local name=$1
  shift
  while :; do
    "$@" || true
    echo "== $name has ended; starting it again at $(date --iso-8601=seconds)"
    sleep 1
  done >>"$log/$name.log" 2>&1 &
}

# kube NAME FLAGS...: runs a program of Kubernetes.
kube() { run "$1" /run/programs/kube "$@"; }

# kubeconfig USER FILE: who it is and whom to trust, in the file itself.
kubeconfig() {
  cat >"$2" <<END
apiVersion: v1
kind: Config
clusters:
- name: $node
  cluster:
    server: $api
    certificate-authority-data: $(base64 --wrap=0 /var/lib/kube-apiserver/apiserver.crt)
users:
- name: $1
  user:
    token: $(awk -F, -v user="$1" '$2 == user { print $1 }' "$etc/tokens.csv")
contexts:
- name: $node
  context:
    cluster: $node
    user: $1
current-context: $node
END
}

# The API server with its store, and containerd, into which up.sh loads images meanwhile.
start_first() {
  local address=http://127.0.0.1
  # No fsync: a node that has ended begins anew.
  kube etcd --data-dir /var/lib/etcd --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$address:2379" --advertise-client-urls "$address:2379" \
    --listen-peer-urls "$address:2380" --initial-advertise-peer-urls "$address:2380" \
    --initial-cluster "default=$address:2380"
  # It signs its certificate itself, below --cert-dir. Clients have tokens. Certificates remain
  # where it is the client: of the kubelet, and of servers behind it (metrics-server).
  kube kube-apiserver --etcd-servers "$address:2379" --cert-dir /var/lib/kube-apiserver \
    --advertise-address "$node_address" --service-cluster-ip-range "$service_range" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --allow-privileged --profiling=false --token-auth-file "$etc/tokens.csv" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file "$etc/accounts.key" \
    --service-account-key-file "$etc/accounts.key" \
    --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$etc/apiserver.crt" --kubelet-client-key "$etc/apiserver.key" \
    --proxy-client-cert-file "$etc/apiserver.crt" --proxy-client-key-file "$etc/apiserver.key" \
    --requestheader-client-ca-file "$etc/apiserver.crt" \
    --requestheader-allowed-names apiserver --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra-
  run containerd containerd --config "$etc/containerd.toml"
}

start_rest() {
  kube kube-controller-manager --kubeconfig "$etc/kube-controller-manager.kubeconfig" \
    --leader-elect=false --profiling=false --bind-address 127.0.0.1 \
    --flex-volume-plugin-dir /var/lib/kubelet/volume-plugins \
    --use-service-account-credentials --service-account-private-key-file "$etc/accounts.key" \
    --root-ca-file /var/lib/kube-apiserver/apiserver.crt
  kube kube-scheduler --kubeconfig "$etc/kube-scheduler.kubeconfig" \
    --leader-elect=false --profiling=false --bind-address 127.0.0.1
  kube kubelet --kubeconfig "$etc/kubelet.kubeconfig" --config "$etc/kubelet.yaml" \
    --hostname-override "$node" --node-ip "$node_address"
  kube kube-proxy --config "$etc/kube-proxy.yaml" --hostname-override "$node"
  run network-policies /run/programs/addons network-policies --kubeconfig /run/node/kubeconfig \
    --node "$node"
}

# One function, so that bash has read it all: an edit of this file does not reach a running node.
main() {
  make_mounts "$1"
  make_network
  start_first
  until_ok 60 test -s /var/lib/kube-apiserver/apiserver.crt
  kubeconfig admin /run/node/kubeconfig
  local part
  for part in kube-controller-manager kube-scheduler kube-proxy; do
    kubeconfig "system:$part" "$etc/$part.kubeconfig"
  done
  kubeconfig "system:node:$node" "$etc/kubelet.kubeconfig"
  # Earlier, some are refused for want of the default roles, and their logs say so at length.
  until_ok 60 /run/programs/kube kubectl --kubeconfig /run/node/kubeconfig get --raw /readyz
  start_rest
  wait
}
main "$@"
