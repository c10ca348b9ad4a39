#!/usr/bin/env bash
# rotate.sh password|certificates|ca [--yes] [--dry-run]
# Changes the Secrets of a running system in an order without a gap: each new thing is accepted
# everywhere before it is used anywhere, and the old one goes last. No pod restarts.
#
#   password      of the users of API and replicas: NEW_PASS, or a random one
#   certificates  of master, relays and clients, by the same CA (in deploy/ca)
#   ca            a new private CA, and certificates from it
#
# For deploy/master. Where the master is somebody else's, `password` stops at the two steps that are
# to be done there, and says what they are; for the rest see the runbook.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 1 "password|certificates|ca [--yes]"
has kubectl openssl
# shellcheck source=certificates.sh
. "$deploy/scripts/certificates.sh"

# The kubelet takes a minute or two to bring a changed Secret into its pods.
readonly patience=300
# sync-auth looks at its files each second.
readonly settle=5
readonly servers='app in (redis-master,redis-relay)'
readonly everyone='app in (redis-api,redis-master,redis-relay)'

# nudge: a pod whose annotation changes gets its Secrets anew within seconds.
nudge() {
  run kubectl -n "$NAMESPACE" annotate pods -l "$everyone" --overwrite \
    "redis-api/secrets-changed=$(date +%s)"
}

# in_redis SELECTOR CONTAINER SCRIPT [ARGUMENTS]: runs a script beside Redis in each such pod.
in_redis() {
  local pod selector=$1 container=$2 script=$3
  shift 3
  while IFS= read -r pod; do
    k exec "$pod" -c "$container" -- sh -c "$script" sh "$@" </dev/null >/dev/null || return 1
  done < <(k get pods -l "$selector" --field-selector=status.phase=Running -o name)
}

# until_true WHAT COMMAND...
until_true() {
  local what=$1 deadline=$((SECONDS + patience))
  shift
  if $dry_run; then
    say "waits until $what"
    return
  fi
  while ! "$@" 2>/dev/null; do
    [ "$SECONDS" -lt "$deadline" ] || die "after ${patience} s still not: $what; run it again when it is"
    sleep 2
  done
  say "done: $what"
}

has_sidecars() {
  [ -n "$(k get deployment redis-api -o jsonpath='{.spec.template.spec.initContainers[*].name}' --ignore-not-found)" ]
}

# In the scripts for the pods $1 is theirs.
# shellcheck disable=SC2016
readonly cli='REDISCLI_AUTH=$(cat /etc/redis-api/secret/admin-password 2>/dev/null) && export REDISCLI_AUTH
cli() { redis-cli -s /run/redis/redis.sock ${REDISCLI_AUTH:+--user admin} "$@"; }
'
# shellcheck disable=SC2016
readonly user_has="$cli"'cli acl getuser redis-api | grep -q "$1"'
# shellcheck disable=SC2016
readonly user_lacks="$cli"'cli acl getuser redis-api | grep -q "$1" && ! cli acl getuser redis-api | grep -q "$2"'
# shellcheck disable=SC2016
readonly logs_in_with="$cli"'test "$(cli config get masterauth | tail -n 1 | tr -d "\n" | sha256sum | cut -d" " -f1)" = "$1"'
# shellcheck disable=SC2016
readonly file_is='test "$(sha256sum < "/etc/redis-api/tls/$1" | cut -d" " -f1)" = "$2"'

# both KEY SHA256 SELECTOR...: the file is in the pods.
files_are() {
  local key=$1 hash=$2 selector container
  shift 2
  for selector in "$@"; do
    container=redis
    if [ "$selector" = app=redis-api ]; then
      has_sidecars || continue
      container=redis-sidekick
    fi
    in_redis "$selector" "$container" "$file_is" "$key" "$hash" || return 1
  done
}

# Without a sidecar there is nobody to ask in the pod: the kubelet's longest time.
wait_for_others() {
  if ! $dry_run && ! has_sidecars; then
    say "pods without a sidecar: waiting 150 s"
    sleep 150
  fi
}

rotate_password() {
  local old new admin old_hash new_hash ours=true
  if $dry_run; then
    old=OLD new=NEW admin=ADMIN
  else
    old=$(secret_value redis password)
    new=${NEW_PASS:-$(openssl rand -hex 24)}
    admin=$(secret_value redis-master admin-password)
  fi
  [ -n "$old" ] || die "the Secret redis is missing: run secret-redis.sh"
  [ "$old" != "$new" ] || die "NEW_PASS is the password that is in use"
  old_hash=$(printf %s "$old" | sha256)
  new_hash=$(printf %s "$new" | sha256)
  if [ -z "$admin" ]; then
    ours=false
    [ -n "${NEW_PASS:-}" ] || die "the master isn't ours: choose NEW_PASS, and give it to the master first"
  fi

  say "1. the master takes both passwords"
  if $ours; then
    apply_secret redis-master users.acl "$(users_acl "$admin" "$old" "$new")"$'\n' admin-password "$admin"
    nudge
    until_true "master and relays take the new password" \
      in_redis "$servers" redis "$user_has" "$new_hash"
  else
    confirm "On the master: ACL SETUSER <each user> ><new password>. Done?"
  fi

  say "2. API and replicas use the new one"
  apply_secret redis password "$new"
  nudge
  until_true "replicas log in with the new password" replicas_log_in_with "$new_hash"
  wait_for_others

  say "3. the master forgets the old one"
  if $ours; then
    apply_secret redis-master users.acl "$(users_acl "$admin" "$new")"$'\n' admin-password "$admin"
    nudge
    until_true "master and relays refuse the old password" \
      in_redis "$servers" redis "$user_lacks" "$new_hash" "$old_hash"
  else
    confirm "On the master: ACL SETUSER <each user> <<old password>. Done?"
  fi
  say "put the new password into env.secret; it is in the Secret redis, key password"
}

replicas_log_in_with() {
  if has_sidecars; then in_redis app=redis-api redis-sidekick "$logs_in_with" "$1" || return 1; fi
  in_redis app=redis-relay redis "$logs_in_with" "$1"
}

# apply_tls CA_FILE FOLDER: both Secrets.
apply_tls() {
  local ca=$1 folder=$2 hash
  if $dry_run; then
    apply_secret redis-master-tls ca.crt '' tls.crt '' tls.key ''
    apply_secret redis-tls ca.crt '' tls.crt '' tls.key ''
  else
    apply_secret redis-master-tls ca.crt "$(cat "$ca")" \
      tls.crt "$(cat "$folder/server.crt")" tls.key "$(cat "$folder/server.key")"
    apply_secret redis-tls ca.crt "$(cat "$ca")" \
      tls.crt "$(cat "$folder/client.crt")" tls.key "$(cat "$folder/client.key")"
  fi
  nudge
  if ! $dry_run; then
    # As the Secret has them: without the last newline.
    hash=$(printf %s "$(cat "$ca")" | sha256)
    until_true "the CAs are in all pods" files_are ca.crt "$hash" app=redis-master app=redis-relay app=redis-api
    hash=$(printf %s "$(cat "$folder/server.crt")" | sha256)
    until_true "the server's certificate is in its pods" files_are tls.crt "$hash" app=redis-master app=redis-relay
    hash=$(printf %s "$(cat "$folder/client.crt")" | sha256)
    until_true "the clients' certificate is in their pods" files_are tls.crt "$hash" app=redis-api
    sleep "$settle"
  fi
  wait_for_others
}

rotate_certificates() {
  local folder=${CA_FOLDER:-$deploy/ca} name
  [ -e "$folder/ca.key" ] || $dry_run || die "$folder/ca.key is missing: without it only \`rotate.sh ca\` works"
  if ! $dry_run; then
    for name in server client; do rm -f "$folder/$name.crt" "$folder/$name.key"; done
    make_leaf "$folder" server "$(server_names)"
    make_leaf "$folder" client "DNS:redis-api"
  fi
  say "1. new certificates, by the same CA"
  apply_tls "$folder/ca.crt" "$folder"
}

rotate_ca() {
  local folder=${CA_FOLDER:-$deploy/ca} next both
  next=$folder.next both=$folder/both.crt
  [ -e "$folder/server.crt" ] || $dry_run || die "$folder/server.crt is missing: it was made by secret-redis-tls.sh"
  if ! $dry_run; then
    make_ca "$next"
    make_leaf "$next" server "$(server_names)"
    make_leaf "$next" client "DNS:redis-api"
    cat "$folder/ca.crt" "$next/ca.crt" >"$both"
  fi
  say "1. everybody trusts both CAs"
  apply_tls "$both" "$folder"
  say "2. certificates of the new CA"
  apply_tls "$both" "$next"
  say "3. everybody trusts the new CA alone"
  apply_tls "$next/ca.crt" "$next"
  run rm -rf "$folder"
  run mv "$next" "$folder"
}

case ${args[0]} in
  password) rotate_password ;;
  certificates) rotate_certificates ;;
  ca) rotate_ca ;;
  *) die "'${args[0]}': expected password, certificates or ca" ;;
esac
