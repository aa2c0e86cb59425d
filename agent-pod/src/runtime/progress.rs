//! What watchers are told of documents: subjects and bodies of events. Events may be lost; the record tells the same.
//!
//! ```text
//! documents/PIPELINE/DOCUMENT        where it stands, after each change
//! tokens/PIPELINE/DOCUMENT/STAGE     pieces of text while they are written
//! ```

use std::fmt::Write as _;

use flow::{DocumentRecord, StageStatus};
use serde_json::{Map, Value, json};

/// Subject of a document's progress.
pub fn subject(pipeline: &str, document: &str) -> String {
    format!("documents/{}/{}", escaped(pipeline), escaped(document))
}

/// What begins the subjects of a pipeline's documents, or of all.
pub fn prefix(pipeline: Option<&str>) -> String {
    pipeline.map_or_else(|| "documents/".to_owned(), |pipeline| format!("documents/{}/", escaped(pipeline)))
}

/// Subject of the text that a stage writes.
pub fn tokens_subject(pipeline: &str, document: &str, stage: &str) -> String {
    format!("{}{}", tokens_prefix(pipeline, document), escaped(stage))
}

/// What begins the subjects of all text that is written for a document.
pub fn tokens_prefix(pipeline: &str, document: &str) -> String {
    format!("tokens/{}/{}/", escaped(pipeline), escaped(document))
}

/// Where a document stands, in few bytes.
pub fn body(record: &DocumentRecord) -> Value {
    let stages: Map<String, Value> =
        record.stages.iter().map(|(name, state)| (name.clone(), json!(status_word(&state.status)))).collect();
    json!({
        "document": record.submission.document,
        "tenant": record.submission.tenant,
        "pipeline": record.pipeline,
        "round": record.round,
        "outcome": record.end.as_ref().map_or(json!("unfinished"), |end| json!(end.outcome)),
        "stages": stages,
        "changed": record.changed_at,
    })
}

/// The word for a stage's state.
pub fn status_word(status: &StageStatus) -> &'static str {
    match status {
        StageStatus::Waiting => "waiting",
        StageStatus::Held => "held",
        StageStatus::Dispatched => "dispatched",
        StageStatus::Backoff { .. } => "backoff",
        StageStatus::Awaiting { .. } => "awaiting",
        StageStatus::Done(_) => "succeeded",
        StageStatus::Skipped => "skipped",
        StageStatus::Failed(_) => "failed",
    }
}

/// Letters, digits and `-_` stay, every other byte becomes `%` and two digits: a document's name has no `/` of its own, and
/// no character that a broker's subject gives a meaning to.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut name, byte| {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02X}");
        }
        name
    })
}
