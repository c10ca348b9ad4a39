#!/usr/bin/env bash
# secret-redis-tls.sh [--dry-run]
# Makes the Secret redis-tls (in place of the talk's tunnel): ca.crt, which signed the master's
# certificate, and tls.crt and tls.key, which API and sidecar show to a master that asks for one.
#
# Without REDIS_CA_FILE in env.secret it makes a private CA in deploy/ca (keep ca.key, or throw it away
# and make a new one when the certificates end after a year), and signs two certificates: for the master
# and relays of this repository (Secret redis-master-tls), and for their clients.
#
# Replication checks who signed the master's certificate, and no name: so the CA should sign nothing
# but this master (and its relays).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
parse "$@"
wants 0
load_settings
has kubectl openssl

# shellcheck source=certificates.sh
. "$deploy/scripts/certificates.sh"

if [ -z "${REDIS_CA_FILE:-}" ]; then
  folder=${CA_FOLDER:-$deploy/ca}
  if $dry_run; then
    say "makes a CA and two certificates in $folder, unless they are there"
    apply_secret redis-master-tls ca.crt '' tls.crt '' tls.key ''
    apply_secret redis-tls ca.crt '' tls.crt '' tls.key ''
    exit
  fi
  make_ca "$folder"
  make_leaf "$folder" server "$(server_names)"
  make_leaf "$folder" client "DNS:redis-api"
  apply_secret redis-master-tls ca.crt "$(cat "$folder/ca.crt")" \
    tls.crt "$(cat "$folder/server.crt")" tls.key "$(cat "$folder/server.key")"
  apply_secret redis-tls ca.crt "$(cat "$folder/ca.crt")" \
    tls.crt "$(cat "$folder/client.crt")" tls.key "$(cat "$folder/client.key")"
  exit
fi

ca=$REDIS_CA_FILE
if [ "$ca" = system ]; then
  for ca in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    if [ -e "$ca" ]; then break; fi
  done
  say "the public roots, $ca: with a sidecar, whoever has any public certificate could be the master"
fi
[ -e "$ca" ] || $dry_run || die "REDIS_CA_FILE: $ca is missing"
cert=${REDIS_CERT_FILE:-} key=${REDIS_KEY_FILE:-}
if [ -z "$cert" ] && ! $dry_run; then
  # A replica wants one of its own, even where the master asks for none: one that nobody trusts.
  own=$(mktemp -d)
  make_ca "$own"
  make_leaf "$own" client "DNS:redis-api"
  cert=$own/client.crt key=$own/client.key
fi
if $dry_run; then
  apply_secret redis-tls ca.crt '' tls.crt '' tls.key ''
else
  apply_secret redis-tls ca.crt "$(cat "$ca")" tls.crt "$(cat "$cert")" tls.key "$(cat "$key")"
  if [ -n "${own:-}" ]; then rm -rf "$own"; fi
fi
