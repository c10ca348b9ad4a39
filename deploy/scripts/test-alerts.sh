#!/usr/bin/env bash
# test-alerts.sh [--dry-run]
# Tests the alerts of components/monitoring with promtool (Debian: the package prometheus has it).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
has promtool

monitoring=$deploy/components/monitoring
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# promtool wants what is below `spec:`.
sed -e '1,/^spec:/d' -e 's/^  //' "$monitoring/prometheusrule.yaml" >"$folder/rules.yaml"
cp "$monitoring/alerts_test.yaml" "$folder/"
run promtool check rules "$folder/rules.yaml"
run promtool test rules "$folder/alerts_test.yaml"
