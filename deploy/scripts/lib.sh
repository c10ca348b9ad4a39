# shellcheck shell=bash
# What the scripts have in common. Sourced, not run.
#
# Each script prints its own head comment for --help, and for --dry-run what it would run. Settings
# come from deploy/env.secret (or the file that ENV_SECRET names) and from the environment, which wins.

set -euo pipefail

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NAMESPACE=${NAMESPACE:-redis-api}
dry_run=false
assume_yes=false
args=()

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}
say() { printf '%s\n' "$*" >&2; }

# The head comment of the script.
usage() { sed -n '2,/^[^#]/{/^#/!d; s/^# \{0,1\}//; p}' "$0"; }

# parse "$@": options into dry_run and assume_yes, the rest into args.
parse() {
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --dry-run) dry_run=true ;;
      --yes) assume_yes=true ;;
      --)
        shift
        args+=("$@")
        break
        ;;
      # A negative number is no option.
      -[0-9]*) args+=("$1") ;;
      -?*)
        say "$(basename "$0"): unknown option $1"
        usage >&2
        exit 2
        ;;
      *) args+=("$1") ;;
    esac
    shift
  done
}

# wants N "ARGUMENTS": the number of arguments.
wants() {
  if [ "${#args[@]}" -ne "$1" ]; then
    say "usage: $(basename "$0") ${2:-} [--dry-run]"
    exit 2
  fi
}

# A whole number without leading zeros.
is_count() { [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]]; }

# Reads NAME=VALUE lines as a shell would; what the environment has already wins.
load_settings() {
  local file=${ENV_SECRET:-$deploy/env.secret} name before
  if [ ! -e "$file" ]; then
    if $dry_run; then
      file=$deploy/env.secret.example
    else
      die "$file is missing; copy deploy/env.secret.example to deploy/env.secret and fill it in"
    fi
  fi
  local -A before=()
  while IFS= read -r name; do
    if [ -n "${!name+set}" ]; then before[$name]=${!name}; fi
  done < <(sed -n 's/^\([A-Z_]\{1,\}\)=.*/\1/p' "$file")
  # shellcheck source=/dev/null
  . "$file"
  for name in "${!before[@]}"; do printf -v "$name" %s "${before[$name]}"; done
}

# need NAME...: settings that must not be empty. (In a dry run their names stand for them.)
need() {
  local name missing=()
  for name in "$@"; do
    if [ -n "${!name:-}" ]; then continue; fi
    missing+=("$name")
    if $dry_run; then printf -v "$name" %s "$name"; fi
  done
  if [ "${#missing[@]}" -gt 0 ] && ! $dry_run; then
    die "not set: ${missing[*]}; fill them in in ${ENV_SECRET:-deploy/env.secret}"
  fi
}

# has TOOL...
has() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null 2>&1 || $dry_run || die "$tool is not installed"
  done
}

# Sets BUILDER, unless it is set, to the first of these that is installed.
choose_builder() {
  if [ -n "${BUILDER:-}" ]; then return; fi
  for BUILDER in docker podman buildah; do
    if command -v "$BUILDER" >/dev/null 2>&1; then return; fi
  done
  $dry_run || die "none of docker, podman and buildah is installed"
  BUILDER=docker
}

# run COMMAND...: runs it, or shows it.
run() {
  if $dry_run; then
    local line
    printf -v line '%q ' "$@"
    printf '%s\n' "${line% }"
  else
    "$@"
  fi
}

# confirm QUESTION: asks, unless --yes.
confirm() {
  local answer
  if $assume_yes || $dry_run; then return; fi
  read -r -p "$1 [y/N] " answer || answer=
  case $answer in
    y | Y | yes) ;;
    *) die "not confirmed, nothing done" ;;
  esac
}

k() { kubectl -n "$NAMESPACE" "$@"; }

# apply_secret NAME KEY VALUE [KEY VALUE]...: through pipes, so that no value shows in `ps`; by the
# server's side, which keeps no second copy in an annotation.
apply_secret() {
  local name=$1 line from=()
  shift
  line="kubectl -n $NAMESPACE create secret generic $name"
  local folder=''
  if ! $dry_run; then
    folder=$(mktemp -d "${TMPDIR:-/tmp}/secret.XXXXXX")
    chmod 700 "$folder"
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$folder'" EXIT
  fi
  while [ $# -gt 0 ]; do
    line+=" --from-file=$1=…"
    if ! $dry_run; then
      (umask 077 && printf %s "$2" >"$folder/$1")
      from+=("--from-file=$1=$folder/$1")
    fi
    shift 2
  done
  if $dry_run; then
    printf '%s\n' "$line --dry-run=client -o yaml | kubectl apply --server-side --force-conflicts -f -"
    return
  fi
  k create secret generic "$name" "${from[@]}" --dry-run=client -o yaml |
    kubectl apply --server-side --force-conflicts -f -
  rm -rf "$folder"
}

# secret_value NAME KEY: what the cluster has, or nothing.
secret_value() {
  k get secret "$1" --ignore-not-found -o go-template="{{with .data}}{{with index . \"$2\"}}{{. | base64decode}}{{end}}{{end}}"
}

sha256() { openssl dgst -sha256 -r | cut -d' ' -f1; }

# users_acl ADMIN_PASSWORD PASSWORD...: the users of deploy/master and of the relays, each with all the
# given passwords, as hashes.
users_acl() {
  local admin hashes='' password
  admin=$(printf %s "$1" | sha256)
  shift
  for password in "$@"; do hashes+=" #$(printf %s "$password" | sha256)"; done
  local api='~currency resetchannels -@all +hello +auth +ping +client|setname +client|tracking'
  api+=' +client|list +info'
  api+=' +hget +hmget +hset +hexists +hlen +wait'
  printf '%s\n' \
    'user default off' \
    "user redis-api on$hashes resetkeys $api" \
    "user redis-replica on$hashes resetkeys resetchannels -@all +auth +ping +psync +replconf" \
    "user admin on #$admin ~* &* +@all"
}
