#!/usr/bin/env bash
# start-cluster.sh NAME NODES [--yes] [--dry-run]
# Makes a GKE cluster of NODES nodes with 16 cores each, says what that is, asks first (unless --yes),
# and prepares the namespace. It costs money until stop-cluster.sh NAME.
#
# NAME `current` makes nothing: it prepares the namespace in the cluster that kubectl points at
# (kind, minikube, …); NODES doesn't count then.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 2 "NAME NODES [--yes]"
name=${args[0]} nodes=${args[1]}
if ! is_count "$nodes" || [ "$nodes" -lt 1 ]; then
  die "NODES is '$nodes'; expected a number from 1 on"
fi
has kubectl

if [ "$name" != current ]; then
  load_settings
  need PROJECT ZONE
  has gcloud
  say "$nodes nodes x 16 cores = $((nodes * 16)) cores, in $ZONE of project $PROJECT"
  # The API's pods take 3 cores (2 API, 1 replica), a bot 1; a node keeps about 1 for itself.
  confirm "Start the cluster $name?"
  # Dataplane V2 is what enforces network policies.
  run gcloud container clusters create "$name" --project "$PROJECT" --zone "$ZONE" \
    --num-nodes "$nodes" --machine-type e2-standard-16 --enable-dataplane-v2 --enable-ip-alias
  run gcloud container clusters get-credentials "$name" --project "$PROJECT" --zone "$ZONE"
fi
run kubectl apply -k "$deploy/namespace"
# So that the talk's commands work as they stand.
run kubectl config set-context --current --namespace="$NAMESPACE"
if [ "$name" != current ]; then
  say "running, and costing money; to stop it: deploy/scripts/stop-cluster.sh $name"
else
  say "to take all of it away again: deploy/scripts/stop-cluster.sh current"
fi
