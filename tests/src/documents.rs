//! The documents of a campaign: each has a text of its own, from which its right output follows.

use serde_json::{Value, json};

/// Name of the pipeline.
pub const PIPELINE: &str = "campaign";
/// Name of the pool that reads.
pub const READERS: &str = "readers";
/// Name of the pool that joins.
pub const CHECKERS: &str = "checkers";

/// The resources: a branch on each of two pools, a join, so that every document crosses processes four times. The cache is
/// off: work that is repeated is really repeated. `more` are further lines of the pipeline's `spec`.
pub fn resources(slots: u32, more: &str) -> String {
    let more: String = more.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        r#"apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {{name: readers}}
spec: {{concurrency: {slots}}}
---
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {{name: checkers}}
spec: {{concurrency: {slots}}}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {{name: campaign}}
spec:
  cache: {{levels: []}}
{more}  stages:
{STAGES}"#
    )
}

const STAGES: &str = r#"  - {name: words, pool: readers, transform: {format: Json, template: '{"words": {{ document.text | split | list | length }}}'}}
  - {name: head, pool: readers, after: [words], transform: {template: "{{ document.text | split | list | first }}"}}
  - {name: size, pool: checkers, after: [words], transform: {format: Json, template: '{"characters": {{ document.text | length }}}'}}
  - name: both
    pool: checkers
    after: [head, size]
    join: {mode: All}
    transform: {format: Json, template: '{"head": {{ stages.head.text | tojson }}, "characters": {{ stages.size.characters }}, "words": {{ stages.words.words }}}'}
"#;

/// What a document must come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// It succeeds with this output.
    Output(Value),
    /// It is dead-lettered for this reason.
    DeadLetter(&'static str),
}

/// One document to submit.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// What must come of it.
    pub expected: Expected,
}

impl Document {
    /// The `number`th document; its id begins with `kind`.
    pub fn new(kind: &str, number: usize) -> Self {
        let words = 3 + number % 97;
        let text = format!("{number:x}-first{}", " word".repeat(words));
        let expected = json!({
            "head": text.split_whitespace().next(),
            "characters": text.chars().count(),
            "words": text.split_whitespace().count(),
        });
        Self { id: format!("{kind}-{number:07}"), text, expected: Expected::Output(expected) }
    }

    /// The same, but it must be dead-lettered.
    pub fn doomed(kind: &str, number: usize, reason: &'static str) -> Self {
        Self { expected: Expected::DeadLetter(reason), ..Self::new(kind, number) }
    }
}
