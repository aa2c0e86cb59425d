//! Erases documents, or all of a tenant's, from every place that this program keeps anything of them in, and proves it: each
//! place says what it removed and what it found gone when it looked again.
//!
//! # Flow
//! ```text
//! cancel ─▶ tasks (wait until no worker has one) ─▶ timers ─▶ places ─▶ payloads ─▶ record ─▶ scrub
//! ```
//! The record goes last: it is the list of what there is to remove. If a place could not be cleared the record stays, its
//! document cancelled, and the erasure can be repeated; so it can after a crash between any two steps.
//!
//! # What is not erased
//! What other documents' stages made of this one (a chunk that they retrieved, a citation, an answer to nearly the same
//! prompt that served them too) is part of those documents. What a
//! head learned is in its weights. Output that went to a client or into `--output` is the client's.

mod cancelling;
mod folder;
mod opinions;
mod order;
mod payloads;
mod records;
mod workers;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use flow::{DocumentRecord, Plan};
use queue::Ports;
use serde::{Deserialize, Serialize};

pub use self::{
    folder::{Folder, SharedCache},
    opinions::Opinions,
    order::Order,
    workers::Follower,
    workers::Workers,
};
use super::{driver, metrics::Metrics, plans::Plans};
use crate::error::chain;

/// Documents of one erasure. Who erases more repeats it.
const MOST_DOCUMENTS: usize = 5_000;
/// Kept results of one erasure: an order to workers must fit into one message.
const MOST_CACHE_KEYS: usize = 5_000;

/// How long a worker is given to finish what it has of an open document.
pub const WAIT: Duration = Duration::from_secs(30);

/// Whose traces are erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", untagged)]
pub enum Scope {
    /// One document, in all runs of the pipeline that a store holds, or of any where none is named.
    Document {
        /// The pipeline.
        pipeline: Option<String>,
        /// The document.
        document: String,
    },
    /// All documents of a tenant.
    Tenant {
        /// The tenant.
        tenant: String,
    },
}

impl Scope {
    /// The tenant all of whose documents are meant.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Document { .. } => None,
            Self::Tenant { tenant } => Some(tenant),
        }
    }

    fn covers(&self, record: &DocumentRecord) -> bool {
        match self {
            Self::Document { pipeline, document } => {
                pipeline.as_ref().is_none_or(|pipeline| *pipeline == record.pipeline)
                    && *document == record.submission.document
            }
            Self::Tenant { tenant } => *tenant == record.submission.tenant,
        }
    }
}

/// What one document has left.
#[derive(Clone, Debug)]
pub struct DocumentTraces {
    /// Its pipeline.
    pub pipeline: String,
    /// The plan that it began with, where that can be read.
    pub plan: Option<Arc<Plan>>,
    /// Its owner.
    pub tenant: String,
    /// Its name.
    pub document: String,
    /// Digest of its bytes.
    pub payload: String,
    /// Knowledge bases of its plan, as (`uri`, name).
    pub knowledge: Vec<(String, String)>,
    /// Keys of the results that its stages left in caches.
    pub cache_keys: BTreeSet<String>,
    /// Payloads that were stored for it. Others may need them too.
    pub payloads: BTreeSet<String>,
    /// Whether results may lie on a Redis server.
    pub on_redis: bool,
}

/// What documents have left.
#[derive(Clone, Debug)]
pub struct Traces {
    /// Whose.
    pub scope: Scope,
    /// One by one.
    pub documents: Vec<DocumentTraces>,
}

/// Somewhere outside of the store's ports where documents leave something.
#[async_trait]
pub trait Place: Send + Sync {
    /// Removes what the documents have left here, and looks again. What could not be done is said in the report.
    async fn erase(&self, traces: &Traces) -> Vec<PlaceReport>;
}

/// What was removed from a place, and what the second look found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceReport {
    /// The place.
    pub place: String,
    /// Things that were there and are removed.
    pub removed: u64,
    /// Things that were looked for afterwards and are not there.
    pub absent: u64,
    /// What is still there or may be: what, why, and what to do.
    pub left: Vec<String>,
}

impl PlaceReport {
    /// Nothing so far.
    pub fn of(place: impl Into<String>) -> Self {
        Self { place: place.into(), ..Self::default() }
    }

    /// The place failed.
    pub fn failed(place: impl Into<String>, error: &(dyn std::error::Error + 'static)) -> Self {
        Self { left: vec![chain(error)], ..Self::of(place) }
    }
}

/// What an erasure did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whose traces.
    pub scope: Scope,
    /// Documents whose records were found.
    pub documents: u64,
    /// Whether nothing is left of these.
    pub complete: bool,
    /// Whether there are more documents of the tenant, for which it must be repeated.
    pub more: bool,
    /// Milliseconds since the epoch when it ended.
    pub at: u64,
    /// Place by place.
    pub places: Vec<PlaceReport>,
}

/// Why an erasure did not begin: it can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("failed to {action}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: queue::Error,
    },
    /// A document that is open could not be cancelled.
    #[error("failed to cancel \"{document}\"")]
    Cancel {
        /// Which.
        document: String,
        /// Why.
        #[source]
        source: driver::Error,
    },
}

fn store(action: &'static str) -> impl FnOnce(queue::Error) -> Error {
    move |source| Error::Store { action, source }
}

/// Erases documents of one store.
pub struct Eraser {
    /// The store.
    pub ports: Ports,
    /// Its plans.
    pub plans: Arc<Plans>,
    /// Counts what is cancelled.
    pub metrics: Arc<Metrics>,
    /// Where documents leave something beside the store.
    pub places: Vec<Arc<dyn Place>>,
    /// How long workers are waited for.
    pub wait: Duration,
    /// Time for records that are being written to be seen, before payloads that none names are removed; zero where no other
    /// process uses the store.
    pub settle: Duration,
    /// One erasure at a time: each holds the traces of thousands of documents.
    pub turn: tokio::sync::Mutex<()>,
}

impl Eraser {
    /// Erases what the scope covers and `allowed` allows.
    pub async fn erase(
        &self,
        scope: Scope,
        allowed: &(dyn Fn(&DocumentRecord) -> bool + Send + Sync),
    ) -> Result<Report, Error> {
        let _turn = self.turn.lock().await;
        let (mut found, more) = self.collect(&scope, allowed).await?;
        self.cancel(&mut found).await?;
        let mut places = vec![self.tasks(&found).await, self.timers(&found).await];
        self.read_again(&mut found).await?;
        let traces = Traces { scope, documents: found.iter().map(|found| found.traces.clone()).collect() };
        for place in &self.places {
            places.extend(place.erase(&traces).await);
        }
        places.push(self.payloads(&found).await);
        let complete = places.iter().all(|place| place.left.is_empty());
        places.push(self.records(&found, complete).await);
        if let Err(error) = self.ports.payloads.scrub().await {
            places.push(PlaceReport::failed("files", &error));
        }
        Ok(Report {
            scope: traces.scope,
            documents: found.len() as u64,
            complete: places.iter().all(|place| place.left.is_empty()),
            more,
            at: super::now(),
            places,
        })
    }
}
