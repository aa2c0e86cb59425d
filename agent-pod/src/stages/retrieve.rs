//! Chunks of a knowledge base that fit a query.

use std::sync::Arc;

use async_trait::async_trait;
use crds::{RetrievalStep, Retrieve};
use engine::Class;
use flow::Plan;
use knowledge::{Hit, Query};
use serde_json::{Value, json};

use super::{Failure, Job, context::Context, heads::engine_failure};
use crate::runtime::{
    cache::Output,
    providers::Guard,
    services::{Base, Services},
};

pub(super) struct RetrieveJob {
    base: Base,
    version: u64,
    query: String,
    top_k: usize,
    steps: Vec<RetrievalStep>,
    tenant: String,
    guard: Guard,
}

pub(super) async fn prepare(
    services: &Arc<Services>,
    plan: &Plan,
    retrieve: &Retrieve,
    context: &Context,
) -> Result<RetrieveJob, Failure> {
    let query = context.render(services, "retrieve.query", &retrieve.query).await?;
    if query.trim().is_empty() {
        return Err(Failure::permanent("EmptyQuery", "retrieve.query renders to nothing".to_owned()));
    }
    let base = services.knowledge(plan, &retrieve.knowledge, &context.pool).await;
    let base = base.map_err(|error| Failure::System(crate::error::chain(&error)))?;
    let version = base.base.version().await;
    let version = version.map_err(|error| Failure::transient("KnowledgeFailed", crate::error::chain(&error)))?;
    Ok(RetrieveJob {
        base,
        version,
        query,
        top_k: retrieve.top_k as usize,
        steps: retrieve.steps.clone(),
        tenant: context.tenant.clone(),
        guard: context.guard.clone(),
    })
}

#[async_trait]
impl Job for RetrieveJob {
    fn key(&self, services: &Services) -> Option<Vec<String>> {
        let model = services.digest(&self.base.model);
        Some(vec![model, self.base.identity.clone(), self.version.to_string(), self.query.clone()])
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        let asked = (self.query.as_str(), self.top_k);
        let (query, tokens) = query(services, &self.base, asked, &self.steps, &self.tenant, &self.guard).await?;
        // What the key names, although others may have written since. If that version is gone, the next attempt takes
        // the newest.
        let hits = self.base.base.search_version(&query, self.version).await;
        let hits = hits.map_err(|error| Failure::transient("KnowledgeFailed", crate::error::chain(&error)))?;
        let hits: Vec<Value> = hits.iter().map(hit_json).collect();
        Ok(Output {
            value: json!({"hits": hits, "version": self.version}),
            references: Vec::new(),
            prompt_tokens: tokens,
            completion_tokens: 0,
            model: Some(self.base.model.clone()),
        })
    }
}

/// Searches the newest version of a base, for `docket query`.
pub(crate) async fn search(
    services: &Arc<Services>,
    base: &Base,
    text: &str,
    top_k: usize,
    steps: &[RetrievalStep],
    tenant: &str,
) -> Result<Vec<Hit>, Failure> {
    let (query, _) = query(services, base, (text, top_k), steps, tenant, &Guard::default()).await?;
    base.base.search(&query).await.map_err(|error| Failure::transient("KnowledgeFailed", crate::error::chain(&error)))
}

/// What is searched for, and the tokens that have to be paid for it.
async fn query(
    services: &Arc<Services>,
    base: &Base,
    (text, top_k): (&str, usize),
    steps: &[RetrievalStep],
    tenant: &str,
    guard: &Guard,
) -> Result<(Query, u64), Failure> {
    let vector_search = steps.contains(&RetrievalStep::Ann);
    let (vector, tokens) = if vector_search {
        let (texts, class) = ([text.to_owned()], (Class::Interactive, None));
        let made = services.embed_guarded(&base.model, &texts, class, guard).await;
        let made = made.map_err(|error| engine_failure(&error, &base.model))?;
        (made.vectors.into_iter().next(), made.tokens)
    } else {
        (None, 0)
    };
    let query = Query {
        text: text.to_owned(),
        vector,
        top_k,
        vector_search,
        full_text: steps.contains(&RetrievalStep::FullText),
        tenant: Some(tenant.to_owned()),
    };
    Ok((query, tokens))
}

fn hit_json(hit: &Hit) -> Value {
    json!({
        "document": hit.document, "source": hit.source, "chunk": hit.chunk, "rank": hit.rank,
        "score": hit.score, "text": hit.text, "start": hit.start, "end": hit.end,
    })
}
