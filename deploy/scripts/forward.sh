# shellcheck shell=bash
# The way to the API from here. Sourced after lib.sh, not run.
# shellcheck disable=SC2154 # dry_run is lib.sh's

# Sets url: API_URL, or a free local port that is forwarded to the Service until this script ends.
reach_api() {
  url=${API_URL:-}
  url=${url%/}
  if [ -n "$url" ]; then return; fi
  if $dry_run; then
    run kubectl -n "$NAMESPACE" port-forward service/redis-api :8080
    url=http://127.0.0.1:PORT
    return
  fi
  local line
  # The kernel chooses the port.
  exec {forwarded}< <(exec kubectl -n "$NAMESPACE" port-forward service/redis-api :8080 2>&1)
  # shellcheck disable=SC2064 # the process of now
  trap "kill $! 2>/dev/null || true" EXIT
  while IFS= read -r -t 20 -u "$forwarded" line; do
    if [[ $line =~ ^Forwarding\ from\ 127\.0\.0\.1:([0-9]+) ]]; then
      url=http://127.0.0.1:${BASH_REMATCH[1]}
      return
    fi
    say "$line"
  done
  die "can't reach the API: kubectl port-forward service/redis-api failed"
}
