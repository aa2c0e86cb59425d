//! What people said of erased documents, for heads to learn from.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use queue::Records;

use super::{Place, PlaceReport, Traces};
use crate::{error::chain, runtime::feedback};

/// The feedback in a store.
pub struct Opinions {
    /// Where it is kept.
    pub records: Arc<dyn Records>,
}

#[async_trait]
impl Place for Opinions {
    async fn erase(&self, traces: &Traces) -> Vec<PlaceReport> {
        let documents: HashSet<(&str, &str, &str)> = traces
            .documents
            .iter()
            .map(|document| (document.pipeline.as_str(), document.tenant.as_str(), document.document.as_str()))
            .collect();
        let meant = |pipeline: &str, example: &feedback::Example| {
            traces.scope.tenant() == Some(example.tenant.as_str())
                || documents.contains(&(pipeline, example.tenant.as_str(), example.document.as_str()))
        };
        let mut report = PlaceReport::of("feedback");
        match feedback::forget(self.records.as_ref(), meant).await {
            Ok(removed) => {
                report.removed = removed;
                // Again: what is found now was said meanwhile.
                match feedback::forget(self.records.as_ref(), meant).await {
                    Ok(0) => report.absent = removed,
                    Ok(_) => report.left.push("feedback was given meanwhile; erase again".to_owned()),
                    Err(error) => report.left.push(chain(&error)),
                }
            }
            Err(error) => report.left.push(chain(&error)),
        }
        vec![report]
    }
}
