#!/usr/bin/env bash
# Builds this project's images without Docker and without a registry, and puts them where
# `make cluster` finds them: as Docker archives. What is there already and hasn't changed is kept.
#
# The Dockerfile is built as it stands, by buildah. The bases that its FROM lines name are made here
# of Debian packages, this machine's Rust, Go and crates, and given those names: see README.md.
# Exits with 77 where the machine can't do it.
# Usage: build.sh [FOLDER]    (of the Dockerfile; this project's by default)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../../.." && pwd)
# shellcheck source=tests/cluster/node/lib.sh
. "$here/../node/lib.sh"
context=$(cd "${1:-$project}" && pwd)

bases=$work/bases
suite=bookworm

# --- what this machine has ---

if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
  say "NO IMAGES HERE: building them takes Linux and root"
  exit "$LACKING"
fi
# buildah mounts its storage, and the layers that it builds: in a namespace that ends with this.
if [ -z "${IMAGES_UNSHARED:-}" ]; then
  unshare --mount true || {
    say "NO IMAGES HERE: this machine lacks mount namespaces"
    exit "$LACKING"
  }
  IMAGES_UNSHARED=1 exec unshare --mount --propagation private "${BASH_SOURCE[0]}" "$context"
fi

install_missing() {
  local package missing=()
  for package in buildah mmdebstrap; do
    command -v "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
  install_packages "${missing[@]}"
}

# --- buildah, with its storage in the work folder ---

builder() {
  nice -n 19 buildah --root "$work/buildah" --runroot "$work/buildah-run" "$@"
}

# Builds the Dockerfile with these flags. No runtime of containers takes part, since it may want what
# this machine lacks: steps run in namespaces of this script, and one without a network. So nothing
# gets into an image that isn't on this machine.
build_offline() {
  local log=$work/build.log
  unshare --net nice -n 19 buildah --root "$work/buildah" --runroot "$work/buildah-run" build \
    --layers --pull=never --isolation chroot --timestamp 0 "$@" "$context" \
    </dev/null >"$log" 2>&1 8>&- || {
    tail -n 30 "$log" >&2
    die "it does not build; all of its words are in $log"
  }
}

image_id() { builder inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null; }

# --- bases ---

# debian NAME PACKAGES FLAGS...: makes a tar archive of a Debian that has these packages, $base. A
# hook, if any, is the file NAME.sh.
debian() {
  local name=$1 packages=$2 hook=$here/$1.sh flags made
  shift 2
  # (apt's own user can't write into every work folder, and owns some of it where it can: so that the
  # bytes don't depend on that, root does all.)
  flags=(--mode=root --include="$packages" "$@" --aptopt='APT::Sandbox::User "root"'
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*'
    --dpkgopt='path-exclude=/usr/share/locale/*')
  made=$({ echo "$suite ${flags[*]}" && { [ ! -e "$hook" ] || cat "$hook"; }; } |
    sha256sum | cut -c1-8)
  [ ! -e "$hook" ] || flags+=(--customize-hook="$hook")
  base=$bases/$name-$made.tar
  [ ! -e "$base" ] || return 0
  say "making the base $name"
  nice -n 19 mmdebstrap --quiet "${flags[@]}" "$suite" "$base.new.tar" >&2
  # Not those of former packages.
  find "$bases" -name "$name-*.tar" ! -name "*.new.tar" -delete
  mv "$base.new.tar" "$base"
}

# import NAME SETTINGS...: makes an image of $base, unless that is made.
import() {
  local name=$1 container mark made
  shift
  mark=$bases/$(printf '%s' "$name" | tr -c 'a-z0-9.' '-').image
  made="$(basename "$base") $*"
  [ "$(cat "$mark" 2>/dev/null)" != "$made" ] || [ -z "$(image_id "$name")" ] || return 0
  say "making the image $name"
  container=$(builder from scratch)
  builder add --quiet "$container" "$base" / >/dev/null
  builder config "$@" "$container"
  builder commit --quiet --rm --timestamp 0 "$container" "$name" >/dev/null
  echo "$made" >"$mark"
}

# What the Dockerfile starts from: `FROM name` and `FROM name AS stage`, without stages.
from_names() {
  awk 'toupper($1) == "FROM" && !($2 in stage) { print $2 }
    toupper($1) == "FROM" && toupper($3) == "AS" { stage[$4] }' "$context/Dockerfile" | sort -u
}

readonly search=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# A Debian for Rust and Go both: the compilers are mounted into it (see build_project), and take
# nothing from the network.
make_compiler() {
  debian compiler ca-certificates,gcc,libc6-dev --variant=minbase
  import localhost/compiler --env "PATH=/usr/local/rust/bin:/usr/local/go/bin:$search" \
    --env CARGO_HOME=/usr/local/cargo --env CARGO_NET_OFFLINE=true \
    --env GOPATH=/go --env GOTOOLCHAIN=local --env GOSUMDB=off \
    --env GOPROXY=file:///modules/cache/download
  builder tag localhost/compiler "$1"
}

# No shell and no package manager: packages are unpacked, and no script of theirs runs.
make_distroless() {
  debian distroless base-files,libc6,libgcc-s1,netbase,tzdata --variant=extract
  import "$1" --env "PATH=$search" --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    --user 65532 --workingdir /home/nonroot
}

make_bases() {
  local name
  for name in $(from_names); do
    case $name in
      *rust:*)
        compare "$name" Rust "$(rustc --version | cut -d' ' -f2)"
        make_compiler "$name"
        ;;
      *golang:*)
        compare "$name" Go "$("$go" version | awk '{ print substr($3, 3) }')"
        make_compiler "$name"
        ;;
      *distroless/cc-debian12*) make_distroless "$name" ;;
      *) die "the Dockerfile starts from $name, and how to make that is not known here" ;;
    esac
  done
}

# The base has this machine's compiler, whatever its name says.
compare() {
  case $1 in
    *":$3"* | *":${3%.*}"*) ;;
    *) say "NOTE: $1 has this machine's $2, $3" ;;
  esac
}

# --- this project's images ---

# What `go install` lines of the Dockerfile take, into this machine's cache of modules, which is then
# the proxy. (Building it is the price of not having to know which modules it takes.)
fetch_modules() {
  local module mark
  while read -r module; do
    mark=$bases/fetched-${module//\//-}
    [ ! -e "$mark" ] || continue
    say "fetching $module"
    (cd "$work" && GOBIN=$bases/bin CGO_ENABLED=0 nice -n 19 "$go" install "$module" >&2)
    touch "$mark"
  done < <(sed -En 's/^[^#]* ([a-z0-9./-]+@v[0-9.]+).*/\1/p' "$context/Dockerfile")
}

# named NAME: how the manifests name this image: NAME:TAG.
named() {
  sed -En "s|.*\{name: $1, newName: ([^,]+), newTag: \"?([^\"},]+)\"?\}.*|\1:\2|p" \
    "$context/deploy/components/images/kustomization.yaml" 2>/dev/null | grep . || echo "$1:test"
}

# export_image NAME FILE: as an archive, unless this very image is there.
export_image() {
  local name=$1 file=$images/$2.tar id
  id="$name $(image_id "$name")"
  [ "$(cat "$images/$2.id" 2>/dev/null)" != "$id" ] || [ ! -e "$file" ] || return 0
  say "writing $file"
  rm -f "$file.new"
  builder push --quiet "$name" "docker-archive:$file.new:$name" >/dev/null
  mv "$file.new" "$file"
  echo "$id" >"$images/$2.id"
}

build_project() {
  local target name rust crates
  (cd "$context" && cargo fetch --locked --quiet)
  fetch_modules
  rust=$(rustc --print sysroot)
  crates=${CARGO_HOME:-$HOME/.cargo}/registry
  for target in api:redis-api loadbot:redis-api-loadbot; do
    name=$(named "${target#*:}")
    say "building $name"
    build_offline --target "${target%:*}" --tag "$name" \
      --volume "$rust:/usr/local/rust:ro" --volume "$crates:/usr/local/cargo/registry:ro" \
      --volume "$("$go" env GOROOT):/usr/local/go:ro" --volume "$("$go" env GOMODCACHE):/modules:ro"
    export_image "$name" "${target#*:}"
  done
}

# --- the stand-in for valkey/valkey ---

make_stand_in() {
  local name
  name=$(named valkey/valkey)
  debian stand-in redis-server,redis-tools,curl,bind9-dnsutils --variant=minbase
  import "$name" --workingdir /data --volume /data --port 6379 \
    --entrypoint '["docker-entrypoint.sh"]' --cmd valkey-server \
    --label "stand-in=This is Debian's redis-server under the name of $name, for tests"
  export_image "$name" stand-in
}

# (All in functions, so that an edit doesn't reach a build that runs.)
main() {
  install_missing
  # What is temporary can be large, and /tmp small.
  export TMPDIR=$work/tmp
  mkdir -p "$bases" "$images" "$TMPDIR"
  # Of two calls at once, one waits.
  exec 8>"$work/images.lock"
  flock 8
  make_stand_in
  if [ -e "$context/Dockerfile" ]; then
    # The oldest that vegeta's modules take.
    go=$(need_go 1.22)
    make_bases
    build_project
  else
    say "no Dockerfile in $context: only the stand-in was made"
  fi
  say "images are in $images"
  # (A pod takes what has changed when it starts again.)
  if node_pid >/dev/null; then "$here/../node/load.sh" "$images"/*.tar; fi
}
main
