//! Rows of erased documents.

use std::sync::Arc;

use async_trait::async_trait;
use flow::Plan;

use super::{Sinks, Whose};
use crate::{
    error::chain,
    runtime::erasure::{Place, PlaceReport, Traces},
};

/// The sinks of a process, as a place where documents leave something.
pub(crate) struct Rows {
    /// The sinks.
    pub(crate) sinks: Arc<Sinks>,
    /// Plans whose sinks may hold rows of documents that have no record any more.
    pub(crate) plans: Vec<Arc<Plan>>,
}

#[async_trait]
impl Place for Rows {
    async fn erase(&self, traces: &Traces) -> Vec<PlaceReport> {
        let mut report = PlaceReport::of("results");
        let mut meant: Vec<(&Arc<Plan>, Whose<'_>)> = Vec::new();
        for document in &traces.documents {
            let (pipeline, tenant) = (document.pipeline.as_str(), document.tenant.as_str());
            let document_name = document.document.as_str();
            match &document.plan {
                Some(plan) => meant.push((plan, Whose::Document { pipeline, tenant, document: document_name })),
                None => report.left.push(format!(
                    "\"{document_name}\": its plan cannot be read, so neither can the sinks of its result be found"
                )),
            }
        }
        if let Some(tenant) = traces.scope.tenant() {
            meant.extend(self.plans.iter().map(|plan| (plan, Whose::Tenant(tenant))));
        }
        for (plan, whose) in meant.into_iter().filter(|(plan, _)| plan.spec.results.is_some()) {
            let removed = async {
                let removed = self.sinks.erase(plan, whose).await?;
                Ok::<_, super::Unavailable>((removed, self.sinks.erase(plan, whose).await?))
            };
            match removed.await {
                Ok((removed, 0)) => {
                    report.removed += removed;
                    report.absent += 1;
                }
                Ok(_) => report.left.push(format!("{whose:?}: rows were written meanwhile; erase again")),
                Err(error) => report.left.push(format!("{whose:?}: {}", chain(&error))),
            }
        }
        if report == PlaceReport::of("results") { Vec::new() } else { vec![report] }
    }
}
