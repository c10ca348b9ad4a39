#!/usr/bin/env bash
# configmap-redis.sh [--dry-run]
# Makes the ConfigMap redis of env.secret: where the master is (and the reader endpoint, for the overlay
# `endpoint`), and as which users to log in. Nothing in it is secret.
#
# Pods read it when they start: after a change, kubectl rollout restart deployment redis-api.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
load_settings
need REDIS_HOST REDIS_PORT
has kubectl

what=(
  "--from-literal=addr=$REDIS_HOST:$REDIS_PORT"
  # The sidecar takes them apart.
  "--from-literal=host=$REDIS_HOST"
  "--from-literal=port=$REDIS_PORT"
)
if [ -n "${REDIS_READ_ADDR:-}" ]; then what+=("--from-literal=read-addr=$REDIS_READ_ADDR"); fi
if [ -n "${REDIS_WRITE_USER:-}" ]; then what+=("--from-literal=write-user=$REDIS_WRITE_USER"); fi
if [ -n "${REDIS_REPLICA_USER:-}" ]; then what+=("--from-literal=replica-user=$REDIS_REPLICA_USER"); fi

create=(kubectl -n "$NAMESPACE" create configmap redis "${what[@]}" --dry-run=client -o yaml)
if $dry_run; then
  run "${create[@]}"
  say "  | kubectl apply --server-side --force-conflicts -f -"
else
  "${create[@]}" | kubectl apply --server-side --force-conflicts -f -
fi
