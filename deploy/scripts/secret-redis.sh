#!/usr/bin/env bash
# secret-redis.sh [--dry-run]
# Makes the Secrets of env.secret: `redis` (the password of API and replicas), `redis-api-token` (who may
# write), and for deploy/master `redis-master` (its users, as hashes, and admin's password).
#
# To change the password of a running system use rotate.sh: it leaves no gap.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
load_settings
need REDIS_PASS WRITE_TOKEN
has kubectl openssl

apply_secret redis password "$REDIS_PASS"
apply_secret redis-api-token token "$WRITE_TOKEN"
if [ -n "${REDIS_ADMIN_PASS:-}" ] || $dry_run; then
  acl=
  if ! $dry_run; then acl=$(users_acl "$REDIS_ADMIN_PASS" "$REDIS_PASS")$'\n'; fi
  apply_secret redis-master users.acl "$acl" admin-password "$REDIS_ADMIN_PASS"
fi
