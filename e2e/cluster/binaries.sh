#!/usr/bin/env bash
# Builds a real Kubernetes and what surrounds it from published Go modules, all of stated versions, and keeps the programs
# by version: a second call does nothing. About 10 minutes on two cores the first time. Prints the folder of the programs.
# With names as arguments it builds only those.
set -euo pipefail

GO_WANTED=1.26
KUBERNETES=1.34.9
ETCD=3.6.16
HELM=3.22.0
KWOK=0.8.0
COREDNS=1.15.0
NATS_CLI=0.5.1
KUBE_ROUTER=2.1.0

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${XDG_CACHE_HOME:-$HOME/.cache}/docket/kubernetes
bin=$root/$KUBERNETES/bin
export CGO_ENABLED=0

say() { printf 'binaries: %s\n' "$*" >&2; }

at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1)" == "$2" ]]; }

check_go() {
    local version
    if ! version=$(go env GOVERSION 2>/dev/null); then
        say "Go is missing; install Go $GO_WANTED or newer from the Go project (Debian's is older), or put its programs on the PATH"
        return 1
    fi
    if ! at_least "${version#go}" "$GO_WANTED"; then
        say "Go ${version#go} is older than $GO_WANTED; install a newer one from the Go project"
        return 1
    fi
}

# make_program NAME VERSION COMMAND...: runs COMMAND with the path to write appended, where this version is not there yet.
# The program gets its name only when it is whole, and the plain name points to the version asked for.
make_program() {
    local name=$1 version=$2 file=$bin/$1-$2 started=$SECONDS
    shift 2
    if [[ ! -x $file ]]; then
        check_go
        say "building $name $version"
        "$@" "$file.new"
        mv "$file.new" "$file"
        say "$name $version took $((SECONDS - started)) s"
    fi
    ln -sfn "$name-$version" "$bin/$name"
}

# three_times COMMAND…: modules are downloaded meanwhile, which may fail for a moment. What was done stays done.
three_times() {
    local try
    for try in 1 2 3; do
        "$@" && return 0
        say "failed: $1 $2; try $try of 3"
        ((try == 3)) || sleep 5
    done
    return 1
}

# From a module of ours that names the versions of all that it takes: Kubernetes and etcd cannot be installed as they are.
from_our_module() {
    local module=$1 package=$2 flags=$3 output=$4
    (cd "$here/modules/$module" && three_times go build -trimpath -ldflags "-s -w $flags" -o "$output" "$package")
}

# From a published module with the versions that it names itself. Go chooses the program's name, so it gets a folder.
from_published() {
    local package=$1 output=$2
    GOBIN="$output.folder" three_times go install -trimpath -ldflags "-s -w" "$package"
    mv "$output.folder"/* "$output"
    rmdir "$output.folder"
}

kubernetes() {
    local version=k8s.io/component-base/version minor=${KUBERNETES#1.}
    make_program "$1" "$KUBERNETES" from_our_module kubernetes "k8s.io/kubernetes/cmd/$1" \
        "-X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*} \
         -X $version.gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=v$KUBERNETES"
}

program() {
    case $1 in
        etcd) make_program etcd "$ETCD" from_our_module etcd go.etcd.io/etcd/server/v3 "" ;;
        kube-router)
            make_program kube-router "$KUBE_ROUTER" \
                from_our_module network-policies github.com/cloudnativelabs/kube-router/v2/cmd/kube-router "" ;;
        helm) make_program helm "$HELM" from_published "helm.sh/helm/v3/cmd/helm@v$HELM" ;;
        kwok) make_program kwok "$KWOK" from_published "sigs.k8s.io/kwok/cmd/kwok@v$KWOK" ;;
        coredns) make_program coredns "$COREDNS" from_published "github.com/coredns/coredns@v$COREDNS" ;;
        nats) make_program nats "$NATS_CLI" from_published "github.com/nats-io/natscli/nats@v$NATS_CLI" ;;
        kube-* | kubectl | kubelet) kubernetes "$1" ;;
        *) say "no program is called \"$1\" here" && return 1 ;;
    esac
}

names=("$@")
((${#names[@]})) || names=(etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl kubelet \
    coredns kube-router helm kwok nats)
mkdir -p "$bin"
# One builder at a time: two would write the same files.
exec 9>"$root/lock"
flock 9
for name in "${names[@]}"; do
    program "$name"
done
[[ -L $root/bin ]] || rm -rf "$root/bin"
ln -sfn "$KUBERNETES/bin" "$root/bin"
echo "$bin"
