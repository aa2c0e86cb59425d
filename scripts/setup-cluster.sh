#!/usr/bin/env bash
# Makes sure that the machine has what images, charts and the test cluster need beyond the build: setup-cluster.sh [PART…],
# with the parts images, node and charts, by default all. As root on Debian it installs what is missing; otherwise it prints
# the exact command and fails. Says nothing where nothing is missing.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

missing_for_images() {
    command -v buildah >/dev/null || echo buildah
    command -v strip >/dev/null || echo binutils
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
}

missing_for_node() {
    command -v containerd >/dev/null || echo containerd
    command -v runc >/dev/null || echo runc
    [[ -x /usr/lib/cni/bridge || -x /opt/cni/bin/bridge ]] || echo containernetworking-plugins
    command -v iptables >/dev/null || echo iptables
    command -v conntrack >/dev/null || echo conntrack
    command -v ipset >/dev/null || echo ipset
    command -v ip >/dev/null || echo iproute2
    command -v nsenter >/dev/null || echo util-linux
    command -v sysctl >/dev/null || echo procps
    command -v openssl >/dev/null || echo openssl
    # A program that is linked statically, as pause is, needs libc.a.
    [[ -n $(compgen -G '/usr/lib/*/libc.a' || compgen -G '/usr/lib64/libc.a') ]] || echo libc6-dev
}

missing_for_charts() {
    command -v lua5.4 >/dev/null || echo lua5.4
}

# Their daemons are not wanted: the test cluster starts its own. Debian's maintainer scripts ask this file.
without_daemons() {
    local policy=/usr/sbin/policy-rc.d
    [[ -e $policy ]] && { "$@"; return; }
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    local outcome=0
    "$@" || outcome=$?
    rm -f "$policy"
    return "$outcome"
}

install_packages() {
    local packages=("$@")
    if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
        say "installing ${packages[*]}"
        patient_apt update --quiet=2
        DEBIAN_FRONTEND=noninteractive without_daemons \
            patient_apt install --quiet=2 --yes --no-install-recommends "${packages[@]}" >/dev/null
        return
    fi
    say "these are missing: ${packages[*]}"
    if command -v apt-get >/dev/null; then
        say "run:  sudo apt-get update && sudo apt-get install --yes --no-install-recommends ${packages[*]}"
    else
        say "install them with this system's package manager (the names are Debian's)"
    fi
    return 1
}

parts=("$@")
((${#parts[@]})) || parts=(images node charts)
packages=()
for part in "${parts[@]}"; do
    case $part in
    images | node | charts) mapfile -t -O "${#packages[@]}" packages < <("missing_for_$part") ;;
    *)
        say "there is no part \"$part\"; the parts are images, node and charts"
        exit 2
        ;;
    esac
done
if ((${#packages[@]})); then
    install_packages "${packages[@]}"
fi
