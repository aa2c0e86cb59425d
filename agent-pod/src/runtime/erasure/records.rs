//! Which records an erasure is about, what they name, and their removal.

use std::sync::Arc;

use crds::CacheLevel;
use flow::{DocumentRecord, Plan};

use super::{DocumentTraces, Eraser, Error, MOST_CACHE_KEYS, MOST_DOCUMENTS, PlaceReport, Scope, store};
use crate::runtime::driver::{self, DOCUMENTS};

/// Large, because a broker lists all names for each page.
const PAGE: usize = 5_000;

/// A record that is to be erased.
pub(super) struct Found {
    pub(super) key: String,
    pub(super) revision: u64,
    pub(super) scope: driver::Scope,
    pub(super) record: DocumentRecord,
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) traces: DocumentTraces,
}

impl Found {
    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("\"{}\" of pipeline \"{}\"", self.record.submission.document, self.record.pipeline)
    }
}

impl Eraser {
    /// The records of a scope, and whether there are more.
    pub(super) async fn collect(
        &self,
        scope: &Scope,
        allowed: &(dyn Fn(&DocumentRecord) -> bool + Send + Sync),
    ) -> Result<(Vec<Found>, bool), Error> {
        let mut found: Vec<Found> = Vec::new();
        let mut cache_keys = 0;
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.records.scan(DOCUMENTS, after.as_deref(), PAGE).await;
            let page = page.map_err(store("read the records"))?;
            let Some((last, _)) = page.last() else { return Ok((found, false)) };
            after = Some(last.clone());
            for (key, stored) in page {
                // One that cannot be read may be named by its key alone, and what it names is not known: the payloads say so.
                let Ok(record) = DocumentRecord::decode(&stored.bytes) else { continue };
                if !scope.covers(&record) || !allowed(&record) {
                    continue;
                }
                let Some((owner, _)) = driver::Scope::of_key(&key, &record) else { continue };
                if found.len() >= MOST_DOCUMENTS || cache_keys >= MOST_CACHE_KEYS {
                    return Ok((found, true));
                }
                let plan = self.plans.get(&record.plan).await.ok();
                let traces = traces(&record, plan.as_ref());
                cache_keys += traces.cache_keys.len();
                found.push(Found { key, revision: stored.revision, scope: owner, record, plan, traces });
            }
        }
    }

    /// Removes the records if nothing else is left of their documents.
    pub(super) async fn records(&self, found: &[Found], all_else_is_gone: bool) -> PlaceReport {
        let mut report = PlaceReport::of("records");
        for found in found {
            if !all_else_is_gone {
                report.left.push(format!("{}: stays until all else is gone; erase it again", found.name()));
                continue;
            }
            match self.remove(&found.key, found.revision).await {
                Ok(true) => (report.removed, report.absent) = (report.removed + 1, report.absent + 1),
                Ok(false) | Err(queue::Error::Conflict { .. }) => {
                    report.left.push(format!("{}: it has changed meanwhile; erase it again", found.name()))
                }
                Err(error) => report.left.push(format!("{}: {}", found.name(), crate::error::chain(&error))),
            }
        }
        report
    }

    /// Reads the records again, when no worker has anything of them any more: what was delivered last is to go too.
    pub(super) async fn read_again(&self, found: &mut [Found]) -> Result<(), Error> {
        for found in found {
            let Some(stored) = self.ports.records.get(&found.key).await.map_err(store("read a record"))? else {
                continue;
            };
            found.revision = stored.revision;
            if let Ok(record) = DocumentRecord::decode(&stored.bytes) {
                found.traces = traces(&record, found.plan.as_ref());
                found.record = record;
            }
        }
        Ok(())
    }

    /// Whether it is gone.
    async fn remove(&self, key: &str, revision: u64) -> queue::Result<bool> {
        self.ports.records.remove(key, revision).await?;
        Ok(self.ports.records.get(key).await?.is_none())
    }
}

fn traces(record: &DocumentRecord, plan: Option<&Arc<Plan>>) -> DocumentTraces {
    let made = record.traces();
    let knowledge = plan.map_or(&[][..], |plan| &plan.spec.knowledge);
    DocumentTraces {
        pipeline: record.pipeline.clone(),
        tenant: record.submission.tenant.clone(),
        document: record.submission.document.clone(),
        payload: record.submission.payload.clone(),
        knowledge: knowledge.iter().map(|knowledge| (knowledge.uri.clone(), knowledge.name.clone())).collect(),
        plan: plan.cloned(),
        cache_keys: made.cache_keys,
        payloads: made.payloads,
        on_redis: plan.is_some_and(|plan| plan.spec.cache.levels.contains(&CacheLevel::Redis)),
    }
}
