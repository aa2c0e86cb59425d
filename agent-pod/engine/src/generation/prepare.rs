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
        let room = match self.template.tokens(messages, &self.vocabulary, self.context) {
            Ok(prompt) => self.fits.saturating_sub(prompt.len()),
            Err(Error::PromptTooLong { .. }) => 0,
            Err(error) => return Err(error),
        };
        Ok((room, self.fits))
    }

    /// Applies the template, tokenises, compiles the schema, and checks that everything fits.
    pub(crate) fn prepare(&self, request: GenerateRequest) -> Result<Prepared, Error> {
        check(&request)?;
        let prompt = self.template.tokens(&request.messages, &self.vocabulary, self.context)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::ChatRole;
    use crate::generation::samples::{header, sentence_piece, words};
    use crate::gguf::Header;

    const CONTEXT: usize = 8;
    /// A character that breaks the names of control tokens in messages.
    const BREAKER: char = '\u{fdd0}';

    fn vocabulary(header: &Header) -> Vocabulary {
        Vocabulary::read(header, 1000).expect("a vocabulary")
    }

    fn request(content: &str) -> GenerateRequest {
        GenerateRequest {
            messages: vec![ChatMessage { role: ChatRole::User, content: content.to_owned() }],
            max_tokens: 1,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
            schema: None,
        }
    }

    #[test]
    fn a_prompt_far_beyond_the_context_is_refused_unread() {
        let header = sentence_piece();
        let template = ChatTemplate::read(&header).expect("no template");
        let preparer = Preparer::new(Arc::new(vocabulary(&header)), template, CONTEXT, CONTEXT);
        let refused = |content: &str| preparer.prepare(request(content)).err().expect("it does not fit");
        let long = "ab".repeat(1000);
        // The longest tokens are the names of bytes, of 6.
        let error = refused(&long);
        assert!(matches!(error, Error::PromptTooLong { least: 334, context: CONTEXT }), "{error}");
        assert_eq!(preparer.room(&request(&long).messages).expect("a conversation"), (0, CONTEXT));
        let error = refused("a b a b a b a b a b");
        assert!(matches!(error, Error::ContextExceeded { prompt: 20, context: CONTEXT, .. }), "{error}");
        assert_eq!(preparer.prepare(request("abab")).expect("it fits").prompt.len(), 2);
    }

    #[test]
    fn no_prompt_has_fewer_tokens_than_it_is_said_to_have_at_least() {
        let texts = ["", "abab ab", "</s>abab</s>", "   ", "é漢🦊", "a\u{fdd0}b", "<0x41>"].map(|text| text.repeat(40));
        // Of the last two, the vocabulary has no token for most bytes.
        let headers = [sentence_piece(), header("llama", &words("\u{2581}")), header("gpt2", &words("\u{120}"))];
        for (header, text) in headers.iter().flat_map(|header| texts.iter().map(move |text| (header, text))) {
            let vocabulary = vocabulary(header);
            for broken_by in [None, Some(BREAKER)] {
                let tokens = vocabulary.encode_prompt(text, broken_by).expect("any text has tokens").len();
                let least = vocabulary.least_tokens(text, broken_by);
                assert!(least <= tokens, "{text}: {tokens} tokens, said to be at least {least}");
            }
        }
    }
}
