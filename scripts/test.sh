#!/usr/bin/env bash
# Runs all test programs, two at a time: test.sh CARGO-ARGUMENTS…, the selection of crates. Called by `make test`, which has
# built everything. Most of a slow test is waiting, on two cores for the others as well. What a program says is shown when it
# has ended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT

# A line each: the folder of the crate, a tab, and the program.
cargo test "$@" --no-run --message-format=json-render-diagnostics |
    sed -nE 's/.*"manifest_path":"([^"]*)\/Cargo.toml".*"profile":\{[^}]*"test":true.*"executable":"([^"]*)".*/\1\t\2/p' >"$said/all"
[[ -s $said/all ]] || { echo "cargo named no test program" >&2; exit 1; }

# The longest first, so that none of them is left for the end.
slow='/(pod_tests|queue_tests|operator_tests|engine_tests)-'
{ grep -E "$slow" "$said/all" || true; grep -vE "$slow" "$said/all"; } >"$said/order"

# As cargo runs it: in the folder of its crate.
run() {
    local said=$1 folder=${2%%$'\t'*} program=${2#*$'\t'} name status=0
    name=$(basename "$program")
    cd "$folder"
    CARGO_MANIFEST_DIR=$folder "$program" >"$said/$name.txt" 2>&1 || status=$?
    flock "$said/order" cat <(printf '\n     Running %s\n' "$name") "$said/$name.txt"
    ((status == 0)) || echo "$name" >>"$said/failed"
}
export -f run
xargs -d '\n' -P 2 -n 1 bash -c 'run "$0" "$1"' "$said" <"$said/order"

awk '/^test result:/ { passed += $4; failed += $6; programs++ }
    END { printf "\n%d tests passed in %d programs, %d failed\n", passed, programs, failed }' "$said"/*.txt
if [[ -s $said/failed ]]; then
    # Once more at the end, where it is looked for first.
    while read -r name; do
        printf '\nfailures of %s:\n' "$name"
        sed -n '/^failures:$/,$p' "$said/$name.txt"
    done <"$said/failed"
    echo "failed: $(paste -sd' ' "$said/failed")" >&2
    exit 1
fi
