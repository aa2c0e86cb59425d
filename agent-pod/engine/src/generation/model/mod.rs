//! Llama-family and Gemma 3 decoders over a packed batch: rows of many sequences in one matrix product,
//! attention for each sequence over its own cache. Knows token numbers and scores, not texts or requests.

mod activation;
mod attention;
mod config;
mod forward;
mod half;
mod layer;
mod matrix;
mod packed;
mod parallel;
mod rotary;

use std::fs::File;

use crate::generation::blocks::{CacheShape, GroupShape};
use crate::generation::{Error, WeightFormat};
use crate::gguf::Header;

pub(super) use config::Config;
pub(super) use forward::{Scratch, Segment};
pub(super) use half::to_half;

use layer::Layer;
use matrix::{Loader, Matrix};
use rotary::Rotary;

/// A model's weights and tables; shared by all its sequences.
pub(super) struct Model {
    config: Config,
    embedding: Matrix,
    /// `None` where the embedding serves as output matrix too.
    output: Option<Matrix>,
    output_norm: Vec<f32>,
    layers: Vec<Layer>,
    global_rotary: Rotary,
    local_rotary: Option<Rotary>,
}

impl Model {
    /// Reads the weights that `header` describes, one tensor at a time, converting as `format` says.
    pub(super) fn load(header: &Header, file: File, format: WeightFormat, context: usize) -> Result<Self, Error> {
        let config = Config::read(header, context)?;
        let mut loader = Loader::new(header, file, format);
        let embedding = loader.matrix("token_embd.weight", config.vocabulary, config.width)?;
        let output = match loader.has("output.weight") {
            true => Some(loader.matrix("output.weight", config.vocabulary, config.width)?),
            false => None,
        };
        let output_norm = loader.vector("output_norm.weight", config.width)?;
        let layers =
            (0..config.layers).map(|index| Layer::load(&mut loader, &config, index)).collect::<Result<_, _>>()?;
        let factors = match loader.has("rope_freqs.weight") {
            true => Some(loader.vector("rope_freqs.weight", config.rope_width / 2)?),
            false => None,
        };
        let global_rotary = Rotary::new(&config, config.rope_base, config.rope_scale, factors.as_deref());
        let local_rotary = config.window.map(|_| Rotary::new(&config, config.local_rope_base, 1.0, None));
        Ok(Self { config, embedding, output, output_norm, layers, global_rotary, local_rotary })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// How the keys and values of one sequence are kept: layers that see everything, and those with a window.
    pub(super) fn cache_shape(&self) -> CacheShape {
        cache_shape(&self.config)
    }

    /// Bytes of the weights once they are loaded, how keys and values will be kept, and the context.
    pub(super) fn measure(
        header: &Header,
        file: File,
        format: WeightFormat,
        context: usize,
    ) -> Result<(usize, CacheShape, usize), Error> {
        let config = Config::read(header, context)?;
        let loader = Loader::new(header, file, format);
        let table = |name| loader.bytes_of(&[(name, config.vocabulary)], config.width);
        let output = if loader.has("output.weight") { table("output.weight")? } else { 0 };
        let mut weights = table("token_embd.weight")? + output;
        for index in 0..config.layers {
            weights += Layer::measure(&loader, &config, index)?;
        }
        Ok((weights, cache_shape(&config), config.context))
    }

    /// Bytes of weights held in memory.
    pub(super) fn weight_bytes(&self) -> usize {
        let output = self.output.as_ref().map_or(0, Matrix::bytes);
        self.embedding.bytes() + output + self.layers.iter().map(Layer::bytes).sum::<usize>()
    }
}

fn cache_shape(config: &Config) -> CacheShape {
    let windowed = (0..config.layers).filter(|&index| config.is_local(index)).count();
    let group =
        |layers, window| GroupShape { layers, window, kv_heads: config.kv_heads, head_width: config.head_width };
    CacheShape { groups: [group(config.layers - windowed, None), group(windowed, config.window)] }
}
