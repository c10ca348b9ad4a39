#!/usr/bin/env bash
# Builds the node's programs and the image that its own pods take, unless these sources were built
# on this machine before; prints the folder that has them.
#
# About 10 minutes of two cores at first. Go keeps what it has compiled in its own cache (`go env
# GOCACHE`), the sources of modules in another (GOMODCACHE).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/cluster/node/lib.sh
. "$here/lib.sh"

version=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' "$here/go.mod")
# The newer of the two that the modules ask for.
go_wanted=$(awk '$1 == "go" { print $2 }' "$here"/{,addons/}go.mod | sort -V | tail -n1)

# Whom programs say they are; without it, Kubernetes takes itself for a version before its first.
linker_flags() {
  local package minor=${version#v1.}
  printf -- '-s -w'
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- ' -X %s.gitVersion=%s' "$package" "$version"
    printf -- ' -X %s.gitMajor=1 -X %s.gitMinor=%s' "$package" "$package" "${minor%%.*}"
  done
}

# Packs FOLDER as an image of one layer without a start of its own but COMMAND.
# Usage: pack FILE NAME FOLDER COMMAND
pack() {
  local layer=$3.layer config=$3.json
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$3" -cf "$layer" .
  cat >"$config" <<END
{
  "architecture": "$("$go" env GOARCH)",
  "os": "linux",
  "config": {"Entrypoint": ["$4"]},
  "rootfs": {
    "type": "layers",
    "diff_ids": ["sha256:$(sha256sum <"$layer" | cut -d' ' -f1)"]
  }
}
END
  cat >"$3/manifest.json" <<END
[{
  "Config": "$(basename "$config")",
  "RepoTags": ["$2"],
  "Layers": ["$(basename "$layer")"]
}]
END
  tar -C "$3" -cf "$1" manifest.json -C "$(dirname "$3")" \
    "$(basename "$config")" "$(basename "$layer")"
}

# compile FOLDER FLAGS: the program of that name.
compile() {
  say "building $(basename "$1")"
  (cd "$1" && CGO_ENABLED=0 nice -n 19 "$go" build -buildvcs=false -trimpath -ldflags "$2" \
    -o "$building/" .) || die "it does not build"
}

build() {
  compile "$here/kube" "$(linker_flags)"
  compile "$here/addons" "-s -w"
  compile "$here/pause" "-s -w"
  mkdir "$building/image"
  cp "$building/addons" "$building/pause" "$building/image"
  pack "$building/node-image.tar" localhost/cluster-node:1 "$building/image" /pause
  rm -r "$building"/image* "$building/pause"
}

# (All in functions, so that an edit doesn't reach a build that runs.)
main() {
  local key built
  key=$(cat "$here"/{,addons/}go.{mod,sum} "$here"/*/*.go "$here/build.sh" | sha256sum | cut -c1-16)
  built=$work/programs/$version-$key
  if [ ! -d "$built" ]; then
    go=$(need_go "$go_wanted")
    mkdir -p "$work/programs"
    building=$(mktemp -d "$work/programs/building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    say "building Kubernetes $version: about 10 minutes when nothing is cached"
    build
    chmod 755 "$building"
    # Whole or not at all. (Of two calls at once, the second keeps what the first has built.)
    mv -T "$building" "$built" 2>/dev/null || [ -d "$built" ]
  fi
  # When it was used last. What nobody has used for a month goes.
  touch "$built"
  find "$work/programs" -mindepth 1 -maxdepth 1 -mtime +30 -exec rm -r {} +
  echo "$built"
}
main
