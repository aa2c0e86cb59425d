//! One forward pass over rows of many sequences.

use crate::generation::Error;
use crate::generation::blocks::{HeadPlace, SequenceCache};

use super::Model;
use super::activation::{gated, rms_norm, rms_norm_in_place};
use super::attention::{Place, Rows, attend};
use super::config::Family;
use super::layer::Layer;

/// Tokens of one sequence to feed, and where they stand in it.
pub(in crate::generation) struct Segment<'a> {
    pub(in crate::generation) tokens: &'a [u32],
    /// Position of the first token: as many as the cache holds.
    pub(in crate::generation) start: usize,
    pub(in crate::generation) cache: &'a mut SequenceCache,
    /// Whether the scores after the last token are wanted.
    pub(in crate::generation) wants_scores: bool,
}

/// Buffers kept between passes.
#[derive(Default)]
pub(in crate::generation) struct Scratch {
    normed: Vec<f32>,
    projected: Vec<f32>,
    attended: Vec<f32>,
    added: Vec<f32>,
    gate_up: Vec<f32>,
    hidden: Vec<f32>,
    spare: Vec<f32>,
    scores: Vec<f32>,
}

impl Model {
    /// Feeds all segments; returns the scores over the vocabulary, one row for each segment that wants them, in order.
    pub(in crate::generation) fn forward<'s>(
        &self,
        segments: &mut [Segment<'_>],
        scratch: &'s mut Scratch,
    ) -> Result<std::slice::ChunksExact<'s, f32>, Error> {
        let tokens: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens).copied().collect();
        let mut states = self.embedding.rows_of(&tokens)?;
        if self.config.family == Family::Gemma3 {
            let scale = (self.config.width as f32).sqrt();
            states.iter_mut().for_each(|state| *state *= scale);
        }
        scratch.size(self, tokens.len());
        for segment in segments.iter_mut() {
            segment.cache.reserve(segment.start + segment.tokens.len());
        }
        let mut seen = [0, 0];
        for (index, layer) in self.layers.iter().enumerate() {
            let local = self.config.is_local(index);
            let group = usize::from(local);
            let window = if local { self.config.window } else { None };
            self.layer(layer, Place { group, layer: seen[group], window }, segments, &mut states, scratch)?;
            seen[group] += 1;
        }
        for segment in segments.iter_mut() {
            segment.cache.forget_behind_window(segment.start + segment.tokens.len());
        }
        self.scores(segments, &states, scratch)
    }

    fn layer(
        &self,
        layer: &Layer,
        place: Place,
        segments: &mut [Segment<'_>],
        states: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let config = &self.config;
        let stride = layer.query_key_value.rows();
        rms_norm(states, &layer.attention_norm, config.epsilon, &mut scratch.normed);
        layer.query_key_value.multiply(&scratch.normed, &mut scratch.projected, &mut scratch.spare)?;
        self.place_heads(layer, place, segments, &mut scratch.projected, stride);
        let rows: Vec<Rows<'_>> = segments
            .iter()
            .map(|segment| Rows { cache: &*segment.cache, start: segment.start, count: segment.tokens.len() })
            .collect();
        attend(config, place, &rows, (&scratch.projected, stride), (&mut scratch.spare, &mut scratch.attended));
        layer.attention_output.multiply(&scratch.attended, &mut scratch.added, &mut scratch.spare)?;
        if let Some(extra) = &layer.extra {
            let rows = scratch.added.chunks_exact_mut(config.width);
            rows.for_each(|row| rms_norm_in_place(row, &extra.after_attention, config.epsilon));
        }
        add(states, &scratch.added);
        rms_norm(states, &layer.feed_forward_norm, config.epsilon, &mut scratch.normed);
        layer.gate_up.multiply(&scratch.normed, &mut scratch.gate_up, &mut scratch.spare)?;
        gated(config.family, &scratch.gate_up, config.hidden, &mut scratch.hidden);
        layer.down.multiply(&scratch.hidden, &mut scratch.added, &mut scratch.spare)?;
        if let Some(extra) = &layer.extra {
            let rows = scratch.added.chunks_exact_mut(config.width);
            rows.for_each(|row| rms_norm_in_place(row, &extra.after_feed_forward, config.epsilon));
        }
        add(states, &scratch.added);
        Ok(())
    }

    /// Norms and rotates queries and keys, and writes keys and values to the caches.
    fn place_heads(
        &self,
        layer: &Layer,
        place: Place,
        segments: &mut [Segment<'_>],
        projected: &mut [f32],
        stride: usize,
    ) {
        let config = &self.config;
        let rotary = match &self.local_rotary {
            Some(local) if place.window.is_some() => local,
            _ => &self.global_rotary,
        };
        let width = config.head_width;
        let mut rows = projected.chunks_exact_mut(stride);
        for segment in segments {
            for (index, row) in rows.by_ref().take(segment.tokens.len()).enumerate() {
                let position = segment.start + index;
                let (queries, rest) = row.split_at_mut(config.heads * width);
                let (keys, values) = rest.split_at_mut(config.kv_heads * width);
                for query in queries.chunks_exact_mut(width) {
                    if let Some(extra) = &layer.extra {
                        rms_norm_in_place(query, &extra.query, config.epsilon);
                    }
                    rotary.rotate(query, position);
                }
                for (head, (key, value)) in keys.chunks_exact_mut(width).zip(values.chunks_exact(width)).enumerate() {
                    if let Some(extra) = &layer.extra {
                        rms_norm_in_place(key, &extra.key, config.epsilon);
                    }
                    rotary.rotate(key, position);
                    segment.cache.write(place.group, HeadPlace { layer: place.layer, head }, position, key, value);
                }
            }
        }
    }

    fn scores<'s>(
        &self,
        segments: &[Segment<'_>],
        states: &[f32],
        scratch: &'s mut Scratch,
    ) -> Result<std::slice::ChunksExact<'s, f32>, Error> {
        let width = self.config.width;
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let mut wanted = Vec::new();
        let mut end = 0;
        for segment in segments {
            end += segment.tokens.len();
            if segment.wants_scores {
                wanted.extend_from_slice(&states[(end - 1) * width..end * width]);
            }
        }
        scratch.normed.resize(wanted.len(), 0.0);
        rms_norm(&wanted, &self.output_norm, self.config.epsilon, &mut scratch.normed);
        scratch.scores.resize(wanted.len() / width * output.rows(), 0.0);
        if !wanted.is_empty() {
            output.multiply(&scratch.normed, &mut scratch.scores, &mut scratch.spare)?;
        }
        Ok(scratch.scores.chunks_exact(output.rows()))
    }
}

impl Scratch {
    fn size(&mut self, model: &Model, rows: usize) {
        let config = &model.config;
        let query_width = config.heads * config.head_width;
        let key_width = config.kv_heads * config.head_width;
        self.normed.resize(rows * config.width, 0.0);
        self.projected.resize(rows * (query_width + 2 * key_width), 0.0);
        self.attended.resize(rows * query_width, 0.0);
        self.added.resize(rows * config.width, 0.0);
        self.gate_up.resize(rows * 2 * config.hidden, 0.0);
        self.hidden.resize(rows * config.hidden, 0.0);
    }
}

fn add(states: &mut [f32], added: &[f32]) {
    for (state, &added) in states.iter_mut().zip(added) {
        *state += added;
    }
}
