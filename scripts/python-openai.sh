#!/usr/bin/env bash
# Makes the Python environment with the official OpenAI client, which a test talks to the inference interface with. Says
# nothing where it is there.
set -euo pipefail

version=3.57.0
environment=${XDG_CACHE_HOME:-$HOME/.cache}/docket/openai-venv
# Written when the environment is whole.
made=$environment/openai-$version
[[ -e $made ]] && exit 0

rm -rf "$environment"
python3 -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "openai==$version"
touch "$made"
echo "openai $version is in $environment"
