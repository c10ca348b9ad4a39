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

# Redis would look a name up at each attempt to connect, in the thread that answers reads: while the
# master is away, one lost DNS packet stops all reads for 5 s (15 s were seen). So it gets an address;
# should the name's change, sync-auth gives it the new one.
case $MASTER_HOST in
  *[!0-9.]*) address= ;;
  *) address=$MASTER_HOST ;;
esac
case $MASTER_HOST in *:*) address=$MASTER_HOST ;; esac
while [ -z "$address" ]; do
  address=$(getent hosts "$MASTER_HOST" | { read -r first _ && printf %s "$first"; }) || address=
  if [ -z "$address" ]; then
    echo "can't resolve $MASTER_HOST; trying again in 1 s" >&2
    sleep 1
  fi
done

# As one word of the configuration.
password=$(sed 's/[\\"]/\\&/g' /etc/redis-api/secret/password)

# Through stdin: neither a file nor a command line ever holds the password.
exec redis-server "$1" --replicaof "$address" "$MASTER_PORT" - <<END
masterauth "$password"
${MASTER_USER:+masteruser $MASTER_USER}
END
