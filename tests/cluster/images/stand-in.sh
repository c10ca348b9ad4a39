#!/bin/sh
# Makes Debian's redis-server answer to what manifests call the images of Valkey and Redis by: both
# names of each program, their entry point, their user. mmdebstrap runs it. Usage: stand-in.sh ROOT
set -eu
root=$1

for program in server cli benchmark check-rdb check-aof; do
  ln -s "redis-$program" "$root/usr/bin/valkey-$program"
done
chroot "$root" usermod --uid 999 redis
chroot "$root" groupmod --gid 999 redis
mkdir -p "$root/data"
chroot "$root" chown redis:redis /data
cat >"$root/usr/local/bin/docker-entrypoint.sh" <<'END'
#!/bin/sh
# Flags or a file alone are for the server, which does not run as root.
set -e
case "${1:-}" in -* | *.conf) set -- valkey-server "$@" ;; esac
case "$1" in
  valkey-server | redis-server)
    echo "stand-in: this is Debian's redis-server, for tests" >&2
    if [ "$(id -u)" = 0 ]; then
      chown redis:redis /data
      exec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
    fi
    ;;
esac
exec "$@"
END
chmod 755 "$root/usr/local/bin/docker-entrypoint.sh"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
