//! Pending approvals and audits over the network, and the answers to them.

use flow::DocumentRecord;
use serde_json::{Value, json};

use super::{
    api::{Api, Listed},
    refusal::Refusal,
    tokens::Caller,
};
use crate::{
    results::{Happened, Unavailable, key},
    runtime::{
        approvals::{self, Answered, MAX_COMMENT, Verdict},
        now,
    },
};

/// What a caller says of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// To which stage.
    pub(super) stage: Option<String>,
    /// Whether it may go on.
    pub(super) approve: bool,
    /// What they say beside it.
    pub(super) comment: Option<String>,
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        tracing::error!(%error, "a request failed");
        Self::Unavailable(format!("the database of results: {error}; sending the same again is safe"))
    }
}

impl Api {
    /// Answers for a document: at the stage that asks, else its pending audit. The same answer again changes nothing.
    pub(super) async fn answer(
        &self,
        caller: &Caller,
        pipeline: &str,
        document: &str,
        said: Said,
    ) -> Result<Value, Refusal> {
        let Said { stage, approve, comment } = said;
        if comment.as_ref().is_some_and(|comment| comment.len() > MAX_COMMENT) {
            return Err(Refusal::Invalid(format!("comment: has more than {MAX_COMMENT} bytes")));
        }
        let (driver, record) = self.record(caller, pipeline, document).await?;
        let plan = driver.plan(&record).await?;
        let verdict = Verdict { stage, approved: approve, by: caller.name.clone(), comment };
        match approvals::answer(&driver, record.clone(), &verdict).await? {
            Answered::Counts { stage, record } => {
                // A repeat finds it in the log.
                self.sinks.note(&plan, &approvals::happened(&record, &stage, &verdict)).await?;
                self.result(&driver, &record).await
            }
            Answered::Several(stages) => {
                let stages = stages.join(", ");
                Err(Refusal::Invalid(format!("stage: name one of {stages}, which all wait for an answer")))
            }
            Answered::Late { stage, said } => {
                Err(Refusal::Conflict(format!("stage \"{stage}\" of \"{document}\" is {said} already")))
            }
            Answered::NotAsked if verdict.stage.is_none() => {
                if self.sinks.settle_audit(&plan, &audit(&record, &verdict)).await? {
                    return self.result(&driver, &record).await;
                }
                Err(Refusal::Conflict(format!("nobody is asked about \"{document}\", and it has no pending audit")))
            }
            Answered::NotAsked => {
                Err(Refusal::Conflict(format!("that stage of \"{document}\" does not wait for an answer")))
            }
        }
    }

    /// What stages of documents ask, in the order of the documents' ids.
    pub(super) async fn approvals(
        &self,
        caller: &Caller,
        pipeline: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        let (records, next) =
            self.records(caller, pipeline, (after, limit), |record| !record.asking().is_empty()).await?;
        let driver = self.drivers.of(pipeline);
        let mut items = Vec::new();
        for record in &records {
            items.extend(approvals::questions(&driver, record).await?);
        }
        Ok(Listed { items, next })
    }

    /// Audits that nobody has settled, oldest first.
    pub(super) async fn audits(&self, caller: &Caller, pipeline: &str, limit: usize) -> Result<Vec<Value>, Refusal> {
        let plan = self.plan(caller, pipeline)?;
        Ok(self.sinks.pending_audits(plan, caller.tenant.as_deref(), limit).await?.unwrap_or_default())
    }
}

/// What settles an audit, in the database's words.
fn audit(record: &DocumentRecord, verdict: &Verdict) -> Happened {
    let submission = &record.submission;
    let names = [record.pipeline.as_str(), &submission.tenant, &submission.document];
    let execution = format!("{}/{}", record.submitted_at, record.epoch);
    Happened {
        key: key(&["audit", names[0], names[1], names[2], &execution]),
        at: now(),
        event: approvals::event(verdict.approved),
        pipeline: record.pipeline.clone(),
        tenant: submission.tenant.clone(),
        document: submission.document.clone(),
        stage: None,
        who: verdict.by.clone(),
        comment: verdict.comment.clone(),
        detail: json!({"audit": true}),
    }
}
