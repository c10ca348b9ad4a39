#!/usr/bin/env bash
# Formatting and lints, warnings counted as errors. A tool that this toolchain lacks is named aloud
# and left out, so that a machine without it can still run the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() { printf 'lint: NOT CHECKED: %s\n' "$*" >&2; }

if cargo fmt --version >/dev/null 2>&1; then
  cargo fmt --all --check
else
  skip "formatting, because rustfmt is missing (rustup component add rustfmt)"
fi

if cargo clippy --version >/dev/null 2>&1; then
  cargo clippy --locked --all-targets -- -D warnings
  # Without the load rig: what of the package is there then, and which features its dependencies
  # have, differs.
  cargo clippy --locked --package redis-api --no-default-features --all-targets -- -D warnings
else
  skip "lints, because clippy is missing (rustup component add clippy)"
fi

if command -v shellcheck >/dev/null 2>&1; then
  shellcheck -x -P SCRIPTDIR \
    scripts/*.sh tuning/*.sh tuning/compare tests/cluster/*/*.sh deploy/scripts/*.sh .ci/run
else
  skip "shell scripts, because shellcheck is missing (apt-get install shellcheck)"
fi

if command -v cargo-deny >/dev/null 2>&1; then
  # The database of advisories is fetched from elsewhere, so not here.
  cargo deny --offline --log-level error check bans licenses sources
else
  skip "licences and sources of dependencies, because cargo-deny is missing (cargo install cargo-deny)"
fi
