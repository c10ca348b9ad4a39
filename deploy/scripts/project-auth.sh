#!/usr/bin/env bash
# project-auth.sh [--dry-run]
# Logs in to Google Cloud, chooses PROJECT and ZONE of env.secret, and lets docker push to REGISTRY.
# A local cluster needs none of it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
load_settings
need PROJECT ZONE REGISTRY
has gcloud

run gcloud auth login
run gcloud config set project "$PROJECT"
run gcloud config set compute/zone "$ZONE"
run gcloud auth configure-docker "${REGISTRY%%/*}" --quiet
