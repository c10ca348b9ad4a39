#!/usr/bin/env bash
# stop-cluster.sh NAME [--yes] [--dry-run]
# Deletes the GKE cluster NAME with all that is in it, after naming it and asking (unless --yes).
#
# NAME `current` deletes the namespace redis-api, Secrets and volume claims included, in the cluster that
# kubectl points at, and leaves the cluster.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 1 "NAME [--yes]"
name=${args[0]}

if [ "$name" = current ]; then
  has kubectl
  context=$(kubectl config current-context 2>/dev/null) || $dry_run || die "kubectl points at no cluster"
  say "deletes: the namespace $NAMESPACE of the cluster ${context:-(none)}, and all that is in it"
  if ! $dry_run; then k get deployments,statefulsets,secrets,persistentvolumeclaims -o name >&2; fi
  confirm "Delete them?"
  run kubectl delete namespace "$NAMESPACE"
  run kubectl config set-context --current --namespace=default
  exit
fi
load_settings
need PROJECT ZONE
has gcloud
say "deletes: the cluster $name in $ZONE of project $PROJECT, its nodes, and all that is in it"
if ! $dry_run; then
  gcloud container clusters describe "$name" --project "$PROJECT" --zone "$ZONE" \
    --format='value(name,currentNodeCount,createTime)' >&2 || die "there is no such cluster"
fi
confirm "Delete them?"
run gcloud container clusters delete "$name" --project "$PROJECT" --zone "$ZONE" --quiet
# Disks of claims outlive a cluster.
say "look for disks that are left: gcloud compute disks list --project $PROJECT"
