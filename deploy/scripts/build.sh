#!/usr/bin/env bash
# build.sh [--dry-run]
# Builds the images redis-api and redis-api-loadbot, tagged with TAG (the version in Cargo.toml). By
# docker, podman or buildah, whichever is there first, or BUILDER.
#
# Files and configuration get the time of the commit: nothing of the moment is in the bytes (with
# docker: when buildx can rewrite times).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0

root=$(cd "$deploy/.." && pwd)
TAG=${TAG:-$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$root/Cargo.toml" | head -n1)}
revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

choose_builder
case $BUILDER in
  *docker) how=(buildx build --output "type=docker,rewrite-timestamp=true") ;;
  *) how=(build --timestamp "$SOURCE_DATE_EPOCH" --layers) ;;
esac

# target IMAGE
build() {
  # shellcheck disable=SC2086 # BUILD_ARGS: more options, as words
  run "$BUILDER" "${how[@]}" --target "$1" --tag "$2:$TAG" --file "$root/Dockerfile" \
    --build-arg "VERSION=$TAG" --build-arg "REVISION=$revision" ${BUILD_ARGS:-} "$root"
}
build api redis-api
build loadbot redis-api-loadbot
say "built: redis-api:$TAG redis-api-loadbot:$TAG"
say "next: push-build.sh; or for kind: kind load docker-image redis-api:$TAG redis-api-loadbot:$TAG"
