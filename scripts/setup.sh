#!/usr/bin/env bash
# Makes sure that the machine has what the build needs. As root on Debian it installs what is missing; otherwise it
# prints the exact command and fails. Says nothing where nothing is missing.
set -euo pipefail

RUST_WANTED=1.94

say() { printf 'setup: %s\n' "$*" >&2; }
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

missing_packages() {
    command -v cc >/dev/null || echo build-essential
    command -v make >/dev/null || echo make
    command -v git >/dev/null || echo git
    command -v pkg-config >/dev/null || echo pkg-config
    command -v protoc >/dev/null || echo protobuf-compiler
    has_protobuf_includes || echo libprotobuf-dev
    command -v openssl >/dev/null || echo openssl
    command -v python3 >/dev/null || echo python3
    python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || echo python3-venv
}

# lancedb's build reads google/protobuf/*.proto, which Debian ships apart from the compiler.
has_protobuf_includes() {
    local protoc
    [[ -e /usr/include/google/protobuf/empty.proto || -e /usr/local/include/google/protobuf/empty.proto ]] && return 0
    protoc=$(command -v protoc) || return 1
    [[ -e "$(dirname "$(dirname "$protoc")")/include/google/protobuf/empty.proto" ]]
}

install_packages() {
    local packages=("$@")
    if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
        say "installing ${packages[*]}"
        patient_apt update --quiet=2
        DEBIAN_FRONTEND=noninteractive patient_apt install --quiet=2 --yes --no-install-recommends "${packages[@]}" >/dev/null
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

# True where $1 is at least $2, both like 1.94 or 1.94.1.
at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1)" == "$2" ]]; }

check_rust() {
    local version
    if ! command -v cargo >/dev/null || ! version=$(rustc --version 2>/dev/null); then
        if command -v rustup >/dev/null; then
            say "no Rust toolchain is active; run:  rustup default stable"
        else
            say "Rust $RUST_WANTED or newer is missing; install rustup (the Rust project's installer), then run:  rustup default stable"
        fi
        return 1
    fi
    version=$(cut -d ' ' -f 2 <<<"$version")
    if ! at_least "$version" "$RUST_WANTED"; then
        say "Rust $version is older than $RUST_WANTED; run:  rustup update stable && rustup default stable"
        return 1
    fi
    if ! cargo fmt --version >/dev/null 2>&1; then
        say "rustfmt is missing; run:  rustup component add rustfmt"
        return 1
    fi
}

mapfile -t packages < <(missing_packages)
if ((${#packages[@]})); then
    install_packages "${packages[@]}"
fi
check_rust
