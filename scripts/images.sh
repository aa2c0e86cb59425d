#!/usr/bin/env bash
# Makes images as OCI archives: images.sh [--out DIR] [--tag TAG] [IMAGE…]
#
#   docket-operator   the operator                          registry.local/docket-operator:TAG
#   docket            agents and gateways                   registry.local/docket:TAG
#   docket-models     the same with two small models        registry.local/docket:TAG-models
#   nats              NATS                                  registry.local/nats:VERSION
#
# Without IMAGE all of them, without TAG the workspace's version. Binaries are taken from $CARGO_TARGET_DIR/release, models from
# $DOCKET_MODELS. DIR/IMAGE.tar is made again only when something that it is made of has changed; beside it lie IMAGE.digest,
# the digest of the inputs, and IMAGE.sbom.json. Needs root, buildah and what scripts/setup-cluster.sh images installs.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

cache=${XDG_CACHE_HOME:-$HOME/.cache}/docket
binaries=${CARGO_TARGET_DIR:-$cache/target}/release
models=${DOCKET_MODELS:-$cache/models}
out=$cache/images
tag=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
nats_version=$(sed -n 's/^versions=(\([0-9.]*\) .*/\1/p' scripts/nats-server.sh)
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot

say() { printf 'images: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# The program of an image, or why there is none.
program_of() {
    case $1 in
    docket-operator) echo "$binaries/docket-operator" ;;
    docket | docket-models) echo "$binaries/docket" ;;
    nats) echo "$cache/servers/nats-server-$nats_version" ;;
    esac
}

reference_of() {
    case $1 in
    docket-models) echo "registry.local/docket:$tag-models" ;;
    nats) echo "registry.local/nats:$nats_version" ;;
    *) echo "registry.local/$1:$tag" ;;
    esac
}

# What the image is made of, as one digest. Models are files that `docket model pull` has checked: their times do.
digest_of() {
    {
        sha256sum "$(program_of "$1")" scripts/images.sh images/rootfs.sh images/sbom.py Cargo.lock | cut -d ' ' -f 1
        reference_of "$1"
        [[ $1 != docket-models ]] || find "$models/minilm" "$models/smollm2-135m-instruct" -type f -printf '%P %s %T@\n' | sort
    } | sha256sum | cut -d ' ' -f 1
}

add_models() {
    local model
    for model in minilm smollm2-135m-instruct; do
        [[ -d $models/$model ]] || fail "$models/$model is missing; run:  docket model pull minilm smollm2-135m-instruct"
        mkdir -p "$1/models/$model"
        cp --no-preserve=mode "$models/$model"/[!.]* "$1/models/$model/"
    done
}

# Fills the root folder $2 of the image $1 and writes its bill of materials.
fill() {
    local image=$1 root=$2 name=${1%-models} documentation
    case $name in
    docket) images/rootfs.sh "$root" "$(program_of "$image")" /docket ;;
    docket-operator) images/rootfs.sh "$root" "$(program_of "$image")" /docket-operator ;;
    nats) images/rootfs.sh "$root" "$(program_of "$image")" /usr/local/bin/nats-server ;;
    esac
    [[ $image != docket-models ]] || add_models "$root"
    case $name in
    docket) images/sbom.py docket --crate agent-pod --root "$root" ;;
    docket-operator) images/sbom.py docket-operator --crate operator --root "$root" ;;
    nats) images/sbom.py nats --version "$nats_version" --go "$(program_of nats)" ;;
    esac >"$work/sbom.json"
    documentation=$root/usr/share/doc/$name
    mkdir -p "$documentation"
    install --mode 0644 "$work/sbom.json" "$documentation/sbom.json"
    install --mode 0644 "$work/sbom.json" "$out/$image.sbom.json"
    [[ $name != docket* ]] || install --mode 0644 LICENSE "$documentation/"
}

# The same inputs give the same image, whenever it is made.
without_times() {
    find "$1" -exec touch --no-dereference --date @0 {} +
}

configure() {
    local entry
    case $1 in
    docket | docket-models) entry=/docket ;;
    nats) entry=nats-server ;;
    *) entry=/$1 ;;
    esac
    [[ $1 != docket-models ]] || buildah config --env DOCKET_MODELS=/models "$2"
    buildah config --created-by scripts/images.sh --entrypoint "[\"$entry\"]" --cmd '' --user 65532:65532 --env PATH=/usr/local/bin:/ \
        --label org.opencontainers.image.title="$1" --label org.opencontainers.image.licenses=Apache-2.0 "$2"
}

make_image() {
    local image=$1 container root archive=$out/$1.tar digest program
    program=$(program_of "$image")
    [[ -e $program ]] || fail "$program is missing; build it first (make build, scripts/nats-server.sh)"
    digest=$(digest_of "$image")
    if [[ -e $archive && $(cat "$out/$image.digest" 2>/dev/null) == "$digest" ]]; then
        say "$(reference_of "$image") is as it was ($(du -h --apparent-size "$archive" | cut -f 1))"
        return
    fi
    rm -f "$archive" "$out/$image.digest"
    container=$(buildah from scratch)
    root=$(buildah mount "$container")
    fill "$image" "$root"
    without_times "$root"
    configure "$image" "$container"
    local unpacked
    unpacked=$(du --summarize -h "$root" | cut -f 1)
    buildah commit --quiet --timestamp 0 --rm "$container" "oci-archive:$archive.new:$(reference_of "$image")" >/dev/null
    mv "$archive.new" "$archive"
    echo "$digest" >"$out/$image.digest"
    say "made $(reference_of "$image"): $unpacked unpacked, $(du -h --apparent-size "$archive" | cut -f 1) as $archive"
}

wanted=()
while (($#)); do
    case $1 in
    --out) out=$2; shift 2 ;;
    --tag) tag=$2; shift 2 ;;
    docket-operator | docket | docket-models | nats) wanted+=("$1"); shift ;;
    *) fail "what is \"$1\"? The head of this script lists the images and options" ;;
    esac
done
((${#wanted[@]})) || wanted=(docket-operator docket docket-models nats)

((EUID == 0)) || fail "needs root: buildah is to own the files of an image"
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
# Containers and layers are only on the way to the archive.
export CONTAINERS_STORAGE_CONF=$work/storage.conf
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$work" "$work" >"$CONTAINERS_STORAGE_CONF"
cleanup() {
    buildah umount --all >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap cleanup EXIT

for image in "${wanted[@]}"; do
    [[ $image != nats ]] || scripts/nats-server.sh
    make_image "$image"
done
