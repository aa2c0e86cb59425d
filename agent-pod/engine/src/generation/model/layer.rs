//! The weights of one decoder layer.

use crate::generation::Error;

use super::config::{Config, Family};
use super::matrix::{Loader, Matrix, Stack};

pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    /// Queries, keys and values side by side.
    pub(super) query_key_value: Stack,
    pub(super) attention_output: Matrix,
    pub(super) feed_forward_norm: Vec<f32>,
    /// Gate and up side by side.
    pub(super) gate_up: Stack,
    pub(super) down: Matrix,
    /// Gemma's further norms.
    pub(super) extra: Option<ExtraNorms>,
}

pub(super) struct ExtraNorms {
    pub(super) query: Vec<f32>,
    pub(super) key: Vec<f32>,
    pub(super) after_attention: Vec<f32>,
    pub(super) after_feed_forward: Vec<f32>,
}

impl Layer {
    pub(super) fn load(loader: &mut Loader<'_>, config: &Config, index: usize) -> Result<Self, Error> {
        let name = |suffix: &str| format!("blk.{index}.{suffix}.weight");
        let query_width = config.heads * config.head_width;
        let key_width = config.kv_heads * config.head_width;
        let extra = match config.family {
            Family::Llama => None,
            Family::Gemma3 => Some(ExtraNorms {
                query: loader.vector(&name("attn_q_norm"), config.head_width)?,
                key: loader.vector(&name("attn_k_norm"), config.head_width)?,
                after_attention: loader.vector(&name("post_attention_norm"), config.width)?,
                after_feed_forward: loader.vector(&name("post_ffw_norm"), config.width)?,
            }),
        };
        Ok(Self {
            attention_norm: loader.vector(&name("attn_norm"), config.width)?,
            query_key_value: loader.stack(
                &[(&name("attn_q"), query_width), (&name("attn_k"), key_width), (&name("attn_v"), key_width)],
                config.width,
            )?,
            attention_output: loader.matrix(&name("attn_output"), config.width, query_width)?,
            feed_forward_norm: loader.vector(&name("ffn_norm"), config.width)?,
            gate_up: loader
                .stack(&[(&name("ffn_gate"), config.hidden), (&name("ffn_up"), config.hidden)], config.width)?,
            down: loader.matrix(&name("ffn_down"), config.width, config.hidden)?,
            extra,
        })
    }

    /// What [`Self::bytes`] will be once the layer is loaded.
    pub(super) fn measure(loader: &Loader<'_>, config: &Config, index: usize) -> Result<usize, Error> {
        let name = |suffix: &str| format!("blk.{index}.{suffix}.weight");
        let query_width = config.heads * config.head_width;
        let key_width = config.kv_heads * config.head_width;
        let attention = [(&*name("attn_q"), query_width), (&name("attn_k"), key_width), (&name("attn_v"), key_width)];
        let gate_up = [(&*name("ffn_gate"), config.hidden), (&name("ffn_up"), config.hidden)];
        let parts = [
            loader.bytes_of(&attention, config.width)?,
            loader.bytes_of(&[(&name("attn_output"), config.width)], query_width)?,
            loader.bytes_of(&gate_up, config.width)?,
            loader.bytes_of(&[(&name("ffn_down"), config.width)], config.hidden)?,
        ];
        Ok(parts.iter().sum())
    }

    pub(super) fn bytes(&self) -> usize {
        self.query_key_value.bytes() + self.attention_output.bytes() + self.gate_up.bytes() + self.down.bytes()
    }
}
