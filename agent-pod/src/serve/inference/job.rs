//! One request to a model of this process's engine.

use std::{sync::Arc, time::Instant};

use engine::{Class, Embedded, Engine};

use super::{admission::Admitted, limits::InferenceLimits, refusal::Refusal};
use crate::runtime::stop::Stop;

/// What every route needs to answer. People wait for these requests: they go before documents.
pub(super) struct Job {
    pub(super) engine: Engine,
    /// The engine's name of the model.
    pub(super) engine_name: String,
    /// The client's name of it.
    pub(super) name: String,
    pub(super) limits: InferenceLimits,
    pub(super) deadline: Instant,
    pub(super) stop: Stop,
    pub(super) admitted: Arc<Admitted>,
}

/// The class of these requests in the engine.
pub(super) const CLASS: Class = Class::Interactive;

impl Job {
    /// Vectors of texts. A text that the model would cut is refused: its vector would silently be another text's.
    pub(super) async fn embed(&self, texts: Vec<String>, param: &'static str) -> Result<Embedded, Refusal> {
        let embedded = self.engine.embed(&self.engine_name, texts.clone(), CLASS, Some(self.deadline)).await?;
        if embedded.truncated == 0 {
            return Ok(embedded);
        }
        let most = self.engine.max_text_tokens(&self.engine_name).unwrap_or(0);
        let (engine, model) = (self.engine.clone(), self.engine_name.clone());
        let is_long = move |text: &String| engine.token_offsets(&model, text).is_ok_and(|tokens| tokens.len() > most);
        let looked = tokio::task::spawn_blocking(move || texts.iter().position(is_long)).await;
        let place = looked.ok().flatten().map_or_else(String::new, |place| format!("[{place}]"));
        let name = &self.name;
        let message = format!("{param}{place} is longer than the {most} tokens that model \"{name}\" reads; cut it");
        Err(Refusal::too_long(param, message))
    }
}
