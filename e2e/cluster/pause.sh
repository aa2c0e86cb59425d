#!/usr/bin/env bash
# Makes the image that holds a pod's network, and prints where its archive is.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cluster_name=pause
archive=$cluster_caches/kubernetes/pause.tar
if [[ ! -e $archive || $cluster_scripts/pause.c -nt $archive ]]; then
    command -v buildah >/dev/null || fail "buildah is missing; scripts/setup-cluster.sh installs it"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cc -static -Os -s -o "$work/pause" "$cluster_scripts/pause.c"
    export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
    container=$(buildah from scratch)
    buildah copy --quiet --chmod 755 "$container" "$work/pause" /pause >/dev/null
    buildah config --user 65535:65535 --entrypoint '["/pause"]' "$container"
    buildah commit --quiet --rm "$container" "oci-archive:$work/pause.tar:$cluster_pause" >/dev/null
    mkdir -p "${archive%/*}"
    mv "$work/pause.tar" "$archive"
fi
echo "$archive"
