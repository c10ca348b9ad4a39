#!/bin/sh
# Its link to the master is up. Without it a relay refuses every sidecar (NOMASTERLINK), so new ones
# should ask another relay; those that are connected stay.
set -eu
REDISCLI_AUTH=$(cat /etc/redis-api/secret/admin-password)
export REDISCLI_AUTH
said=$(redis-cli -s /run/redis/redis.sock --user admin info replication 2>&1) || true
# The pod's events show what this says.
case $said in
  *master_link_status:up*) exit ;;
  *master_link_status:down*) echo "the link to the master is down" ;;
  *) echo "$said" | head -n 1 ;;
esac
exit 1
