#!/usr/bin/env bash
# Makes the reference outputs that the engine's tests compare with again, by other implementations of the same models.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/docket
export PYTHONDONTWRITEBYTECODE=1
models=${DOCKET_MODELS:-$cache/models}
environment=$cache/golden-venv

[[ -x $environment/bin/python ]] || python3 -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    numpy tokenizers==0.23.3 xllamacpp==2026.10.11549
"$environment/bin/python" bench/golden/embedding.py "$models/minilm" > "$cache/embedding.json"
mv "$cache/embedding.json" agent-pod/engine/tests/golden/embedding.json
"$environment/bin/python" bench/golden/generation.py \
    --smollm2 "$models/smollm2-135m-instruct/model.gguf" --gemma3 "$models/gemma3-270m/model.gguf"
