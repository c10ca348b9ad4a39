#!/usr/bin/env bash
# Takes pictures of the dashboard and the currency page of an aggregator that runs, light, dark and
# narrow, as PNG: scripts/screenshots.sh http://127.0.0.1:8082 docs
#
# They need five minutes of history to look like something.
set -euo pipefail

if [ $# -ne 2 ] || [ ! -d "$2" ]; then
  printf 'usage: %s URL_OF_AGGREGATOR FOLDER\n' "$0" >&2
  exit 2
fi
PICTURES_OF=${1%/}
PICTURES_TO=$(cd "$2" && pwd)
export PICTURES_OF PICTURES_TO
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo test --locked --test e2e -- --exact dashboard::pictures_can_be_taken
