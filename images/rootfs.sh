#!/usr/bin/env bash
# Makes the whole file system of an image around a program: rootfs.sh ROOT PROGRAM PLACE
# The program, without symbols, at PLACE; the shared libraries that it names; certificates of public authorities; a user. No
# shell, no package manager, nothing else. Both the Dockerfiles and scripts/images.sh use it.
set -euo pipefail

umask 022
root=$1 program=$2 place=$3
authorities=/etc/ssl/certs/ca-certificates.crt

# Programs that are linked statically name none.
shared_libraries() {
    { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ ]+' | sort -u
}

mkdir -p "$root$(dirname "$place")" "$root/etc/ssl/certs" "$root/tmp"
strip --strip-all -o "$root$place" "$program"
chmod 0755 "$root$place"
while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp --dereference "$library" "$root$library"
done < <(shared_libraries "$program")

if [[ ! -e $authorities ]]; then
    echo "rootfs: $authorities is missing; install ca-certificates" >&2
    exit 1
fi
cp --dereference "$authorities" "$root$authorities"
printf 'root:x:0:0::/:/nonexistent\ndocket:x:65532:65532::/tmp:/nonexistent\n' >"$root/etc/passwd"
printf 'root:x:0:\ndocket:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
