#!/usr/bin/env bash
# check-manifests.sh [--dry-run]
# Checks each overlay with all that it runs beside, without a cluster: schemas (kubernetes-validate, of
# PyPI), common mistakes (kube-score: go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0),
# the alerts (promtool). A tool that is missing is named aloud and left out.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
has kubectl

can() { command -v "$1" >/dev/null 2>&1 || { say "NOT CHECKED by $1: it is not installed"; return 1; }; }

folder=$(mktemp -d "$deploy/.check.XXXXXX")
trap 'rm -rf "$folder"' EXIT
validate=false score=false
if can kubernetes-validate; then validate=true; fi
if can kube-score; then score=true; fi

# check NAME KUSTOMIZATION: with the namespace, the rig and the master, since a policy or a Service may
# be about pods of theirs.
check() {
  mkdir -p "$folder/all"
  printf '%s\n' 'apiVersion: kustomize.config.k8s.io/v1beta1' 'kind: Kustomization' \
    'namespace: redis-api' "$2" >"$folder/all/kustomization.yaml"
  run kubectl kustomize "$folder/all" >"$folder/all.yaml"
  if $dry_run; then return; fi
  if $validate; then
    kubernetes-validate --strict --quiet "$folder/all.yaml" 2>&1 | grep -v 'find schema for kind P' || true
    kubernetes-validate --strict --quiet --no-warn "$folder/all.yaml" >/dev/null 2>&1 ||
      die "$1: kubernetes-validate"
  fi
  if $score; then
    # Findings that stay have their reason beside the annotation kube-score/ignore.
    kube-score score --kubernetes-version v1.35 --output-format ci \
      --enable-optional-test container-seccomp-profile --enable-optional-test container-ports-check \
      "$folder/all.yaml" >"$folder/score" || true
    if grep -E '^\[(CRITICAL|WARNING)\]' "$folder/score"; then die "$1: kube-score"; fi
  fi
  say "ok: $1"
}

shared='[../../namespace, ../../rig, ../../master'
for overlay in naive sidekick endpoint cascade; do
  check "$overlay" "resources: $shared, ../../overlays/$overlay]"
done
more="resources: $shared, ../../overlays/sidekick]"
check "sidekick + hpa + monitoring" "$more
components: [../../components/hpa, ../../components/monitoring]"
check "sidekick + ordinary-sidecar + external-redis" "$more
components: [../../components/ordinary-sidecar, ../../components/external-redis]"
check "small" "resources: [../../namespace, ../../small/rig, ../../small/master, ../../small/cascade]"
if can promtool && ! $dry_run; then "$deploy/scripts/test-alerts.sh" >&2; fi
