#!/usr/bin/env bash
# The demonstration in a cluster: what `make demo` does in one process, done by agent pods. Called by `make cluster`, which has
# made the images and sets the variables.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
: "${CORPUS:?}" "${DOCKET:?}" "${DEMO:?}" "${SAMPLE:?}" "${VERSION:?}"
choose_cluster "${DOCKET_CLUSTER:-docket}"
cd "$cluster_scripts/../.."

namespace=licences
review=licence-review
labels=$DEMO/labels.jsonl
ingest=licence-ingest
started=$SECONDS

step() { printf '\n== %s\n' "$*"; }
run() { "$cluster_scripts/run.sh" --name "$cluster_name" "$@"; }
in_namespace() { run kubectl --namespace "$namespace" "$@"; }
docket() { run env DOCKET_GATEWAY="$gateway" DOCKET_TOKEN="$token" "$DOCKET" "$@"; }

install() {
    step "installing Docket with Helm"
    local common=(--namespace docket-system --create-namespace --wait --timeout 5m)
    run helm upgrade --install docket-crds charts/docket-crds "${common[@]}" >/dev/null
    run helm upgrade --install docket charts/docket --values e2e/cluster/values.yaml \
        --set image.agents.tag="$VERSION-models" --set agents.modelsInImage=true "${common[@]}" >/dev/null
    run kubectl get pods --namespace docket-system
}

apply() {
    step "applying $SAMPLE"
    in_namespace create namespace "$namespace" --dry-run=client --output yaml | in_namespace apply --filename - >/dev/null
    run kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
    in_namespace apply --server-side --filename "$SAMPLE" --filename e2e/cluster/demo/licence-ingest.yaml
    in_namespace patch agentpool readers --type merge --patch "$state_on_a_disk" >/dev/null
    # Not before the last agent without that disk has gone: what it keeps goes with it.
    in_namespace wait deployment/readers-agents --for create --timeout 60s >/dev/null
    in_namespace wait deployment/readers-agents --timeout 60s >/dev/null \
        --for jsonpath='{.spec.template.spec.volumes[?(@.name=="state")].persistentVolumeClaim.claimName}'=readers-state
    in_namespace rollout status deployment/readers-agents --timeout 300s >/dev/null
    # Documents are taken and wait: its heads have nothing to go by yet.
    suspend true
    in_namespace wait pipeline --all --for condition=Ready --timeout 300s
    in_namespace get agentpools,pipelines,pods
    gateway=http://$(in_namespace get service docket-gateway --output jsonpath='{.spec.clusterIP}'):8080
    token=$(in_namespace get secret docket-gateway-tokens --output jsonpath='{.data.token}' | base64 --decode)
}

state_on_a_disk='{"spec": {"replicas": 1, "template": {"volumes": [
    {"name": "state", "claim": "readers-state"}]}}}'

suspend() { in_namespace patch pipeline "$review" --type merge --patch "{\"spec\": {\"suspend\": $1}}" >/dev/null; }

# Agents look for feedback every 10 seconds, and say from how many examples each head has learned.
wait_until_learned() {
    local head=$1 examples deadline=$((SECONDS + 300))
    examples=$(grep -c "\"head\": \"$head\"" "$labels")
    until [[ $(learned_by_all "$head") == "$examples" ]]; do
        ((SECONDS < deadline)) || fail "the head $head has not learned from $examples documents"
        sleep 1
    done
    echo "$head has learned from $examples documents"
}

learned_by_all() {
    docket stats --format json | python3 -c '
import json, sys
pools = json.load(sys.stdin)["pools"]
heads = [head for pool in pools for worker in pool["workers"] for head in worker["heads"]]
wanted = {"pipeline": sys.argv[1], "head": sys.argv[2]}
print(min((head["examples"] for head in heads if wanted.items() <= head.items()), default=0))' "$review" "$1"
}

step "the documents: licence files of the crates that this workspace depends on"
"$CORPUS" collect --workspace . --out "$DEMO"
install
apply

step "ingesting them as knowledge"
docket submit --pipeline "$ingest" --input "$DEMO/documents.jsonl"

step "teaching what is known of some of them"
docket submit --pipeline "$review" --input "$DEMO/documents.jsonl" --detach >/dev/null
python3 e2e/cluster/demo/labels.py "$DEMO" >"$labels"
docket feedback --pipeline "$review" --from "$labels"
wait_until_learned spdx
wait_until_learned unlike-the-others

step "running $SAMPLE over all of them"
suspend false
rm -rf "$DEMO/cluster-results"
status=0
# They are known there already: this waits for their ends.
docket submit --pipeline "$review" --input "$DEMO/documents.jsonl" --output "$DEMO/cluster-results" || status=$?
# 1 says that some documents were dead-lettered: they are listed above, the others have results.
((status <= 1)) || exit "$status"
in_namespace get agentpools,pipelines,pods

step "checking the results against the sources"
"$CORPUS" check --out "$DEMO" --results "$DEMO/cluster-results"

printf '\nThe demonstration took %d s. Results: %s/results.jsonl (a document a line).\n' $((SECONDS - started)) "$DEMO/cluster-results"
printf 'Look around:  e2e/cluster/run.sh kubectl get docket --all-namespaces      end it:  make cluster-down\n'
exit "$status"
