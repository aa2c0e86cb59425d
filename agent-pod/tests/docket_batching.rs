//! How requests to a model are put together: `batching` and what a profile sets of it.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Place, changed, models};

const VECTORS: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: agents}
spec:
  models: [{name: minilm, task: Embed, source: {catalog: minilm}}]
---
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: others}
spec:
  models: [{name: minilm, task: Embed, source: {catalog: minilm}}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: vectors}
spec:
  stages:
  - {name: vectors, pool: agents, embed: {model: minilm}}
"#;

/// Chunks of the text and steps in which they were embedded; `None` where there is no model.
fn chunks_and_steps(changes: &[(&str, &str)]) -> Option<(u64, u64)> {
    models(&["minilm"])?;
    let place = Place::new();
    place.write("pipeline.yaml", changed(VECTORS, changes));
    // All different: a text that was embedded is not embedded again.
    let text: String = (0..500).map(|n| format!("Sentence number {n} has its own words. ")).collect();
    place.write("a.txt", text);
    let run = ["run", "-f", "pipeline.yaml", "--input", "a.txt", "--output", "out", "--format"];
    let line = place.docket(&[&run[..], &["jsonl"]].concat()).code(0).lines().remove(0);
    let summary = fs::read_to_string(place.path("out/summary.json")).expect("a summary");
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    let chunks = line["stages"]["vectors"]["output"]["chunks"].as_array().expect("chunks").len();
    Some((chunks as u64, summary["engine"]["batches"].as_u64().expect("a number")))
}

/// The pool's spec begins so.
const SPEC: &str = "metadata: {name: agents}\nspec:\n";

fn with(fields: &str) -> Option<(u64, u64)> {
    chunks_and_steps(&[(SPEC, &format!("{SPEC}  {fields}\n"))])
}

#[test]
fn a_step_takes_as_many_requests_as_max_batch_says() {
    // With room for all tokens, the number of requests alone bounds a step.
    for (fields, most) in [
        ("batching: {tokenBudget: 65536}", 32),
        ("batching: {tokenBudget: 65536, maxBatch: 1}", 1),
        ("batching: {tokenBudget: 65536, maxBatch: 5}", 5),
        ("profile: LowMemory\n  batching: {tokenBudget: 65536}", 8),
        ("profile: HighThroughput\n  batching: {tokenBudget: 65536}", 64),
        ("profile: LowMemory\n  batching: {tokenBudget: 65536, maxBatch: 20}", 20),
    ] {
        let Some((chunks, steps)) = with(fields) else { return };
        assert!((33..=64).contains(&chunks), "{chunks} chunks are one request of the stage and more than a usual step");
        assert_eq!(steps, chunks.div_ceil(most), "{fields}");
    }
}

#[test]
fn a_step_takes_no_more_tokens_than_its_budget() {
    let Some((chunks, steps)) = with("batching: {tokenBudget: 16}") else { return };
    assert_eq!(steps, chunks, "each chunk alone has more tokens");
    let Some((chunks, steps)) = with("batching: {tokenBudget: 300}") else { return };
    assert!((chunks / 2..chunks).contains(&steps), "two whole chunks fit: {steps} steps for {chunks} chunks");
}

#[test]
fn pools_that_share_an_engine_have_the_widest_bounds_of_them() {
    let others = "metadata: {name: others}\nspec:\n";
    let second = ("stages:\n", "stages:\n  - {name: first, pool: others, transform: {template: x}}\n");
    for (own, other) in [(20, 1), (1, 20)] {
        let bounds = |most: u32| format!("  batching: {{tokenBudget: 65536, maxBatch: {most}}}\n");
        let changes =
            [(SPEC, &*format!("{SPEC}{}", bounds(own))), (others, &*format!("{others}{}", bounds(other))), second];
        let Some((chunks, steps)) = chunks_and_steps(&changes) else { return };
        assert_eq!(steps, chunks.div_ceil(20), "{own} and {other}");
    }
}

/// Many short documents behind a long one, so that some share a step; the last document then asks alone. The seconds that
/// its stages took.
fn seconds_of_the_last(batching: &str) -> Option<f64> {
    models(&["minilm"])?;
    let place = Place::new();
    let alone = "embed: {model: minilm}}\n  - {name: alone, pool: agents, after: [vectors], when: document.metadata.last, \
                 cite: {text: A sentence that nobody else has asked for.}}";
    let spec = format!("{SPEC}  {batching}\n");
    place.write("pipeline.yaml", changed(VECTORS, &[("embed: {model: minilm}}", alone), (SPEC, &spec)]));
    let text = |n: usize, sentences: usize| -> String {
        (0..sentences).map(|m| format!("Sentence {m} of text {n} has its own words. ")).collect()
    };
    let lines = (0..8).map(|n| {
        let text = text(n, if n == 0 { 800 } else { 1 });
        json!({"id": n.to_string(), "text": text, "metadata": {"last": n == 7}}).to_string() + "\n"
    });
    place.write("in.jsonl", lines.collect::<String>());
    let lines =
        place.docket(&["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--format", "jsonl"]).code(0).lines();
    let last = lines.iter().find(|line| line["document"] == "7").expect("the last document");
    assert_eq!(last["stages"]["alone"]["outcome"], "succeeded", "{last}");
    ["vectors", "alone"].into_iter().map(|stage| last["stages"][stage]["seconds"].as_f64()).sum()
}

#[test]
fn a_request_waits_for_those_that_shared_the_step_before_as_long_as_max_wait_says() {
    let Some(patient) = seconds_of_the_last("batching: {maxWait: 5s}") else { return };
    assert!(patient >= 5.0, "the last request had company before and waited for it, but took {patient} s");
    let usual = seconds_of_the_last("batching: {}").expect("models");
    assert!(usual < patient, "{usual} s without waiting, {patient} s with");
}
