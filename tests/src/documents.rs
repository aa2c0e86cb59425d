//! The documents of a campaign: each has a text of its own, from which its right output follows.

use serde_json::{Value, json};

/// Name of the pipeline.
pub const PIPELINE: &str = "campaign";
/// Name of the pool that reads.
pub const READERS: &str = "readers";
/// Name of the pool that joins.
pub const CHECKERS: &str = "checkers";

/// The resources: a branch on each of two pools, a join, so that every document crosses processes four times. The cache is
/// off: work that is repeated is really repeated.
pub const RESOURCES: &str = r#"apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {concurrency: 8}
---
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: checkers}
spec: {concurrency: 8}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: campaign}
spec:
  cache: {levels: []}
  stages:
  - {name: words, pool: readers, transform: {format: Json, template: '{"words": {{ document.text.split() | length }}}'}}
  - {name: head, pool: readers, after: [words], transform: {template: "{{ document.text.split() | first }}"}}
  - {name: size, pool: checkers, after: [words], transform: {format: Json, template: '{"characters": {{ document.text | length }}}'}}
  - name: both
    pool: checkers
    after: [head, size]
    join: {mode: All}
    transform: {format: Json, template: '{"head": {{ stages.head.text | tojson }}, "characters": {{ stages.size.characters }}, "words": {{ stages.words.words }}}'}
"#;

/// The id of the `number`th document.
pub fn id(number: usize) -> String {
    format!("document-{number:07}")
}

/// The text of the `number`th document.
pub fn text(number: usize) -> String {
    let words = 3 + number % 97;
    format!("{number:x}-first{}", " word".repeat(words))
}

/// What a pipeline must make of it.
pub fn expected(number: usize) -> Value {
    let text = text(number);
    json!({
        "head": text.split_whitespace().next(),
        "characters": text.chars().count(),
        "words": text.split_whitespace().count(),
    })
}
