//! How requests to a model are put together: `batching` and what a profile sets of it.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Place, changed, models};

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

/// Short pages behind a long text, so that some of them share a step; then one of them asks once more, alone. The most
/// seconds that a stage of a page took.
fn longest_stage(batching: &str) -> Option<f64> {
    models(&["minilm"])?;
    let place = Place::new();
    let stages = "
  - {name: parse, pool: agents, parse: {}}
  - {name: vectors, pool: agents, after: [parse], embed: {model: minilm}}
  - {name: again, pool: agents, after: [vectors], when: document.metadata.again, cite: {text: Nobody else asks for this.}}";
    let spec = format!("{SPEC}  batching: {batching}\n");
    let only = "\n  - {name: vectors, pool: agents, embed: {model: minilm}}";
    place.write("pipeline.yaml", changed(VECTORS, &[(only, stages), (SPEC, &spec)]));
    let long: String = (0..800).map(|n| format!("Sentence number {n} has its own words. ")).collect();
    let mut lines = vec![json!({"id": "long", "text": long})];
    for n in 0..7 {
        // Parsed in a process of its own, so that the long text is first.
        place.write(
            &format!("{n}.html"),
            format!("<html><body><p>Page number {n} has its own words.</p></body></html>"),
        );
        lines.push(json!({"id": n.to_string(), "path": format!("{n}.html"), "metadata": {"again": n == 6}}));
    }
    place.write("in.jsonl", lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    let lines =
        place.docket(&["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--format", "jsonl"]).code(0).lines();
    let asked = lines.iter().find(|line| line["document"] == "6").expect("the last page");
    assert_eq!(asked["stages"]["again"]["outcome"], "succeeded", "{asked}");
    let pages = lines.iter().filter(|line| line["document"] != "long");
    let seconds = pages.flat_map(|line| ["vectors", "again"].map(|stage| line["stages"][stage]["seconds"].as_f64()));
    seconds.flatten().max_by(f64::total_cmp)
}

#[test]
fn a_request_waits_for_those_that_shared_the_step_before_as_long_as_max_wait_says() {
    // With room for all in one step, nothing but the time ends the wait of the last.
    let mut patient = 0.0;
    // For much longer than a busy machine takes for all of it; which may bring the pages one by one, so that none has company, but
    // not each time.
    for _ in 0..4 {
        let Some(longest) = longest_stage("{maxBatch: 1024, maxWait: 20s}") else { return };
        patient = longest;
        if patient >= 20.0 {
            break;
        }
    }
    assert!(patient >= 20.0, "a request that had company before waited for it, but none took more than {patient} s");
    // A busy machine may make one run as long as that, not each.
    let usual: Vec<f64> =
        (0..4).map_while(|_| longest_stage("{maxBatch: 1024}").filter(|usual| *usual >= patient)).collect();
    assert!(usual.len() < 4, "{usual:?} s without waiting, {patient} s with");
}
