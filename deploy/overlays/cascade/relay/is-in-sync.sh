#!/bin/sh
# Its link to the master is up. Without it a relay refuses every sidecar (NOMASTERLINK), so new ones
# should ask another relay; those that are connected stay.
set -eu
REDISCLI_AUTH=$(cat /etc/redis-api/secret/admin-password)
export REDISCLI_AUTH
redis-cli -s /run/redis/redis.sock --user admin info replication | grep -q '^master_link_status:up'
