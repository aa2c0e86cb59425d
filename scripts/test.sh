#!/usr/bin/env bash
# Runs all test programs, two at a time: test.sh CARGO-ARGUMENTS…, the selection of crates. Called by `make test`, which has
# built everything. Most of a slow test is waiting, on two cores for the others as well. What a program says is shown when it
# has ended.
#
# Tests that failed are run once more, alone, when they are few and talk to servers or watch the clock: one that passes then is
# named as unstable, with what it said, and fails nothing. What fails by itself fails twice, and what was found by chance (a
# property's counterexample) is never run again.
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
[[ -s $said/failed ]] || exit 0

# Once more at the end, where it is looked for first.
while read -r name; do
    printf '\nfailures of %s:\n' "$name"
    sed -n '/^failures:$/,$p' "$said/$name.txt"
done <"$said/failed"

# Tests that failed in a program, a line each.
failed_tests() { sed -nE 's/^test (.*) \.\.\. FAILED$/\1/p' "$said/$1.txt"; }

# Whether all that failed in a program passes now.
passes_alone() {
    local name=$1 line test tests
    if [[ ! /$name =~ $slow ]] || grep -q 'minimal failing input' "$said/$name.txt"; then return 1; fi
    mapfile -t tests < <(failed_tests "$name")
    # A program that died has no result, whatever failed before.
    grep -q "^test result: FAILED.* ${#tests[@]} failed" "$said/$name.txt" || return 1
    line=$(grep -F "/$name" "$said/all")
    for test in "${tests[@]}"; do
        printf '\n     Running %s again: %s\n' "$name" "$test"
        (cd "${line%%$'\t'*}" && CARGO_MANIFEST_DIR=$PWD "${line#*$'\t'}" --exact "$test") || return 1
    done
    printf '%s\n' "${tests[@]}" >>"$said/unstable"
}

# No more than may run at the moment at which a machine stands still.
few=4
count=$(while read -r name; do failed_tests "$name"; done <"$said/failed" | wc -l)
wrong=()
while read -r name <&3; do
    ((count <= few)) && passes_alone "$name" || wrong+=("$name")
done 3<"$said/failed"
if [[ -s $said/unstable ]]; then
    printf '\nunstable: failed beside others, as told above, and passed alone:\n' >&2
    sed 's/^/    /' "$said/unstable" >&2
fi
if ((${#wrong[@]} > 0)); then
    echo "failed: ${wrong[*]}" >&2
    exit 1
fi
