//! A generating model with its sequences: every step feeds one packed batch of all that can go on.
//!
//! A step holds a row for each sequence that is answering (more where its schema forces several tokens) and one chunk
//! of prompts, first come first served. So a long prompt delays answers by one chunk at a time, and weights are read
//! once for all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use tokenizers::Tokenizer;

use crate::ModelFiles;
use crate::generation::blocks::{CacheShape, LANES, SequenceCache};
use crate::generation::model::{Model, Scratch, Segment};
use crate::generation::prefixes::{Prefixes, share_active};
use crate::generation::prepare::{Prepared, Preparer};
use crate::generation::sequence::Sequence;
use crate::generation::template::ChatTemplate;
use crate::generation::vocabulary::Vocabulary;
use crate::generation::{Error, Finish, Generated, GeneratorSettings};
use crate::gguf;

/// Of the memory for keys and values, one part in so many is for those of earlier requests.
const SHARE_OF_PREFIXES: usize = 4;

/// Where an answer goes. Called on the engine's thread: must not block.
pub(crate) trait Reply: Send {
    /// The next piece of the answer's text.
    fn on_token(&mut self, piece: &str);
    /// The end; the pieces together are the answer's text.
    fn finished(self: Box<Self>, answer: Result<Generated, Error>);
    /// Whether nobody waits for the answer any more.
    fn is_closed(&self) -> bool;
}

/// A model and its sequences, owned by the engine's thread.
pub(crate) struct Generator {
    model: Model,
    vocabulary: Arc<Vocabulary>,
    preparer: Arc<Preparer>,
    settings: GeneratorSettings,
    cache_shape: CacheShape,
    scratch: Scratch,
    /// In order of admission.
    sequences: Vec<Sequence>,
    waiting: VecDeque<Sequence>,
    prefixes: Prefixes,
    /// Bytes that keys and values of sequences in work may take, if they are counted.
    room: Option<usize>,
}

impl Generator {
    /// Reads the model, checking the file's header before anything else of it.
    pub(crate) fn load(files: &ModelFiles, settings: &GeneratorSettings, device: &Device) -> Result<Self, Error> {
        if !device.is_cpu() {
            return Err(Error::Device);
        }
        let (header, file) = gguf::read_file(&files.weights).map_err(Error::Header)?;
        let model = Model::load(&header, file, settings.dtype, settings.context_tokens)?;
        let vocabulary = Arc::new(Vocabulary::read(&header, model.config().vocabulary)?);
        let template = ChatTemplate::read(&header)?;
        let cache_shape = model.cache_shape();
        let context = model.config().context;
        let prefixes = Prefixes::within(settings.cache_bytes.map_or(usize::MAX, |bytes| bytes / SHARE_OF_PREFIXES));
        let room = settings.cache_bytes.map(|bytes| bytes.saturating_sub(prefixes.most_bytes()));
        let prefill_chunk = settings.prefill_chunk.max(1);
        let fits = room.map_or(context, |room| cache_shape.tokens_in(room, prefill_chunk, context));
        if fits < LANES.min(context) {
            return Err(Error::FitCache { bytes: settings.cache_bytes.unwrap_or_default() });
        }
        let preparer = Arc::new(Preparer::new(Arc::clone(&vocabulary), template, context, fits));
        Ok(Self {
            model,
            vocabulary,
            preparer,
            settings: GeneratorSettings { max_sequences: settings.max_sequences.max(1), prefill_chunk, ..*settings },
            cache_shape,
            scratch: Scratch::default(),
            sequences: Vec::new(),
            waiting: VecDeque::new(),
            prefixes,
            room,
        })
    }

    /// The model's tokenizer; it reads control tokens as text.
    pub(crate) fn tokenizer(&self) -> Arc<Tokenizer> {
        self.vocabulary.tokenizer()
    }

    pub(crate) fn preparer(&self) -> Arc<Preparer> {
        Arc::clone(&self.preparer)
    }

    /// Bytes of weights held in memory.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.model.weight_bytes()
    }

    /// Takes a request in; beyond `max_sequences`, and beyond the memory, it waits for its turn.
    pub(crate) fn admit(&mut self, prepared: Prepared, reply: Box<dyn Reply>) {
        self.waiting.push_back(Sequence::new(prepared, reply, Instant::now(), &self.vocabulary));
    }

    /// Requests that could start at once. While one waits for memory nobody else is taken in: the next turn is for the most
    /// urgent then.
    pub(crate) fn free_slots(&self) -> usize {
        if self.waiting.front().is_some_and(|next| !self.has_memory_for(next)) {
            return 0;
        }
        self.settings.max_sequences.saturating_sub(self.sequences.len() + self.waiting.len())
    }

    /// Requests whose answers are being computed.
    pub(super) fn in_work(&self) -> usize {
        self.sequences.len()
    }

    /// Feeds one batch; whether work is left.
    pub(crate) fn step(&mut self) -> bool {
        self.sequences.retain(|sequence| !sequence.reply.is_closed());
        self.waiting.retain(|sequence| !sequence.reply.is_closed());
        self.begin();
        let plan = self.plan();
        if !plan.is_empty() {
            self.feed(&plan);
        }
        !(self.sequences.is_empty() && self.waiting.is_empty())
    }

    /// Begins with those that wait, in their order, as long as there are slots and memory: nobody overtakes a long one, and
    /// those in work end without asking for more, so its turn comes.
    fn begin(&mut self) {
        while self.sequences.len() < self.settings.max_sequences {
            if self.waiting.front().is_none_or(|next| !self.has_memory_for(next)) {
                break;
            }
            self.sequences.extend(self.waiting.pop_front());
        }
    }

    /// Whether a sequence's keys and values fit beside those of the sequences in work, all at their longest. Alone it fits: the
    /// preparer has refused the others.
    fn has_memory_for(&self, next: &Sequence) -> bool {
        let Some(room) = self.room else { return true };
        let bytes = |sequence: &Sequence| self.cache_shape.bytes_of(sequence.longest(), self.settings.prefill_chunk);
        let held = self.sequences.iter().map(bytes).fold(bytes(next), usize::saturating_add);
        held <= room || self.sequences.is_empty()
    }

    /// How many tokens each sequence feeds, with its index, in order.
    fn plan(&mut self) -> Vec<(usize, usize)> {
        let mut plan = Vec::new();
        let mut room = self.settings.prefill_chunk;
        for index in 0..self.sequences.len() {
            if self.sequences[index].reads_prompt() {
                if room == 0 {
                    continue;
                }
                if self.sequences[index].cache.is_none() {
                    self.start(index);
                }
                let count = self.sequences[index].uncomputed().min(room);
                room -= count;
                plan.push((index, count));
            } else {
                plan.push((index, self.sequences[index].uncomputed()));
            }
        }
        plan
    }

    /// Gives a sequence its cache, with the longest beginning that an earlier or a running one has computed.
    fn start(&mut self, index: usize) {
        let wanted = self.sequences[index].reusable();
        let running = self
            .sequences
            .iter()
            .filter_map(|other| share_active(&other.tokens[..other.computed], other.cache.as_ref()?, wanted));
        let best = running.max_by_key(|(_, length)| *length);
        let kept = self.prefixes.find(wanted);
        let best = best.into_iter().chain(kept).max_by_key(|(_, length)| *length);
        let (cache, length) = best.unwrap_or_else(|| (SequenceCache::new(self.cache_shape), 0));
        self.sequences[index].start_from(cache, length);
    }

    fn feed(&mut self, plan: &[(usize, usize)]) {
        let Self { model, scratch, sequences, vocabulary, .. } = self;
        let mut planned = plan.iter().peekable();
        let mut segments = Vec::with_capacity(plan.len());
        for (index, sequence) in sequences.iter_mut().enumerate() {
            let Some((_, count)) = planned.next_if(|(planned, _)| *planned == index) else { continue };
            let end = sequence.computed + count;
            let Some(cache) = &mut sequence.cache else { continue };
            segments.push(Segment {
                tokens: &sequence.tokens[sequence.computed..end],
                start: sequence.computed,
                cache,
                wants_scores: end == sequence.tokens.len(),
            });
        }
        let mut scores = match model.forward(&mut segments, scratch) {
            Ok(scores) => scores,
            Err(error) => return self.fail(plan, &error),
        };
        let mut ended: Vec<(usize, Result<Finish, Error>)> = Vec::new();
        for &(index, count) in plan {
            let sequence = &mut sequences[index];
            sequence.computed += count;
            if sequence.uncomputed() > 0 {
                continue;
            }
            let advanced = match scores.next() {
                Some(scores) => sequence.advance(scores, vocabulary),
                None => Err(Error::Step("a sequence got no scores".to_owned())),
            };
            ended.extend(advanced.transpose().map(|finish| (index, finish)));
        }
        for (index, finish) in ended.into_iter().rev() {
            if let Some((tokens, cache)) = self.sequences.remove(index).finish(finish) {
                self.prefixes.keep(tokens, cache);
            }
        }
    }

    /// The step failed for all in it; none of their caches can be trusted.
    fn fail(&mut self, plan: &[(usize, usize)], error: &Error) {
        for &(index, _) in plan.iter().rev() {
            self.sequences.remove(index).finish(Err(Error::Step(error.to_string())));
        }
    }

    /// The scores after `prompt`, and after each token of `continuation`; computed apart from all sequences.
    pub(super) fn scores_along(&mut self, prompt: &[u32], continuation: &[u32]) -> Result<Vec<Vec<f32>>, Error> {
        let mut cache = SequenceCache::new(self.cache_shape);
        let mut start = 0;
        let mut rows = Vec::new();
        let last_chunk = prompt.chunks(self.settings.prefill_chunk).len().saturating_sub(1);
        let chunks = prompt.chunks(self.settings.prefill_chunk).chain(continuation.chunks(1));
        for (index, tokens) in chunks.enumerate() {
            let mut segments = [Segment { tokens, start, cache: &mut cache, wants_scores: index >= last_chunk }];
            rows.extend(self.model.forward(&mut segments, &mut self.scratch)?.map(<[f32]>::to_vec));
            start += tokens.len();
        }
        Ok(rows)
    }

    pub(super) fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
}
