#!/usr/bin/env bash
# Makes the benchmark's Python environment once, gathers the documents, and runs bench/run.py with whatever is passed on,
# for example:  scripts/bench.sh --quick
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/docket
export DOCKET_MODELS=${DOCKET_MODELS:-$cache/models}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export PYTHONDONTWRITEBYTECODE=1
export DOCKET=${DOCKET:-$CARGO_TARGET_DIR/release/docket}
environment=$cache/bench-venv
corpus=$CARGO_TARGET_DIR/release/docket-demo-corpus

[[ -x $environment/bin/python ]] || python3 -m venv "$environment"
if ! cmp --silent bench/requirements.txt "$environment/requirements.txt"; then
    "$environment/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r bench/requirements.txt
    cp bench/requirements.txt "$environment/requirements.txt"
fi
[[ -e .demo/documents.jsonl ]] || "$corpus" collect --workspace . --out .demo
exec "$environment/bin/python" bench/run.py "$@"
