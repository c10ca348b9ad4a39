#!/bin/sh
# Has been in sync since it started, as the API asks of its own replica: a relay that has lost the
# master still takes sidecars, one that never had it would give them nothing.
set -eu
REDISCLI_AUTH=$(cat /etc/redis/secret/admin-password)
export REDISCLI_AUTH
redis-cli -s /run/redis/redis.sock --user admin info replication |
  grep -Eq '^master_link_status:up|^master_link_down_since_seconds:[0-9]'
