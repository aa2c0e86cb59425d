#!/usr/bin/env bash
# Checks charts, config/ and what ships with them, without a cluster: rendering, values, RBAC, security of pods, network, alerts,
# health checks, and that paths in the documentation lead somewhere. Arguments go to Python's unittest, such as `-k rbac`.
set -euo pipefail
cd "$(dirname "$0")/.."

yaml_version=6.0.3

# A Python that has PyYAML: one of the system's, or an environment of our own.
find_python() {
    local python environment=${XDG_CACHE_HOME:-$HOME/.cache}/docket/charts-venv
    for python in python3 /usr/bin/python3 "$environment/bin/python3"; do
        if "$python" -c 'import yaml' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    python3 -m venv --clear "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "PyYAML==$yaml_version" >&2
    echo "$environment/bin/python3"
}

# Where a program is that some checks skip without.
optional() { "$@" 2>/dev/null || true; }

scripts/setup-cluster.sh charts
HELM=$(scripts/helm.sh)
PROMTOOL=$(optional scripts/promtool.sh)
export HELM PROMTOOL
scripts/charts.sh --check
python=$(find_python)
exec "$python" -m unittest discover --start-directory charts/tests --top-level-directory charts/tests "$@"
