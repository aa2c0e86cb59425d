#!/usr/bin/env bash
# The demonstration: gathers the licence files of all dependencies, ingests them as knowledge, runs the sample pipeline
# over them and checks the results against the sources. Called by `make demo`, which sets the four variables.
set -euo pipefail
: "${CORPUS:?}" "${DOCKET:?}" "${DEMO:?}" "${SAMPLE:?}"

step() { printf '\n== %s\n' "$*"; }

# A finished state would answer everything from the cache; the demonstration shows the work.
rm -rf "$DEMO/state" "$DEMO/results"
started=$SECONDS

step "the documents: licence files of the crates that this workspace depends on"
"$CORPUS" collect --workspace . --out "$DEMO"

step "ingesting them as knowledge"
"$DOCKET" ingest -f "$SAMPLE" --knowledge licences --input "$DEMO/documents.jsonl" --state "$DEMO/state"

step "running $SAMPLE over all of them"
status=0
"$DOCKET" run -f "$SAMPLE" --input "$DEMO/documents.jsonl" --feedback "$DEMO/feedback.jsonl" \
    --state "$DEMO/state" --output "$DEMO/results" || status=$?
# 1 says that some documents were dead-lettered: they are listed above, the others have results.
((status <= 1)) || exit "$status"

step "checking the results against the sources"
"$CORPUS" check --out "$DEMO" --results "$DEMO/results"

printf '\nThe demonstration took %d s. Results: %s/results.jsonl (a document a line), %s/summary.json.\n' \
    $((SECONDS - started)) "$DEMO/results" "$DEMO/results"
printf 'Ask it something:  %s query -f %s --knowledge licences --state %s "who bears the risk of damage?"\n' \
    "$DOCKET" "$SAMPLE" "$DEMO/state"
exit "$status"
