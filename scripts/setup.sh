#!/usr/bin/env bash
# Installs what building and testing need and what is missing: a Redis server with its client, a C
# compiler, Chromium, curl, CA certificates, Rust, for load vegeta (with a Go that can build it), and
# for tests nginx, strace, libfaketime and Schemathesis (with a Python that can run it). Says nothing
# and takes no time when nothing is missing.
#
# Packages are installed on Debian and Ubuntu; elsewhere this names what is missing and exits 1.
# Only vegeta, Chromium, nginx, strace, libfaketime and Schemathesis may stay missing: that is said
# aloud, and all but load and some tests works.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
# What is built for this folder alone.
tools_folder=$PWD/target/tools
# The same order as in the Makefile: what is on the caller's PATH wins.
PATH=$PATH:$CARGO_HOME/bin:$tools_folder/bin

# vegeta's newest release, and the oldest Go that its modules take.
vegeta_module=github.com/tsenart/vegeta/v12@v12.13.0
go_wanted=1.22

# Compares the API with docs/openapi.yaml.
schemathesis=schemathesis==4.32.5

say() { printf 'setup: %s\n' "$*" >&2; }
# shellcheck source=scripts/go.sh
. scripts/go.sh

# redis-server, or valkey-server where the distribution has dropped Redis.
redis_package() {
  if [ -n "$(apt-cache madison redis-server 2>/dev/null)" ]; then
    echo redis-server
  else
    echo valkey-server
  fi
}

# One word for each thing that is missing.
missing_tools() {
  has redis-server || has valkey-server || echo redis
  has redis-cli || has valkey-cli || echo redis-cli
  { has cc && has make; } || echo cc
  # For the installer of Rust and nothing else.
  if ! has cargo; then
    has curl || echo curl
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -d /etc/apt ] || echo ca-certificates
  fi
}

# The packages start their servers (on 6379, on 80) at once and at each boot: nobody asked for that
# here.
silence_service() {
  local unit
  for unit in "$@"; do
    if [ -d /run/systemd/system ]; then
      as_root systemctl disable --now "$unit" >/dev/null 2>&1 || true
    elif [ -x "/etc/init.d/$unit" ]; then
      as_root "/etc/init.d/$unit" stop >/dev/null 2>&1 || true
      as_root update-rc.d "$unit" disable >/dev/null 2>&1 || true
    fi
  done
}

install_packages() {
  local tools=("$@") packages=() tool new_server=false
  say "missing: ${tools[*]}"
  if ! has apt-get; then
    say "install them with this system's package manager, then run this again, for example:"
    say "  macOS:  brew install redis && xcode-select --install"
    say "  Fedora: sudo dnf install valkey gcc make curl"
    say "  Arch:   sudo pacman -S valkey gcc make curl"
    exit 1
  fi
  as_root apt-get update -q
  for tool in "${tools[@]}"; do
    case $tool in
      redis)
        packages+=("$(redis_package)")
        new_server=true
        ;;
      redis-cli) packages+=("$(redis_package | sed 's/server/tools/')") ;;
      cc) packages+=(build-essential) ;;
      *) packages+=("$tool") ;;
    esac
  done
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${packages[@]}"
  if $new_server; then silence_service redis-server valkey-server; fi
}

# Rust: an existing cargo is used if it is new enough, and never changed.
check_rust() {
  local wanted have
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
  if ! has cargo; then
    say "missing: Rust; installing it with rustup into $CARGO_HOME"
    curl --proto '=https' --tlsv1.2 --silent --show-error --fail https://sh.rustup.rs |
      sh -s -- -y --quiet --no-modify-path --profile minimal --component clippy --component rustfmt
    hash -r
  fi
  have=$(cargo --version | cut -d' ' -f2)
  if ! at_least "$wanted" "$have"; then
    say "$(command -v cargo) is $have, and $wanted or newer is needed"
    if has rustup; then
      say "run: rustup update stable"
    else
      say "remove it or put a newer one first on PATH; https://rustup.rs installs the latest"
    fi
    exit 1
  fi
}

# For the tests of the dashboard. Ubuntu has it as a snap only, for which there may be no room.
# Runs in a subshell, as install_vegeta.
install_chromium() {
  say "missing: Chromium"
  has apt-get && as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends chromium
}

# For the test of a cache in front. Runs in a subshell, as install_vegeta.
install_nginx() {
  say "missing: nginx"
  has apt-get && as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends nginx-light && silence_service nginx
}

# For tests/faults: one sees by strace what a worker calls, one steps the clock. Linux alone has both.
missing_fault_tools() {
  local libraries=(/usr/lib/*/faketime/libfaketimeMT.so.1)
  [ "$(uname)" = Linux ] || return 0
  has strace || echo strace
  [ -e "${libraries[0]}" ] || echo libfaketime
}

# Runs in a subshell, as install_vegeta.
install_fault_tools() {
  say "missing: $*"
  has apt-get && as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "$@"
}

# Into a folder of its own. Runs in a subshell, as install_vegeta.
install_schemathesis() {
  say "missing: Schemathesis; installing it into $tools_folder/python"
  if ! python3 -m venv "$tools_folder/python" >/dev/null 2>&1; then
    say "missing: Python with venv"
    has apt-get && as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install -q -y --no-install-recommends python3-venv || return 1
    python3 -m venv --clear "$tools_folder/python" || return 1
  fi
  "$tools_folder/python/bin/pip" install -q --disable-pip-version-check "$schemathesis"
}

# Runs in a subshell whose failure is no failure of the setup: `set -e` does not hold in it.
install_vegeta() {
  local go
  say "missing: vegeta; building it into $tools_folder/bin"
  if ! go=$(find_go "$go_wanted" "$tools_folder/go"); then
    say "missing: Go $go_wanted or newer"
    install_go "$go_wanted" "$tools_folder/go" || return 1
    go=$(find_go "$go_wanted" "$tools_folder/go") || return 1
  fi
  GOBIN=$tools_folder/bin "$go" install "$vegeta_module"
}

# (macOS has bash 3.2, without mapfile.)
read -r -a missing <<<"$(missing_tools | tr '\n' ' ')"
if [ "${#missing[@]}" -gt 0 ]; then
  install_packages "${missing[@]}"
fi
check_rust
if ! has vegeta && ! (install_vegeta); then
  say "NO VEGETA: it could not be installed, so there is no load, and its tests fail; for the rest"
  say "it is not needed. By hand: go install $vegeta_module (or: brew install vegeta)"
fi
if ! has chromium && ! has chromium-browser && ! has google-chrome && ! (install_chromium); then
  say "NO CHROMIUM: it could not be installed, so the tests of the dashboard fail; for the rest it is"
  say "not needed. By hand: any package that has chromium, chromium-browser or google-chrome on PATH"
fi
if ! has nginx && ! [ -x /usr/sbin/nginx ] && ! (install_nginx); then
  say "NO NGINX: it could not be installed, so the test with a cache in front is skipped. By hand: any"
  say "package that has nginx on PATH"
fi
read -r -a fault_tools <<<"$(missing_fault_tools | tr '\n' ' ')"
if [ "${#fault_tools[@]}" -gt 0 ] && ! (install_fault_tools "${fault_tools[@]}"); then
  say "NO ${fault_tools[*]}: it could not be installed, so the tests in tests/faults that need it fail. By"
  say "hand: the packages strace and libfaketime"
fi
if ! has schemathesis && ! [ -x "$tools_folder/python/bin/schemathesis" ] && ! (install_schemathesis); then
  say "NO SCHEMATHESIS: it could not be installed, so the API is not compared with docs/openapi.yaml. By"
  say "hand: pipx install $schemathesis"
fi
