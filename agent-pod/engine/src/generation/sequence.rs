//! One request in work: its tokens, what of them is computed, and its text so far.

use std::time::{Duration, Instant};

use crate::generation::blocks::SequenceCache;
use crate::generation::detokenizer::Text;
use crate::generation::generator::Reply;
use crate::generation::prepare::Prepared;
use crate::generation::sampling::Sampler;
use crate::generation::schema::{Constraint, Taken};
use crate::generation::vocabulary::Vocabulary;
use crate::generation::{Error, Finish, Generated};

pub(super) struct Sequence {
    /// The prompt, then the answer.
    pub(super) tokens: Vec<u32>,
    prompt: usize,
    max_tokens: usize,
    /// How many tokens' keys and values the cache holds.
    pub(super) computed: usize,
    /// `None` until its first tokens are fed.
    pub(super) cache: Option<SequenceCache>,
    cached_prompt: usize,
    sampler: Sampler,
    constraint: Option<Constraint>,
    text: Text,
    pub(super) reply: Box<dyn Reply>,
    admitted: Instant,
    first_token: Option<Duration>,
}

impl Sequence {
    pub(super) fn new(prepared: Prepared, reply: Box<dyn Reply>, admitted: Instant, vocabulary: &Vocabulary) -> Self {
        let beginning = prepared.constraint.as_ref().map(|constraint| constraint.beginning.clone());
        let mut sequence = Self {
            prompt: prepared.prompt.len(),
            tokens: prepared.prompt,
            max_tokens: prepared.max_tokens,
            computed: 0,
            cache: None,
            cached_prompt: 0,
            sampler: Sampler::new(prepared.sampling),
            constraint: prepared.constraint,
            text: Text::new(prepared.stops),
            reply,
            admitted,
            first_token: None,
        };
        // What a schema leaves no choice about is fed with the prompt.
        for token in beginning.into_iter().flatten() {
            sequence.append(token, vocabulary);
        }
        sequence
    }

    /// Starts with an earlier request's cache of the first `length` tokens.
    pub(super) fn start_from(&mut self, cache: SequenceCache, length: usize) {
        self.cache = Some(cache);
        self.computed = length;
        self.cached_prompt = length;
    }

    /// Tokens that can be reused: at least one must be computed to have scores.
    pub(super) fn reusable(&self) -> &[u32] {
        &self.tokens[..self.prompt - 1]
    }

    pub(super) fn uncomputed(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Whether the prompt is still being read.
    pub(super) fn reads_prompt(&self) -> bool {
        self.computed < self.prompt
    }

    /// Tokens at its end, at most.
    pub(super) fn longest(&self) -> usize {
        self.prompt + self.max_tokens
    }

    fn left(&self) -> usize {
        self.max_tokens - (self.tokens.len() - self.prompt)
    }

    /// Chooses the next token from the scores after the last one; how the answer ended, if it did.
    pub(super) fn advance(&mut self, scores: &[f32], vocabulary: &Vocabulary) -> Result<Option<Finish>, Error> {
        let scores = &scores[..vocabulary.len().min(scores.len())];
        let finish = match self.constraint.is_some() {
            true => self.advance_constrained(scores, vocabulary),
            false => self.advance_freely(scores, vocabulary),
        }?;
        self.first_token.get_or_insert_with(|| self.admitted.elapsed());
        let piece = self.text.next_piece();
        if !piece.is_empty() {
            self.reply.on_token(piece);
        }
        Ok(finish)
    }

    fn advance_freely(&mut self, scores: &[f32], vocabulary: &Vocabulary) -> Result<Option<Finish>, Error> {
        let token = self.sampler.choose(scores, &self.tokens, None)?;
        if vocabulary.is_end(token) {
            return Ok(Some(Finish::Stop));
        }
        let stopped = self.append(token, vocabulary);
        Ok(match (stopped, self.left()) {
            (true, _) => Some(Finish::Stop),
            (false, 0) => Some(Finish::Length),
            _ => None,
        })
    }

    fn advance_constrained(&mut self, scores: &[f32], vocabulary: &Vocabulary) -> Result<Option<Finish>, Error> {
        let left = self.left();
        let Some(constraint) = &mut self.constraint else { return Ok(None) };
        if constraint.is_complete() || (left == 0 && constraint.is_accepting()) {
            return Ok(Some(Finish::Stop));
        }
        let allowed = constraint.allowed()?;
        let token = self.sampler.choose(scores, &self.tokens, Some(&allowed))?;
        if vocabulary.is_end(token) {
            return Ok(Some(Finish::Stop));
        }
        let taken = constraint.take(token, left)?;
        let (tokens, mut finish) = match taken {
            Taken::Tokens(tokens) => (tokens, constraint.is_complete().then_some(Finish::Stop)),
            Taken::Ending(tokens) => (tokens, Some(Finish::Stop)),
        };
        if tokens.len() > left {
            return Err(Error::Cut { max_tokens: self.max_tokens });
        }
        if tokens.len() == left && finish.is_none() {
            if !constraint.is_accepting() {
                return Err(Error::Cut { max_tokens: self.max_tokens });
            }
            finish = Some(Finish::Stop);
        }
        for token in tokens {
            self.append(token, vocabulary);
        }
        Ok(finish)
    }

    fn append(&mut self, token: u32, vocabulary: &Vocabulary) -> bool {
        self.tokens.push(token);
        self.text.push(vocabulary.bytes_of(token))
    }

    /// Reports the end; what was computed can serve later requests.
    pub(super) fn finish(mut self, finish: Result<Finish, Error>) -> Option<(Vec<u32>, SequenceCache)> {
        let generated = finish.map(|finish| {
            let rest = self.text.finish();
            if !rest.is_empty() {
                self.reply.on_token(rest);
            }
            let total = self.admitted.elapsed();
            Generated {
                text: self.text.into_text(),
                finish,
                prompt_tokens: self.prompt,
                cached_prompt_tokens: self.cached_prompt,
                completion_tokens: self.tokens.len() - self.prompt,
                first_token: self.first_token.unwrap_or(total),
                total,
            }
        });
        self.reply.finished(generated);
        self.tokens.truncate(self.computed);
        self.cache.map(|cache| (self.tokens, cache))
    }
}
