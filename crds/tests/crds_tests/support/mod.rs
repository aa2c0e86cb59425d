//! What the tests of reading files share.

use crds::file::{self, FileError};

pub(crate) const PIPELINE: &str = "\
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata:
  name: review
spec:
  knowledge:
  - name: statutes
    embedder: minilm
    chunking: {tokens: 128, overlap: 16}
  stages:
  - name: research
    pool: readers
    retrieve: {knowledge: statutes, query: q}
  - name: draft
    pool: writers
    after: [research]
    join: {mode: All}
    generate:
      prompt: Write.
      maxTokens: 100
    score: {path: score}
  - name: label
    pool: readers
    timeout: 30s
    classify: {head: licence}
  - name: remember
    pool: readers
    embed: {model: minilm}
";

pub(crate) const POOL: &str = "\
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata:
  name: readers
spec:
  models:
  - name: minilm
    task: Embed
    source: {catalog: minilm}
";

/// Marks the place at which an error is expected; it is no part of the text.
const MARK: char = '▲';

fn unmarked(text: &str) -> (String, usize, usize) {
    let (before, _) = text.split_once(MARK).expect("the text has a mark");
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (text.replace(MARK, ""), line, column)
}

/// Replaces one part of a text that is right, and expects exactly one error, at the mark.
pub(crate) fn check(right: &str, from: &str, to: &str, field: &str, message: &str) {
    assert_eq!(right.matches(from).count(), 1, "{from:?} must occur once");
    let (text, line, column) = unmarked(&right.replace(from, to));
    let errors = file::parse("file.yaml", &text).expect_err(&format!("{to} is wrong"));
    let [error] = errors.as_slice() else { panic!("{to}: {errors:#?}") };
    assert_eq!(
        (error.file.as_str(), error.line, error.column, error.field.as_str()),
        ("file.yaml", line, column, field),
        "{error}"
    );
    assert!(error.message.contains(message), "{:?} does not say {message:?}", error.message);
}

pub(crate) fn shown(errors: &[FileError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

pub(crate) fn only(text: &str) -> FileError {
    let errors = file::parse("file.yaml", text).expect_err("the text is wrong");
    assert_eq!(errors.len(), 1, "{:#?}", shown(&errors));
    errors[0].clone()
}
