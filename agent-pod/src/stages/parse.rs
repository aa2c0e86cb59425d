//! Bytes to text, in a child process with limits.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use crds::Parse;
use knowledge::parse::Limits;
use serde_json::json;

use super::{Failure, Job, context::Context};
use crate::runtime::{cache::Output, services::Services};

/// Largest document where the stage names no limit.
pub(crate) const MAX_BYTES: u64 = 64 << 20;

pub(super) struct ParseJob {
    payload: String,
    name: String,
    limits: Limits,
}

pub(super) fn prepare(parse: &Parse, context: &Context) -> ParseJob {
    let defaults = Limits::default();
    ParseJob {
        payload: context.payload.clone(),
        name: context.source.clone(),
        limits: Limits {
            max_bytes: parse.max_bytes.unwrap_or(MAX_BYTES),
            max_text_bytes: parse.max_text_bytes.unwrap_or(defaults.max_text_bytes),
            ..defaults
        },
    }
}

#[async_trait]
impl Job for ParseJob {
    fn key(&self, _: &Services) -> Option<Vec<String>> {
        // The name's ending helps to tell formats apart; the rest of it does not matter.
        let ending = std::path::Path::new(&self.name).extension().unwrap_or_default().to_string_lossy().into_owned();
        Some(vec![self.payload.clone(), ending])
    }

    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure> {
        let bytes = services.ports.payloads.get(&self.payload).await?;
        let parsed = knowledge::parse::parse(&bytes, &self.name, &self.limits, &services.parser).await;
        let parsed = parsed.map_err(|error| {
            let (reason, message) = (error.reason(), crate::error::chain(&error));
            if error.is_permanent() { Failure::permanent(reason, message) } else { Failure::transient(reason, message) }
        })?;
        let text_bytes = parsed.text.len();
        let text = services.ports.payloads.put(Bytes::from(parsed.text)).await?;
        let value = json!({
            "mediaType": parsed.media_type.to_string(),
            "textBytes": text_bytes,
            "text": text,
            "exactOffsets": parsed.exact_offsets,
            "warnings": parsed.warnings,
        });
        Ok(Output { value, references: vec![text], prompt_tokens: 0, completion_tokens: 0, model: None })
    }
}
