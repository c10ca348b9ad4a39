#!/bin/sh
# What distroless images have beside unpacked packages: certificates, users, how names are looked up.
# mmdebstrap runs it when all is unpacked. Usage: distroless.sh ROOT
set -eu
root=$1

mkdir -p "$root/etc/ssl/certs" "$root/home/nonroot" "$root/tmp"
# This machine's: the package's own script, which puts them together, would take a shell and Perl.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
cat >"$root/etc/passwd" <<END
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
END
cat >"$root/etc/group" <<END
root:x:0:
nobody:x:65534:
nonroot:x:65532:
END
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
chown 65532:65532 "$root/home/nonroot"
chmod 1777 "$root/tmp"
rm -rf "$root/var/lib/apt" "$root/var/cache/apt" "$root/var/lib/dpkg"
