//! A value made from earlier ones by a template.

use std::sync::Arc;

use async_trait::async_trait;
use crds::{Transform, TransformFormat};
use serde_json::{Value, json};

use super::{Failure, Job, context::Context};
use crate::runtime::{cache::Output, services::Services};

pub(super) struct TransformJob {
    value: Value,
}

pub(super) async fn prepare(
    services: &Services,
    transform: &Transform,
    context: &Context,
) -> Result<TransformJob, Failure> {
    let text = context.render(services, "transform.template", &transform.template).await?;
    let value = match transform.format {
        TransformFormat::Text => json!({ "text": text }),
        TransformFormat::Json => serde_json::from_str(&text).map_err(|error| {
            Failure::permanent("InvalidOutput", format!("transform.template does not give one JSON value: {error}"))
        })?,
    };
    Ok(TransformJob { value })
}

#[async_trait]
impl Job for TransformJob {
    /// Rendering was all the work.
    fn key(&self, _: &Services) -> Option<Vec<String>> {
        None
    }

    async fn run(&self, _: &Arc<Services>) -> Result<Output, Failure> {
        let value = self.value.clone();
        Ok(Output { value, references: Vec::new(), prompt_tokens: 0, completion_tokens: 0, model: None })
    }
}
