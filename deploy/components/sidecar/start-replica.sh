#!/bin/sh
# start-replica.sh CONFIG: runs the replica of MASTER_HOST:MASTER_PORT. For any POSIX shell.
set -eu

# Pods that start together ask the master for their full synchronisations over some seconds, not at
# once. Not again when only this container restarts: then its pod is waiting.
if [ ! -e /run/redis/started ]; then
  : > /run/redis/started
  random=$(od -An -N1 -tu1 /dev/urandom)
  sleep "$((random % (${START_JITTER:-0} + 1)))"
fi

# As one word of the configuration.
password=$(sed 's/[\\"]/\\&/g' /etc/redis-api/secret/password)

# Through stdin: neither a file nor a command line ever holds the password.
exec redis-server "$1" --replicaof "$MASTER_HOST" "$MASTER_PORT" - <<END
masterauth "$password"
${MASTER_USER:+masteruser $MASTER_USER}
END
