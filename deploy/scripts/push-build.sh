#!/usr/bin/env bash
# push-build.sh [--dry-run]
# Pushes what build.sh has built to REGISTRY of env.secret, and writes the names into
# deploy/components/images, so that the overlays use them.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
load_settings
need REGISTRY

root=$(cd "$deploy/.." && pwd)
TAG=${TAG:-$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$root/Cargo.toml" | head -n1)}
choose_builder

for image in redis-api redis-api-loadbot; do
  run "$BUILDER" tag "$image:$TAG" "$REGISTRY/$image:$TAG"
  run "$BUILDER" push "$REGISTRY/$image:$TAG"
done
# Whatever name and tag, or digest, stand there.
run sed -i.old -E \
  -e "s#(name: redis-api, newName: )[^,]+, (newTag|digest): [^}]+#\1$REGISTRY/redis-api, newTag: $TAG#" \
  -e "s#(name: redis-api-loadbot, newName: )[^,]+, (newTag|digest): [^}]+#\1$REGISTRY/redis-api-loadbot, newTag: $TAG#" \
  "$deploy/components/images/kustomization.yaml"
run rm -f "$deploy/components/images/kustomization.yaml.old"
