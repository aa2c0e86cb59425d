//! What people say of documents, kept for the heads that learn from it.
//!
//! ```text
//! feedback/PIPELINE/HEAD/DIGEST      one label or score, of one person on one document; a later one replaces it
//! feedback-turn                      written anew with each change of these
//! ```
//!
//! An example names the payload of its document, so that a head can learn from it although the record is gone. While that
//! payload is kept: an example whose document was removed teaches nothing any more.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use crds::HeadKind;
use flow::{DocumentRecord, Plan};
use queue::Records;
use serde::{Deserialize, Serialize};

use super::{driver::Error, now};
use crate::{
    error::chain,
    results::{Happened, key},
};

pub use flow::keys::FEEDBACK as PREFIX;
/// Tells by its revision whether anything was kept or removed since. Beside the prefix, for it is nobody's opinion.
const TURN: &str = "feedback-turn";
/// Records that are read at once.
const PAGE: usize = 500;
/// Longest label in bytes.
const MAX_LABEL: usize = 256;
/// The only label that an anomaly head takes: the document is a usual one.
pub const USUAL: &str = "usual";

/// One label or score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Which document.
    pub document: String,
    /// Whose it is.
    pub tenant: String,
    /// What it is called, for its format.
    pub source: String,
    /// Its bytes.
    pub payload: String,
    /// For which head.
    pub head: String,
    /// The label, for a classifier; `usual` for an anomaly head.
    pub label: Option<String>,
    /// The score, for a quality head.
    pub score: Option<f64>,
    /// Who said so.
    pub by: String,
    /// When, milliseconds since the epoch.
    pub at: u64,
    /// The plan by which the head is known.
    pub plan: String,
}

/// What a person says of a document.
#[derive(Clone, Debug, Default)]
pub struct Opinion {
    /// For which head.
    pub head: String,
    /// A label.
    pub label: Option<String>,
    /// A score from 0 to 1.
    pub score: Option<f64>,
    /// Who says so.
    pub by: String,
}

impl Opinion {
    /// As an example for a head of a plan; a message where it does not fit.
    pub fn example(self, plan: &Plan, record: &DocumentRecord) -> Result<Example, String> {
        let known = || plan.spec.heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>().join(", ");
        let head = plan.spec.heads.iter().find(|head| head.name == self.head);
        let head = head.ok_or_else(|| {
            format!("head: pipeline \"{}\" has no head \"{}\"; it has: {}", plan.name, self.head, known())
        })?;
        let name = &self.head;
        match (head.kind, &self.label, self.score) {
            (HeadKind::Quality, None, Some(score)) if (0.0..=1.0).contains(&score) => {}
            (HeadKind::Quality, ..) => return Err(format!("score: head \"{name}\" learns from a score from 0 to 1")),
            (HeadKind::Classifier, Some(label), None) if !label.is_empty() && label.len() <= MAX_LABEL => {}
            (HeadKind::Classifier, ..) => {
                return Err(format!("label: head \"{name}\" learns from a label of at most {MAX_LABEL} bytes"));
            }
            (HeadKind::Anomaly, Some(label), None) if label == USUAL => {}
            (HeadKind::Anomaly, ..) => {
                return Err(format!("label: head \"{name}\" learns what is usual; its only label is \"{USUAL}\""));
            }
        }
        let submission = &record.submission;
        Ok(Example {
            document: submission.document.clone(),
            tenant: submission.tenant.clone(),
            source: submission.source.clone(),
            payload: submission.payload.clone(),
            head: self.head,
            label: self.label,
            score: self.score,
            by: self.by,
            at: now(),
            plan: plan.digest.clone(),
        })
    }
}

impl Example {
    fn says_the_same(&self, other: &Self) -> bool {
        (&self.label, self.score, &self.payload, &self.plan) == (&other.label, other.score, &other.payload, &other.plan)
    }

    /// What a database's log says of it.
    pub fn happened(&self, pipeline: &str) -> Happened {
        let said = serde_json::json!({"head": self.head, "label": self.label, "score": self.score});
        Happened {
            key: key(&["feedback", pipeline, &self.tenant, &self.document, &self.by, &said.to_string()]),
            at: self.at,
            event: "feedback",
            pipeline: pipeline.to_owned(),
            tenant: self.tenant.clone(),
            document: self.document.clone(),
            stage: None,
            who: self.by.clone(),
            comment: None,
            detail: said,
        }
    }
}

/// Keeps an example; the same person's earlier one on the document is replaced. Whether anything changed.
pub async fn keep(records: &dyn Records, pipeline: &str, example: &Example) -> Result<bool, Error> {
    let store = |source| Error::Store { action: "keep feedback", source };
    let name = key(&[&example.tenant, &example.document, &example.by]);
    let key = format!("{PREFIX}{pipeline}/{}/{name}", example.head);
    let bytes = serde_json::to_vec(example).map(Bytes::from);
    let bytes = bytes.map_err(|error| Error::Plan(format!("feedback cannot be written: {error}")))?;
    loop {
        let written = match records.get(&key).await.map_err(store)? {
            None => records.create(&key, bytes.clone()).await,
            Some(stored) => {
                let known = serde_json::from_slice::<Example>(&stored.bytes).ok();
                if known.is_some_and(|known| known.says_the_same(example)) {
                    return Ok(false);
                }
                records.update(&key, stored.revision, bytes.clone()).await
            }
        };
        match written {
            Ok(_) => {
                turned(records).await;
                return Ok(true);
            }
            Err(queue::Error::Conflict { .. }) => {}
            Err(source) => return Err(store(source)),
        }
    }
}

/// Changes whenever an example is kept or removed: who has read all examples after it was the same need not read them
/// again. `None` where nothing has changed yet.
pub async fn turn(records: &dyn Records) -> Result<Option<u64>, Error> {
    let stored =
        records.get(TURN).await.map_err(|source| Error::Store { action: "read the turn of feedback", source })?;
    Ok(stored.map(|stored| stored.revision))
}

/// Written after what it tells of, so that whoever sees it finds that. Best effort: what was said is safe, and who
/// learns from it looks now and then without being told.
async fn turned(records: &dyn Records) {
    let word = Bytes::from(now().to_string());
    let written = match records.get(TURN).await {
        Ok(None) => records.create(TURN, word).await,
        Ok(Some(stored)) => records.update(TURN, stored.revision, word).await,
        Err(error) => Err(error),
    };
    match written {
        // Another has written it since, and so after us.
        Ok(_) | Err(queue::Error::Conflict { .. }) => {}
        Err(error) => tracing::warn!(error = %chain(&error), "feedback is learned from late"),
    }
}

/// Where a list goes on.
pub struct Part {
    /// The examples.
    pub examples: Vec<Example>,
    /// What the next part comes after.
    pub next: Option<String>,
}

/// A part of the examples of a pipeline, in a fixed order.
pub async fn list(records: &dyn Records, pipeline: &str, after: Option<&str>, limit: usize) -> Result<Part, Error> {
    let prefix = format!("{PREFIX}{pipeline}/");
    let after = after.map(|after| format!("{prefix}{after}"));
    let page = records.scan(&prefix, after.as_deref(), limit).await;
    let page = page.map_err(|source| Error::Store { action: "read feedback", source })?;
    let full = page.len() == limit;
    let next = page.last().filter(|_| full).and_then(|(key, _)| key.strip_prefix(&prefix)).map(str::to_owned);
    let examples = page.iter().filter_map(|(key, stored)| read(key, &stored.bytes)).collect();
    Ok(Part { examples, next })
}

/// All examples of a store by pipeline and head.
pub async fn all(records: &Arc<dyn Records>) -> Result<BTreeMap<(String, String), Vec<Example>>, Error> {
    let mut found: BTreeMap<(String, String), Vec<Example>> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = records.scan(PREFIX, after.as_deref(), PAGE).await;
        let page = page.map_err(|source| Error::Store { action: "read feedback", source })?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = Some(last.clone());
        for (key, stored) in &page {
            let mut names = key.strip_prefix(PREFIX).unwrap_or_default().split('/');
            let (Some(pipeline), Some(head)) = (names.next(), names.next()) else { continue };
            if let Some(example) = read(key, &stored.bytes) {
                found.entry((pipeline.to_owned(), head.to_owned())).or_default().push(example);
            }
        }
    }
}

/// Removes the examples of a store that are `meant`, by pipeline and example; how many those were.
pub async fn forget(records: &dyn Records, meant: impl Fn(&str, &Example) -> bool + Send + Sync) -> Result<u64, Error> {
    let (mut removed, mut after) = (0, None::<String>);
    loop {
        let page = records.scan(PREFIX, after.as_deref(), PAGE).await;
        let page = page.map_err(|source| Error::Store { action: "read feedback", source })?;
        let Some((last, _)) = page.last() else {
            if removed > 0 {
                turned(records).await;
            }
            return Ok(removed);
        };
        after = Some(last.clone());
        for (key, stored) in &page {
            let pipeline = key.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next()).unwrap_or_default();
            if read(key, &stored.bytes).is_some_and(|example| meant(pipeline, &example)) {
                let gone = records.delete(key).await;
                gone.map_err(|source| Error::Store { action: "remove feedback", source })?;
                removed += 1;
            }
        }
    }
}

fn read(key: &str, bytes: &[u8]) -> Option<Example> {
    let read = serde_json::from_slice(bytes);
    read.inspect_err(|error| tracing::warn!(key, %error, "feedback cannot be read and is passed over")).ok()
}
