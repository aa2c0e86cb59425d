//! Documents that began with a plan that is no longer served: they go on by it, if somebody works its pools.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flow::{DocumentRecord, Plan, StageStatus};
use queue::Ports;

use super::api::Api;
use crate::{
    Error, Result,
    error::chain,
    runtime::{driver::DOCUMENTS, plans::Plans},
};

/// Large, because a broker lists all names for each page.
const PAGE: usize = 2_000;

/// The plans of all documents that have not ended.
pub(super) async fn plans(ports: &Ports, plans: &Plans) -> Result<Vec<Arc<Plan>>> {
    let mut digests = BTreeSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = ports.records.scan(DOCUMENTS, after.as_deref(), PAGE).await;
        let page = page.map_err(Error::system("read the documents in flight"))?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        // Whoever works one that cannot be read will say so.
        let records = page.iter().filter_map(|(_, stored)| DocumentRecord::decode(&stored.bytes).ok());
        digests.extend(records.filter(|record| record.end.is_none()).map(|record| record.plan));
    }
    let mut found = Vec::new();
    for digest in digests {
        found.push(plans.get(&digest).await?);
    }
    Ok(found)
}

/// Stages of earlier plans whose tasks are out, with how many documents wait for each.
#[derive(Default)]
pub(super) struct Earlier {
    waiting: BTreeMap<(String, String), u64>,
}

impl Earlier {
    /// Counts a document that has not ended.
    pub(super) fn count(&mut self, served: &Plan, record: &DocumentRecord) {
        if record.plan == served.digest {
            return;
        }
        for (stage, _) in record.stages.iter().filter(|(_, state)| state.status == StageStatus::Dispatched) {
            *self.waiting.entry((record.plan.clone(), stage.clone())).or_default() += 1;
        }
    }

    /// Says which of them wait for pools that no pipeline has any more.
    pub(super) async fn report(self, api: &Api, pipeline: &str) {
        if api.works_alone {
            return;
        }
        let known: BTreeSet<&String> = api.plans.values().flat_map(|plan| plan.pools.keys()).collect();
        let mut without: BTreeMap<String, u64> = BTreeMap::new();
        for ((digest, stage), documents) in self.waiting {
            match api.drivers.plans().get(&digest).await {
                Ok(plan) => {
                    let pool = plan.stage(&stage).map(|stage| stage.spec.pool.clone());
                    if let Some(pool) = pool.filter(|pool| !known.contains(pool)) {
                        *without.entry(pool).or_default() += documents;
                    }
                }
                Err(error) => {
                    tracing::error!(error = %chain(&error), %pipeline, documents, "documents have lost their plan")
                }
            }
        }
        for (pool, documents) in &without {
            tracing::warn!(
                %pipeline, %pool, documents,
                "documents began with an earlier plan and wait for a pool that no pipeline has any more: \
                 run a worker for it until they have ended, or cancel them"
            );
        }
        api.drivers.metrics().without_pool(pipeline, without.values().sum());
    }
}
