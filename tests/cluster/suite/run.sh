#!/usr/bin/env bash
# Shows the deployment on a real cluster. Usage: run.sh core|prove|PART_OF_A_NAME...
# `run.sh build` makes what that takes (images, Kubernetes, tools), and starts nothing.
#
# On the cluster of `make cluster`, which it brings up, with this project's images, which it builds;
# with CLUSTER=current on whatever kubectl points at, with the images that IMAGE, LOADBOT_IMAGE and
# VALKEY_IMAGE name (or else deploy/components/images), and IMAGE_NEXT for an update.
# Exits with 77 where this machine can't run a cluster: that is a skipped run, not a failed one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/node/lib.sh
. "$here/../node/lib.sh"

# or_skipped COMMAND...: what it says of this machine is what this says.
or_skipped() {
  local status=0
  "$@" || status=$?
  [ "$status" != "$LACKING" ] || say "SKIPPED: nothing was tested"
  [ "$status" = 0 ] || exit "$status"
}

# (Before there is a cluster for it.)
install_missing() {
  local package missing=()
  for package in python3 curl openssl; do
    command -v "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  install_packages "${missing[@]}"
}

# kube-score, for the manifests' gate. Of CI's ways to get it, the one without a download of ours.
make_kube_score() {
  local module=github.com/zegl/kube-score/cmd/kube-score@v1.20.0 go
  if command -v kube-score >/dev/null 2>&1; then return; fi
  say "missing: kube-score; building it"
  go=$(need_go 1.22)
  GOBIN=$work/tools nice -n 19 "$go" install "$module" >&2 || die "it can't be built"
}

# promtool, for the alerts' own tests: out of Debian's package, which would install a service too.
take_promtool() {
  local folder
  if command -v promtool >/dev/null 2>&1; then return; fi
  command -v apt-get >/dev/null 2>&1 || return 0
  say "missing: promtool; taking it from the package prometheus"
  folder=$(mktemp -d "$work/tools/promtool.XXXXXX")
  {
    (cd "$folder" && { apt-get download -q prometheus ||
      { apt-get update -q && apt-get download -q prometheus; }; }) &&
      dpkg-deb -x "$folder"/*.deb "$folder/all" && mv "$folder/all/usr/bin/promtool" "$work/tools/"
  } >&2 || die "it can't be had"
  rm -r "$folder"
}

# Tools that no package brings.
make_tools() {
  mkdir -p "$work/tools"
  PATH=$PATH:$work/tools
  make_kube_score
  take_promtool
}

install_missing
case ${CLUSTER:-} in
  '')
    or_skipped "$here/../node/preflight.sh"
    # As they are, if somebody says so; else what has changed is built.
    if [ "${IMAGES:-}" != keep ]; then or_skipped "$here/../images/build.sh"; fi
    if [ "${1:-}" = build ]; then
      "$here/../node/build.sh" >/dev/null
      make_tools
      exit
    fi
    or_skipped "$here/../node/up.sh"
    export KUBECONFIG=$state/kubeconfig
    PATH=$work/bin:$PATH
    # Another name for the same image: an update, as Kubernetes sees it.
    name=$(sed -En 's/.*\{name: redis-api, newName: ([^,]+), newTag: "?([^"}]+)"?\}.*/\1:\2/p' \
      "$here/../../../deploy/components/images/kustomization.yaml")
    IMAGE_NEXT=${name%:*}:suite-next
    in_node ctr --namespace k8s.io images tag --force "docker.io/library/$name" \
      "docker.io/library/$IMAGE_NEXT" >/dev/null
    export IMAGE_NEXT
    ;;
  current) command -v kubectl >/dev/null 2>&1 || die "kubectl is not installed" ;;
  *) die "CLUSTER is '$CLUSTER'; it can be 'current', or empty" ;;
esac
make_tools
export PATH PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/suite.py" "$@"
