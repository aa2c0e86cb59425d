//! What people say of documents, over the network.

use serde_json::{Value, json};

use super::{
    api::{Api, Listed},
    refusal::Refusal,
    tokens::Caller,
};
use crate::runtime::feedback::{self, Example, Opinion};

impl Api {
    /// Keeps what a caller says of a document, for the head that it is meant for. The same again changes nothing.
    pub(super) async fn feedback(
        &self,
        caller: &Caller,
        pipeline: &str,
        document: &str,
        opinion: Opinion,
    ) -> Result<Value, Refusal> {
        let (_, record) = self.record(caller, pipeline, document).await?;
        // The plan of today: heads may have come since the document was submitted.
        let plan = self.plan(caller, pipeline)?;
        let opinion = Opinion { by: caller.name.clone(), ..opinion };
        let example = opinion.example(plan, &record).map_err(Refusal::Invalid)?;
        let changed = feedback::keep(self.ports.records.as_ref(), pipeline, &example).await?;
        self.sinks.note(plan, &example.happened(pipeline)).await?;
        Ok(json!({"document": document, "head": example.head, "changed": changed}))
    }

    /// What was said of documents of a pipeline.
    pub(super) async fn list_feedback(
        &self,
        caller: &Caller,
        pipeline: &str,
        after: Option<String>,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        self.plan(caller, pipeline)?;
        let part = feedback::list(self.ports.records.as_ref(), pipeline, after.as_deref(), limit).await?;
        let sees = |example: &&Example| caller.tenant.as_ref().is_none_or(|tenant| *tenant == example.tenant);
        let items = part.examples.iter().filter(sees).map(|example| {
            json!({
                "document": example.document, "tenant": example.tenant, "head": example.head,
                "label": example.label, "score": example.score, "by": example.by,
                "at": crate::commands::explain::time(example.at),
            })
        });
        Ok(Listed { items: items.collect(), next: part.next })
    }
}
