//! Turns a request into what the engine's thread needs, on the caller's thread.

use std::sync::Arc;

use crate::generation::schema::{Constraint, Schemas};
use crate::generation::template::ChatTemplate;
use crate::generation::vocabulary::Vocabulary;
use crate::generation::{ChatMessage, Error, GenerateRequest, Sampling};

/// More stop texts than any use; each is looked for after every token.
const MOST_STOPS: usize = 16;

/// Prepares requests for one model; shared by all callers.
pub(crate) struct Preparer {
    vocabulary: Arc<Vocabulary>,
    template: ChatTemplate,
    schemas: Schemas,
    context: usize,
    /// Most tokens whose keys and values fit into memory, where less than the context.
    fits: usize,
}

/// A request as tokens, checked against the model's limits.
pub(crate) struct Prepared {
    pub(super) prompt: Vec<u32>,
    pub(super) max_tokens: usize,
    pub(super) sampling: Sampling,
    pub(super) stops: Vec<String>,
    pub(super) constraint: Option<Constraint>,
}

impl Preparer {
    pub(super) fn new(vocabulary: Arc<Vocabulary>, template: ChatTemplate, context: usize, fits: usize) -> Self {
        let schemas = Schemas::new(Arc::clone(&vocabulary));
        Self { vocabulary, template, schemas, context, fits: fits.min(context) }
    }

    /// Most tokens that the context, and the memory, leaves for an answer to these messages, and what they leave it of.
    pub(crate) fn room(&self, messages: &[ChatMessage]) -> Result<(usize, usize), Error> {
        let prompt = self.template.tokens(messages, &self.vocabulary)?;
        Ok((self.fits.saturating_sub(prompt.len()), self.fits))
    }

    /// Applies the template, tokenises, compiles the schema, and checks that everything fits.
    pub(crate) fn prepare(&self, request: GenerateRequest) -> Result<Prepared, Error> {
        check(&request)?;
        let prompt = self.template.tokens(&request.messages, &self.vocabulary)?;
        let (length, max_tokens) = (prompt.len(), request.max_tokens);
        if length == 0 {
            return Err(Error::Request("the prompt is empty"));
        }
        if length.saturating_add(max_tokens) > self.context {
            return Err(Error::ContextExceeded { prompt: length, max_tokens, context: self.context });
        }
        if length.saturating_add(max_tokens) > self.fits {
            return Err(Error::MemoryExceeded { prompt: length, max_tokens, fits: self.fits });
        }
        let constraint =
            request.schema.as_ref().map(|schema| self.schemas.constraint(schema, max_tokens)).transpose()?;
        Ok(Prepared { prompt, max_tokens, sampling: request.sampling, stops: request.stop, constraint })
    }
}

fn check(request: &GenerateRequest) -> Result<(), Error> {
    let Sampling { temperature, top_p, top_k, repetition_penalty, seed: _ } = request.sampling;
    let refused = [
        (request.messages.is_empty(), "there are no messages"),
        (request.max_tokens == 0, "maxTokens is 0"),
        (request.stop.iter().any(String::is_empty), "a stop text is empty"),
        (request.stop.len() > MOST_STOPS, "there are more than 16 stop texts"),
        (request.schema.is_some() && !request.stop.is_empty(), "a schema and stop texts exclude each other"),
        (!(0.0..=100.0).contains(&temperature), "the temperature is not between 0 and 100"),
        (top_p.is_some_and(|share| !(share > 0.0 && share <= 1.0)), "topP is not above 0 and at most 1"),
        (top_k == Some(0), "topK is 0"),
        (
            repetition_penalty.is_some_and(|penalty| !(0.01..=100.0).contains(&penalty)),
            "the repetition penalty is not between 0.01 and 100",
        ),
    ];
    match refused.into_iter().find(|(applies, _)| *applies) {
        Some((_, reason)) => Err(Error::Request(reason)),
        None => Ok(()),
    }
}
