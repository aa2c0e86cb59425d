//! What people are asked, and what they answer: the same for a gateway and for a state folder.

use bytes::Bytes;
use flow::{Answer, DocumentRecord, Event, Plan, StageState, StageStatus, reason};
use serde_json::{Value, json};

use super::{
    driver::{Driver, Error},
    now,
    services::payload_json,
};
use crate::{
    commands::explain::time,
    results::{Happened, answer_key},
    stages,
};

/// Longest comment in bytes: it is kept in the document's record.
pub const MAX_COMMENT: usize = 4 << 10;

/// What a person says.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// To which stage; the only one that asks where none is named.
    pub stage: Option<String>,
    /// Whether the document may go on.
    pub approved: bool,
    /// Who says it.
    pub by: String,
    /// What they say beside it.
    pub comment: Option<String>,
}

/// What became of an answer.
#[derive(Debug)]
pub enum Answered {
    /// It counts, now or since the same was said before.
    Counts {
        /// At which stage.
        stage: String,
        /// The document after it.
        record: Box<DocumentRecord>,
    },
    /// Several stages ask; one of them must be named.
    Several(Vec<String>),
    /// Somebody else, or something else, was quicker.
    Late {
        /// At which stage.
        stage: String,
        /// What counts.
        said: String,
    },
    /// Nobody is asked, or not by this stage.
    NotAsked,
}

/// Answers for a document.
pub async fn answer(driver: &Driver, record: DocumentRecord, verdict: &Verdict) -> Result<Answered, Error> {
    let plan = driver.plan(&record).await?;
    let asking = record.asking();
    let stage = match (&verdict.stage, asking.as_slice()) {
        (Some(named), asking) if asking.contains(&named.as_str()) => named.clone(),
        (Some(named), _) => return before(driver, &plan, record, Some(named), verdict).await,
        (None, [only]) => (*only).to_owned(),
        (None, []) => return before(driver, &plan, record, None, verdict).await,
        (None, several) => return Ok(Answered::Several(several.iter().map(|name| (*name).to_owned()).collect())),
    };
    let at = time(now());
    let said = stages::answer(verdict.approved, Some(&verdict.by), verdict.comment.as_deref(), Some(&at));
    let output = driver.ports.payloads.put(Bytes::from(said.to_string())).await;
    let output = output.map_err(|source| Error::Store { action: "keep an answer", source })?;
    let answer =
        Answer { approved: verdict.approved, by: verdict.by.clone(), comment: verdict.comment.clone(), output };
    let (round, epoch) = (record.stages.get(&stage).map_or(0, |state| state.round), record.epoch);
    let event = Event::Answered { stage: stage.clone(), round, epoch, answer };
    let record = driver.apply(&record.submission.document, event).await?;
    before(driver, &plan, record, Some(&stage), verdict).await
}

/// Whether the same was said before: then it counts, and who said it may not have been told.
async fn before(
    driver: &Driver,
    plan: &Plan,
    record: DocumentRecord,
    stage: Option<&String>,
    verdict: &Verdict,
) -> Result<Answered, Error> {
    let asked = plan.stages().iter().filter(|planned| planned.spec.approve.is_some());
    let mut late = None;
    for planned in asked.filter(|planned| stage.is_none_or(|stage| *stage == planned.name)) {
        let Some(state) = record.stages.get(&planned.name) else { continue };
        let Some((approved, by, comment)) = counted(driver, state).await? else { continue };
        if (approved, &by) == (verdict.approved, &verdict.by) && (comment == verdict.comment || !approved) {
            return Ok(Answered::Counts { stage: planned.name.clone(), record: Box::new(record) });
        }
        let word = if approved { "approved" } else { "rejected" };
        late = Some(Answered::Late { stage: planned.name.clone(), said: format!("{word} by {by}") });
    }
    Ok(late.unwrap_or(Answered::NotAsked))
}

/// What was answered at a stage: whether it was approved, by whom, and the comment.
async fn counted(driver: &Driver, state: &StageState) -> Result<Option<(bool, String, Option<String>)>, Error> {
    match &state.status {
        StageStatus::Done(completion) => {
            let output = payload_json(driver.ports.payloads.as_ref(), &completion.output).await;
            let output = match output {
                Ok(output) => output,
                Err(queue::Error::NotFound { .. } | queue::Error::Damaged { .. }) => Value::Null,
                Err(source) => return Err(Error::Store { action: "read an answer", source }),
            };
            Ok(Some((true, completion.worker.clone(), output["comment"].as_str().map(str::to_owned))))
        }
        StageStatus::Failed(cause) if cause.reason == reason::REJECTED => Ok(Some((false, cause.worker.clone(), None))),
        _ => Ok(None),
    }
}

/// What a database's log says of an answer.
pub fn happened(record: &DocumentRecord, stage: &str, verdict: &Verdict) -> Happened {
    let submission = &record.submission;
    Happened {
        key: answer_key(record, stage, verdict.approved),
        at: now(),
        event: event(verdict.approved),
        pipeline: record.pipeline.clone(),
        tenant: submission.tenant.clone(),
        document: submission.document.clone(),
        stage: Some(stage.to_owned()),
        who: verdict.by.clone(),
        comment: verdict.comment.clone(),
        detail: Value::Null,
    }
}

/// The word for a verdict.
pub fn event(approved: bool) -> &'static str {
    if approved { "approved" } else { "rejected" }
}

/// What a document's stages ask, an item a stage.
pub async fn questions(driver: &Driver, record: &DocumentRecord) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for stage in record.asking() {
        let Some(StageStatus::Awaiting { since, request, .. }) = record.stages.get(stage).map(|state| &state.status)
        else {
            continue;
        };
        let request = match payload_json(driver.ports.payloads.as_ref(), request).await {
            Ok(request) => request,
            // That a question is lost must not hide that somebody waits.
            Err(queue::Error::NotFound { .. } | queue::Error::Damaged { .. }) => Value::Null,
            Err(source) => return Err(Error::Store { action: "read a question", source }),
        };
        items.push(json!({
            "kind": "stage",
            "document": record.submission.document,
            "tenant": record.submission.tenant,
            "source": record.submission.source,
            "stage": stage,
            "since": time(*since),
            "reason": request["reason"],
        }));
    }
    Ok(items)
}
