#!/usr/bin/env bash
# Loads images (tar archives of Docker or OCI) into the running cluster, each once until it changes.
# Usage: load.sh FILE...
set -euo pipefail
# shellcheck source=tests/cluster/node/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for file; do
  # (The pattern itself, where no file matches it.)
  [ -e "$file" ] || continue
  mark=$state/loaded/$(basename "$file")
  seen=$(stat --dereference --format '%n %s %Y' "$file")
  [ "$(cat "$mark" 2>/dev/null)" != "$seen" ] || continue
  say "loading $(basename "$file")"
  in_node ctr --namespace k8s.io images import - <"$file" >&2
  echo "$seen" >"$mark"
done
